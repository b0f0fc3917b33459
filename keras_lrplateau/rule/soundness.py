"""Is training sound? What is known about weights, and what follows from it.

The loss of an epoch is a mean over all the weights that the epoch went through. It says little about those at its end:
they may be far better, or already ruined. So there are looks at the weights themselves, see `Evidence`. Three
verdicts:

    sound     nothing speaks against the weights
    suspect   something does, but a later look may clear them
    broken    they are ruined beyond doubt

Broken is acted on. Suspect is not: it only forbids a raise, and, where the weights are in doubt, makes no snapshot the
best one.

Exploded weights are large. So before anything is thrown away the weights are compared with those to go back to. Where
they are finite and have hardly grown (see `has_grown`), training is neither broken nor dead, whatever the numbers say.
Some losses look like ruin in a sound training: that of a generator or a critic, of temporal differences, of a term
whose weight grows, of targets that are nearly all zero, of a pretrained model that is pruned.

The rules:

1. Weights that are not finite are broken, whatever a metric makes of them: an accuracy is finite on NaN.
2. A metric or a training loss that is not finite: broken, unless the weights are known to be finite and the other one
   is fine. Then suspect: a metric may be undefined on some samples, and loss scaling skips a step that overflows.
3. A training loss of `FAR_WORSE` times that before training, or more: suspect. It is broken if the next observation
   says the same, and the first batch in between, too. Two things excuse it for now, but not for a snapshot: a metric
   better than ever, since an exploded network may have a lucky accuracy; and a loss that comes down, once the network
   has learned, since an ordinary cut heals it. A loss that comes down from a rise in the first epochs excuses nothing:
   such a network is often dead in the end. If the weights have not grown, the loss of the first batch was no
   yardstick, and that of now takes its place (`yardstick`). Nor is it one where a loss may be negative.
4. Dead: the mean training loss rose above that before training while training began, came down, and shows no learning
   since: suspect. A network that has come through such a start often answers with a constant, and looks like slow
   learning. Where that constant is no better than no training, a rise to `ROSE` is enough. Where it is better (its
   targets are not centred), the loss must have risen to `ROSE_FAR`, and be flat since; or training must have stalled.
   Time confirms it, see `dead`.
5. More than half of the optimizer steps were skipped, since their gradients overflowed: suspect.

A snapshot taken on weights that nothing has vouched for is a *candidate*. The next look decides (`agrees`): the loss of
the first batch after it; where that is not known, the next training loss.

Source of the numbers: on the tuning tasks of examples/benchmarks/raise_defaults.py (with --constants) no run that
trained well came near 3 times the loss of the first batch, while two in three of the ruined ones went above 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from keras_lrplateau.rule import checks
from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.rule.words import number

FAR_WORSE = 10.0
"""A training loss above this multiple of the loss before training is far worse."""

FALLS = 0.8
"""A far worse loss below this share of the last one comes down."""

ROSE = 1.2
"""A mean training loss above this multiple of the loss before training, in the first epochs, may have killed units."""

ROSE_FAR = 2.0
"""And above this one it may have done so even where the loss is lower now."""

ONSET = 3
"""Training begins with this many observations; a loss that rises later has other reasons."""

GRACE = 3
"""This many observations after the peak the loss may take to come down."""

LEVEL = 0.9
"""A loss above this share of that before training is no better than no training."""

FALL = 0.95
"""A loss below this share of the one that it came down to, and below `LEVEL`, shows that the network learns."""

LONG = 15
"""A loss that is flat for fewer observations is not dead yet, however short the patience."""

NEAR = 3.0
"""A look agrees with a candidate if its loss is at most this many times that of its epoch, and that before training.

It may always be as high as before training: few batches are as easy as the mean of an epoch.
"""

SKIPPED = 0.5
"""More skipped steps than this share speak against a rate. A loss scale that begins too high skips a few, once."""

GREW = 3.0
"""Weights whose root mean square is not this multiple of that before training have not exploded.

Chosen on the tuning tasks of examples/benchmarks/recovery.py, which prints a table of sizes: sound trainings hardly
reach it, and most of the ruined ones go far beyond.
"""

GREW_LATER = 1.5
"""The same, since a later snapshot: little time has passed since the best, and after it the weights hardly grow."""

MAX_RECOVERIES = 6
"""Divergences in a row, without a new best between them, before giving up.

By then the default rule has cut the rate to 10^-9 of what it was, auto mode to 10^-6.
"""

Verdict = Literal["sound", "suspect", "broken"]


NOTHING_ELSE = Evidence()
"""An observation about which nothing else is known."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered to judge soundness.

    Attributes:
        far_worse: The training loss of the last observation if it was far worse than before training; else None.
        seen: Training losses seen, counted up to `ONSET`, or to the peak.
        peak: The highest loss of a rise in the onset; None if there was none.
        since: Observations since the peak.
        level: What the loss came down to after the peak; None before.
        has_learned: Whether it fell since, or never rose in the onset: then the network is alive.
    """

    far_worse: float | None = None
    seen: int = 0
    peak: float | None = None
    since: int = 0
    level: float | None = None
    has_learned: bool = False

    def elsewhere(self) -> Watch:
        """The same after training went back to other weights."""
        return self if self.far_worse is None else replace(self, far_worse=None)


class Finding(NamedTuple):
    """What an observation says about the weights.

    Attributes:
        verdict: The verdict.
        reason: Why; empty for "sound".
        watch: What to remember.
        may_be_kept: Whether a snapshot of the weights would be a sound one. True for a dead network, too: its weights
            are finite and have not exploded.
        loss_before: The training loss before the first update, or what is known by now to be a better yardstick.
    """

    verdict: Verdict
    reason: str
    watch: Watch
    may_be_kept: bool
    loss_before: float | None = None


def assess(
    watch: Watch, value: float, loss: float | None, loss_before: float | None, evidence: Evidence, is_vouched: bool
) -> Finding:
    """What an observation says about the weights.

    Args:
        watch: What is remembered from the observations before.
        value: The metric.
        loss: The training loss over the same time; None when it is not known.
        loss_before: The training loss before the first update; None when it is not known.
        evidence: What else is known.
        is_vouched: Whether the metric is better than an earlier best. The first observation cannot vouch: it is better
            than nothing.
    """
    known = yardstick(loss, loss_before, evidence)
    if known != loss_before:
        watch = Watch(has_learned=True)  # What seemed a rise by the yardstick of before was none.
    return _judged(watch, value, loss, known, evidence, is_vouched)._replace(loss_before=known)


def _judged(
    watch: Watch, value: float, loss: float | None, loss_before: float | None, evidence: Evidence, is_vouched: bool
) -> Finding:
    if evidence.is_finite is False:
        return Finding("broken", "the weights are not finite", watch, may_be_kept=False)
    if not math.isfinite(value):
        is_fine = loss is not None and math.isfinite(loss) and not exceeds(loss, loss_before, FAR_WORSE)
        is_fine = bool(evidence.is_finite and is_fine) or not has_grown(evidence)
        return _not_finite("metric", value, watch, is_fine)
    if loss is not None and not math.isfinite(loss):
        return _not_finite("training loss", loss, watch, bool(evidence.is_finite) or not has_grown(evidence))
    if loss is not None and (not watch.has_learned or watch.far_worse is not None):
        watch = _watched(watch, loss, loss_before)
    if loss is not None and exceeds(loss, loss_before, FAR_WORSE):
        reason = f"the training loss is {number(loss)}, far worse than before training ({number(loss_before)})"
        stays = watch.far_worse is not None and not (watch.has_learned and loss < FALLS * watch.far_worse)
        look = loss if evidence.first_loss is None else evidence.first_loss
        if stays and not is_vouched and exceeds(look, loss_before, FAR_WORSE):
            reason += f", as it was at the last observation ({number(watch.far_worse)})"
            return Finding("broken", reason, watch, may_be_kept=False)
        return Finding("suspect", reason, replace(watch, far_worse=loss), may_be_kept=False)
    if watch.far_worse is not None:
        watch = replace(watch, far_worse=None)
    if may_be_dead(watch, loss_before):
        return Finding("suspect", _no_learning(watch, loss_before), watch, may_be_kept=True)
    if evidence.skipped > SKIPPED:
        reason = f"{evidence.skipped:.0%} of the optimizer steps were skipped"
        return Finding("suspect", reason, watch, may_be_kept=True)
    return Finding("sound", "", watch, may_be_kept=True)


def has_grown(evidence: Evidence) -> bool:
    """Whether the weights may have exploded: they have grown, or nobody has looked."""
    bound = GREW if evidence.grown_since == "start" else GREW_LATER
    return evidence.growth is None or not evidence.growth < bound


def yardstick(loss: float | None, loss_before: float | None, evidence: Evidence) -> float | None:
    """The loss before training, or what is known by now to be better.

    Args:
        loss: The training loss of the observation; None when it is not known.
        loss_before: What was known before; None for nothing.
        evidence: What else is known.

    Returns:
        None if a loss may be negative; the loss of now if it is far worse although the weights have not grown.
    """
    if any(each is not None and each < 0 for each in (loss, evidence.first_loss)):
        return None
    if not has_grown(evidence) and loss is not None and math.isfinite(loss) and exceeds(loss, loss_before, FAR_WORSE):
        return loss
    return loss_before


def _not_finite(name: str, value: float, watch: Watch, may_be_fine: bool) -> Finding:
    """A number that is not finite; `may_be_fine` if all else speaks for the weights."""
    if may_be_fine:
        return Finding("suspect", f"the {name} is {value}, though the weights are finite", watch, may_be_kept=False)
    return Finding("broken", f"the {name} is {value}", watch, may_be_kept=False)


def agrees(look: float | None, loss: float | None, loss_before: float | None) -> bool:
    """Whether a look at a candidate's weights clears them.

    Args:
        look: The loss that the look has found; None when there was none.
        loss: The training loss of the epoch at whose end the candidate was taken; None when it is not known.
        loss_before: That before training; None when it is not known.
    """
    if look is None:
        return True
    if not math.isfinite(look) or exceeds(look, loss_before, FAR_WORSE):
        return False
    yardsticks = [each for each in (loss_before, loss) if each is not None and each > 0]
    return not yardsticks or look <= max(loss_before or 0.0, NEAR * min(yardsticks))


def may_be_dead(watch: Watch, loss_before: float | None) -> bool:
    """Whether the loss rose in the onset and shows no learning since."""
    if watch.peak is None or watch.has_learned:
        return False
    is_high = watch.level is None or not exceeds(loss_before, watch.level, 1 / LEVEL)
    return is_high or exceeds(watch.peak, loss_before, ROSE_FAR)


def dead(watch: Watch, loss_before: float | None, patience: int, is_stalled: bool = False) -> str:
    """Why the network counts as dead; empty if it does not.

    Args:
        watch: What is remembered.
        loss_before: The training loss before the first update.
        patience: The observations of a plateau. The loss must be flat for two of them, and for `LONG` observations.
        is_stalled: Whether cuts have not helped either, so that another trial costs nothing. Then any rise counts.
    """
    is_flat = watch.since >= max(2 * patience, LONG) and watch.peak is not None and not watch.has_learned
    return _no_learning(watch, loss_before) if is_flat and (is_stalled or may_be_dead(watch, loss_before)) else ""


def exceeds(loss: float | None, loss_before: float | None, multiple: float) -> bool:
    """Whether a training loss is above a multiple of that before training. A loss that may be negative has none."""
    return loss is not None and loss_before is not None and 0 < multiple * loss_before < loss


def _watched(watch: Watch, loss: float, loss_before: float | None) -> Watch:
    if watch.has_learned or loss_before is None:
        return watch
    if watch.peak is None:
        seen = watch.seen + 1
        if exceeds(loss, loss_before, ROSE):
            return replace(watch, seen=seen, peak=loss)
        return replace(watch, seen=seen, has_learned=seen >= ONSET)
    if loss > watch.peak:
        return replace(watch, peak=loss, since=0, level=None)
    since = watch.since + 1
    if watch.level is None or since <= GRACE:
        return replace(watch, since=since, level=loss if watch.level is None else min(loss, watch.level))
    return replace(watch, since=since, has_learned=loss < min(FALL * watch.level, LEVEL * loss_before))


def _no_learning(watch: Watch, loss_before: float | None) -> str:
    rose = f"the training loss rose from {number(loss_before)} to {number(watch.peak)} as training began"
    if watch.level is None:
        return rose
    return f"{rose}, came down to {number(watch.level)}, and has shown no learning in {watch.since} observations since"


READ = checks.record(
    Watch,
    far_worse=checks.optional(checks.real),
    seen=checks.count,
    peak=checks.optional(checks.real),
    since=checks.count,
    level=checks.optional(checks.real),
    has_learned=checks.flag,
)
"""Reads a stored watch."""
