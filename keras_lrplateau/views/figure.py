"""The picture of a training: its losses, the learning rate below them, and every decision with its reason.

`draw` makes a plotly figure as plain data, with nothing but the standard library, so that TensorBoard need not import
plotly for it: in the browser, plotly.js takes just that. `to_plotly` makes an object of it for notebooks and files.
"""

from __future__ import annotations

import bisect
import hashlib
import html
import importlib.resources
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from keras_lrplateau.history.run import Axis, Curve, Run, excursions, rate_used, told
from keras_lrplateau.recordings.replay import Replay
from keras_lrplateau.rule.decision import Decision, Kind

MOST_POINTS = 2000
"""A line with more points is thinned out to about so many; a screen has no more columns."""

FAR_OFF = 100.0
"""Losses beyond this multiple of the first are off the chart at first: one divergence would flatten all the rest."""

WIDE = 20.0
"""A loss whose highest value in sight is more than this multiple of the lowest gets a logarithmic axis."""

LOSS_DOMAIN, RATE_DOMAIN = (0.36, 1.0), (0.0, 0.29)

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d")
"""Of the runs, in turn; after Okabe and Ito, whose colors people with any color vision can tell apart."""


@dataclass(frozen=True)
class Mark:
    """How a kind of decision is drawn."""

    symbol: str
    color: str


MARKS: Mapping[Kind, Mark] = {
    "cut": Mark("triangle-down", "#8e5be8"),
    "raise": Mark("triangle-up", "#2ca25f"),
    "success": Mark("star", "#2ca25f"),
    "rollback": Mark("triangle-left", "#c2569f"),
    "diverged": Mark("x", "#e04545"),
    "restart": Mark("diamond", "#ef9421"),
    "exhausted": Mark("square", "#8a8a8a"),
    "override": Mark("circle-open", "#8a8a8a"),
    "search": Mark("circle", "#2fb0c2"),
    "settle": Mark("hexagram", "#2fb0c2"),
    "anneal": Mark("triangle-down-open", "#8e5be8"),
}
"""In colors that show on light and on dark ground."""


@dataclass(frozen=True)
class Theme:
    """What differs between light and dark."""

    paper: str
    text: str
    grid: str
    plateau: str
    train: str
    validation: str
    other: str
    rate: str


THEMES = {
    False: Theme("#ffffff", "#333333", "#e4e4e4", "rgba(110,110,110,0.13)", "#8aa6c1", "#0072b2", "#009e73", "#d55e00"),
    True: Theme("#303030", "#e4e4e4", "#4a4a4a", "rgba(210,210,210,0.13)", "#7d93a8", "#56b4e9", "#2fc79a", "#f58a3c"),
}

BANDS = {
    "successful": "rgba(44,162,95,0.24)",
    "failed": "rgba(194,86,159,0.26)",
    "open": "rgba(239,148,33,0.24)",
    "abandoned": "rgba(128,128,128,0.24)",
}
"""Behind the rate, from a raise until it was judged."""

UNKNOWN = "rgba(230,159,0,0.11)"
"""Over what a replay cannot know."""

Scale = Literal["auto", "linear", "log"]


def draw(
    runs: Sequence[Run],
    axis: Axis = "epoch",
    *,
    scale: Scale = "auto",
    dark: bool = False,
    colors: Sequence[str] = COLORS,
    departs: int | None = None,
) -> dict[str, Any]:
    """The picture of one training in full, or of several to compare.

    One training shows its losses, its monitored metric, its rate, all decisions, its plateaus and its excursions.
    Several show the monitored metric, the rate and the decisions of each, in a color of its own.

    Args:
        runs: Any number; with none the picture is empty.
        axis: What is to the right; see `Run.positions`.
        scale: Of the losses. "auto" chooses a logarithmic one where they span more than `WIDE`.
        dark: Whether the background is dark.
        colors: Of the runs, where there are several, as "#rrggbb"; begun again when there are more runs.
        departs: The epoch, from 0, after which a replayed training would have been another; see `replay.Replay`.

    Returns:
        A plotly figure, {"data": ..., "layout": ...}, that strict JSON can hold.

    Raises:
        ValueError: `axis` or `scale` is none of these.
    """
    for name, value, choices in (("axis", axis, get_args(Axis)), ("scale", scale, get_args(Scale))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")
    theme = THEMES[dark]
    alone = len(runs) == 1
    palette = [colors[index % len(colors)] for index in range(len(runs))]
    lines = [
        _lines(run, theme) if alone else {run.monitor: {"color": color, "width": 1.8}}
        for run, color in zip(runs, palette, strict=True)
    ]
    losses = [
        [run.curves[name] for name in styles if _is_loss(name) and name in run.curves]
        for run, styles in zip(runs, lines, strict=True)
    ]
    in_sight = [value for run, curves in zip(runs, losses, strict=True) for value in _in_sight(run, curves)]
    finite = [value for curves in losses for curve in curves for value in curve.values if math.isfinite(value)]
    main = {"title": {"text": "loss"}, **_loss_axis(in_sight, len(in_sight) < len(finite), scale)}
    top = _upper_edge(in_sight, main)
    data: list[dict[str, Any]] = []
    for run, styles, color in zip(runs, lines, palette, strict=True):
        decisions = _told(run)
        drawn = [
            _line(run, decisions, axis, name, style, alone) for name, style in styles.items() if name in run.curves
        ]
        drawn += _rate_lines(run, decisions, axis, theme.rate if alone else color, alone)
        drawn += _marks(run, decisions, axis, top, theme, None if alone else color)
        data += _known_again(run.name, drawn)
    if not alone:
        data += _known_again("", _legend_of_kinds(runs, theme))
    others = sorted({run.monitor for run in runs if not _is_loss(run.monitor) and run.monitor in run.curves})
    other = {"title": {"text": _literal(", ".join(others))}} if others else None
    if other and not any(losses):
        # Nothing but these metrics above the rate: they may have the main axis.
        main, other = other, None
        data = [{**trace, "yaxis": "y"} if trace["yaxis"] == "y3" else trace for trace in data]
    shapes = _plateaus(runs[0], axis, theme) + _bands(runs[0], axis, theme) if alone else []
    if departs is not None:
        shapes += _unknown(runs[0], axis, theme, departs)
    unit = runs[0].unit if runs else "epoch"
    layout = _layout(axis, unit, theme, main, other, shapes)
    # The zoom stays as long as this does.
    layout["uirevision"] = "|".join([axis, scale, *sorted(run.name for run in runs)])
    return {"data": data, "layout": layout}


def _known_again(name: str, traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traces of a run, named so that plotly knows them again when others have come before them."""
    # Digests, since plotly makes names of classes of them.
    names = [f"{name}|{trace['name']}|{trace['yaxis']}" for trace in traces]
    digests = [hashlib.sha256(each.encode(errors="replace")).hexdigest()[:16] for each in names]
    return [{**trace, "uid": digest} for trace, digest in zip(traces, digests, strict=True)]


def figure(shown: Run | Replay, axis: Axis = "epoch", *, dark: bool = False) -> Any:
    """A training, or a replay beside the training as it was, as a plotly figure, which a notebook shows.

    Args:
        shown: A run, or what `replay` returned.
        axis: What is to the right: "epoch"; "step" and "time", where they were recorded.
        dark: Whether the background is dark.

    Returns:
        A `plotly.graph_objects.Figure`.

    Raises:
        ValueError: `axis` is none of these.
        ImportError: plotly is not installed.
    """
    return to_plotly(draw([shown], axis, dark=dark) if isinstance(shown, Run) else drawn(shown, axis, dark=dark))


def drawn(replay: Replay, axis: Axis = "epoch", *, dark: bool = False) -> dict[str, Any]:
    """A replay beside the training as it was, as plain data; see `draw`."""
    both = [replace(replay.recorded, name="as trained"), replace(replay.run, name="what if")]
    return draw(both, axis, dark=dark, departs=replay.departs)


def to_plotly(figure: dict[str, Any]) -> Any:
    """What `draw` returned as a `plotly.graph_objects.Figure`, which a notebook shows.

    Raises:
        ImportError: plotly is not installed.
    """
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise ImportError("the figure needs plotly: pip install plotly") from error
    return Figure(figure)


def plotly_js() -> bytes:
    """The plotly.js that came with the installed plotly, which draws what `draw` returned in a browser; about 5 MB.

    Raises:
        ImportError: plotly is not installed.
    """
    try:
        return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    except (ImportError, OSError) as error:
        raise ImportError("the figure needs plotly: pip install plotly") from error


# --- lines -----------------------------------------------------------------------------------------------------------


def _is_loss(name: str) -> bool:
    return name == "loss" or name.endswith("_loss")


def _axis_of(name: str) -> str:
    """Losses share an axis; a metric in another unit gets its own."""
    return "y" if _is_loss(name) else "y3"


def _lines(run: Run, theme: Theme) -> dict[str, dict[str, Any]]:
    """The curves that one training shows, with their styles: losses, the monitored metric and its training twin."""
    twin = run.monitor.removeprefix("val_")
    return {
        twin: {"color": theme.train if _is_loss(twin) else theme.other, "width": 1.5, "dash": "dot"},
        "loss": {"color": theme.train, "width": 1.5},
        "val_loss": {"color": theme.validation, "width": 1.8},
        run.monitor: {"color": theme.validation if _is_loss(run.monitor) else theme.other, "width": 2.2},
    }


def _line(
    run: Run, decisions: Sequence[Told], axis: Axis, name: str, style: dict[str, Any], alone: bool
) -> dict[str, Any]:
    curve = thinned(run.curves[name])
    over = [epoch + 1 for epoch in curve.epochs]
    label = name if alone else f"{run.label} · {name}"
    told_at = _told_at(decisions) if name == run.monitor else {}
    values = [_finite(value) for value in curve.values]
    # Between two gaps there is no line: a point.
    around = [None, *values, None]
    lonely = [value is not None and around[at] is None is around[at + 2] for at, value in enumerate(values)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if any(lonely) else "lines",
        "name": _literal(label) + (" (monitor)" if alone and name == run.monitor else ""),
        "legendgroup": _literal(label),
        "x": _x(run, axis, over),
        "y": values,
        "marker": {"size": [6 if is_lonely else 0 for is_lonely in lonely]} if any(lonely) else {},
        "customdata": over,
        "text": [told_at.get(epochs, "") for epochs in over],
        "hovertemplate": f"{_literal(label)} %{{y:.5g}}<br>after {run.unit} %{{customdata}}%{{text}}<extra></extra>",
        "line": style,
        "yaxis": _axis_of(name),
        "connectgaps": False,
    }


def _rate_lines(run: Run, decisions: Sequence[Told], axis: Axis, color: str, alone: bool) -> list[dict[str, Any]]:
    lines = []
    told_at = _told_at(decisions)
    curves = run.rates
    if not curves and decisions and _is_rate_of_rule(run):
        curves = {"learning_rate": Curve()}
    for index, (name, curve) in enumerate(curves.items()):
        epochs, rates = _steps(run, curve)
        x = _x(run, axis, epochs)
        label = name.replace("_", " ") if alone else f"{run.label} · {name.replace('_', ' ')}"
        shown = f"{_literal(label)} %{{y:.5g}}<br>from {run.unit} %{{customdata}} on%{{text}}<extra></extra>"
        lines.append(
            {
                "type": "scatter",
                # After a single epoch there is no stretch of time.
                "mode": "lines" if x[:1] != x[-1:] else "lines+markers",
                "name": _literal(label),
                "legendgroup": _literal(label if alone else f"{run.label} · {run.monitor}"),
                "showlegend": alone,
                "x": x,
                # A logarithmic axis has no 0.
                "y": [rate if math.isfinite(rate) and rate > 0 else None for rate in rates],
                "customdata": [
                    epoch + 1 if epoch == int(epoch) else f"{int(epoch) + 1}, after {_steps_in_words(step)},"
                    for epoch, step in zip(epochs, run.positions("step", epochs), strict=True)
                ],
                "text": [told_at.get(epoch, "") for epoch in epochs],
                "hovertemplate": shown,
                "line": {"color": color, "width": 2, "shape": "hv", "dash": ("solid", "dot", "dash")[index % 3]},
                "yaxis": "y2",
            }
        )
    return lines


def _steps(run: Run, curve: Curve) -> tuple[list[float], list[float]]:
    """The rate as a step line: epochs that were over when it came into force, and the rate from then on.

    A curve from TensorBoard may lack the very epoch of a cut, so the decisions have their say, too. And of an epoch
    with decisions within it, the curve knows but the rate at its end.
    """
    rates: dict[float, float] = dict(zip(curve.epochs, curve.values, strict=True))
    decided = [record for record in run.records if record.decisions]
    if _is_rate_of_rule(run):
        for record in decided:
            rates.setdefault(record.epoch, rate_used(record))
        for record in decided:
            rates.setdefault(record.epoch + 1, record.decisions[-1].rate)
    for record in decided:
        within = [decision for decision in record.decisions if _is_within(run, decision)]
        if within:
            rates[record.epoch] = _in_force(run, curve, record.epoch, within[0].rate_before)
        for decision in within:
            rates[run.moment(decision)] = _in_force(run, curve, record.epoch, decision.rate)
    end = run.over
    epochs = sorted(epoch for epoch in rates if epoch <= end)
    changes = [
        epoch
        for index, epoch in enumerate(epochs)
        if index in (0, len(epochs) - 1) or rates[epoch] != rates[epochs[index - 1]]
    ]
    values = [rates[epoch] for epoch in changes]
    return (changes, values) if not changes or changes[-1] == end else ([*changes, end], [*values, values[-1]])


def _is_rate_of_rule(run: Run) -> bool:
    """Whether the rate that is drawn is that of the decisions, not something made of it."""
    # Before the end of the first epoch nothing is known but the decisions.
    return len(run.rates) <= 1 and not run.is_scaled


def _in_force(run: Run, curve: Curve, epoch: int, rate: float) -> float:
    """The learning rate of a curve in an epoch with a decision, where that of the rule is `rate`."""
    if _is_rate_of_rule(run):
        return rate
    if not curve.values:
        return math.nan
    at = _at_or_before(curve, epoch)
    used = run.rate_used(curve.epochs[at])
    return curve.values[at] * (rate / used) if used else curve.values[at]


def thinned(curve: Curve) -> Curve:
    """The curve with at most about `MOST_POINTS` points: the lowest and the highest of each stretch, and both ends."""
    size = len(curve.epochs)
    if size <= MOST_POINTS:
        return curve
    kept = {0, size - 1}
    stretches = MOST_POINTS // 2
    for stretch in range(stretches):
        members = range(stretch * size // stretches, (stretch + 1) * size // stretches)
        finite = [at for at in members if math.isfinite(curve.values[at])]
        if finite:
            kept |= {min(finite, key=curve.values.__getitem__), max(finite, key=curve.values.__getitem__)}
    thin = Curve()
    for at in sorted(kept):
        thin.append(curve.epochs[at], curve.values[at], curve.times[at])
    return thin


# --- decisions -------------------------------------------------------------------------------------------------------


def _marks(
    run: Run, decisions: Sequence[Told], axis: Axis, top: float, theme: Theme, color: str | None
) -> list[dict[str, Any]]:
    """The decisions, on the rate and on the monitored metric: two traces a kind, with one entry in the legend."""
    traces = []
    metric = _axis_of(run.monitor)
    rates = next(iter(run.rates.values()), None)
    named = "" if color is None else f"{_literal(run.label)}<br>"
    for kind, mark in MARKS.items():
        these = [each for each in decisions if each.decision.kind == kind]
        if not these:
            continue
        at = _x(run, axis, [each.moment for each in these])
        heights = [_height(run, each.decision, top) for each in these]
        levels = [_rate_at(run, rates, each.decision) for each in these]
        for yaxis, y in (("y2", levels), (metric, heights)):
            if yaxis == metric and run.monitor not in run.curves:
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": kind,
                    "legendgroup": kind,
                    "showlegend": color is None and yaxis == "y2",
                    "x": at,
                    "y": y,
                    "text": [each.words for each in these],
                    "customdata": [each.decision.epoch for each in these],
                    "hovertemplate": f"{named}%{{text}}<extra></extra>",
                    "marker": {
                        "symbol": mark.symbol,
                        "size": 10,
                        "color": color or mark.color,
                        "line": {"width": 1, "color": theme.paper},
                    },
                    "yaxis": yaxis,
                    "cliponaxis": False,
                }
            )
    return traces


def _legend_of_kinds(runs: Sequence[Run], theme: Theme) -> list[dict[str, Any]]:
    """Entries in the legend that stand for the marks of all runs."""
    seen = {decision.kind for run in runs for decision in run.decisions}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": kind,
            "legendgroup": kind,
            "x": [None],
            "y": [None],
            "yaxis": "y2",
            "hoverinfo": "skip",
            "marker": {"symbol": mark.symbol, "size": 10, "color": theme.text},
        }
        for kind, mark in MARKS.items()
        if kind in seen
    ]


def _epoch(decision: Decision) -> int:
    """Of a decision that has one."""
    assert decision.epoch is not None
    return decision.epoch


def _is_within(run: Run, decision: Decision) -> bool:
    """Whether a decision was made before its epoch was over."""
    return decision.epoch is not None and run.moment(decision) < decision.epoch + 1


def _steps_in_words(steps: float) -> str:
    return "1 step" if round(steps) == 1 else f"{round(steps)} steps"


def _height(run: Run, decision: Decision, top: float) -> float | None:
    """Where a decision is on the axis of the metric: at what was observed, or at the upper edge if that is above."""
    curve = run.curves.get(run.monitor, Curve())
    value = decision.value
    if value is None and curve.values:
        value = curve.values[_at_or_before(curve, _epoch(decision))]
    if not _is_loss(run.monitor):
        return _finite(value)
    if value is None or not math.isfinite(value) or value > top:
        return top if math.isfinite(top) else None
    return value


def _rate_at(run: Run, rates: Curve | None, decision: Decision) -> float | None:
    """Where a decision is on the rate's axis: at the new rate; under a schedule, at what it makes of the one in use.

    Args:
        run: The training.
        rates: The curve of its rate, or of one of them.
        decision: The decision.
    """
    # All annealing is one row, whose new rate is that of the end.
    rate = decision.rate_before if decision.kind == "anneal" else decision.rate
    if not _is_rate_of_rule(run):
        if rates is None or not rates.values:
            return None
        if run.is_scaled or _is_within(run, decision):
            rate = _in_force(run, rates, _epoch(decision), rate)
        else:
            rate = rates.values[_at_or_before(rates, _epoch(decision))]
    return rate if math.isfinite(rate) and rate > 0 else None


def _at_or_before(curve: Curve, epoch: int) -> int:
    return max(bisect.bisect_right(curve.epochs, epoch) - 1, 0)


class Told(NamedTuple):
    """A decision with an epoch, and what is shown when the pointer is on it."""

    decision: Decision
    moment: float
    words: str


def _told(run: Run) -> list[Told]:
    return [
        Told(decision, run.moment(decision), _words(run, decision))
        for decision in told(run.decisions)
        if decision.epoch is not None
    ]


def _words(run: Run, decision: Decision) -> str:
    """Escaped: plotly takes some markup."""
    what = f"{decision.rate_before:.6g} → {decision.rate:.6g}"
    if decision.rate == decision.rate_before:
        what = f"stays {decision.rate:.6g}"
    lines = [f"{run.quantity} {what}"]
    if decision.value is not None:
        lines.append(f"{run.monitor} {decision.value:.6g}")
    lines += textwrap.wrap(decision.reason, 64, max_lines=12)
    when = f"after {run.unit} {_epoch(decision) + 1}"
    if decision.step is not None and _is_within(run, decision):
        when = f"in epoch {_epoch(decision) + 1}, after {_steps_in_words(decision.step)}"
    return f"<b>{decision.kind}</b> {when}<br>" + "<br>".join(map(_literal, lines))


def _told_at(decisions: Iterable[Told]) -> dict[float, str]:
    """What the points of lines under marks tell, by the number of epochs that were over.

    Plotly prefers a point of a line to a mark that is on it, whichever is drawn first.
    """
    texts: dict[float, str] = {}
    for _, moment, words in decisions:
        texts[moment] = f"{texts.get(moment, '')}<br>{words}"
    return texts


# --- plateaus and excursions -----------------------------------------------------------------------------------------


def _plateaus(run: Run, axis: Axis, theme: Theme) -> list[dict[str, Any]]:
    """From the end of the epoch before the first observation of a plateau to the decision that it caused."""
    spans: list[tuple[float, float]] = []
    begin = 0.0
    for decision in run.decisions:
        if decision.since_epoch is not None and decision.epoch is not None:
            spans.append((max(decision.since_epoch, begin), run.moment(decision)))
        if _is_within(run, decision):
            # The next plateau begins after it, but of its first observation only the epoch is known.
            begin = run.moment(decision)
    return [
        {**_band(x, LOSS_DOMAIN, theme.plateau, theme.paper, "plateau"), "showlegend": index == 0}
        for index, x in enumerate(_x(run, axis, span) for span in spans)
    ]


def _bands(run: Run, axis: Axis, theme: Theme) -> list[dict[str, Any]]:
    """Behind the rate, what became of each raise."""
    bands = []
    named = set()
    for excursion in excursions(run):
        if excursion.opened.epoch is None or (excursion.closed is not None and excursion.closed.epoch is None):
            continue
        end = run.over if excursion.closed is None else run.moment(excursion.closed)
        x = _x(run, axis, (run.moment(excursion.opened), end))
        name = f"{excursion.outcome} excursion"
        bands.append(
            {
                **_band(x, RATE_DOMAIN, BANDS[excursion.outcome], theme.paper, name),
                "showlegend": excursion.outcome not in named,
            }
        )
        named.add(excursion.outcome)
    return bands


def _unknown(run: Run, axis: Axis, theme: Theme, departs: int) -> list[dict[str, Any]]:
    """From where on what is shown was observed in another training than the one that is asked about."""
    x = _x(run, axis, (departs + 1, max(run.over, departs + 1)))
    band = _band(x, (0.0, 1.0), UNKNOWN, theme.text, "would have been different")
    return [{**band, "line": {"width": 1, "color": theme.text, "dash": "dot"}, "showlegend": True}]


def _band(x: Sequence[Any], domain: tuple[float, float], color: str, edge: str, name: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": x[0],
        "x1": x[1],
        "y0": domain[0],
        "y1": domain[1],
        "fillcolor": color,
        "line": {"width": 1, "color": edge},
        "layer": "below",
        "name": name,
        "legendgroup": name,
    }


# --- axes ------------------------------------------------------------------------------------------------------------


def _x(run: Run, axis: Axis, epochs: Iterable[float]) -> list[Any]:
    # Plotly takes dates as milliseconds.
    return [1000 * position if axis == "time" else position for position in run.positions(axis, epochs)]


def _literal(text: str) -> str:
    """A text that plotly shows as it is: it takes some markup, templates in braces, and formulas in dollars."""
    return html.escape(text, quote=False).replace("{", "&#123;").replace("$", "&#36;")


def _finite(value: float | None) -> float | None:
    """JSON has no NaN, and a chart no place for it."""
    return value if value is not None and math.isfinite(value) else None


def _in_sight(run: Run, curves: Iterable[Curve]) -> list[float]:
    """The finite losses of these curves, but for those that are far off."""
    # What came before a return to the first weights is no measure: it may have been broken from its first epoch on.
    returns = [decision.epoch for decision in run.decisions if decision.restore == "start"]
    begun = max((epoch + 1 for epoch in returns if epoch is not None), default=0)
    found: list[float] = []
    for curve in curves:
        points = [
            (epoch, value) for epoch, value in zip(curve.epochs, curve.values, strict=True) if math.isfinite(value)
        ]
        sizes = [abs(value) for epoch, value in points if epoch >= begun] or [abs(value) for _, value in points]
        limit = FAR_OFF * max(sizes[0], sorted(sizes)[len(sizes) // 2]) if sizes else 0.0
        found += [value for _, value in points if abs(value) <= limit]
    return found


def _upper_edge(in_sight: Sequence[float], axis: Mapping[str, Any]) -> float:
    """The highest loss that is in sight at first; infinite if there is none."""
    if "range" not in axis:
        return max(in_sight, default=math.inf)
    edge = float(axis["range"][1])
    return 10 ** min(edge, 308.0) if axis["type"] == "log" else edge


def _loss_axis(in_sight: Sequence[float], is_part: bool, scale: Scale) -> dict[str, Any]:
    """Its scale for the losses in sight; and if these are only a part of all, its range, with a margin."""
    if not in_sight:
        return {}
    low, high = min(in_sight), max(in_sight)
    is_log = scale == "log" or (scale == "auto" and low > 0 and high / low > WIDE)
    axis = _log_axis(5) if is_log else {"type": "linear"}
    if not is_part or (is_log and low <= 0):
        return axis
    ends = (math.log10(low), math.log10(high)) if is_log else (low, high)
    margin = (0.05 * ends[1] - 0.05 * ends[0]) or 0.5
    reach = [ends[0] - margin, ends[1] + margin]
    return {**axis, "range": reach} if all(map(math.isfinite, reach)) else axis


def _log_axis(ticks: int) -> dict[str, Any]:
    # Plotly's own choice labels 2, 3, ... 9 of each decade, too many for the height of our axes.
    return {"type": "log", "exponentformat": "power", "nticks": ticks}


def _layout(
    axis: Axis,
    unit: str,
    theme: Theme,
    main: dict[str, Any],
    other: dict[str, Any] | None,
    shapes: list[dict[str, Any]],
) -> dict[str, Any]:
    lines: dict[str, Any] = {"gridcolor": theme.grid, "linecolor": theme.grid, "zeroline": False, "automargin": True}
    titles = {"epoch": unit, "step": "optimizer steps", "time": "wall time"}
    # Room for the marks to the right, but none before the first epoch.
    right = {"type": "date"} if axis == "time" else {"type": "linear", "autorangeoptions": {"clipmin": 0}}
    rate = {"title": {"text": "learning rate"}, **_log_axis(4)}
    layout: dict[str, Any] = {
        "paper_bgcolor": theme.paper,
        "plot_bgcolor": theme.paper,
        "font": {"color": theme.text, "size": 12},
        "margin": {"l": 60, "r": 20, "t": 30, "b": 45},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": theme.paper, "font": {"color": theme.text}},
        # Above: at the side there is the axis of other metrics.
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "tracegroupgap": 0},
        "shapes": shapes,
        "xaxis": {**lines, "anchor": "y2", "title": {"text": titles[axis], "standoff": 8}, **right},
        "yaxis": {**lines, "domain": list(LOSS_DOMAIN), **main},
        "yaxis2": {**lines, "domain": list(RATE_DOMAIN), **rate},
    }
    if other:
        side = {"overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto"}
        layout["yaxis3"] = {**lines, **side, **other}
    return layout
