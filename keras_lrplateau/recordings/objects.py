"""Recordings of what a Python program holds already: the history of a fit, or a data frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.table import Table, add_column, table_of_lists
from keras_lrplateau.recordings.trainings import only_recording_of


def from_frame(frame: Any, name: str = "frame") -> Recording:
    """Read a pandas DataFrame, or another object that has its `columns` and `to_dict`.

    A NaN in a frame may be a number or an empty cell. It is a number at the end of a column, after other numbers: the
    training diverged. Everywhere else it is an empty cell.

    Args:
        frame: A column for each metric, a row for each epoch or step. An index named "epoch" or "step" is a counter.
        name: The name of the recording.

    Raises:
        CurveError: The frame holds no curve, or several trainings.
    """
    try:
        found = frame.to_dict(orient="list")
    except TypeError:  # Other libraries have no such argument.
        found = {key: list(frame[key]) for key in frame.columns}
    except AttributeError:
        raise CurveError(f"{name}: not a data frame; for a dict of lists there is from_history") from None
    columns = {str(key): cells for key, cells in found.items()}
    index: Any = getattr(frame, "index", None)
    if isinstance(getattr(index, "name", None), str) and index.name not in columns:
        columns = {index.name: list(index), **columns}
    table = Table(name, name)
    for key, cells in columns.items():
        add_column(table, key, cells)
    for key, values in table.columns.items():
        finite = [row for row, value in enumerate(values) if value is not None and not math.isnan(value)]
        end = finite[-1] + 1 if finite else 0
        if len(finite) < end or not finite:  # NaN before the last number, or nothing else.
            table.columns[key] = [None if value is None or math.isnan(value) else value for value in values]
    return only_recording_of(table)


def from_history(history: Any, name: str = "history") -> Recording:
    """Read what `model.fit` returns.

    Args:
        history: The `History`, or its `history`: a list of numbers for each metric. The object knows its epochs; those
            of the dict are counted from 0.
        name: The name of the recording.

    Raises:
        CurveError: The history holds no curve, or the lengths of its lists do not fit together.
    """
    epochs = None
    if not isinstance(history, Mapping):
        history, epochs = getattr(history, "history", None), getattr(history, "epoch", None)
    if not isinstance(history, Mapping):
        raise CurveError(f"{name}: neither a History nor a dict of lists; give what model.fit returns")
    columns = {str(key): list(cells) for key, cells in history.items()}
    return only_recording_of(table_of_lists(name, name, columns, None if epochs is None else list(epochs)))
