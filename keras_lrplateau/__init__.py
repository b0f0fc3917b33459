"""A learning rate that goes down on a plateau, up again when progress stalls, and recovers when training breaks.

Importing this package starts no Keras backend; only `AdaptLROnPlateau` needs one, and loads it when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_lrplateau.policy import Config, Decision, State, Step, start, step

if TYPE_CHECKING:
    from keras_lrplateau.callback import AdaptLROnPlateau

__version__ = "0.1.0"

__all__ = ["AdaptLROnPlateau", "Config", "Decision", "State", "Step", "start", "step"]


def __getattr__(name: str) -> Any:
    if name == "AdaptLROnPlateau":
        from keras_lrplateau.callback import AdaptLROnPlateau

        return AdaptLROnPlateau
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "AdaptLROnPlateau"])
