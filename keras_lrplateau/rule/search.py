"""The search for a first rate: a trial at each of several rates, always from the weights before training.

A trial is an observation: an epoch, or some steps where all is decided by steps. Or it is a window of steps within an
epoch, and no observation: where epochs are long, the search is over in the first one, or soon after.

The rates lie half decades apart, and each is known by how many half decades it is above the given one. What a rate has
brought is its *score*, the lower the better; a rate that broke training has the score infinity. Nothing here decides
about snapshots or knows the rule around it: `keras_lrplateau.rule.auto` says when a search begins, which rates it may
try, and what becomes of its choice.

The rules:

1. The search goes up and down by decades until the best rate has a worse one on either side; then half a decade to
   either side of the best.
2. A rate that makes nearly all of the best one's progress may be better still farther out: look there, too.
3. Where every rate is far worse than no training at all, the good ones can only be lower. Where all are a little worse,
   and neither their noise nor their validation tells them apart, they may be, too: look both ways.
4. The choice is the lowest rate that makes most of the best one's progress. But the rate that was given stays where it
   is nearly as good as the best: what is gained by a lower one is less than the noise of an epoch. The first epoch
   favours rates that are too high, which may have learned nothing but the mean by its end: so it gives way to a lower
   one that is nearly as good, too, and better in validation. Windows of steps favour them more: after them it gives way
   to any lower one that is nearly as good; and where all is decided by steps, it does not stay. Where the way up is
   barred, it does not give way for less than a hundredth of the loss: of a pretrained model the first epoch may hardly
   lower that at any rate.
5. Where the noise of a trial is known, as it is by steps, and no rate is better than a lower one beyond it, the way out
   is up: rates far too low are all alike, and about as good as no training. If no rate is better in the end, the given
   one stays, unless half a decade above it training breaks.
6. Where trials are observations, and the training is too short for raises, each one costs a good part of it. There the
   search ends with the first rate that clearly trains, be it the given one. And where the way up is barred, it does not
   go below one that has lowered the loss, or has a lower one beside it that is no better: a lower rate would most
   likely only train more slowly.
7. A rate whose validation loss is far above the loss before training is *unfit*, "bad in validation" in reasons: the
   training loss may fall while the network learns to answer with a constant, or its batch normalisation is thrown off.
   So is one that leaves the metric undefined. It is not chosen where another one is fit. Where none is, the validation
   may be no yardstick, and all are judged by the training loss.
8. In a model that was trained before, every rate that trains at all makes the first epoch worse. There one that does
   nothing looks best. So a rate below the given one is chosen only if it is proven to do more than nothing.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

from keras_lrplateau.rule import checks
from keras_lrplateau.rule.soundness import FAR_WORSE, exceeds
from keras_lrplateau.rule.words import number

MOST_TRIALS = 10
"""No search takes more trials than this."""

AS_GOOD = 0.98
"""A rate that makes this share of the best one's progress is as good: look beyond it."""

ENOUGH = 0.7
"""The choice makes this share of the best one's progress, and is at most a decade below it."""

ENOUGH_BY_STEPS = 0.5
"""And by steps this share: a few steps favour rates that are too high.

While a higher rate only goes the same way faster, half a decade is worth a factor of three. Where it is worth less than
two, the higher rate has begun to do harm.
"""

WITHIN_NOISE = 4.0
"""Two trials are alike if no more than so many standard errors of one are between them: seldom are the lowest and the
highest of five equal ones farther apart."""

NEAR = 0.5
"""A score is near the lowest one if it is above it by at most this share of it."""

ALIKE = 0.9
"""The given rate stays if it makes this share of the best one's progress."""

CLOSE = 0.01
"""Where the way up is barred, the given rate stays, too, if no lower one is better by more than this share of the loss.

Of a pretrained model the first epoch may hardly lower the loss at any rate. There one so low that it trains nothing has
the best score, and makes "all of the progress".
"""

PROGRESS = 0.2
"""A rate that has lowered the loss by this share of that before training clearly trains; one that has raised it by as
much may be too high, although its own noise hides that.

That of 0.1 keeps more rates that are right, and more that are not: the loss before training is that of a single batch.
"""

CLEAR = 2.0
"""What is above or below the loss before training is clearly so by this many times the noise of its batch, too."""

HOPELESS = 2.0
"""Where every rate tried leaves the training loss above this multiple of that before training, the search goes down.

Only a rate too high does that. An epoch far too short, or a first batch that was an easy one, stays below.
"""

TRAINS = 0.05
"""A rate that leaves the loss lower than a still lower one by this share does more than nothing."""

IDLE = 1e-3
"""Rates a decade and two apart whose losses differ by at most this share do nothing. Networks that different rates have
killed differ by more, since the mean of an epoch remembers how they died.
"""

UNFIT = 3.0
"""A rate that leaves the validation loss above this multiple of the training loss before training is unfit.

On the tuning jobs of examples/benchmarks/jobs.py the tuned rates leave it below 1.4 of that, and most of those that are
ten and a hundred times higher, with batch normalisation, above 3. On those of convergence.py it hardly matters.
"""


@dataclass(frozen=True, slots=True)
class Search:
    """A search under way.

    Attributes:
        start_rate: The rate with which training started. > 0.
        at: The half decade above it that is being tried.
        trials: The half decades tried so far, in order, each with its score; infinite if it broke training.
        saved: The half decade whose weights are in the best snapshot; None if there are none.
        errors: The half decades tried, each with the standard error of its score; 0 where that is not known.
        unfit: The half decades tried whose validation speaks against them, in order.
        validation: The half decades tried, in order, each with its validation loss; only those where it is known.
        steps: Optimizer steps in a trial that is a window within an epoch; None where a trial is an observation. >= 1.
    """

    name: ClassVar[Literal["search"]] = "search"

    start_rate: float
    at: int = 0
    trials: tuple[tuple[int, float], ...] = ()
    saved: int | None = None
    errors: tuple[tuple[int, float], ...] = ()
    unfit: tuple[int, ...] = ()
    validation: tuple[tuple[int, float], ...] = ()
    steps: int | None = None

    def rate_at(self, at: int) -> float:
        """The rate this many half decades above the first one."""
        return self.start_rate * 10 ** (at / 2)

    def tried(self, score: float, error: float = 0.0, is_unfit: bool = False, val_loss: float | None = None) -> Search:
        """The search with what the rate that was being tried has brought.

        Args:
            score: Its score; infinite if it broke training.
            error: The standard error of the score; 0 if it is not known.
            is_unfit: Whether its validation speaks against it.
            val_loss: Its validation loss; None if it is not known.
        """

        def with_this(pairs: tuple[tuple[int, float], ...], value: float) -> tuple[tuple[int, float], ...]:
            return tuple(sorted({**dict(pairs), self.at: value}.items()))

        validation = self.validation
        if val_loss is not None and math.isfinite(val_loss):
            validation = with_this(validation, val_loss)
        return replace(
            self,
            trials=with_this(self.trials, score),
            errors=with_this(self.errors, error),
            unfit=tuple(sorted({*self.unfit, self.at})) if is_unfit else self.unfit,
            validation=validation,
        )


class Choice(NamedTuple):
    """What a search has found.

    Attributes:
        at: How many half decades above the given rate to train; None if all broke.
        why: Why, in words.
    """

    at: int | None
    why: str


def choice(search: Search, loss_before: float | None, enough: float = ENOUGH, stays: bool = True) -> Choice:
    """The half decade to train with: that of the given rate, or the lowest that makes most of the best one's progress.

    Args:
        search: The search.
        loss_before: The training loss before the first update; None when it is not known, or no score is a loss.
        enough: The share of the best one's progress that is enough.
        stays: Whether the given rate stays where it is nearly as good as the best.
    """
    share = _shares(search, loss_before)
    if not share:
        return Choice(None, "all broke, so a tenth of the lowest one")
    if len(search.trials) == 1:
        return Choice(0, "no other was tried")
    best = _best(search, loss_before)
    if best < 0 and _is_idle(search, loss_before, best):
        found = scores(search, loss_before)
        least = min(found.values())
        highest = max(at for at, score in found.items() if at <= 0 and not exceeds(score, least, HOPELESS))
        return Choice(highest, "no lower one is proven to do more than nothing")
    given = Choice(0, "the given one, since no other is clearly better")
    is_on_edge = 1 in dict(search.trials) and 1 not in _unbroken(search, loss_before)
    if 0 in _all_alike(search, loss_before) and not is_on_edge:
        return given
    lowest = _lowest(share, best, enough)
    most = "nearly all" if enough == ALIKE else "most"
    progress = Choice(lowest, f"the lowest one that makes {most} of the best one's progress")
    if lowest == 0:
        return given
    is_behind = share.get(0, 0.0) < ALIKE
    if stays and lowest < 0 and is_behind and _is_close(search, loss_before):
        return given._replace(why="the given one, since no lower one is better by more than a hundredth")
    if not stays or lowest > 0 or is_behind:
        return progress
    if search.steps is not None:
        lowest = _lowest(share, best, ALIKE)
        return given if lowest >= 0 else progress._replace(at=lowest)
    val_loss = dict(search.validation)
    nearly_as_good = [at for at in share if best - 2 <= at <= 0 and share[at] >= ALIKE and at in val_loss]
    fittest = min(reversed(nearly_as_good), key=val_loss.__getitem__, default=0)
    if fittest == 0 or 0 not in val_loss:
        return given
    losses = f"{number(val_loss[fittest])} against {number(val_loss[0])}"
    return Choice(fittest, f"nearly as good in training as the given one, and better in validation, {losses}")


def _lowest(share: Mapping[int, float], best: int, enough: float) -> int:
    """The lowest half decade that makes enough of the best one's progress, and is at most a decade below it."""
    return min((at for at in share if share[at] >= enough and at >= best - 2), default=best)


def _is_close(search: Search, loss_before: float | None) -> bool:
    """Whether the given rate is the highest that may be tried, and as good as the best one but for a hundredth."""
    found = scores(search, loss_before)
    is_highest = max(search.trials)[0] == 0
    return is_highest and 0 in found and found[0] - min(found.values()) <= CLOSE * abs(found[0])


def has_progress(search: Search, loss_before: float | None) -> bool:
    """Whether some fit rate clearly trains. Without the loss before training that is not known, and so it is not."""
    before, found = _score_before(search, loss_before), scores(search, loss_before)
    fit = [score for at, score in found.items() if at not in search.unfit]
    if before is None or not fit:
        return False
    return min(fit) <= before - max(PROGRESS * abs(before), CLEAR * _noise_before(search, loss_before))


def is_too_low(search: Search, at: int | None, chosen: int | None, loss_before: float | None) -> bool:
    """Whether a trial at a half decade is not worth an observation of a short training.

    It is below the choice, which is the highest one tried: so nothing says that rates are too high here. And the choice
    has lowered the loss, or has a lower one beside it that was no better.

    Args:
        search: The search.
        at: The half decade; None for none.
        chosen: The choice; None if all broke.
        loss_before: As for `choice`.
    """
    tried = [tried for tried, _ in search.trials]
    if search.steps is not None or at is None or chosen != max(tried) or at > chosen or chosen in search.unfit:
        return False
    before = _score_before(search, loss_before)
    return min(tried) < chosen or (before is not None and scores(search, loss_before)[chosen] < before)


def following(search: Search, loss_before: float | None, may_try: Callable[[float], bool]) -> int | None:
    """The half decade to try next, or None when the search is over.

    Args:
        search: The search.
        loss_before: As for `choice`.
        may_try: Whether a rate is within the bounds.
    """
    trials = dict(search.trials)
    if len(trials) >= MOST_TRIALS:
        return None
    for at in _candidates(search, loss_before):
        if at not in trials and _is_in_range(search, at) and may_try(search.rate_at(at)):
            return at
    return None


def noise(search: Search, loss_before: float | None) -> float:
    """The standard error of a score: the median of those that are near the lowest score or below that before training.

    It is 0 where it is not known. A rate that is too high makes much noise of its own, a loss that falls fast looks
    noisy, and a single error, of few batches, may be far too small.
    """
    found, errors = scores(search, loss_before), dict(search.errors)
    lowest = min(found.values(), default=math.inf)
    limit = max(lowest + NEAR * abs(lowest), -math.inf if loss_before is None else loss_before)
    return statistics.median([errors.get(at, 0.0) for at, score in found.items() if score <= limit] or [0.0])


def _noise_before(search: Search, loss_before: float | None) -> float:
    """The noise of the loss before training: that of a single batch, where a trial's is that of a mean of many."""
    return noise(search, loss_before) * math.sqrt(search.steps or 1)


def scores(search: Search, loss_before: float | None) -> dict[int, float]:
    """The scores of the fit trials; where none is fit, those of all that are unbroken."""
    unbroken = _unbroken(search, loss_before)
    return {at: score for at, score in unbroken.items() if at not in search.unfit} or unbroken


def _unbroken(search: Search, loss_before: float | None) -> dict[int, float]:
    """The scores of the unbroken trials: finite, and not far worse than before training."""
    before = _score_before(search, loss_before)
    return {at: score for at, score in search.trials if math.isfinite(score) and not exceeds(score, before, FAR_WORSE)}


def lowest_broken(search: Search, loss_before: float | None) -> float | None:
    """The lowest rate that broke training, or None."""
    unbroken = _unbroken(search, loss_before)
    return min((search.rate_at(at) for at, _ in search.trials if at not in unbroken), default=None)


def in_words(search: Search, loss_before: float | None) -> str:
    """Such as "0.01: 1.9 (40%), 0.1: 1.2 (100%), 1: 2.8 (worse than none), 10: broken"."""
    share, unbroken = _shares(search, loss_before), _unbroken(search, loss_before)

    def result(at: int, score: float) -> str:
        if at not in unbroken:
            return "broken"
        if at not in share:
            return f"{number(score, 3)} (bad in validation)"
        return f"{number(score, 3)} ({f'{share[at]:.0%}' if share[at] >= 0 else 'worse than none'})"

    found = ", ".join(f"{number(search.rate_at(at), 3)}: {result(at, score)}" for at, score in search.trials)
    error = noise(search, loss_before)
    return f"{found}; ± {number(error, 2)}" if error else found


def _candidates(search: Search, loss_before: float | None) -> list[int]:
    """The half decades worth a trial, the most promising first; some of them were tried already."""
    tried = [at for at, _ in search.trials]
    lowest, highest = min(tried), max(tried)
    share = _shares(search, loss_before)
    if not share or tried == list(search.unfit) == [lowest]:
        return [lowest - 2]
    best, alike = _best(search, loss_before), _all_alike(search, loss_before)
    before = _score_before(search, loss_before)
    # All are much worse than no training: which of them is least bad says nothing about where the good rates are.
    lowest_score = min(scores(search, loss_before).values())
    is_hopeless = exceeds(lowest_score, before, HOPELESS) and (
        before is not None and lowest_score > before + CLEAR * _noise_before(search, loss_before)
    )
    halves = [at for at in (best + 1, best - 1) if at > lowest]
    # Above the score without training, and none better than another: the networks may be dead. By turns, since that
    # score is one of a single batch.
    is_worse = before is not None and lowest_score > before + WITHIN_NOISE * noise(search, loss_before)
    is_dead = is_worse and (bool(alike) or _is_no_fitter(search, highest, lowest))
    below = [lowest - 2] if is_dead and highest == best > -lowest else []
    if alike and not is_hopeless and (highest == best or best > lowest):
        # Where there is no way up, a loss far above that before training is a reason to go down.
        is_higher = before is not None and lowest_score > before + PROGRESS * abs(before)
        otherwise = [lowest - 2] if is_higher else []
        return [*below, highest + 2, *halves, *otherwise] if highest == best else halves
    candidates = [*below, highest + 2] if highest == best and not is_hopeless else []
    # By itself, the one below the best is no proof of the score without training.
    only_one_below = before is None and lowest == best - 2
    down = [lowest - 2] if is_hopeless or share.get(lowest, 0) >= AS_GOOD or only_one_below else []
    up = [highest + 2] if share.get(highest, 0) >= AS_GOOD else []
    # By turns: rates far too low may be all alike, and those far too high, too.
    candidates += down + up if is_hopeless or highest > -lowest else up + down
    return candidates + halves


def _is_no_fitter(search: Search, at: int, than: int) -> bool:
    """Whether both validation losses are known, and the first is not lower."""
    val_loss = dict(search.validation)
    return at in val_loss and than in val_loss and val_loss[at] >= val_loss[than]


def _is_in_range(search: Search, at: int) -> bool:
    try:
        return 0 < search.rate_at(at) < math.inf
    except OverflowError:
        return False


def _best(search: Search, loss_before: float | None) -> int:
    """The half decade with the lowest score; if no lower one is worse beyond the noise, the highest one within it."""
    return max(_all_alike(search, loss_before), default=_lowest_score(search, loss_before))


def _is_idle(search: Search, loss_before: float | None, best: int) -> bool:
    """Whether the best rate seems to be so because it does nothing, which harms no weights that were trained before.

    Those of a new model may all be dead instead. There the loss before training is known, unless an execution has
    several steps, and the lowest rates that were tried have losses of their own.
    """
    found = scores(search, loss_before)
    if search.steps is not None or not found[best] > 0:
        return False
    lower = [score for at, score in found.items() if at < best]
    if max(lower, default=0.0) * (1 - TRAINS) > found[best]:
        return False
    lowest = [score for _, score in sorted(found.items())[:3]]
    return loss_before is None or (len(lowest) == 3 and max(lowest) <= min(lowest) * (1 + IDLE))


def _lowest_score(search: Search, loss_before: float | None) -> int:
    found = scores(search, loss_before)
    return min(at for at in found if found[at] == min(found.values()))


def _all_alike(search: Search, loss_before: float | None) -> list[int]:
    """The half decades within the noise, if no rate is proven to do anything; else none.

    Proven is one that is better than a lower one beyond the noise.
    """
    error, found = noise(search, loss_before), scores(search, loss_before)
    best = _lowest_score(search, loss_before)
    alike = [at for at in found if found[at] <= found[best] + WITHIN_NOISE * error]
    return alike if error and all(at in alike for at in found if at < best) else []


def _shares(search: Search, loss_before: float | None) -> dict[int, float]:
    """What share of the best one's progress each trial of `scores` has made; empty if all broke."""
    found = scores(search, loss_before)
    if not found:
        return {}
    best = min(found.values())
    before = _score_before(search, loss_before)
    if before is None or before <= best:
        # The worst one of the rates below the best.
        best_at = min(at for at in found if found[at] == best)
        before = max((score for at, score in found.items() if at < best_at), default=best)
    reach = before / 2 - best / 2  # Halves do not overflow.
    if reach <= 0:
        return {at: float(score == best) for at, score in found.items()}
    return {at: (before / 2 - score / 2) / reach for at, score in found.items()}


def _score_before(search: Search, loss_before: float | None) -> float | None:
    """The score without any training; None when it is not known.

    It is that of the first batch. Where rates far apart are all far worse, and alike, that batch was an easy one.
    """
    far_worse = sorted(score for _, score in search.trials if exceeds(score, loss_before, FAR_WORSE))
    if any(higher < 2 * lower for lower, higher in itertools.pairwise(far_worse)):
        return None
    return loss_before


# --- stored searches -------------------------------------------------------------------------------------------------


def contradictions(search: Search) -> Iterator[str]:
    """What no search brings about, in a stored one whose fields are fine one by one."""
    tried = [at for at, _ in search.trials]
    for at in (*tried, search.at):
        # Each trial goes at most two half decades beyond those before it.
        if abs(at) > 2 * len(tried) or not _is_in_range(search, at):
            yield f"a trial at {at} half decades from {search.start_rate!r}"
    if tried != sorted(set(tried)) or search.at in tried or len(tried) >= MOST_TRIALS:
        yield f"at {search.at} after trials at {tried}"
    if [at for at, _ in search.errors] != tried:
        yield f"errors of {[at for at, _ in search.errors]} after trials at {tried}"
    if list(search.unfit) != sorted(set(search.unfit) & set(tried)):
        yield f"unfit={list(search.unfit)} after trials at {tried}"
    validated = [at for at, _ in search.validation]
    if validated != sorted(set(validated) & set(tried)):
        yield f"validation losses of {validated} after trials at {tried}"
    if search.saved is not None and search.saved not in tried:
        yield f"saved={search.saved} of trials at {tried}"


READ = checks.record(
    Search,
    start_rate=checks.positive,
    at=checks.whole,
    trials=checks.listed(checks.pair(checks.whole, checks.number_or_inf), most=MOST_TRIALS),
    saved=checks.optional(checks.whole),
    errors=checks.listed(checks.pair(checks.whole, checks.at_least_0), most=MOST_TRIALS),
    unfit=checks.listed(checks.whole, most=MOST_TRIALS),
    validation=checks.listed(checks.pair(checks.whole, checks.real), most=MOST_TRIALS),
    steps=checks.optional(checks.positive_count),
)
"""Reads a stored search."""
