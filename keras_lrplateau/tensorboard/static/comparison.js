/** The table of the runs that are compared: a row each, in the order that the user chooses, and as a CSV file. */

import { attempt, make, natural, paint, rove, statusBadge, syncChildren, timeOf } from "./common.js";
import { differing, scoreOf, settingOf, shortened } from "./runs.js";

const state = {
  runs: [],
  colorOf: () => null,
  /** The key of the column that the rows are sorted by. */
  key: "best",
  isReversed: false,
};

let parts;

/** The section with the table; `onChoose` gets the name of a run that is to be shown alone. */
export function comparisonTable(onChoose) {
  parts = {
    title: make("h1", {}),
    table: make("table", {}, make("thead", {}, make("tr", {})), make("tbody", {})),
  };
  const button = make("button", { type: "button", onclick: download }, "Download CSV");
  const region = make(
    "div",
    { className: "scroll", tabIndex: 0, role: "region", aria: { label: "Runs compared" } },
    parts.table,
  );
  parts.table.tHead.addEventListener("click", ({ target }) => sortBy(target.closest("th")?.dataset.column));
  parts.table.tBodies[0].addEventListener("click", ({ target }) => {
    if (target.closest("button")) onChoose(target.closest("tr").dataset.run);
  });
  parts.refreshStops = rove(parts.table.tBodies[0], "tr");
  return make("section", { id: "comparison", hidden: true }, make("div", { className: "head" }, parts.title, button), region);
}

/** Show these runs, as the server lists them. */
export function showComparison(runs, colorOf) {
  Object.assign(state, { runs, colorOf });
  show();
}

/** What the table shows of the runs: for each column its title, a text for a run, and what it is sorted by. */
export function columnsOf(runs) {
  const monitors = new Set(runs.map((run) => run.summary.monitor));
  const metric = monitors.size === 1 ? ` ${[...monitors][0]}` : "";
  const number = (text) => (text === "" ? Infinity : Number(text));
  const plain = (key, title, text) => ({ key, title, text, value: text });
  const numeric = (key, title, text) => ({ key, title, text, value: (run) => number(text(run)), isNumber: true });
  const onlyInFile = (key, title, holds) => ({ ...plain(key, title, (run) => (holds(run) ? "yes" : "no")), isOnlyInFile: true });
  const summary = (name) => (run) => String(run.summary[name] ?? "");
  return [
    plain("run", "Run", (run) => run.name),
    { ...numeric("best", `Best${metric}`, summary("best")), value: scoreOf },
    ...differing(runs).map((name) => setting(name, runs)),
    numeric("rate", "Final rate", summary("rate")),
    numeric("decisions", "Decisions", decisionsOf),
    plain("status", "Status", summary("status")),
    numeric("epochs", "Epochs", summary("epochs")),
    numeric("best_at", "Best epoch", summary("best_at")),
    numeric("last", `Last${metric}`, summary("last")),
    onlyInFile("best_undone", "Best rolled back", (run) => run.summary.is_best_undone),
    onlyInFile("undone", "Last rolled back", (run) => run.summary.is_undone),
    { key: "time", title: "Updated", text: momentOf, value: (run) => run.summary.time ?? 0 },
  ];
}

function setting(name, runs) {
  const text = (run) => settingOf(run, name);
  const number = (run) => (text(run) === "" ? Infinity : Number(text(run)));
  const isNumber = runs.every((run) => !Number.isNaN(number(run)));
  return { key: `setting ${name}`, title: name, text, value: isNumber ? number : text, isNumber };
}

/** How many decisions there were; empty until the server has read the whole run. */
function decisionsOf({ counts }) {
  return counts ? String(Object.values(counts).reduce((sum, count) => sum + count, 0)) : "";
}

function momentOf({ summary }) {
  return (summary.time && attempt(() => new Date(1000 * summary.time).toISOString())) || "";
}

/** The runs by a column. Without a best one, the better one first. */
function sorted(columns) {
  const column = columns.find(({ key }) => key === state.key) ?? columns[1];
  const order = (a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    const found = typeof x === "string" ? natural(x, String(y)) : x < y ? -1 : Number(x > y);
    return (state.isReversed ? -found : found) || natural(a.name, b.name);
  };
  return state.runs.toSorted(order);
}

function sortBy(key) {
  if (!key) return;
  state.isReversed = key === state.key && !state.isReversed;
  state.key = key;
  show();
}

function show() {
  const { runs } = state;
  parts.title.textContent = `${runs.length} runs compared`;
  if (!runs.length) {
    parts.table.tBodies[0].replaceChildren();
    return;
  }
  const { short } = shortened(runs.map((run) => run.name));
  const columns = columnsOf(runs);
  const shown = columns.filter(({ isOnlyInFile }) => !isOnlyInFile);
  const head = parts.table.tHead.rows[0];
  syncChildren(head, shown, ({ key, title }) => `${key} ${title}`, heading);
  for (const cell of head.cells) {
    const isSorted = cell.dataset.column === state.key;
    cell.ariaSort = isSorted ? (state.isReversed ? "descending" : "ascending") : null;
  }
  const rows = sorted(columns).map((run) => ({
    run,
    key: JSON.stringify([shown.map((column) => [column.key, column.text(run)]), state.colorOf(run.name), short(run.name), run.counts]),
  }));
  syncChildren(parts.table.tBodies[0], rows, ({ key }) => key, ({ run }) => row(run, shown, short));
  parts.refreshStops();
}

function heading({ key, title, isNumber }) {
  const button = make("button", { type: "button", title: `Sort by ${title}` }, title);
  return make("th", { scope: "col", className: isNumber ? "number" : "", data: { column: key } }, button);
}

function valueOf(text, isUndone) {
  return [text ?? "–", ...(isUndone ? [make("span", { className: "note" }, " rolled back")] : [])];
}

function row(run, columns, short) {
  const contents = {
    run: () => {
      const swatch = make("span", { className: "swatch" });
      paint(swatch, state.colorOf(run.name));
      const button = make("button", { type: "button", title: `Show ${run.name} alone` }, short(run.name));
      return [make("span", { className: "label" }, swatch, button)];
    },
    status: () => [statusBadge(run)],
    decisions: () => [make("span", { title: countsIn(run) }, decisionsOf(run) || "…")],
    best: () => valueOf(run.summary.best, run.summary.is_best_undone),
    last: () => valueOf(run.summary.last, run.summary.is_undone),
    time: () => [timeOf(run.summary, "short")],
  };
  const cells = columns.map(({ key, text, isNumber }) =>
    make("td", { className: isNumber ? "number" : "" }, ...(contents[key]?.() ?? [text(run) || "–"])),
  );
  return make("tr", { className: "summary", data: { run: run.name } }, ...cells);
}

function countsIn({ counts }) {
  return Object.entries(counts ?? {}).map(([kind, count]) => `${kind} ×${count}`).join(", ");
}

// --- the file --------------------------------------------------------------------------------------------------------

/** The table as CSV, as RFC 4180 has it. */
export function csvOf(runs, columns) {
  const lines = [columns.map(({ title }) => title), ...runs.map((run) => columns.map((column) => column.text(run)))];
  return lines.map((cells) => `${cells.map(quoted).join(",")}\r\n`).join("");
}

/** A cell. What a spreadsheet would take for a formula becomes a text; a negative number is none. */
function quoted(text) {
  const isFormula = /^[=+\-@\t\r]/.test(text) && !Number.isFinite(Number(text));
  const plain = isFormula ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function download() {
  const columns = columnsOf(state.runs);
  // With a mark at its beginning spreadsheets take it for UTF-8.
  const file = new Blob(["\ufeff", csvOf(sorted(columns), columns)], { type: "text/csv" });
  const href = URL.createObjectURL(file);
  make("a", { href, download: "lr_plateau.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}
