"""Finds out what is around the callback in a `fit`, and warns about what works against it there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any, Literal

import keras

from keras_lrplateau.training import metrics
from keras_lrplateau.training.cadence import TRIALS, trial_steps
from keras_lrplateau.training.options import Options

FEW_EPOCHS = 20
"""With fewer epochs auto mode by epochs can do little: there is no time for a raise below 16."""

MANY_STEPS = 1000
"""A training of this many steps has enough of them to decide by steps."""

FEWEST_EPOCHS = 3
"""With fewer epochs nothing is annealed by epochs, or next to nothing, even where the search goes by steps."""

FEW_OBSERVATIONS = 50
"""Fewer than these are too few to search, adapt and anneal by."""

FRAMES = 4
"""The list of callbacks, which calls a hook, is at most this many callers up."""


@dataclass(frozen=True)
class Surroundings:
    """What is around the callback in a `fit`.

    Attributes:
        others: The other callbacks; empty if that is not known.
        behind: Those of them that come after this one in the list, and so see the end of an epoch later.
        has_validation: Whether there is validation data; None if that is not known.
        batch_size: The rows in a batch; None if that is not known.
    """

    others: Sequence[Any] = ()
    behind: Sequence[Any] = ()
    has_validation: bool | None = None
    batch_size: int | None = None

    @property
    def lacks_validation(self) -> bool:
        """Whether there will be no metric of a validation: there is no data, and no callback that may bring its own."""
        return self.has_validation is False and not any(map(_may_bring_metrics, self._in_front))

    @property
    def swaps_averages(self) -> bool:
        """Whether Keras' averages of the weights are in the model when this callback sees the end of an epoch."""
        return any(isinstance(each, keras.callbacks.SwapEMAWeights) and each.swap_on_epoch for each in self._in_front)

    @property
    def _in_front(self) -> list[Any]:
        return [each for each in self.others if each not in self.behind]

    def observations_left(self, monitor: str) -> list[int]:
        """How many more epochs without a new best each EarlyStopping that watches a metric will wait.

        The present epoch counts as one of them. Callbacks behind this one have not counted it yet.
        """
        stopping = [each for each in self.others if isinstance(each, keras.callbacks.EarlyStopping)]
        waits = [(each.patience, each.wait + (each in self.behind)) for each in stopping if each.monitor == monitor]
        return [max(patience - wait, 0) for patience, wait in waits]


def _may_bring_metrics(callback: Any) -> bool:
    """Whether a callback may put metrics into the logs: a foreign one, or a LambdaCallback."""
    is_foreign = type(callback).__module__.partition(".")[0] not in ("keras", "keras_lrplateau")
    return is_foreign or isinstance(callback, keras.callbacks.LambdaCallback)


def look_around(callback: Any) -> Surroundings:
    """Find out what is around a callback. Call it from one of the hooks.

    Keras tells a callback none of this. But the caller of the hook holds the list of all callbacks, and `fit`, which
    calls that, has the data. In a loop without `fit` nothing is found, so there are no warnings.

    Raises:
        ValueError: The callback is in the list more than once.
    """
    frame = sys._getframe(1)
    for _ in range(FRAMES):
        if frame.f_back is None:
            break
        frame = frame.f_back
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            others = [each for each in caller.callbacks if each is not callback]
            if (times := len(caller.callbacks) - len(others)) > 1:
                raise ValueError(
                    "AdaptLROnPlateau would count every epoch more than once, since callbacks holds the same object "
                    f"several times. Received: {callback!r}, {times} times; pass it once"
                )
            behind = list(dropwhile(lambda each: each is not callback, caller.callbacks))[1:]
            fit = frame.f_back.f_locals if frame.f_back is not None else {}
            has_validation = fit["validation_data"] is not None if "validation_data" in fit else None
            adapter = getattr(fit.get("epoch_iterator"), "data_adapter", None)
            batch_size = getattr(adapter, "batch_size", None)
            return Surroundings(others, behind, has_validation, batch_size if isinstance(batch_size, int) else None)
    return Surroundings()


def advice(
    options: Options, model: Any, rate: float, others: Sequence[Any], epochs: int | None = None, steps: int = 0
) -> Iterator[str]:
    """Yield a warning about each thing that is likely to go wrong, with its remedy.

    Args:
        options: The arguments of the callback.
        model: The compiled model.
        rate: The rule's rate at the start.
        others: The other callbacks of the `fit`.
        epochs: How many epochs it has; None where that is not known.
        steps: How many optimizer steps an epoch has; 0 where that is not known.
    """
    known = metrics.direction(model, options.monitor)
    if known is not None and options.mode not in ("auto", known):
        better = "smaller" if known == "min" else "larger"
        yield (
            f"AdaptLROnPlateau: mode={options.mode!r} contradicts the metric '{options.monitor}': a {better} "
            f"value of it is better; pass mode='auto' or mode={known!r}."
        )
    if options.rule.min_lr > rate > 0:
        yield (
            f"AdaptLROnPlateau: min_lr={options.rule.min_lr:g} is above the learning rate of {rate:g}, so no cut can "
            "change it; lower min_lr, or start with a higher rate."
        )
    if options.rule.name == "auto" and epochs is not None:
        yield from _about_length(options.frequency, epochs, steps)
    for other in others:
        yield from _about(options, other, epochs)


def _about_length(frequency: int | Literal["epoch"], epochs: int, steps_of_epoch: int) -> Iterator[str]:
    """Warn if so many epochs, of so many steps (0 if that is not known), are too few for auto mode."""
    steps = epochs * steps_of_epoch
    is_searched = trial_steps(epochs, steps_of_epoch) is not None
    too_few = FEWEST_EPOCHS if is_searched else FEW_EPOCHS
    if frequency == "epoch" and epochs < too_few and steps >= MANY_STEPS:
        what = "adapt the rate that it finds in the first one" if is_searched else "search for a rate and adapt it"
        yield (
            f"AdaptLROnPlateau: auto mode decides at the ends of epochs, and {epochs} "
            f"{'is' if epochs == 1 else 'are'} too few to {what}. Pass frequency={steps // TRIALS} to do so within the "
            f"epochs, by the metric of training; or train for {too_few} epochs or more."
        )
    if frequency != "epoch" and not steps:
        yield (
            f"AdaptLROnPlateau: with frequency={frequency} auto mode plans for the number of steps in an epoch, which "
            "Keras does not know of this data before the first epoch is over; pass steps_per_epoch to fit."
        )
    elif frequency != "epoch" and steps >= MANY_STEPS and steps // frequency < FEW_OBSERVATIONS:
        yield (
            f"AdaptLROnPlateau: frequency={frequency} leaves auto mode {steps // frequency} observations in all, too "
            f"few to search for a rate and adapt it; pass frequency={steps // TRIALS}."
        )


def _about(options: Options, other: Any, epochs: int | None) -> Iterator[str]:
    name = type(other).__name__
    if isinstance(other, (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)):
        yield (
            f"AdaptLROnPlateau: {name} sets the learning rate of the same optimizer, and each of the two undoes what "
            "the other does; remove one of them."
        )
    elif getattr(other, "_options", None) is not None and isinstance(other._options, Options):
        if _sets_the_same(options.optimizer, other._options.optimizer):
            yield (
                "AdaptLROnPlateau: there are two of it for the same optimizer, and each undoes what the other does; "
                "remove one of them, or pass optimizer=... to tell them apart."
            )
    elif isinstance(other, keras.callbacks.EarlyStopping) and not options.decides_in_epoch:
        needed = options.rule.for_length(epochs).patience_to_judge
        if needed is None or other.monitor != options.monitor or other.patience >= needed:
            return
        what, instead = "a raise can help", ", or turn raising off with max_raises=0"
        if options.rule.name == "auto":
            what, instead = "auto mode can judge what it tries", ""
        yield (
            f"AdaptLROnPlateau: EarlyStopping(patience={other.patience}) ends training before {what}; "
            f"give it patience={needed} or more{instead}."
        )


def _sets_the_same(mine: Any, theirs: Any) -> bool:
    return mine is theirs or (isinstance(mine, str) and mine == theirs)
