"""The figure of a training: its losses, the learning rate below them, and every decision with its reason.

`keras_lrplateau.views.picture` says what is shown; here it gets its look. `draw` makes a plotly figure as plain data,
with nothing but the standard library, so that TensorBoard need not import plotly: in the browser, plotly.js takes just
that. `figure` makes an object of it, for notebooks.
"""

from __future__ import annotations

import hashlib
import html
import importlib.resources
import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_lrplateau.history.axes import Axis
from keras_lrplateau.history.run import Run
from keras_lrplateau.recordings.replay import Replay
from keras_lrplateau.rule.decision import Kind
from keras_lrplateau.views.colors import color_of
from keras_lrplateau.views.picture import Line, Marks, Picture, Scale, Shade, Told, is_loss, picture_of
from keras_lrplateau.views.words import counted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Figure

LOSS_DOMAIN, RATE_DOMAIN = (0.36, 1.0), (0.0, 0.29)

PNG_SIZE = {"width": 1100, "height": 640, "scale": 2}

FAINT = 0.3
"""The opacity of what was observed, behind the same smoothed."""

MOST_TOLD = 8
"""A point of a line lists no more decisions than that."""


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
    "phase": Mark("line-ns-open", "#8a8a8a"),
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
    False: Theme("#ffffff", "#333333", "#e4e4e4", "rgba(110,110,110,0.07)", "#8aa6c1", "#0072b2", "#009e73", "#d55e00"),
    True: Theme("#303030", "#e4e4e4", "#4a4a4a", "rgba(210,210,210,0.07)", "#7d93a8", "#56b4e9", "#2fc79a", "#f58a3c"),
}

BANDS = {
    "successful": "rgba(44,162,95,0.24)",
    "failed": "rgba(194,86,159,0.26)",
    "open": "rgba(239,148,33,0.24)",
    "abandoned": "rgba(128,128,128,0.24)",
}
"""Behind the rate, by the outcome of the excursion."""

UNKNOWN = "rgba(230,159,0,0.11)"
"""Over what a replay cannot know."""

YAXES = {"main": "y", "side": "y3", "rate": "y2"}
"""The vertical axes, as plotly names them."""


def draw(
    runs: Sequence[Run],
    axis: Axis = "epoch",
    *,
    scale: Scale = "auto",
    dark: bool = False,
    colors: Sequence[str] | None = None,
    departs: int | None = None,
    smoothing: float = 0.0,
    beside: Run | None = None,
) -> dict[str, Any]:
    """The figure of one training in full, or of several to compare.

    One training shows its losses, its monitored metric, its rate, all decisions, its plateaus and its excursions.
    Several show the monitored metric, the rate and the decisions of each, in a color of its own.

    Args:
        runs: Any number; with none the figure is empty.
        axis: What is to the right; see `Timeline.positions`.
        scale: How the axis of the losses is divided. "auto" chooses a logarithmic one where they span much.
        dark: Whether the background is dark.
        colors: The colors of the runs, where there are several, as "#rrggbb"; by default those of `colors.color_of`.
        departs: The epoch, from 0, after which a replayed training would have been another; see `Replay`.
        smoothing: How much the losses and metrics are smoothed, from 0 to 0.99; see `picture.smoothed`. What was
            observed is shown behind.
        beside: The training whose own figure is shown beside this one: the axis of the losses is divided, and reaches
            as far, as there.

    Returns:
        A plotly figure, {"data": ..., "layout": ...}, that strict JSON can hold.

    Raises:
        ValueError: `axis`, `scale` or `smoothing` is none of these, or what the axis shows was not recorded.
    """
    picture = picture_of(runs, axis, scale, departs, smoothing, beside)
    theme = THEMES[dark]
    is_alone = len(runs) == 1
    data: list[dict[str, Any]] = []
    for index, training in enumerate(picture.trainings):
        color = color_of(index) if colors is None else colors[index]
        look = _Look(training.run, theme, axis, None if is_alone else color)
        traces = [_rate(look, line) if line.role == "rate" else _line(look, line) for line in training.lines]
        traces += [trace for marks in training.marks for trace in _marks(look, marks)]
        data += _known_again(training.run.name, traces)
    if not is_alone:
        data += _known_again("", _legend_of_kinds(picture, theme))
    return {"data": data, "layout": _layout(picture, theme)}


def figure(shown: Run | Replay, axis: Axis = "epoch", *, dark: bool = False) -> Figure:
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


def to_plotly(figure: dict[str, Any]) -> Figure:
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


def write_pngs(figures: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    """Write each of some figures that `draw` returned as a PNG.

    Raises:
        ImportError: kaleido or plotly is not installed, or too old.
        Exception: Kaleido or its browser fails; neither says how it may.
    """
    try:
        if importlib.util.find_spec("kaleido") is None:
            raise ImportError
        from plotly.io import write_images
    except ImportError:
        raise ImportError(
            "that takes kaleido and plotly 6.1 or newer: pip install 'kaleido>=1' 'plotly>=6.1.1'"
        ) from None
    # As plain data: an object of plotly's would bring a style of its own.
    write_images(list(figures), list(paths), **PNG_SIZE, validate=False)


# --- lines and marks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """How the traces of one training look; `color` is None if it is alone in the figure."""

    run: Run
    theme: Theme
    axis: Axis
    color: str | None

    def label(self, name: str) -> str:
        """What a number is called, as plotly takes it."""
        return _literal(name if self.color is None else f"{self.run.label} · {name}")


def _line(look: _Look, line: Line) -> dict[str, Any]:
    label = look.label(line.name)
    is_alone = look.color is None
    # Between two gaps there is no line: a point.
    around = [None, *line.y, None]
    lonely = [value is not None and around[at] is None is around[at + 2] for at, value in enumerate(line.y)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if any(lonely) else "lines",
        "name": label + (" (raw)" if line.is_raw else " (monitor)" if is_alone and line.role == "monitor" else ""),
        "legendgroup": label,
        **({"opacity": FAINT, "showlegend": False} if line.is_raw else {}),
        "x": _x(look.axis, line.x),
        "y": line.y,
        "marker": {"size": [6 if is_lonely else 0 for is_lonely in lonely]} if any(lonely) else {},
        "customdata": line.when,
        "text": [_told_at(told) for told in line.told],
        "hovertemplate": f"{label} %{{y:.6~g}}<br>after {look.run.unit} %{{customdata}}%{{text}}<extra></extra>",
        "line": _style(look, line) if is_alone else {"color": look.color, "width": 1.8},
        "yaxis": YAXES[line.panel],
        "connectgaps": False,
    }


def _style(look: _Look, line: Line) -> dict[str, Any]:
    theme = look.theme
    if line.role == "twin":
        return {"color": theme.train if is_loss(line.name) else theme.other, "width": 1.5, "dash": "dot"}
    if line.role == "loss":
        return {"color": theme.train, "width": 1.5}
    if line.role == "validation":
        # Beside the training loss as the monitor the two change their colors, or they would have the same one.
        return {"color": theme.train if look.run.monitor == "loss" else theme.validation, "width": 1.8}
    return {"color": theme.validation if is_loss(line.name) else theme.other, "width": 2.2}


def _rate(look: _Look, line: Line) -> dict[str, Any]:
    label = look.label(line.name.replace("_", " "))
    is_alone = look.color is None
    return {
        "type": "scatter",
        # After a single epoch there is no stretch of time.
        "mode": "lines" if line.x[:1] != line.x[-1:] else "lines+markers",
        "name": label,
        "legendgroup": label if is_alone else look.label(look.run.monitor),
        "showlegend": is_alone,
        "x": _x(look.axis, line.x),
        "y": line.y,
        "customdata": line.when,
        "text": [_told_at(told) for told in line.told],
        "hovertemplate": f"{label} %{{y:.6~g}}<br>from {look.run.unit} %{{customdata}} on%{{text}}<extra></extra>",
        "line": {
            "color": look.theme.rate if is_alone else look.color,
            "width": 2,
            "shape": "hv",
            "dash": ("solid", "dot", "dash")[line.index % 3],
        },
        "yaxis": YAXES["rate"],
    }


def _marks(look: _Look, marks: Marks) -> list[dict[str, Any]]:
    """A trace in each panel, with one entry in the legend."""
    mark = MARKS[marks.kind]
    named = "" if look.color is None else f"{_literal(look.run.label)}<br>"
    x = _x(look.axis, marks.x)
    text = [_html(told) for told in marks.told]
    epochs = [told.decision.epoch for told in marks.told]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": marks.kind,
            "legendgroup": marks.kind,
            "showlegend": look.color is None and panel == "rate",
            "x": x,
            "y": y,
            "text": text,
            "customdata": epochs,
            "hovertemplate": f"{named}%{{text}}<extra></extra>",
            "marker": {
                "symbol": mark.symbol,
                "size": 10,
                "color": look.color or mark.color,
                "line": {"width": 1, "color": look.theme.paper},
            },
            "yaxis": YAXES[panel],
            "cliponaxis": False,
        }
        for panel, y in marks.y.items()
    ]


def _legend_of_kinds(picture: Picture, theme: Theme) -> list[dict[str, Any]]:
    """Entries in the legend that stand for the marks of all runs."""
    seen = {marks.kind for training in picture.trainings for marks in training.marks}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": kind,
            "legendgroup": kind,
            "x": [None],
            "y": [None],
            "yaxis": YAXES["rate"],
            "hoverinfo": "skip",
            "marker": {"symbol": mark.symbol, "size": 10, "color": theme.text},
        }
        for kind, mark in MARKS.items()
        if kind in seen
    ]


def _known_again(name: str, traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traces of a run, named so that plotly recognizes them when others have come before them."""
    # Digests, since plotly makes names of classes of them.
    names = [f"{name}|{trace['name']}|{trace['yaxis']}" for trace in traces]
    digests = [hashlib.sha256(each.encode(errors="replace")).hexdigest()[:16] for each in names]
    return [{**trace, "uid": digest} for trace, digest in zip(traces, digests, strict=True)]


# --- texts -----------------------------------------------------------------------------------------------------------


def _html(told: Told) -> str:
    """What is shown when the pointer is on a decision; plotly takes some markup."""
    kind, when, numbers, reason = told.words
    lines = [*numbers, *textwrap.wrap(reason, 64, max_lines=12)]
    return f"<b>{kind}</b> {when}<br>" + "<br>".join(map(_literal, lines))


def _told_at(told: Sequence[Told]) -> str:
    """What a point of a line under marks says: plotly prefers it to a mark on it, whichever is drawn first."""
    texts = [_html(each) for each in told[:MOST_TOLD]]
    if len(told) > MOST_TOLD:
        texts.append(f"and {counted(len(told) - MOST_TOLD, 'further decision')}")
    return "".join(f"<br>{text}" for text in texts)


def _literal(text: str) -> str:
    """A text that plotly shows as it is: it takes some markup, templates in braces, and formulas in dollars."""
    return html.escape(text, quote=False).replace("{", "&#123;").replace("$", "&#36;")


# --- shades ----------------------------------------------------------------------------------------------------------


def _shapes(picture: Picture, theme: Theme) -> list[dict[str, Any]]:
    shapes = []
    named = set()
    for shade in picture.shades:
        shape = _shape(picture.axis, theme, shade)
        shapes.append({**shape, "showlegend": shape["name"] not in named})
        named.add(shape["name"])
    return shapes


def _shape(axis: Axis, theme: Theme, shade: Shade) -> dict[str, Any]:
    if shade.what == "plateau":
        domain, color, name = LOSS_DOMAIN, theme.plateau, "plateau"
    elif shade.what == "excursion":
        domain, color, name = RATE_DOMAIN, BANDS[shade.outcome], f"{shade.outcome} excursion"
    else:
        domain, color, name = (0.0, 1.0), UNKNOWN, "would have been different"
    edge = {"color": theme.text, "dash": "dot"} if shade.what == "unknown" else {"color": theme.paper}
    start, end = _x(axis, [shade.start, shade.end])
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": domain[0],
        "y1": domain[1],
        "fillcolor": color,
        "line": {"width": 1, **edge},
        "layer": "below",
        "name": name,
        "legendgroup": name,
    }


# --- axes ------------------------------------------------------------------------------------------------------------


def _x(axis: Axis, places: Sequence[float]) -> list[float]:
    # Plotly takes dates as milliseconds.
    return [1000 * place for place in places] if axis == "time" else list(places)


def _log_axis(ticks: int) -> dict[str, Any]:
    # Plotly's own choice labels 2, 3, ... 9 of each decade, too many for the height of our axes.
    return {"type": "log", "exponentformat": "power", "nticks": ticks}


def _main_axis(picture: Picture) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": _literal(picture.main)}}
    if picture.is_log is not None:
        axis |= _log_axis(5) if picture.is_log else {"type": "linear"}
    return axis if picture.reach is None else {**axis, "range": list(picture.reach)}


def _layout(picture: Picture, theme: Theme) -> dict[str, Any]:
    lines: dict[str, Any] = {"gridcolor": theme.grid, "linecolor": theme.grid, "zeroline": False, "automargin": True}
    title = {"epoch": picture.unit, "step": "optimizer steps", "time": "wall time"}[picture.axis]
    if picture.note:
        title += f" · {picture.note}"
    # Room for the marks to the right, but none before the first epoch.
    right = {"type": "date"} if picture.axis == "time" else {"type": "linear", "autorangeoptions": {"clipmin": 0}}
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
        "shapes": _shapes(picture, theme),
        "xaxis": {**lines, "anchor": "y2", "title": {"text": title, "standoff": 8}, **right},
        "yaxis": {**lines, "domain": list(LOSS_DOMAIN), **_main_axis(picture)},
        "yaxis2": {**lines, "domain": list(RATE_DOMAIN), **rate},
        # The zoom stays as long as this does.
        "uirevision": "|".join([picture.axis, picture.scale, *sorted(each.run.name for each in picture.trainings)]),
    }
    if picture.side is not None:
        side = {"overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto"}
        layout["yaxis3"] = {**lines, **side, "title": {"text": _literal(picture.side)}}
    return layout
