"""GreedyLR, for the benchmarks in this folder to compare with; nothing to run here.

Like every rule it has the methods `start`, `step` and `finish`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class SetRate:
    """The decision of a rule that knows no snapshots."""

    rate: float
    kind: str = "hold"
    save: None = None
    restore: None = None


@dataclass(frozen=True)
class GreedyLR:
    """GreedyLR (Subramanian et al. 2025, arXiv 2512.14527) as in Hugging Face transformers 5.23, here for one rate.

    More than `patience` new bests in a row raise the rate, as many observations without one lower it, both by a little.
    The defaults are those of transformers.

    Left out: its warm-up, cooldown and smoothing, which are off unless asked for, and its reset after 500 cuts at
    `min_lr`, which takes more epochs than there are.
    """

    mode: Literal["min", "max"] = "min"
    factor: float = 0.95
    patience: int = 10
    threshold: float = 1e-6
    min_lr: float = 1e-3
    max_lr: float = 1.0

    @dataclass(frozen=True)
    class State:
        """The rate, the best observation, and how many new bests or others came in a row.

        The best is signed so that lower is better.
        """

        rate: float
        best: float = math.inf
        good: int = 0
        bad: int = 0

    def start(self, rate: float) -> State:
        """The state before the first observation. A rate outside the bounds stays until it can move towards them."""
        return GreedyLR.State(rate)

    def step(self, state: State, value: float, loss: object = None, evidence: object = None) -> tuple[State, SetRate]:
        """Take one observation; it goes by the metric alone."""
        before = state.rate
        signed = value if self.mode == "min" else -value
        if signed < state.best - self.threshold:
            state = replace(state, best=signed, good=state.good + 1, bad=0)
        else:
            state = replace(state, good=0, bad=state.bad + 1)
        if state.good > self.patience:
            raised = min(state.rate / self.factor, self.max_lr)
            state = replace(state, rate=max(state.rate, raised), good=0)
        elif state.bad > self.patience:
            cut = max(state.rate * self.factor, self.min_lr)
            state = replace(state, rate=min(state.rate, cut), bad=0)
        kind = "raise" if state.rate > before else "cut" if state.rate < before else "hold"
        return state, SetRate(state.rate, kind)

    def finish(self, state: State) -> tuple[State, SetRate]:
        """Nothing to do."""
        return state, SetRate(state.rate)
