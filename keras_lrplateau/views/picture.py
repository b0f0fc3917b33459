"""What the picture of some trainings shows: lines, marks, shades and the ranges of its axes, as plain data.

Nothing here has a color. `keras_lrplateau.views.figure` gives a picture the look that plotly draws.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.run import Curve, RatesUsed, Run, excursions, rate_used, told
from keras_lrplateau.rule.decision import Decision, Kind
from keras_lrplateau.views.words import Words, count, counted, words_of

MOST_POINTS = 2000
"""A line with more points is thinned out to about this many; a screen has no more columns."""

MOST_POINTS_IN_ALL = 20_000
"""Many runs share these: each has fewer points then, but not fewer than `FEWEST_POINTS`."""

FEWEST_POINTS = 200

MOST_MARKS = 10_000
"""Of more decisions only the latest are marked; neither a browser nor an eye can take more. Several runs share them."""

MOST_MARKED_TWICE = 10
"""With more runs decisions are marked on the rates only: on the metrics nobody could tell them apart."""

MOST_SHADES = 1000
"""Of more plateaus and excursions only the latest are shaded: they cost a browser more than marks do."""

FAR_OFF = 100.0
"""Losses beyond this multiple of the first are off the chart at first: one divergence would flatten all the rest."""

WIDE = 20.0
"""A loss whose highest value in sight is more than this multiple of the lowest gets a logarithmic axis."""

MOST_SMOOTHING = 0.99
"""As in TensorBoard; at 1 nothing would be left of the values."""

Scale = Literal["auto", "linear", "log"]
"""How the axis of the losses is divided."""

Panel = Literal["main", "side", "rate"]
"""Which vertical axis something belongs to: the losses', that of a metric in another unit beside it, or the rate's."""

Role = Literal["loss", "validation", "monitor", "twin", "rate"]
"""What a line is for its training; the twin is the monitored metric on the training data."""

Outcome = Literal["open", "successful", "failed", "abandoned"]


class Told(NamedTuple):
    """A decision with an epoch, its moment, and its words."""

    decision: Decision
    moment: float
    words: Words


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a training over time.

    Attributes:
        name: The name of the number.
        role: What it is for its training.
        panel: Where it is drawn.
        x: In the unit of the axis; wall time in seconds since 1970.
        y: None for a gap.
        when: For each point, the number of the epoch, from 1, or words for a moment within one.
        told: For each point, the decisions that were taken there.
        index: Of a rate, its number among those of its training.
        is_raw: Whether it is behind the same line smoothed.
    """

    name: str
    role: Role
    panel: Panel
    x: list[float]
    y: list[float | None]
    when: list[int | str]
    told: Sequence[Sequence[Told]]
    index: int = 0
    is_raw: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """The decisions of one kind in a training.

    Attributes:
        kind: The kind.
        x: Where they are, in the unit of the axis.
        told: The decisions.
        y: Where they are in each panel that has them; None for one that has no place there.
    """

    kind: Kind
    x: list[float]
    told: list[Told]
    y: dict[Panel, list[float | None]]


@dataclass(frozen=True, slots=True)
class Shade:
    """A stretch of the axis behind the lines.

    Attributes:
        what: What it shows.
        start, end: In the unit of the axis.
        outcome: What came of an excursion.
    """

    what: Literal["plateau", "excursion", "unknown"]
    start: float
    end: float
    outcome: Outcome = "open"


@dataclass(frozen=True, slots=True)
class Training:
    """What is shown of one training, by the name and the label of its run."""

    run: Run
    lines: list[Line]
    marks: list[Marks]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown.

    Attributes:
        axis, scale: As asked for.
        unit: What the axis of epochs counts.
        trainings: In the order given.
        shades: Of one training alone, or from where a replay is unknown.
        main: The title of the main vertical axis.
        is_log: Whether the main axis is logarithmic; None if nothing says.
        reach: What is in sight of the main axis, as logarithms to base 10 if it is logarithmic; None for all of it.
        side: The title of the axis for metrics in other units; None if there is none.
        note: What is left out, in words; empty if nothing is.
    """

    axis: Axis
    scale: Scale
    unit: str
    trainings: list[Training]
    shades: list[Shade] = field(default_factory=list)
    main: str = "loss"
    is_log: bool | None = None
    reach: tuple[float, float] | None = None
    side: str | None = None
    note: str = ""


def picture_of(
    runs: Sequence[Run],
    axis: Axis = "epoch",
    scale: Scale = "auto",
    departs: int | None = None,
    smoothing: float = 0.0,
    beside: Run | None = None,
) -> Picture:
    """What to show of one training in full, or of several to compare; see `figure.draw`.

    Raises:
        ValueError: `axis`, `scale` or `smoothing` is none of these, or a training was recorded without what the axis
            shows.
    """
    if not 0 <= smoothing <= MOST_SMOOTHING:
        raise ValueError(f"smoothing must be a number from 0 to {MOST_SMOOTHING}. Received: smoothing={smoothing!r}")
    for name, value, choices in (("axis", axis, get_args(Axis)), ("scale", scale, get_args(Scale))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")
    views = [_View(run, axis, max(MOST_MARKS // len(runs), 1)) for run in runs]
    most = min(MOST_POINTS, max(MOST_POINTS_IN_ALL // max(len(runs), 1), FEWEST_POINTS))
    roles = [_roles(run) if len(runs) == 1 else _only_monitor(run) for run in runs]
    losses = [_losses(run, names) for run, names in zip(runs, roles, strict=True)]
    has_losses = any(losses)
    measured, of_measured = (runs, losses) if beside is None else ([beside], [_losses(beside, _roles(beside))])
    in_sight = [value for run, curves in zip(measured, of_measured, strict=True) for value in _in_sight(run, curves)]
    finite = sum(math.isfinite(value) for curves in of_measured for curve in curves for value in curve.values)
    is_log, reach = _loss_axis(in_sight, len(in_sight) < finite, scale)
    top = _upper_edge(in_sight, is_log, reach)
    others = ", ".join(sorted({run.monitor for run in runs if not is_loss(run.monitor) and run.monitor in run.curves}))
    trainings = [
        Training(
            view.run,
            _lines(view, names, has_losses, smoothing, most) + _rate_lines(view, most),
            _marks(view, top, has_losses, len(runs) <= MOST_MARKED_TWICE),
        )
        for view, names in zip(views, roles, strict=True)
    ]
    known = _plateaus(views[0]) + _excursions(views[0]) if len(runs) == 1 else []
    shades = _latest(known)
    notes = [_note(views), "" if len(shades) == len(known) else f"shaded: the latest {count(MOST_SHADES)} stretches"]
    if departs is not None:
        shades.append(_unknown(views[0], departs))
    return Picture(
        axis,
        scale,
        runs[0].unit if runs else "epoch",
        trainings,
        shades,
        # Where there are no losses, the other metrics may have the main axis.
        main=others if others and not has_losses else "loss",
        is_log=is_log,
        reach=reach,
        side=others if others and has_losses else None,
        note=", ".join(filter(None, notes)),
    )


def is_loss(name: str) -> bool:
    """Whether a number is in the unit of the losses, by its name."""
    return name == "loss" or name.endswith("_loss")


class _View:
    """A training with what is asked of it again and again."""

    def __init__(self, run: Run, axis: Axis, most_marks: int) -> None:
        self.run = run
        self.axis: Axis = axis
        self.timeline = Timeline(run)
        if self.timeline.lacks(axis):
            missing = "optimizer steps" if axis == "step" else "wall times"
            raise ValueError(f"no {missing} are known of {run.name!r}; use the axis 'epoch'")
        decisions = told(run.decisions)
        self.all_told = len(decisions)
        self.told = [self._told(decision) for decision in decisions[-most_marks:]]
        # Before the end of the first epoch nothing is known but the decisions. Under a schedule, or with several
        # optimizers, the drawn rates are made of the rule's.
        self.is_rate_of_rule = len(run.rates) <= 1 and not run.is_scaled
        self.rates_used = RatesUsed(run) if self.told else None

    def _told(self, decision: Decision) -> Told:
        moment = self.timeline.moment(decision)
        return Told(decision, moment, words_of(self.run, decision, moment < decision.epoch + 1))

    def x(self, moments: Iterable[float]) -> list[float]:
        return self.timeline.positions(self.axis, moments)

    def rate_in_force(self, curve: Curve, epoch: int, rate: float) -> float:
        """The learning rate of a curve in an epoch with a decision, where that of the rule is `rate`."""
        if self.is_rate_of_rule:
            return rate
        if not curve.values:
            return math.nan
        at = _at_or_before(curve, epoch)
        used = self.rates_used.at(curve.epochs[at]) if self.rates_used else 0.0
        return curve.values[at] * (rate / used) if used else curve.values[at]


def _note(views: Sequence[_View]) -> str:
    marked, known = sum(len(view.told) for view in views), sum(view.all_told for view in views)
    return "" if marked == known else f"marked: the latest {count(marked)} of {count(known)} decisions"


# --- lines -----------------------------------------------------------------------------------------------------------


def _roles(run: Run) -> dict[str, Role]:
    """The curves that one training shows: losses, the monitored metric and its training twin."""
    return {run.monitor.removeprefix("val_"): "twin", "loss": "loss", "val_loss": "validation", run.monitor: "monitor"}


def _only_monitor(run: Run) -> dict[str, Role]:
    return {run.monitor: "monitor"}


def _losses(run: Run, names: Iterable[str]) -> list[Curve]:
    """Those of some curves of a run that are losses."""
    return [run.curves[name] for name in names if is_loss(name) and name in run.curves]


def _panel(name: str, has_losses: bool) -> Panel:
    """Losses share an axis; a metric in another unit gets its own."""
    return "main" if is_loss(name) or not has_losses else "side"


def smoothed(values: Sequence[float], smoothing: float) -> list[float]:
    """The means of the values so far, each weighing `smoothing` times as much as the one after it.

    As TensorBoard's Scalars smooth: an exponential moving average, without the bias towards its start. Values that are
    not finite stay as they are, and weigh nothing. `smoothing` is in [0, 1).
    """
    found, mean, weight = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean = smoothing * mean + (1 - smoothing) * value
            weight = smoothing * weight + (1 - smoothing)
        found.append(mean / weight if math.isfinite(value) else value)
    return found


def _lines(view: _View, roles: dict[str, Role], has_losses: bool, smoothing: float, most: int) -> list[Line]:
    run = view.run
    lines = []
    for name, role in roles.items():
        if name not in run.curves:
            continue
        curve = run.curves[name]
        at = _by_moment(view.told) if name == run.monitor else {}
        # The decisions are on the raw line, since they were made on its values.
        drawn = [(curve, at)]
        if smoothing:
            drawn.append((Curve(curve.epochs, smoothed(curve.values, smoothing), curve.times), {}))
        for place, (each, told_at) in enumerate(drawn, 1):
            thin = thinned(each, most)
            over = [epoch + 1 for epoch in thin.epochs]
            y = [_finite(value) for value in thin.values]
            told_there = [told_at.get(moment, ()) for moment in over]
            panel, is_raw = _panel(name, has_losses), place < len(drawn)
            lines.append(Line(name, role, panel, view.x(over), y, [*over], told_there, is_raw=is_raw))
    return lines


def _rate_lines(view: _View, most: int) -> list[Line]:
    lines = []
    at = _by_moment(view.told)
    curves = view.run.rates
    if not curves and view.told and view.is_rate_of_rule:
        curves = {"learning_rate": Curve()}
    for index, (name, curve) in enumerate(curves.items()):
        moments, rates = _steps(view, curve, most)
        # A logarithmic axis has no 0. Rounded, because event files hold single precision: what is the same rate in a
        # replay would otherwise be a step of its own.
        y = [float(f"{rate:.7g}") if math.isfinite(rate) and rate > 0 else None for rate in rates]
        when = [_when(view, moment) for moment in moments]
        told_there = [at.get(moment, ()) for moment in moments]
        lines.append(Line(name, "rate", "rate", view.x(moments), y, when, told_there, index))
    return lines


def _when(view: _View, moment: float) -> int | str:
    """The number of the epoch that begins at a moment, or words for one within an epoch."""
    epoch = int(moment) + 1
    if moment == int(moment):
        return epoch
    (steps,) = view.timeline.positions("step", [moment])
    return f"{epoch}, after {counted(steps, 'step')},"


def _steps(view: _View, curve: Curve, most: int) -> tuple[list[float], list[float]]:
    """The rate as a step line: epochs that were over when it came into force, and the rate from then on.

    A curve from TensorBoard may lack the very epoch of a cut, so the decisions count, too. And of an epoch with
    decisions within it, the curve knows only the rate at its end.
    """
    rates: dict[float, float] = dict(zip(curve.epochs, curve.values, strict=True))
    decided = [record for record in view.run.records if record.decisions]
    if view.is_rate_of_rule:
        for record in decided:
            rates.setdefault(record.epoch, rate_used(record))
        for record in decided:
            rates.setdefault(record.epoch + 1, record.decisions[-1].rate)
    for record in decided:
        within = [decision for decision in record.decisions if view.timeline.is_within(decision)]
        if within:
            rates[record.epoch] = view.rate_in_force(curve, record.epoch, within[0].rate_before)
        for decision in within:
            rates[view.timeline.moment(decision)] = view.rate_in_force(curve, record.epoch, decision.rate)
    end = view.timeline.over
    moments = sorted(moment for moment in rates if moment <= end)
    changes = [
        moment
        for at, moment in enumerate(moments)
        if at in (0, len(moments) - 1) or rates[moment] != rates[moments[at - 1]]
    ]
    kept = _kept([rates[moment] for moment in changes], most)
    changes = [changes[at] for at in kept]
    values = [rates[moment] for moment in changes]
    return (changes, values) if not changes or changes[-1] == end else ([*changes, end], [*values, values[-1]])


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """The curve with at most about `most` points: the lowest and the highest of each stretch, and both ends."""
    if len(curve.epochs) <= most:
        return curve
    kept = _kept(curve.values, most)
    return Curve([curve.epochs[at] for at in kept], [curve.values[at] for at in kept], [curve.times[at] for at in kept])


def _kept(values: Sequence[float], most: int) -> list[int]:
    """The places of the values that a thinned line keeps."""
    size = len(values)
    if size <= most:
        return list(range(size))
    kept = {0, size - 1}
    stretches = most // 2
    for stretch in range(stretches):
        members = range(stretch * size // stretches, (stretch + 1) * size // stretches)
        finite = [at for at in members if math.isfinite(values[at])]
        if finite:
            kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    return sorted(kept)


# --- decisions -------------------------------------------------------------------------------------------------------


def _marks(view: _View, top: float, has_losses: bool, is_on_metric: bool) -> list[Marks]:
    """The decisions, kind by kind, on the rate and perhaps on the monitored metric."""
    run = view.run
    by_kind: dict[Kind, list[Told]] = {}
    for each in view.told:
        by_kind.setdefault(each.decision.kind, []).append(each)
    rates = next(iter(run.rates.values()), None)
    found = []
    for kind in get_args(Kind):
        these = by_kind.get(kind, [])
        y: dict[Panel, list[float | None]] = {"rate": [_rate_at(view, rates, each.decision) for each in these]}
        if is_on_metric and run.monitor in run.curves:
            y[_panel(run.monitor, has_losses)] = [_height(run, each.decision, top) for each in these]
        if these and these[0].decision.is_action:
            found.append(Marks(kind, view.x(each.moment for each in these), these, y))
    return found


def _height(run: Run, decision: Decision, top: float) -> float | None:
    """Where a decision is on the axis of the metric: at what was observed, or at the upper edge if that is above."""
    curve = run.curves.get(run.monitor, Curve())
    value = decision.value
    if value is None and curve.values:
        value = curve.values[_at_or_before(curve, decision.epoch)]
    if not is_loss(run.monitor):
        return _finite(value)
    if value is None or not math.isfinite(value) or value > top:
        return top if math.isfinite(top) else None
    return value


def _rate_at(view: _View, rates: Curve | None, decision: Decision) -> float | None:
    """Where a decision is on the rate's axis: at the new rate; under a schedule, at what it makes of the one in use.

    Args:
        view: The training.
        rates: The curve of its rate, or of one of them.
        decision: The decision.
    """
    # All annealing is one row, whose new rate is that of the end.
    rate = decision.rate_before if decision.kind == "anneal" else decision.rate
    if not view.is_rate_of_rule:
        if rates is None or not rates.values:
            return None
        if view.run.is_scaled or view.timeline.is_within(decision):
            rate = view.rate_in_force(rates, decision.epoch, rate)
        else:
            rate = rates.values[_at_or_before(rates, decision.epoch)]
    return rate if math.isfinite(rate) and rate > 0 else None


def _at_or_before(curve: Curve, epoch: int) -> int:
    return max(bisect.bisect_right(curve.epochs, epoch) - 1, 0)


def _by_moment(decisions: Iterable[Told]) -> dict[float, list[Told]]:
    """The decisions by the number of epochs that were over."""
    found: dict[float, list[Told]] = {}
    for each in decisions:
        found.setdefault(each.moment, []).append(each)
    return found


# --- shades ----------------------------------------------------------------------------------------------------------


def _plateaus(view: _View) -> list[Shade]:
    """From the end of the epoch before the first observation of a plateau to the decision that it caused."""
    ends: list[float] = []
    begin = 0.0
    for decision in view.run.decisions:
        moment = view.timeline.moment(decision)
        if decision.since_epoch is not None:
            ends += [max(decision.since_epoch, begin), moment]
        if moment < decision.epoch + 1:
            # The next plateau begins after it, but of its first observation only the epoch is known.
            begin = moment
    places = view.x(ends)
    return [Shade("plateau", *span) for span in zip(places[::2], places[1::2], strict=True)]


def _excursions(view: _View) -> list[Shade]:
    """From each raise until it was judged."""
    ends: list[float] = []
    outcomes: list[Outcome] = []
    for excursion in excursions(view.run):
        closed = excursion.closed
        end = view.timeline.over if closed is None else view.timeline.moment(closed)
        ends += [view.timeline.moment(excursion.opened), end]
        outcomes.append(excursion.outcome)
    places = view.x(ends)
    spans = zip(places[::2], places[1::2], outcomes, strict=True)
    return [Shade("excursion", start, end, outcome) for start, end, outcome in spans]


def _latest(shades: list[Shade]) -> list[Shade]:
    """At most `MOST_SHADES` of them."""
    if len(shades) <= MOST_SHADES:
        return shades
    first = sorted(shade.end for shade in shades)[-MOST_SHADES]
    return [shade for shade in shades if shade.end >= first][-MOST_SHADES:]


def _unknown(view: _View, departs: int) -> Shade:
    """From where on what is shown was observed in another training than the one that is asked about."""
    start, end = view.x((departs + 1, max(view.timeline.over, departs + 1)))
    return Shade("unknown", start, end)


# --- what is in sight ------------------------------------------------------------------------------------------------


def _finite(value: float | None) -> float | None:
    """JSON has no NaN, and a chart no place for it."""
    return value if value is not None and math.isfinite(value) else None


def _in_sight(run: Run, curves: Iterable[Curve]) -> list[float]:
    """The finite losses of these curves, but for those that are far off."""
    # What came before a return to the first weights is no measure: it may have been broken from its first epoch on.
    returns = [decision.epoch for decision in run.decisions if decision.restore == "start"]
    begun = max((epoch + 1 for epoch in returns), default=0)
    found: list[float] = []
    for curve in curves:
        points = [
            (epoch, value) for epoch, value in zip(curve.epochs, curve.values, strict=True) if math.isfinite(value)
        ]
        sizes = [abs(value) for epoch, value in points if epoch >= begun] or [abs(value) for _, value in points]
        limit = FAR_OFF * max(sizes[0], sorted(sizes)[len(sizes) // 2]) if sizes else 0.0
        found += [value for _, value in points if abs(value) <= limit]
    return found


def _loss_axis(
    in_sight: Sequence[float], is_part: bool, scale: Scale
) -> tuple[bool | None, tuple[float, float] | None]:
    """Whether the axis is logarithmic for the losses in sight; and if these are only a part of all, what it reaches."""
    if not in_sight:
        return None, None
    low, high = min(in_sight), max(in_sight)
    is_log = scale == "log" or (scale == "auto" and low > 0 and high / low > WIDE)
    if not is_part or (is_log and low <= 0):
        return is_log, None
    ends = (math.log10(low), math.log10(high)) if is_log else (low, high)
    margin = (0.05 * ends[1] - 0.05 * ends[0]) or 0.5
    reach = (ends[0] - margin, ends[1] + margin)
    return is_log, reach if all(map(math.isfinite, reach)) else None


def _upper_edge(in_sight: Sequence[float], is_log: bool | None, reach: tuple[float, float] | None) -> float:
    """The highest loss that is in sight at first; infinite if there is none."""
    if reach is None:
        return max(in_sight, default=math.inf)
    return 10 ** min(reach[1], 308.0) if is_log else reach[1]
