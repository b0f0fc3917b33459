"""The report: one HTML page with all that the LR Plateau tab shows of some trainings, to keep or to send.

The page needs nothing but itself: plotly.js and the numbers are in it, and it may load nothing else. Its look and its
behavior are in `report.css` and `report.js`.
"""

from __future__ import annotations

import importlib.resources
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from keras_lrplateau import __version__
from keras_lrplateau.history.axes import Axis
from keras_lrplateau.history.run import Run
from keras_lrplateau.recordings.replay import Replay
from keras_lrplateau.views import tables, words
from keras_lrplateau.views.figure import MARKS, THEMES, draw, drawn, plotly_js

GLYPHS = {
    "triangle-down": "▼",
    "triangle-up": "▲",
    "triangle-left": "◀",
    "triangle-down-open": "▽",
    "star": "★",
    "x": "✖",
    "diamond": "◆",
    "square": "■",
    "circle": "●",
    "circle-open": "○",
    "hexagram": "✶",
    "line-ns-open": "┃",
}
"""The marks of the figure as characters, by plotly's names for them."""


def page(
    source: str,
    runs: Sequence[Run],
    unreadable: Mapping[str, str] | None = None,
    axis: Axis = "epoch",
    *,
    dark: bool = False,
    compares: bool = False,
    replays: Sequence[Replay] = (),
) -> str:
    """The report as an HTML page.

    Args:
        source: Where the runs are from, in words, for the title; a single run is its own title.
        runs: At least one, in the order in which to show them. Neighbors whose names are equal up to the last "/" form
            a group, which has that name.
        unreadable: Why others cannot be shown, by name or path.
        axis: What is to the right in the figures; see `Timeline.positions`.
        dark: Whether the background is dark.
        compares: Whether to show a figure of all runs together, too.
        replays: The replays that the runs are of, one for each run; empty if the runs are trainings.

    Returns:
        The page, of about 5 MB; most of that is plotly.js. Every text that runs hold is escaped.

    Raises:
        ValueError: `axis` is none of these, or was not recorded.
        ImportError: plotly is not installed.
    """
    several = len(runs) > 1
    title = f"LR Plateau · {source if several else runs[0].name}"
    ids = {id(run): f"run-{number}" for number, run in enumerate(runs, 1)}
    groups = [(name, list(group)) for name, group in itertools.groupby(runs, key=lambda run: _split(run)[0])]
    body = [
        f"<h1>{escape(title)}</h1>",
        _unreadable(unreadable or {}),
        _contents(groups, ids) if several else "",
        f"<section>{_figure(draw(runs, axis, dark=dark))}</section>" if compares else "",
        "<noscript><p class='problem'>The figures need JavaScript; the tables do not.</p></noscript>",
    ]
    behind: Iterator[Replay | None] = iter(replays or itertools.repeat(None))
    for name, group in groups:
        body.append(f"<h2>{escape(name if len(group) > 1 else group[0].label)}</h2>" if several else "")
        for run in group:
            heading = f"<h3>{escape(_split(run)[1])}</h3>" if len(group) > 1 else ""
            body.append(_section(run, ids[id(run)], heading, axis, dark, next(behind)))
    # `</` ends a script, wherever it stands; in JavaScript a backslash before the slash changes nothing.
    plotly = plotly_js().decode().replace("</script", r"<\/script")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="keras-lrplateau {escape(__version__)}">
<title>{escape(title)}</title>
<style>{_colors(dark)}{_file("report.css")}</style>
</head>
<body>
{"".join(body)}
<footer>Made by keras-lrplateau {escape(__version__)}. Click a decision to zoom to it, drag in a figure to zoom, and \
double-click it to see all of it again.</footer>
<script>{plotly}</script>
<script>{_file("report.js")}</script>
</body>
</html>
"""


def _split(run: Run) -> tuple[str, str]:
    group, _, label = run.name.rpartition("/")
    return group, label


def _unreadable(unreadable: Mapping[str, str]) -> str:
    items = [f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in unreadable.items()]
    return f"<div class='problem'>Could not be read or drawn:<ul>{''.join(items)}</ul></div>" if items else ""


def _contents(groups: Sequence[tuple[str, list[Run]]], ids: Mapping[int, str]) -> str:
    rows = []
    for name, group in groups:
        if len(group) > 1:
            rows.append(f"<tr><th colspan='6' scope='rowgroup'>{escape(name)}</th></tr>")
        for run in group:
            about = tables.summary(run)
            label = _split(run)[1] if len(group) > 1 else run.label
            cells = (
                f"<a href='#{ids[id(run)]}'>{escape(label)}</a>",
                escape(about["status"]),
                escape(words.length(about)),
                "none" if about["best"] is None else escape(f"{run.monitor} {words.best(about)}"),
                escape(about["rate"] or ""),
                _counts(run),
            )
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("run", "status", "length", "best", "learning rate", "decisions"))
    return f"<nav class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></nav>"


def _figure(figure: dict[str, Any]) -> str:
    return f"""<div class="figure"></div>
<script type="application/json">{_json(figure)}</script>"""


def _section(run: Run, identifier: str, heading: str, axis: Axis, dark: bool, found: Replay | None) -> str:
    about = tables.summary(run)
    monitor = escape(run.monitor)
    facts = {
        "status": escape(about["status"]),
        "epochs": words.count(about["epochs"]) if about["epochs"] is not None else None,
        "optimizer steps": words.count(about["steps"]) if about["steps"] is not None else None,
        f"best {monitor}": escape(words.best(about)),
        f"last {monitor}": escape(words.last(about)),
        "learning rate": escape(about["rate"] or "several, or none known"),
        "decisions": _counts(run) or "none",
        "last recorded": _moment(about["time"]) if about["time"] is not None else None,
    }
    terms = "".join(f"<div><dt>{term}</dt><dd>{fact}</dd></div>" for term, fact in facts.items() if fact is not None)
    figure = draw([run], axis, dark=dark) if found is None else drawn(found, axis, dark=dark)
    remark = "" if found is None else f"<p>{escape(found.caveat)}</p>"
    return f"""
<section id="{identifier}">
{heading}
<dl>{terms}</dl>
{remark}
{_figure(figure)}
{_decisions(run, axis)}
</section>
"""


def _decisions(run: Run, axis: Axis) -> str:
    rows = []
    for row in tables.rows(run, axis):
        same = row["rate_before"] == row["rate"]
        cells = (
            f"<button type='button' title='Show it in the figure'>{words.count(row['epoch'])}</button>",
            f"{_mark(row['kind'])} {escape(row['kind'])}",
            escape(row["rate"] if same else f"{row['rate_before']} → {row['rate']}"),
            escape(row["value"]),
            escape(row["best"]),
            escape(row["reason"]),
        )
        where = escape(_json(row["range"]))
        rows.append(f"<tr data-range='{where}'>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    if not rows:
        return "<p>No decision has been made.</p>"
    names = (run.unit, "decision", run.quantity, run.monitor, "best", "reason")
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"""<div class="decisions scroll"><table>
<thead><tr>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>
<button type="button" class="all">Show all of the training</button>"""


def _counts(run: Run) -> str:
    counts = tables.counts(run).items()
    return "&ensp;".join(
        f"<span class='count'>{_mark(kind)} {escape(kind)} {words.count(count)}</span>" for kind, count in counts
    )


def _mark(kind: Any) -> str:
    mark = MARKS[kind]
    return f"<span class='mark' style='color:{mark.color}'>{GLYPHS.get(mark.symbol, '●')}</span>"


def _moment(seconds: float) -> str:
    """A time in UTC; the script of the page turns it into the reader's own time, as plotly does."""
    moment = words.utc(seconds)
    return f"<time datetime='{moment.isoformat()}'>{moment:%Y-%m-%d %H:%M} UTC</time>" if moment else "unknown"


def _file(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")


def _json(content: Any) -> str:
    """For a script: nothing in it can end the script, or begin a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c")


def _colors(dark: bool) -> str:
    theme = THEMES[dark]
    scheme = "dark" if dark else "light"
    return (
        f":root {{ color-scheme: {scheme}; --paper: {theme.paper}; --text: {theme.text}; --line: {theme.grid};"
        f" --band: {theme.plateau}; --link: {theme.validation}; }}"
    )


POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "form-action 'none'; base-uri 'none'"
)
"""What the page may do: run what is in it, load nothing and send nothing. The figure's camera makes data: and blob:."""
