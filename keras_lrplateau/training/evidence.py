"""Gathers what can be known about the weights at the end of an epoch, on all ranks.

`keras_lrplateau.rule.soundness` judges it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import keras

from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.training import processes
from keras_lrplateau.training.optimizers import accumulation_of


def gather_evidence(
    model: Any, logs: Mapping[str, float], first_loss: float | None, skipped: float, odd: Set[str] = frozenset()
) -> Evidence:
    """Return what is known about the weights, but for whether the monitored metric has used them.

    Args:
        model: The model, whose weights are looked at only where no validation has used them.
        logs: The numbers of the epoch.
        first_loss: The loss of its first batch.
        skipped: The share of its steps that loss scaling has skipped.
        odd: What `odd_weights` has found.
    """
    losses = [value for name, value in logs.items() if name.startswith("val_") and name.endswith("loss")]
    is_finite = True if losses and all(map(math.isfinite, losses)) else are_finite(model, odd)
    return Evidence(first_loss, is_finite, skipped)


def odd_weights(model: Any) -> frozenset[str]:
    """The paths of the non-trainable weights that are not finite before training: a mask of minus infinity, say."""
    return frozenset(each.path for each in model.non_trainable_weights if not _all_finite([each]))


def are_finite(model: Any, odd: Set[str] = frozenset()) -> bool:
    """Whether no weight of a model is NaN or infinite. One number is fetched from the device.

    Where processes share the weights, each looks at its own part, so that no rank waits for another one.

    Args:
        model: A model with its weights in place; see `session.Host`.
        odd: The paths of weights that are not looked at.
    """
    return _all_finite([weight for weight in model.weights if weight.path not in odd])


def _all_finite(weights: Iterable[Any]) -> bool:
    ops = keras.ops
    floats = [weight for weight in weights if keras.backend.is_float_dtype(weight.dtype)]
    if not floats:
        return True
    verdicts = [ops.all(ops.isfinite(processes.local_part(weight))) for weight in floats]
    return bool(ops.convert_to_numpy(ops.all(ops.stack(verdicts))))


def skipped_share(optimizer: Any, steps: int | None, taken: int) -> float:
    """Return the share of the steps of an epoch that loss scaling has skipped, in [0, 1].

    Args:
        optimizer: As it is compiled with.
        steps: The batches of the epoch; None where that is not known, and then nothing counts as skipped.
        taken: The steps that the optimizer has counted.
    """
    if not steps or not hasattr(optimizer, "inner_optimizer"):
        return 0.0
    expected = steps / accumulation_of(optimizer)
    return min(max(1.0 - float(taken / expected), 0.0), 1.0)


def agree(
    value: float | None, loss: float | None, evidence: Evidence, rates: Sequence[float]
) -> tuple[float | None, float | None, Evidence, Sequence[float]]:
    """Return the mean of what the ranks have observed, so that all decide the same; and the rates of the first one.

    Args:
        value: The metric.
        loss: The training loss.
        evidence: What else is known.
        rates: Those that the optimizer holds.
    """
    mine = [value, loss, evidence.first_loss, evidence.skipped, evidence.noise, evidence.val_loss]
    said = processes.gather({"numbers": mine, "is_finite": evidence.is_finite, "rates": rates})
    columns = zip(*(one["numbers"] for one in said), strict=True)
    value, loss, first_loss, skipped, noise, val_loss = map(_mean, columns)
    looks = [one["is_finite"] for one in said if one["is_finite"] is not None]
    evidence = replace(
        evidence,
        first_loss=first_loss,
        is_finite=all(looks) if looks else None,
        skipped=skipped or 0.0,
        noise=noise or 0.0,
        val_loss=val_loss,
    )
    return value, loss, evidence, said[0]["rates"]


def _mean(column: Iterable[float | None]) -> float | None:
    """The mean of the numbers that are there: perhaps only one rank validates."""
    found = [each for each in column if each is not None]
    # Exact where all are equal, as on JAX, where sum / len may be off in the last bit.
    return statistics.mean(found) if found else None
