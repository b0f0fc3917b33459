"""The sinks of a training under way: Keras' console, Keras' logs, and a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from keras.src.utils import io_utils

from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.rule.decision import Decision


@final
class Console(Sink):
    """Prints a line at each decision, as Keras prints."""

    def __init__(self) -> None:
        self._last_kind = ""

    def decision(self, decision: Decision, quantity: str) -> None:
        # Annealing is a decision at every epoch, but news only once.
        is_news = decision.kind != "anneal" or self._last_kind != "anneal"
        self._last_kind = decision.kind
        if is_news:
            io_utils.print_msg(f"\nEpoch {decision.epoch + 1}: AdaptLROnPlateau {decision.describe(quantity)}")


@final
class KerasLogs(Sink):
    """Puts the learning rates of an epoch into its logs, for History and the callbacks behind ours.

    Args:
        logs: Those of the epoch.
    """

    def __init__(self, logs: dict[str, Any]) -> None:
        self._logs = logs

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        # As Keras does: the rate that was used, before anything is decided.
        self._logs.update((name, number) for name, number in numbers.items() if name.startswith("learning_rate"))


@final
class OnDecision(Sink):
    """Calls a function with every decision.

    Args:
        function: The argument `on_decision` of the callback.
    """

    def __init__(self, function: Callable[[Decision], object]) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"on_decision={self._function!r}"

    def decision(self, decision: Decision, quantity: str) -> None:
        self._function(decision)
