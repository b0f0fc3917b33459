/**
 * The LR Plateau tab, on the browser's side; ../plugin.py is the server's, and says what its answers hold.
 *
 * TensorBoard opens an empty page in a frame, imports this module and calls `render`. All addresses are relative, since
 * TensorBoard may be served below a path.
 *
 * A link to the tab says what to show, after TensorBoard's own `#lr_plateau`. Values are percent-encoded:
 *
 *     &p.lr_plateau.run=run1%2Flr_plateau    one run
 *     &p.lr_plateau.runs=["a","b"]           several, as a JSON array
 *     &p.lr_plateau.axis=step                or time; left out for epoch
 *     &p.lr_plateau.scale=log                or linear; left out for auto
 *     &p.lr_plateau.whatif={"patience":"5"}  the panel "What if …" is open, with these settings; a JSON object
 *
 * Names of runs, tags and reasons come from the user's files and may hold anything: they reach the page as text only.
 */

import { ask, attempt, choice, copy, countsOf, loadPlotly, make, plot, showAll } from "./common.js";
import { symbolOf, syncChildren, table, Trouble } from "./common.js";
import { applyWhatIfLink, showWhatIf, whatIfLink, whatIfPanel } from "./whatif.js";

const PLUGIN = "lr_plateau";

/** Milliseconds between two looks at the server. */
const PERIOD = 5000;

/** The server draws no more runs in one figure. */
const MOST_COMPARED = 20;

/** Further rows of the table are shown on demand: they cost time, and the latest ones matter most. */
const FEW_ROWS = 200;

const AXES = { epoch: "Epoch", step: "Optimizer step", time: "Wall time" };
const SCALES = { auto: "Auto", linear: "Linear", log: "Log" };

const STATUSES = {
  searching: "trying out first rates",
  holding: "no raise or restart under way",
  "in excursion": "trying a raised rate",
  "in restart": "trying again from the first weights",
  annealing: "the rate goes down towards the end of training",
  exhausted: "no raise is left to try",
};

const state = {
  /** As the server lists them; null until it has. */
  runs: null,
  /** The server's message if there are none. */
  message: null,
  /** The names of the runs to show, in the order in which they were chosen; there may be no such runs (yet). */
  selected: [],
  axis: "epoch",
  scale: "auto",
  /** Whether the runs were chosen, by the user or by a link. */
  isChosen: false,
  /** What is in sight of each axis that was zoomed, by the axis' name. */
  zoom: {},
  /** The key of the row that was zoomed to. */
  row: null,
  showsAllRows: false,
};

/** What the server answered last: the texts, to see whether anything is new, and the figure with the runs in it. */
const latest = { runs: "", figure: "", answer: null };

/** The elements that have an id, by id. */
let page;

export async function render() {
  document.documentElement.lang = "en";
  document.title = "LR Plateau";
  borrowFonts();
  await loadStyle();
  build();
  followTheme();
  // Whoever draws first waits for it.
  loadPlotly();
  connect();
  followAddress();
  await refresh();
  setInterval(poll, PERIOD);
  document.addEventListener("visibilitychange", onMaybeShown);
  window.addEventListener("resize", onMaybeShown);
}

// --- the page --------------------------------------------------------------------------------------------------------

function build() {
  document.body.append(
    make(
      "nav",
      { id: "sidebar", aria: { label: "Runs" } },
      make("input", {
        id: "filter",
        type: "search",
        placeholder: "Filter runs (regex)",
        spellcheck: false,
        autocomplete: "off",
        oninput: showList,
        aria: { label: "Filter runs (regular expression)" },
      }),
      make("p", { id: "count", role: "status" }),
      make("ul", { id: "list", onclick: onListClick }),
    ),
    make(
      "main",
      { id: "main", aria: { busy: "true" } },
      make(
        "header",
        { id: "controls" },
        choice("axis", "Horizontal axis", AXES, choose),
        choice("scale", "Loss scale", SCALES, choose),
        make("button", { id: "reset", type: "button", hidden: true, onclick: resetZoom }, "Reset zoom"),
        make("button", { id: "copy", type: "button", onclick: copyLink, aria: { live: "polite" } }, "Copy link"),
      ),
      make("p", { id: "notice", role: "status", hidden: true }),
      make("p", { id: "message", role: "status" }, "Loading …"),
      make(
        "div",
        { id: "content", hidden: true },
        make("section", { id: "summaries", aria: { label: "Summary" } }),
        make("div", { id: "stage" }, make("div", { id: "figure" })),
        whatIfPanel(writeAddress),
        make(
          "section",
          { id: "decisions", onclick: onRowClick, aria: { label: "Decisions" } },
          table([]),
          make("p", { id: "none", hidden: true }, "No decision yet."),
          make("button", { id: "more", type: "button", hidden: true, onclick: showAllRows }),
          make("p", { id: "rest", className: "note", hidden: true }),
        ),
      ),
    ),
  );
  page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
}

function showChoices() {
  for (const name of ["axis", "scale"]) page[name].querySelector(`[value=${state[name]}]`).checked = true;
}

/** Show a text instead of all that belongs to runs; if it is empty, these again. */
function say(text) {
  page.message.textContent = text;
  page.message.hidden = !text;
  page.content.hidden = Boolean(text);
}

/** Show a line of text above everything else; none if it is empty. */
function notice(text) {
  page.notice.textContent = text;
  page.notice.hidden = !text;
}

// --- the server ------------------------------------------------------------------------------------------------------

/** What stops the request that is under way; null if there is none. */
let underWay = null;

/**
 * Ask the server, and show what is new. A request that is still under way is given up: there is one at a time, and
 * no answer can come too late.
 */
async function refresh({ isOnlyFigure = false } = {}) {
  underWay?.abort();
  const mine = (underWay = new AbortController());
  try {
    if (!isOnlyFigure || !state.runs) takeRuns(await ask("runs", mine.signal));
    const names = presentRuns();
    const before = latest.figure;
    if (names.length) await takeFigure(await ask(figureAddress(names), mine.signal), mine.signal);
    else say(state.message ?? (missingText() || "Select a run on the left."));
    notice(names.length ? missingText() : "");
    const isOne = names.length === 1 && latest.answer.runs.length === 1;
    showWhatIf(isOne ? { run: names[0], ...view() } : null, latest.figure !== before);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Trouble)) console.error(error);
    if (page.content.hidden) say(error.message);
    else notice(error.message);
  } finally {
    if (underWay === mine) {
      underWay = null;
      page.main.ariaBusy = "false";
    }
  }
}

function poll() {
  if (isInFront() && !underWay) refresh();
}

/** TensorBoard hides the frame of a tab that is not in front; it then has no height. */
function isInFront() {
  return !document.hidden && window.innerHeight > 0;
}

let wasInFront = false;

function onMaybeShown() {
  const isNow = isInFront();
  if (isNow && !wasInFront) poll();
  wasInFront = isNow;
}

function figureAddress(names) {
  return `figure?${new URLSearchParams([...names.map((name) => ["run", name]), ...Object.entries(view())])}`;
}

/** How figures are to be drawn. */
function view() {
  const theme = document.body.classList.contains("dark") ? "dark" : "light";
  return { axis: state.axis, scale: state.scale, theme };
}

function loadStyle() {
  return new Promise((resolve) => {
    document.head.append(make("link", { rel: "stylesheet", href: "style.css", onload: resolve, onerror: resolve }));
  });
}

// --- what is selected ------------------------------------------------------------------------------------------------

function takeRuns(text) {
  if (text === latest.runs) return;
  const { runs, message } = JSON.parse(text);
  const { compare } = new Intl.Collator(undefined, { numeric: true });
  state.runs = runs.sort((a, b) => compare(a.group, b.group) || compare(a.label, b.label));
  state.message = message;
  if (!state.isChosen && !state.selected.length && runs.length) {
    const heardOf = (run) => run.summary?.time ?? 0;
    state.selected = [runs.reduce((newest, run) => (heardOf(run) > heardOf(newest) ? run : newest)).name];
  }
  showList();
  if (!latest.runs) revealSelected();
  latest.runs = text;
}

/** Scroll the list to what a link has selected. */
function revealSelected() {
  page.list.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
}

/** The names of the selected runs that there are. */
function presentRuns() {
  const names = new Set(state.runs.map((run) => run.name));
  return state.selected.filter((name) => names.has(name));
}

function missingText() {
  const present = presentRuns();
  const missing = state.selected.filter((name) => !present.includes(name));
  if (!missing.length) return "";
  return `No data of AdaptLROnPlateau (yet) in the run ${missing.join(", ")}. It is shown as soon as there is some.`;
}

function select(names) {
  state.selected = names;
  state.isChosen = true;
  state.showsAllRows = false;
  state.zoom = {};
  state.row = null;
  page.content.scrollTop = 0;
  showZoom();
  showList();
  onChoice();
}

function choose(name, value) {
  state[name] = value;
  // The zoom in the old unit is gone; a row is zoomed to again.
  delete state.zoom[name === "axis" ? "xaxis" : "yaxis"];
  onChoice();
}

function onChoice() {
  writeAddress();
  page.main.ariaBusy = "true";
  refresh({ isOnlyFigure: true });
}

// --- the list of runs ------------------------------------------------------------------------------------------------

function onListClick({ target }) {
  const name = target.closest(".run")?.dataset.run;
  if (target.matches("input")) {
    const others = presentRuns().filter((other) => other !== name);
    select(target.checked ? [...others, name] : others);
  } else if (target.closest("button")) {
    select([name]);
  }
}

function showList() {
  if (!state.runs) return;
  const matches = matcher(page.filter.value.trim());
  const found = new Map(state.runs.filter((run) => matches(run.name)).map((run) => [run.name, run]));
  const sizes = new Map();
  for (const { group } of state.runs) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  const items = [];
  for (const run of found.values()) {
    const isMember = sizes.get(run.group) > 1;
    if (isMember && items.at(-1)?.group !== run.group) items.push({ key: `group ${run.group}`, group: run.group });
    items.push({ key: `run ${isMember} ${run.name}`, group: run.group, run, isMember });
  }
  syncChildren(page.list, items, (item) => item.key, listed);
  const isFull = state.selected.length >= MOST_COMPARED;
  for (const item of page.list.querySelectorAll(".run")) updateListed(item, found.get(item.dataset.run), isFull);
  const isFiltered = found.size < state.runs.length;
  page.count.textContent = [
    isFiltered && (found.size ? `${found.size} of ${state.runs.length} runs.` : "No run matches."),
    isFull && `No more than ${MOST_COMPARED} runs can be compared.`,
  ]
    .filter(Boolean)
    .join(" ");
}

/** A test whether a name matches: by a regular expression, or, if the text is none, by the text as it is. */
function matcher(text) {
  const pattern = attempt(() => new RegExp(text, "i"));
  return (name) => (pattern ? pattern.test(name) : name.toLowerCase().includes(text.toLowerCase()));
}

function listed({ group, run, isMember }) {
  if (!run) return make("li", { className: "group", title: group }, group);
  return make(
    "li",
    { className: isMember ? "run member" : "run", data: { run: run.name } },
    make("input", { type: "checkbox", title: "Compare", aria: { label: `Compare ${run.name}` } }),
    make(
      "button",
      { type: "button", title: run.name },
      make("span", { className: "name" }, isMember ? run.label : group),
      make("span", { className: "swatch" }),
      make("span", { className: "badge" }),
      make("span", { className: "best" }),
    ),
  );
}

function updateListed(item, run, isFull) {
  const [checkbox, button] = item.children;
  const [, swatch, badge, best] = button.children;
  const isSelected = state.selected.includes(run.name);
  checkbox.checked = isSelected;
  checkbox.disabled = isFull && !isSelected;
  button.ariaPressed = isSelected;
  paint(swatch, isSelected ? colorOf(run.name) : null);
  setStatus(badge, run);
  best.textContent = run.summary?.best ?? "";
  best.title = run.summary?.best ? `Best ${run.summary.monitor}` : "";
}

function setStatus(badge, { error, summary }) {
  badge.textContent = badge.dataset.status = error ? "unreadable" : summary.status;
  badge.title = error ?? STATUSES[summary.status] ?? "";
}

function paint(swatch, color) {
  swatch.hidden = !color;
  swatch.style.backgroundColor = color ?? "";
}

/** The color of a run in the figure; null unless it is one of several there. */
function colorOf(name) {
  return (isComparing() && latest.answer.runs.find((run) => run.name === name)?.color) || null;
}

/** Whether the figure shows several runs. */
function isComparing() {
  return latest.answer?.runs.length > 1;
}

// --- the figure ------------------------------------------------------------------------------------------------------

async function takeFigure(text, signal) {
  if (text === latest.figure && !page.content.hidden) return;
  const { figure, runs } = JSON.parse(text);
  const errors = runs.filter((run) => run.error).map((run) => run.error);
  latest.answer = { figure, runs: runs.filter((run) => !run.error) };
  showList();
  if (latest.answer.runs.length) {
    say("");
    showSummaries(errors);
    showRows();
    await draw(signal);
  } else {
    say(errors.join("\n"));
  }
  // Not before: if this is given up half-way, it has to be done again.
  latest.figure = text;
}

async function draw(signal) {
  const { figure } = page;
  const isFirst = !figure.on;
  const isDrawn = await plot(figure, latest.answer.figure, { signal, adapt: adaptFigure });
  if (!isDrawn) return;
  if (isFirst) figure.on("plotly_relayout", keepZoom).on("plotly_doubleclick", resetZoom);
  showZoom();
}

function adaptFigure(data, layout) {
  // Of several runs the list and the summaries show the colors; their names would take the room of the lines.
  if (isComparing()) for (const trace of data) if (trace.mode !== "markers") trace.showlegend = false;
  // By itself, plotly keeps what was zoomed by hand, but not what we zoomed for a row of the table.
  if (rows.has(state.row)) state.zoom = zoomFor(rows.get(state.row));
  for (const [axis, range] of Object.entries(state.zoom)) {
    if (layout[axis]) Object.assign(layout[axis], { range: [...range], autorange: false });
  }
}

/** Remember what was zoomed; plotly says what has changed by keys such as "xaxis.range[0]". */
function keepZoom(changes) {
  for (const axis of new Set(Object.keys(changes).map((key) => /^[xy]axis\d*/.exec(key)?.[0]))) {
    if (!axis) continue;
    const { range, autorange } = page.figure.layout[axis];
    const served = latest.answer.figure.layout[axis].range;
    if (served ? String(range) === String(served) : autorange) delete state.zoom[axis];
    else state.zoom[axis] = [...range];
  }
  state.row = null;
  showZoom();
}

function showZoom() {
  page.reset.hidden = !Object.keys(state.zoom).length;
  for (const row of page.decisions.querySelectorAll("tbody tr")) {
    row.querySelector("button").ariaPressed = row.dataset.key === state.row;
  }
}

async function resetZoom() {
  await showAll(page.figure, latest.answer.figure, Object.keys(state.zoom));
}

async function zoomTo(key) {
  const changes = Object.entries(zoomFor(rows.get(key))).map(([axis, range]) => [`${axis}.range`, range]);
  await (await loadPlotly()).relayout(page.figure, Object.fromEntries(changes));
  state.row = key;
  showZoom();
  page.stage.scrollIntoView({ block: "nearest" });
}

/** What to see of a row; upwards, too, as the lines there may be flat beside those of the first epochs. */
function zoomFor({ range }) {
  const zoom = { xaxis: [...range] };
  for (const axis of ["yaxis", "yaxis2", "yaxis3"]) {
    const heights = heightsWithin(axis, range);
    if (heights) zoom[axis] = heights;
  }
  return zoom;
}

/** The range of an axis that shows all lines between two ends; null if there are none. */
function heightsWithin(axis, [left, right]) {
  const { data, layout } = latest.answer.figure;
  if (!layout[axis]) return null;
  const isLog = layout[axis].type === "log";
  const [lowest, highest] = layout[axis].range ?? [-Infinity, Infinity];
  const heights = data
    .filter((trace) => trace.yaxis === axis.replace("axis", "") && trace.mode !== "markers")
    .flatMap(({ x, y, line }) => {
      // A step goes on until the next one.
      const end = (index) => (line.shape === "hv" && index + 1 < x.length ? x[index + 1] : x[index]);
      return y.filter((value, index) => value !== null && left <= end(index) && x[index] <= right);
    })
    .map((value) => (isLog ? Math.log10(value) : value))
    // What the server leaves out of sight stays out of it.
    .filter((height) => lowest <= height && height <= highest);
  if (!heights.length) return null;
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  const margin = 0.1 * (high - low) || 0.5;
  return [low - margin, high + margin];
}

// --- summaries -------------------------------------------------------------------------------------------------------

function showSummaries(errors) {
  const { runs } = latest.answer;
  page.content.classList.toggle("comparing", isComparing());
  page.summaries.replaceChildren(
    ...errors.map((error) => make("p", { className: "error" }, error)),
    ...(isComparing() ? [comparison(runs)] : runs.map(card)),
  );
}

/** What there is to say of one run. */
function card({ name, summary, counts }) {
  const { monitor, best, best_at, last, quantity, rate, epochs, steps } = summary;
  const facts = [
    [`Best ${monitor}`, best ?? "–", best === null ? "" : `epoch ${best_at}`],
    [`Last ${monitor}`, last ?? "–", ""],
    ["Learning rate", rate ?? "–", quantity === "learning rate" ? "" : `decisions: ${quantity}`],
    ["Epochs", epochs.toLocaleString(), `${steps.toLocaleString()} optimizer steps`],
    ["Decisions", countsOf(counts, latest.answer.figure), ""],
  ];
  return make(
    "article",
    { className: "summary", data: { run: name } },
    make("h1", {}, name),
    statusBadge(summary),
    make("span", { className: "note" }, STATUSES[summary.status] ?? ""),
    make("span", { className: "updated note" }, ...(summary.time ? ["Updated ", timeOf(summary, "medium")] : [])),
    make(
      "dl",
      {},
      ...facts.map(([term, value, note]) =>
        make("div", {}, make("dt", {}, term), make("dd", {}, value), make("dd", { className: "note" }, note)),
      ),
    ),
  );
}

/** The same of several runs, a row each. */
function comparison(runs) {
  const heads = ["Run", "Status", "Metric", "Best", "Epoch", "Last", "Rate", "Epochs", "Decisions", "Updated"];
  return table(
    heads,
    runs.map(({ name, summary, counts }) => {
      const { monitor, best, best_at, last, rate, epochs } = summary;
      const texts = [monitor, best ?? "–", best_at ?? "–", last ?? "–", rate ?? "–", epochs.toLocaleString()];
      return make(
        "tr",
        { className: "summary", data: { run: name } },
        make("td", {}, runLabel(name)),
        make("td", {}, statusBadge(summary)),
        ...texts.map((text) => make("td", {}, text)),
        make("td", {}, countsOf(counts, latest.answer.figure)),
        make("td", {}, timeOf(summary, "short")),
      );
    }),
  );
}

function statusBadge(summary) {
  const badge = make("span", { className: "badge" });
  setStatus(badge, { error: null, summary });
  return badge;
}

function runLabel(name) {
  const swatch = make("span", { className: "swatch" });
  paint(swatch, colorOf(name));
  return make("span", { className: "label", title: name }, swatch, make("span", {}, name));
}

function timeOf({ time }, style) {
  if (!time) return "–";
  const date = new Date(1000 * time);
  const text = date.toLocaleString(undefined, { dateStyle: style, timeStyle: style });
  return make("time", { dateTime: date.toISOString() }, text);
}

// --- the table of decisions ------------------------------------------------------------------------------------------

/** The rows in the table, by key. */
const rows = new Map();

function showRows() {
  const { runs } = latest.answer;
  const { quantity, monitor } = isComparing() ? { quantity: "rate", monitor: "Metric" } : runs[0].summary;
  const rate = quantity[0].toUpperCase() + quantity.slice(1);
  const heads = ["Epoch", "Decision", ...(isComparing() ? ["Run"] : []), rate, monitor, "Best", "Reason"];
  const all = runs
    .flatMap((run) => run.rows.map((row, index) => keyed(run, row, index)).reverse())
    .sort((a, b) => b.epoch - a.epoch);
  const few = state.showsAllRows ? all : all.slice(0, FEW_ROWS);
  rows.clear();
  for (const row of few) rows.set(row.key, row);
  const [shownTable] = page.decisions.getElementsByTagName("table");
  shownTable.hidden = !all.length;
  shownTable.tHead.replaceWith(table(heads).tHead);
  syncChildren(shownTable.tBodies[0], few, (row) => row.key, decisionRow);
  page.none.hidden = all.length > 0;
  page.more.hidden = few.length === all.length;
  const decided = runs.flatMap(({ counts }) => Object.values(counts)).reduce((sum, count) => sum + count, 0);
  const isAll = decided === all.length;
  page.more.textContent = `Show ${isAll ? "all" : "the latest"} ${all.length.toLocaleString()} decisions`;
  page.rest.hidden = isAll;
  page.rest.textContent =
    `Of ${decided.toLocaleString()} decisions, the latest ${all.length.toLocaleString()} are listed; ` +
    "keras-lrplateau report lists all of them.";
}

/** A row with a key that says all that it shows. Where to zoom to is not in it, and changes as training goes on. */
function keyed({ name, color }, row, index) {
  const { range, ...content } = row;
  return { ...row, run: name, key: JSON.stringify([isComparing() && color, name, index, content]) };
}

function decisionRow({ kind, epoch, run, rate_before, rate, value, best, reason }) {
  const rates = rate === rate_before ? rate : `${rate_before} → ${rate}`;
  const button = make(
    "button",
    { type: "button", className: "kind", title: "Zoom to it" },
    symbolOf(kind, latest.answer.figure),
    kind,
  );
  return make(
    "tr",
    { data: { kind, run, epoch } },
    make("td", {}, String(epoch)),
    make("td", {}, button),
    ...(isComparing() ? [make("td", {}, runLabel(run))] : []),
    ...[rates, value, best].map((text) => make("td", {}, text)),
    make("td", { className: "reason" }, reason),
  );
}

/** A click anywhere in a row, or a key on its button. */
function onRowClick({ target, detail }) {
  const key = target.closest("tbody tr")?.dataset.key;
  // Whoever marks text with the mouse, to copy it, does not want to zoom.
  if (!key || !page.figure.on || (detail && getSelection().type === "Range")) return;
  if (key === state.row) resetZoom();
  else zoomTo(key);
}

function showAllRows() {
  state.showsAllRows = true;
  showRows();
  showZoom();
}

// --- TensorBoard around us -------------------------------------------------------------------------------------------

/** Open the channel by which TensorBoard talks to the frames of plugins: JSON, and every message wants an answer. */
function connect() {
  const { port1: port, port2 } = new MessageChannel();
  port.onmessage = ({ data }) => {
    const { type, id, isReply } = JSON.parse(data);
    if (isReply) return;
    port.postMessage(JSON.stringify({ type, id, payload: null, error: null, isReply: true }));
    if (type === "experimental.DataReloaded") poll();
  };
  window.parent.postMessage("experimental.bootstrap", window.location.origin, [port2]);
}

/**
 * What the address says of us, by key. Read from the address itself: asked for it by "experimental.GetURLPluginData",
 * TensorBoard says what the address has changed to since the page was loaded, but not what it was then.
 */
function readLink() {
  const prefix = `p.${PLUGIN}.`;
  const link = {};
  for (const part of window.parent.location.hash.split("&")) {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(part) ?? [];
    if (key?.startsWith(prefix)) link[key.slice(prefix.length)] = attempt(() => decodeURIComponent(value)) ?? value;
  }
  return link;
}

function applyLink({ run, runs, axis, scale, whatif }) {
  const names = attempt(() => JSON.parse(runs).map(String)) ?? (run === undefined ? null : [run]);
  if (names) Object.assign(state, { selected: [...new Set(names)].slice(0, MOST_COMPARED), isChosen: true });
  state.axis = Object.hasOwn(AXES, axis) ? axis : "epoch";
  state.scale = Object.hasOwn(SCALES, scale) ? scale : "auto";
  showChoices();
  applyWhatIfLink(whatif);
}

/** The address of TensorBoard with what is shown now; what other tabs keep in it stays. */
function currentLink() {
  const { selected, axis, scale } = state;
  const ours = {
    ...(selected.length === 1 ? { run: selected[0] } : { runs: JSON.stringify(selected) }),
    ...(axis === "epoch" ? {} : { axis }),
    ...(scale === "auto" ? {} : { scale }),
    ...(whatIfLink() && { whatif: whatIfLink() }),
  };
  const prefix = `p.${PLUGIN}.`;
  const url = new URL(window.parent.location.href);
  const [, ...others] = url.hash.slice(1).split("&");
  url.hash = [
    PLUGIN,
    ...others.filter((part) => !part.startsWith(prefix)),
    ...Object.entries(ours).map(([key, value]) => `${prefix}${key}=${encodeURIComponent(value)}`),
  ].join("&");
  return url.href;
}

function isOurAddress() {
  return window.parent.location.hash.split("&")[0] === `#${PLUGIN}`;
}

/** Let the address bar, too, say what was chosen. Nothing depends on it. */
function writeAddress() {
  try {
    const { history, location } = window.parent;
    const link = currentLink();
    if (isInFront() && isOurAddress() && link !== location.href) history.replaceState(history.state, "", link);
  } catch {
    // Another page than TensorBoard's is around us.
  }
}

/** Show what the address says, now and when another link is opened while the tab is there, which changes only that. */
function followAddress() {
  try {
    applyLink(readLink());
    window.parent.addEventListener("hashchange", () => {
      const link = readLink();
      if (!isOurAddress() || !Object.keys(link).length || currentLink() === window.parent.location.href) return;
      applyLink(link);
      select(state.selected);
      revealSelected();
    });
  } catch {
    // As above.
    applyLink({});
  }
}

async function copyLink() {
  let text = "Copied";
  try {
    await copy(currentLink());
  } catch {
    text = "Cannot copy";
  }
  page.copy.textContent = text;
  setTimeout(() => (page.copy.textContent = "Copy link"), 2000);
}

/** Light or dark, as TensorBoard is now and whenever it changes. */
function followTheme() {
  const { body } = document;
  try {
    const host = window.parent.document.body;
    const follow = () => body.classList.toggle("dark", host.classList.contains("dark-mode"));
    follow();
    new MutationObserver(() => {
      const wasDark = body.classList.contains("dark");
      if (follow() !== wasDark && isInFront()) refresh({ isOnlyFigure: true });
    }).observe(host, { attributes: true, attributeFilter: ["class"] });
  } catch {
    // As above: light.
  }
}

/** TensorBoard's font, which its page has but a frame does not inherit. */
async function borrowFonts() {
  try {
    const host = window.parent;
    const fonts = await host.document.fonts.ready;
    // Below a path, TensorBoard looks for its own font in vain.
    if ([...fonts].some((font) => font.status === "error")) return;
    const absolute = (_, address) => `url("${new URL(address, host.document.baseURI)}")`;
    const rules = [...host.document.styleSheets]
      .flatMap((sheet) => [...sheet.cssRules])
      .filter((rule) => rule instanceof host.CSSFontFaceRule)
      .map((rule) => rule.cssText.replace(/url\("([^"]*)"\)/g, absolute));
    document.head.append(make("style", { textContent: rules.join("\n") }));
  } catch {
    // As above: the browser's own font.
  }
}
