"""A learning rate that goes down on a plateau, up again when progress stalls, and recovers when training breaks.

Importing this package starts no Keras backend; only `AdaptLROnPlateau` needs one, and loads it when it is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_lrplateau.rule import auto
from keras_lrplateau.rule.decision import Decision, Step, start, step
from keras_lrplateau.rule.plateau import Config
from keras_lrplateau.rule.plateau_state import State

if TYPE_CHECKING:
    from keras_lrplateau.callback import AdaptLROnPlateau
    from keras_lrplateau.history.recorder import Sink
    from keras_lrplateau.history.run import Record, Run
    from keras_lrplateau.recordings.objects import from_frame, from_history
    from keras_lrplateau.recordings.reading import read
    from keras_lrplateau.recordings.recording import Recording
    from keras_lrplateau.recordings.replay import Replay, replay
    from keras_lrplateau.resume.state_file import StateFileError
    from keras_lrplateau.trackers.mlflow import MlflowSink
    from keras_lrplateau.trackers.notebook import LiveFigure
    from keras_lrplateau.trackers.wandb import WandbSink
    from keras_lrplateau.views.figure import figure

__version__ = "0.1.0"

__all__ = [
    "AdaptLROnPlateau",
    "Config",
    "Decision",
    "LiveFigure",
    "MlflowSink",
    "Record",
    "Recording",
    "Replay",
    "Run",
    "Sink",
    "State",
    "StateFileError",
    "Step",
    "WandbSink",
    "auto",
    "figure",
    "from_frame",
    "from_history",
    "read",
    "replay",
    "start",
    "step",
]

_LOADED_WHEN_NAMED = {
    "AdaptLROnPlateau": "callback",
    "LiveFigure": "trackers.notebook",
    "MlflowSink": "trackers.mlflow",
    "Record": "history.run",
    "Recording": "recordings.recording",
    "Replay": "recordings.replay",
    "Run": "history.run",
    "Sink": "history.recorder",
    "StateFileError": "resume.state_file",
    "WandbSink": "trackers.wandb",
    "figure": "views.figure",
    "from_frame": "recordings.objects",
    "from_history": "recordings.objects",
    "read": "recordings.reading",
    "replay": "recordings.replay",
}
"""By name the module that it is in."""


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_NAMED:
        return getattr(importlib.import_module(f"{__name__}.{_LOADED_WHEN_NAMED[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LOADED_WHEN_NAMED])
