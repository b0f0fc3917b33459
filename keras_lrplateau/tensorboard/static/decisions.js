/** The table of decisions below the figure: the latest first, of one run or of several together. */

import { make, paint, rove, symbolOf, syncChildren, table } from "./common.js";
import { shortened } from "./runs.js";

/** Further rows of the table are shown on demand: they cost time, and the latest ones matter most. */
const FEW_ROWS = 200;

const state = {
  /** What the server answered, and the color of a run by its name, or null; null before the first answer. */
  answer: null,
  colorOf: () => null,
  /** What distinguishes the name of a run. */
  short: (name) => name,
  showsAll: false,
  /** The rows in the table, by key. */
  rows: new Map(),
  /** The key of the row that is zoomed to. */
  zoomed: null,
};

let parts;
let on;

/** The section with the table; `onChoose` gets a row when it is clicked on, or chosen by the keyboard. */
export function decisionTable(onChoose) {
  on = { onChoose };
  parts = {
    table: table([]),
    none: make("p", { id: "none", hidden: true }, "No decision yet."),
    more: make("button", { id: "more", type: "button", hidden: true, onclick: showAll }),
    rest: make("p", { id: "rest", className: "note", hidden: true }),
  };
  parts.refreshStops = rove(parts.table.tBodies[0], "tr");
  return make(
    "section",
    { id: "decisions", onclick: onClick, aria: { label: "Decisions" } },
    parts.table,
    parts.none,
    parts.more,
    parts.rest,
  );
}

/** Show the decisions of an answer of the server's, the first ones only. */
export function showDecisions(answer, colorOf) {
  const { short } = shortened(answer.runs.map((run) => run.name));
  Object.assign(state, { answer, colorOf, short });
  show();
}

/** Forget what was asked for of the runs before: all rows, and a zoom. */
export function resetDecisions() {
  Object.assign(state, { showsAll: false, zoomed: null });
}

/** Which row is zoomed to; by its key, or null. */
export function markZoomed(key) {
  state.zoomed = key;
  for (const row of parts.table.tBodies[0].rows) row.querySelector("button").ariaPressed = row.dataset.key === key;
  parts.refreshStops();
}

/** The row that is zoomed to, as it is now; undefined if there is none. */
export function zoomedRow() {
  return state.rows.get(state.zoomed);
}

function isComparing() {
  return state.answer.runs.length > 1;
}

function show() {
  const { runs } = state.answer;
  const { quantity, monitor } = isComparing() ? { quantity: "rate", monitor: "Metric" } : runs[0].summary;
  const rate = quantity[0].toUpperCase() + quantity.slice(1);
  const heads = ["Epoch", "Decision", ...(isComparing() ? ["Run"] : []), rate, monitor, "Best", "Reason"];
  const all = runs
    .flatMap((run) => run.rows.map((row, index) => keyed(run, row, index)).reverse())
    .sort((a, b) => b.epoch - a.epoch);
  const few = state.showsAll ? all : all.slice(0, FEW_ROWS);
  state.rows = new Map(few.map((row) => [row.key, row]));
  parts.table.hidden = !all.length;
  parts.table.tHead.replaceWith(table(heads).tHead);
  syncChildren(parts.table.tBodies[0], few, (row) => row.key, rowOf);
  parts.none.hidden = all.length > 0;
  parts.more.hidden = few.length === all.length;
  const decided = runs.flatMap(({ counts }) => Object.values(counts)).reduce((sum, count) => sum + count, 0);
  const isAll = decided === all.length;
  parts.more.textContent = `Show ${isAll ? "all" : "the latest"} ${all.length.toLocaleString()} decisions`;
  parts.rest.hidden = isAll;
  parts.rest.textContent =
    `Of ${decided.toLocaleString()} decisions, the latest ${all.length.toLocaleString()} are listed; ` +
    "keras-lrplateau report lists all of them.";
  markZoomed(state.zoomed);
}

/** A row with a key that says all that it shows. Where to zoom to is not in it, and changes as training goes on. */
function keyed({ name }, row, index) {
  const { range, ...content } = row;
  const color = isComparing() && state.colorOf(name);
  return { ...row, run: name, key: JSON.stringify([color, name, index, content]) };
}

function rowOf({ kind, epoch, run, rate_before, rate, value, best, reason }) {
  const rates = rate === rate_before ? rate : `${rate_before} → ${rate}`;
  const symbol = symbolOf(kind, state.answer.figure);
  const button = make("button", { type: "button", className: "kind", title: "Zoom to it" }, symbol, kind);
  return make(
    "tr",
    { data: { kind, run, epoch } },
    make("td", {}, String(epoch)),
    make("td", {}, button),
    ...(isComparing() ? [make("td", {}, labelOf(run))] : []),
    ...[rates, value, best].map((text) => make("td", {}, text)),
    make("td", { className: "reason" }, reason),
  );
}

function labelOf(run) {
  const swatch = make("span", { className: "swatch" });
  paint(swatch, state.colorOf(run));
  return make("span", { className: "label", title: run }, swatch, make("span", {}, state.short(run)));
}

/** A click anywhere in a row, or a key on its button. */
function onClick({ target, detail }) {
  const row = state.rows.get(target.closest("tbody tr")?.dataset.key);
  // Whoever marks text with the mouse, to copy it, does not want to zoom.
  if (row && !(detail && getSelection().type === "Range")) on.onChoose(row);
}

function showAll() {
  state.showsAll = true;
  show();
}
