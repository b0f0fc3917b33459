"""A sink for notebooks: the figure of a training below the cell that trains, kept up to date."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from typing import Any, final

from keras_lrplateau.history.axes import Axis
from keras_lrplateau.history.recorder import Recorder, Sink
from keras_lrplateau.history.run import Record
from keras_lrplateau.views.figure import draw, to_plotly

PAUSE = 1.0
"""Seconds between two updates, at least: each sends the whole figure to the browser."""


@final
class LiveFigure(Sink):
    """Shows the figure of a training in a notebook, and updates it while `fit` runs, about once a second.

    Each training has a figure of its own, below the cell that is running. It is what `AdaptLROnPlateau.figure` draws.

    Example:

    ```python
    adapt = AdaptLROnPlateau(patience=5, sinks=[LiveFigure()])
    model.fit(x, y, validation_split=0.2, epochs=100, verbose=0, callbacks=[adapt])
    ```

    Args:
        axis: The horizontal axis: "epoch", "step" (optimizer steps taken) or "time".
        dark: Whether the background is dark.

    Raises:
        ImportError: IPython or plotly is not installed.
    """

    def __init__(self, axis: Axis = "epoch", *, dark: bool = False) -> None:
        to_plotly({})  # For its error, before training.
        _display()
        self._axis: Axis = axis
        self._dark = dark
        self._recorder = Recorder("training")
        self._handle: Any = None
        self._shown_at = -PAUSE
        self._is_news = False

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        self._recorder.epoch(epoch, numbers, time)
        self._is_news = True

    def record(self, record: Record) -> None:
        self._recorder.record(record, is_last=True)
        self._is_news = True

    def forget(self, epoch: int) -> None:
        self._recorder.forget(epoch)

    def flush(self) -> None:
        if clock.monotonic() - self._shown_at >= PAUSE:
            self._show()

    def close(self) -> None:
        """Show the end. What comes next is another training, with a figure of its own."""
        self._show()
        self._recorder, self._handle = Recorder("training"), None

    def _show(self) -> None:
        if not self._is_news or not self._recorder.run.records:
            return
        figure = to_plotly(draw([self._recorder.run], self._axis, dark=self._dark))
        # Not the figure itself: plotly would show it in its own way, which has no updates.
        bundle = figure._repr_mimebundle_(None, None)
        if self._handle is None:
            self._handle = _display()(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        self._shown_at, self._is_news = clock.monotonic(), False


def _display() -> Any:
    try:
        from IPython.display import display
    except ImportError as error:
        raise ImportError("LiveFigure is for notebooks, and needs IPython: pip install ipython") from error
    return display
