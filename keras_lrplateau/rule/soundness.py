"""Is training sound? What the values and losses of an observation say about the weights."""

from __future__ import annotations

import math

from keras_lrplateau.rule.words import number

FAR_WORSE = 10.0
"""A training loss above this multiple of the loss before training has diverged.

On the tuning tasks of examples/benchmarks/raise_defaults.py (with --constants) no run that trained well came near 3
times the loss of the first batch, while two in three of the ruined ones went above 10.
"""

MAX_RECOVERIES = 6
"""Divergences in a row, without a new best between them, before giving up: then the rate is 10^-9 of what it was."""


def divergence(value: float, loss: float | None, loss_before: float | None, vouched: bool) -> str:
    """Why this observation means that training broke; empty if it does not.

    Args:
        value: The metric.
        loss: The training loss over the same time; None when it is not known.
        loss_before: The training loss before the first update; None when it is not known.
        vouched: Whether the metric is better than ever. That vouches for the weights, whatever one batch did to the
            mean of the training loss. The first observation cannot vouch: it is better than nothing.
    """
    if not math.isfinite(value):
        return f"the metric is {value}"
    if loss is None or vouched:
        return ""
    if not math.isfinite(loss):
        return f"the training loss is {loss}"
    if exceeds(loss, loss_before, FAR_WORSE):
        return f"the training loss is {number(loss)}, far worse than before training ({number(loss_before)})"
    return ""


def exceeds(loss: float | None, loss_before: float | None, multiple: float) -> bool:
    """Whether a training loss is above a multiple of that before training. A loss that may be negative has none."""
    return loss is not None and loss_before is not None and 0 < multiple * loss_before < loss
