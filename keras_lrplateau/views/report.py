"""The report: one HTML page with all that the LR Plateau tab shows of some trainings, to keep or to send to somebody.

The page needs nothing but itself: plotly.js and the numbers are in it, and it may load nothing else.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from keras_lrplateau import __version__
from keras_lrplateau.history.run import Axis, Run
from keras_lrplateau.recordings.replay import Replay
from keras_lrplateau.views import tables
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
        runs: At least one, in the order in which to show them. Those in a row whose names begin with the same, up to
            the last "/", are a group, named by it.
        unreadable: Why others cannot be shown, by name or path.
        axis: What is to the right in the figures; see `Run.positions`.
        dark: Whether the background is dark.
        compares: Whether there is a figure of all runs together, too.
        replays: Where the runs are replayed ones, those that they are of.

    Returns:
        The page, of about 5 MB, most of which is plotly.js. All that runs hold of texts is escaped.

    Raises:
        ValueError: `axis` is none of these.
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
<style>{_colors(dark)}{STYLE}</style>
</head>
<body>
{"".join(body)}
<footer>Made by keras-lrplateau {escape(__version__)}. Click a decision to zoom to it, drag in a figure to zoom, and \
double-click it to see all of it again.</footer>
<script>{plotly}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _split(run: Run) -> tuple[str, str]:
    group, _, label = run.name.rpartition("/")
    return group, label


def _unreadable(unreadable: Mapping[str, str]) -> str:
    items = [f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in unreadable.items()]
    return f"<div class='problem'>Could not be read:<ul>{''.join(items)}</ul></div>" if items else ""


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
                f"{about['epochs']:,}",
                _best(about),
                escape(about["rate"] or ""),
                _counts(run),
            )
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("run", "status", "epochs", "best", "learning rate", "decisions"))
    return f"<nav class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></nav>"


def _figure(figure: dict[str, Any]) -> str:
    return f"""<div class="figure"></div>
<script type="application/json">{_json(figure)}</script>"""


def _section(run: Run, identifier: str, heading: str, axis: Axis, dark: bool, found: Replay | None) -> str:
    about = tables.summary(run)
    monitor = escape(run.monitor)
    facts = {
        "status": escape(about["status"]),
        "epochs": f"{about['epochs']:,}",
        "optimizer steps": f"{about['steps']:,}",
        f"best {monitor}": _best(about, named=False),
        f"last {monitor}": escape(about["last"] or "none"),
        "learning rate": escape(about["rate"] or "several, or none known"),
        "decisions": _counts(run) or "none",
        "last heard of": _moment(about["time"]),
    }
    terms = "".join(f"<div><dt>{term}</dt><dd>{fact}</dd></div>" for term, fact in facts.items())
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
            f"<button type='button' title='Show it in the figure'>{row['epoch']:,}</button>",
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


def _best(about: Mapping[str, Any], named: bool = True) -> str:
    if about["best"] is None:
        return "none"
    name = f"{about['monitor']} " if named else ""
    return escape(f"{name}{about['best']} in epoch {about['best_epoch']:,}")


def _counts(run: Run) -> str:
    counts = tables.counts(run).items()
    return "&ensp;".join(f"<span class='count'>{_mark(kind)} {escape(kind)} {count:,}</span>" for kind, count in counts)


def _mark(kind: Any) -> str:
    mark = MARKS[kind]
    return f"<span class='mark' style='color:{mark.color}'>{GLYPHS.get(mark.symbol, '●')}</span>"


def _moment(seconds: float) -> str:
    """A time for people: UTC, of which the page's script makes the time of whoever looks, as plotly does."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
        return f"<time datetime='{moment.isoformat()}'>{moment:%Y-%m-%d %H:%M} UTC</time>"
    except (ValueError, OverflowError, OSError):
        return "unknown"


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

STYLE = """
body { margin: 0 auto; max-width: 1200px; padding: 1rem 1.25rem; background: var(--paper); color: var(--text);
  font: 14px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.25rem 0 0.5rem; }
a { color: var(--link); }
section { scroll-margin-top: 1rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0 0 0.5rem; }
dt { font-size: 0.85em; opacity: 0.75; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure { height: 560px; margin-bottom: 0.75rem; }
.scroll { overflow: auto; max-height: 32rem; border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { overflow-wrap: normal; white-space: nowrap; }
td:last-child { overflow-wrap: anywhere; white-space: normal; min-width: 14rem; }
td:first-child { white-space: normal; }
tbody tr:last-child td { border-bottom: 0; }
thead th { position: sticky; top: 0; background: var(--paper); box-shadow: 0 1px var(--line); white-space: nowrap; }
tbody th { padding-top: 0.8rem; }
tr[data-range] { cursor: pointer; }
tr[data-range]:hover, tr[aria-current] { background: var(--band); }
td button { font: inherit; color: var(--link); background: none; border: 0; padding: 0; cursor: pointer;
  text-decoration: underline; }
.all { margin-top: 0.5rem; font: inherit; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 4px; padding: 0.2rem 0.7rem; cursor: pointer; }
.count { white-space: nowrap; }
.mark { font-family: "DejaVu Sans", "Segoe UI Symbol", sans-serif; }
.problem { border-left: 4px solid #dd2222; padding: 0.4rem 0.8rem; margin: 0 0 1rem; background: var(--band); }
.problem ul { margin: 0.25rem 0 0; padding-left: 1.2rem; }
footer { margin: 2rem 0 1rem; font-size: 0.85em; opacity: 0.75; }
@page { margin: 12mm; }
@media print {
  :root { --paper: #ffffff; --text: #333333; --line: #cccccc; --link: #333333; }
  body { max-width: none; padding: 0; font-size: 11px; }
  .figure { height: 470px; }
  .scroll { max-height: none; overflow: visible; border: 0; }
  thead th { position: static; }
  tr, dl, .figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .all, footer { display: none; }
}
"""

SCRIPT = """
"use strict";
for (const time of document.querySelectorAll("time")) time.textContent = new Date(time.dateTime).toLocaleString();

const OPTIONS = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false,  // plotly.js 4 has a button that uploads the figure.
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
  toImageButtonOptions: {filename: "lr_plateau", scale: 2},
};
const figures = new Map();  // What each section's figure was made of, once it is drawn.

function draw(section) {
  const div = section.querySelector(".figure");
  const text = section.querySelector("script").textContent;
  const figure = JSON.parse(text);
  figures.set(section, JSON.parse(text));  // Once more: plotly writes into what it is given.
  return Plotly.newPlot(div, figure.data, figure.layout, OPTIONS);
}

// Only what comes into sight is drawn: a page may have hundreds of figures.
const watcher = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting) {
      watcher.unobserve(target);
      if (!figures.has(target.parentElement)) draw(target.parentElement);
    }
  }
}, {rootMargin: "50% 0px"});
for (const div of document.querySelectorAll(".figure")) watcher.observe(div);

// The heights in use between two places; null if there are none.
function heights(figure, axis, [low, high]) {
  const {type, range} = figure.layout[axis];
  const found = [];
  for (const {x, y, yaxis = "y", line} of figure.data) {
    if (yaxis.replace("y", "yaxis") !== axis) continue;
    let before = null;
    x.forEach((at, index) => {
      if (at >= low && at <= high) found.push(y[index]);
      if (at < low) before = y[index];
    });
    if (line?.shape === "hv") found.push(before);  // A step goes on until the next one.
  }
  const heights = found.filter(y => y !== null).map(y => type === "log" ? Math.log10(y) : y).filter(Number.isFinite);
  if (!heights.length) return null;
  let [bottom, top] = [Math.min(...heights), Math.max(...heights)];
  if (range) [bottom, top] = [Math.max(bottom, range[0]), Math.min(top, range[1])];
  const margin = 0.08 * (top - bottom) || 0.1 * (type === "log" ? 1 : Math.abs(top) || 1);
  return bottom <= top ? [bottom - margin, top + margin] : null;
}

async function zoom(row) {
  const section = row.closest("section");
  if (!figures.has(section)) await draw(section);
  const figure = figures.get(section);
  const range = JSON.parse(row.dataset.range);
  const update = {"xaxis.range": range};
  for (const axis of ["yaxis", "yaxis2", "yaxis3"]) {
    const fitting = figure.layout[axis] && heights(figure, axis, range);
    if (fitting) update[axis + ".range"] = fitting;
  }
  choose(section, row);
  const div = section.querySelector(".figure");
  await Plotly.relayout(div, update);
  div.scrollIntoView({block: "nearest"});
}

function choose(section, row) {
  section.querySelector("[aria-current]")?.removeAttribute("aria-current");
  row?.setAttribute("aria-current", "true");
}

document.addEventListener("click", event => {
  const row = event.target.closest("tr[data-range]");
  if (row) zoom(row);
  if (event.target.matches(".all")) {
    choose(event.target.closest("section"), null);
    draw(event.target.closest("section"));
  }
});

// On paper all figures are drawn, and as wide as the paper.
window.addEventListener("beforeprint", () => {
  for (const section of document.querySelectorAll("section")) {
    if (!figures.has(section)) draw(section);
    Plotly.relayout(section.querySelector(".figure"), {width: 700, height: 460});
  }
});
window.addEventListener("afterprint", () => {
  for (const section of figures.keys()) Plotly.relayout(section.querySelector(".figure"), {width: null, height: null});
});
"""
