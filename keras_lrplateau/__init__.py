"""A learning rate that goes down on a plateau, up again when progress stalls, and recovers when training breaks.

Importing this package starts no Keras backend; only `AdaptLROnPlateau` needs one, and loads it when it is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_lrplateau.rule import auto
from keras_lrplateau.rule.decision import Decision, Step, start, step
from keras_lrplateau.rule.plateau import Config, State

if TYPE_CHECKING:
    from keras_lrplateau.callback import AdaptLROnPlateau
    from keras_lrplateau.resume.state_file import StateFileError

__version__ = "0.1.0"

__all__ = ["AdaptLROnPlateau", "Config", "Decision", "State", "StateFileError", "Step", "auto", "start", "step"]

_LOADED_WHEN_NAMED = {"AdaptLROnPlateau": "callback", "StateFileError": "resume.state_file"}
"""By name the module that it is in."""


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_NAMED:
        return getattr(importlib.import_module(f"{__name__}.{_LOADED_WHEN_NAMED[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LOADED_WHEN_NAMED])
