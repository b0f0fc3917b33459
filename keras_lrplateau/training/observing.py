"""Observes a training: the metric, the loss of an epoch's first batch, and the weights. All ranks observe the same.

`keras_lrplateau.rule.soundness` judges what is known about the weights.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

import keras

from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.training import metrics, processes
from keras_lrplateau.training.optimizers import accumulation_of
from keras_lrplateau.training.session import Session

EPOCHS_WITHOUT_VALIDATION = 3
"""After this many epochs without any validation metric, and without validation data, there is a warning."""


def first_batch(session: Session, logs: Mapping[str, Any] | None) -> None:
    """Take the loss of the first batch of an epoch. It is the loss of the weights before the epoch."""
    session.present.first_loss = metrics.as_number((logs or {}).get("loss"))
    session.present.wants_first_loss = False


def value_in(session: Session, logs: Mapping[str, Any]) -> float | None:
    """Return the value of the monitored metric, or None when this epoch has none.

    Raises:
        TypeError: It is no number.
        ValueError: Nothing says whether it should fall or rise.
    """
    monitor = session.options.monitor
    if monitor in logs:
        session.find_direction(required=True)
        value = metrics.as_number(logs[monitor])
        if value is None:
            raise TypeError(metrics.no_number(monitor, logs[monitor]))
        return value
    if monitor.startswith("val_") and not any(name.startswith("val_") for name in logs):
        session.present.epochs_without_validation += 1
        is_late = session.present.epochs_without_validation == EPOCHS_WITHOUT_VALIDATION
        # Where there is validation data, there may be a long validation_freq.
        if is_late and session.known_state.observations == 0 and not session.present.around.has_validation:
            warn_of_no_validation(session)
        return None
    session.notices.once("missing metric", metrics.missing(monitor, logs))
    return None


def warn_of_no_validation(session: Session) -> None:
    """Warn that the metric is one of validation, if there have been epochs without any."""
    if session.options.monitor.startswith("val_") and session.present.epochs_without_validation:
        session.notices.no_validation(session.options.monitor, session.present.around.has_validation)


def evidence_of(
    session: Session, logs: Mapping[str, float], first_loss: float | None, batches: int | None, done: int
) -> Evidence:
    """Return what is known about the weights at the end of an epoch with these numbers.

    The weights are read only if no validation has used them.

    Args:
        session: The session.
        logs: The numbers in the logs of the epoch.
        first_loss: The loss of its first batch; None if it is not known.
        batches: Those since the last decision; None if that is not known.
        done: The optimizer's count of steps.
    """
    is_validated = session.options.monitor.startswith("val_")
    val_loss = logs.get("val_loss") if is_validated else None
    if not session.rule.recovers:
        return Evidence(is_validated=is_validated, val_loss=val_loss)
    skipped, optimizer = 0.0, session.rates.optimizer
    if batches and hasattr(optimizer, "inner_optimizer"):  # Loss scaling skips steps.
        expected = batches / accumulation_of(optimizer)
        skipped = min(max(1.0 - float((done - session.iterations) / expected), 0.0), 1.0)
    losses = [value for name, value in logs.items() if name.startswith("val_") and name.endswith("loss")]
    is_known = losses and all(map(math.isfinite, losses))
    is_finite = True if is_known else are_finite(session.model, session.present.odd_weights)
    return Evidence(first_loss, is_finite, skipped, is_validated=is_validated, val_loss=val_loss)


def odd_weights(model: Any) -> frozenset[str]:
    """Return the paths of non-trainable weights that are not finite before training, such as a mask of -inf."""
    return frozenset(each.path for each in model.non_trainable_weights if not _all_finite([each]))


def are_finite(model: Any, odd: Set[str] = frozenset()) -> bool:
    """Return whether no weight of a model is NaN or infinite. One number is fetched from the device.

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


def agree(
    session: Session, value: float | None, loss: float | None, evidence: Evidence, is_new: bool
) -> tuple[float | None, float | None, Evidence]:
    """Return the means of what the ranks have observed, so that all decide alike, and take the rates of the first rank.

    If the training `is_new`, its first loss is that of untrained weights and goes into the state. For a model that was
    trained before, that loss would be too small and too random a yardstick.
    """
    if processes.count() > 1:
        mine = [value, loss, evidence.first_loss, evidence.skipped, evidence.noise, evidence.val_loss]
        said = processes.gather({"numbers": mine, "is_finite": evidence.is_finite, "rates": session.rates.held})
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
        session.rates.impose(said[0]["rates"])
    if is_new and evidence.first_loss is not None and math.isfinite(evidence.first_loss):
        session.state = replace(session.known_state, loss_before=evidence.first_loss)
    return value, loss, evidence


def _mean(column: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are not None: perhaps only one rank validates."""
    found = [each for each in column if each is not None]
    # Exact where all are equal, as on JAX, where sum / len may be off in the last bit.
    return statistics.mean(found) if found else None
