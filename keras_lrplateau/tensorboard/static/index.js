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
 *     &p.lr_plateau.smoothing=0.6            up to 0.99; left out for 0
 *     &p.lr_plateau.order=best               the order of the list: or time, status; left out for name
 *     &p.lr_plateau.group=factor             how the list is grouped: by a setting, or by nothing
 *     &p.lr_plateau.whatif={"patience":"5"}  the panel "What if …" is open, with these settings; a JSON object
 *
 * Names of runs, tags and reasons come from the user's files and may hold anything: they reach the page as text only.
 */

import { ask, attempt, choice, copy, countsOf, loadPlotly, make, meaningOf, plot, showAll } from "./common.js";
import { statusBadge, timeOf, Trouble } from "./common.js";
import { comparisonTable, showComparison } from "./comparison.js";
import { decisionTable, markZoomed, resetDecisions, showDecisions, zoomedRow } from "./decisions.js";
import { borrowFonts, connect, followAddress, followTheme, isInFront, linkWith, writeAddress } from "./host.js";
import { applyArrangement, arrangement, groupNumbers, namesInOrder, revealSelected, runList, showRuns } from "./runs.js";
import { applyWhatIfLink, showWhatIf, whatIfLink, whatIfPanel } from "./whatif.js";

/** Milliseconds between two looks at the server, and from the last move of the slider to one. */
const PERIOD = 5000;
const DELAY = 150;

/** As much as TensorBoard smooths. */
const MOST_SMOOTHING = 0.99;

const AXES = { epoch: "Epoch", step: "Optimizer step", time: "Wall time" };
const SCALES = { auto: "Auto", linear: "Linear", log: "Log" };

const state = {
  /** As the server lists them; null until it has. */
  runs: null,
  /** The server's message if there are none, and how many it draws in one figure. */
  message: null,
  most: Infinity,
  /** The names of the runs to show, in the order in which they were chosen; there may be no such runs (yet). */
  selected: [],
  axis: "epoch",
  scale: "auto",
  smoothing: 0,
  /** Whether the runs were chosen, by the user or by a link. */
  isChosen: false,
  /** What is in sight of each axis that was zoomed, by the axis' name. */
  zoom: {},
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
  followTheme(() => refresh({ isOnlyFigure: true }));
  // Whoever draws first waits for it.
  loadPlotly();
  connect(poll);
  followAddress(linkTexts, applyLink, (link) => {
    applyLink(link);
    select(state.selected);
    revealSelected();
  });
  await refresh();
  setInterval(poll, PERIOD);
  document.addEventListener("visibilitychange", onMaybeShown);
  window.addEventListener("resize", onMaybeShown);
  // The list can be made wider; plotly only listens to the window.
  new ResizeObserver(() => window.dispatchEvent(new Event("resize"))).observe(page.main);
}

// --- the page --------------------------------------------------------------------------------------------------------

function build() {
  document.body.append(
    make("a", { id: "skip", href: "#main", onclick: skipList }, "Skip the list of runs"),
    runList({ onSelect: select, onArrange: onArrange }),
    make(
      "main",
      { id: "main", tabIndex: -1, aria: { busy: "true" } },
      make(
        "header",
        { id: "controls" },
        choice("axis", "Horizontal axis", AXES, choose),
        choice("scale", "Loss scale", SCALES, choose),
        slider(),
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
        whatIfPanel(() => writeAddress(linkTexts())),
        comparisonTable((name) => select([name])),
        decisionTable(onRow),
      ),
    ),
  );
  page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
}

function slider() {
  const input = make("input", {
    type: "range",
    min: 0,
    max: MOST_SMOOTHING,
    step: 0.01,
    oninput: () => {
      state.smoothing = input.valueAsNumber;
      showChoices();
      clearTimeout(timer);
      timer = setTimeout(onChoice, DELAY);
    },
  });
  return make("label", { id: "smoothing" }, make("span", {}, "Smoothing"), input, make("output", {}));
}

let timer;

function showChoices() {
  for (const name of ["axis", "scale"]) page[name].querySelector(`[value=${state[name]}]`).checked = true;
  const [, input, output] = page.smoothing.children;
  input.value = state.smoothing;
  output.textContent = state.smoothing.toFixed(2);
}

/** From the link before the list, which by itself would only change the address. */
function skipList(event) {
  event.preventDefault();
  page.main.focus();
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
    const names = drawnRuns();
    const before = latest.figure;
    if (names.length) await takeFigure(await ask(figureAddress(names), mine.signal), mine.signal);
    else say(state.message ?? (missingText() || "Select a run on the left."));
    notice(names.length ? [missingText(), leftOutText()].filter(Boolean).join(" ") : "");
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
      // The server reads on with each request.
      if (isComparing() && comparedRuns().some(({ counts }) => !counts)) setTimeout(poll, PERIOD / 10);
    }
  }
}

function poll() {
  if (isInFront() && !underWay) refresh();
}

let wasInFront = false;

function onMaybeShown() {
  const isNow = isInFront();
  if (isNow && !wasInFront) poll();
  wasInFront = isNow;
}

function figureAddress(names) {
  const runs = names.map((name) => ["run", name]);
  const colors = colorNumbers(names).map((number) => ["color", number]);
  return `figure?${new URLSearchParams([...runs, ...colors, ...Object.entries(view())])}`;
}

/** How figures are to be drawn. */
function view() {
  const theme = document.body.classList.contains("dark") ? "dark" : "light";
  const { axis, scale, smoothing } = state;
  return { axis, scale, theme, ...(smoothing && { smoothing }) };
}

function loadStyle() {
  return new Promise((resolve) => {
    document.head.append(make("link", { rel: "stylesheet", href: "style.css", onload: resolve, onerror: resolve }));
  });
}

// --- what is selected ------------------------------------------------------------------------------------------------

function takeRuns(text) {
  if (text === latest.runs) return;
  Object.assign(state, JSON.parse(text));
  const { runs } = state;
  if (!state.isChosen && !state.selected.length && runs.length) {
    const heardOf = (run) => run.summary?.time ?? 0;
    state.selected = [runs.reduce((newest, run) => (heardOf(run) > heardOf(newest) ? run : newest)).name];
  }
  showList();
  if (isComparing()) showComparison(comparedRuns(), colorOf);
  if (!latest.runs) revealSelected();
  latest.runs = text;
}

/** The names of the selected runs that there are. */
function presentRuns() {
  const names = new Set(state.runs.map((run) => run.name));
  return state.selected.filter((name) => names.has(name));
}

/** Those that the figure shows: if there are too many for it, the first ones in the order of the list. */
function drawnRuns() {
  const present = presentRuns();
  if (present.length <= state.most) return present;
  const chosen = new Set(present);
  return namesInOrder()
    .filter((name) => chosen.has(name))
    .slice(0, state.most);
}

/** Those that the table compares, as the server lists them. */
function comparedRuns() {
  const chosen = new Set(state.selected);
  return state.runs.filter((run) => chosen.has(run.name) && run.summary);
}

function leftOutText() {
  const [shown, chosen] = [drawnRuns().length, presentRuns().length];
  return shown === chosen
    ? ""
    : `The figure shows ${shown} of ${chosen} runs, the first in the order of the list; the table has all of them.`;
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
  state.zoom = {};
  resetDecisions();
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

/** The colors go with the groups, and which runs are drawn goes with the order. */
function onArrange() {
  onChoice();
}

function onChoice() {
  writeAddress(linkTexts());
  page.main.ariaBusy = "true";
  refresh({ isOnlyFigure: true });
}

// --- colors ----------------------------------------------------------------------------------------------------------

/** The numbers of the colors of the runs in the figure, by name: they stay while other runs come and go. */
const numbers = new Map();

function colorNumbers(names) {
  const byGroup = groupNumbers();
  if (byGroup) return names.map((name) => byGroup.get(name));
  for (const name of numbers.keys()) if (!names.includes(name)) numbers.delete(name);
  const taken = new Set(numbers.values());
  let next = 0;
  for (const name of names) {
    if (numbers.has(name)) continue;
    while (taken.has(next)) next += 1;
    taken.add(next);
    numbers.set(name, next);
  }
  return names.map((name) => numbers.get(name));
}

function showList() {
  if (state.runs) showRuns(state.runs, state.selected, colorOf);
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
    showDecisions(latest.answer, colorOf);
    showZoom();
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
  if (zoomedRow()) state.zoom = zoomFor(zoomedRow());
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
  markZoomed(null);
  showZoom();
}

function showZoom() {
  page.reset.hidden = !Object.keys(state.zoom).length;
}

async function resetZoom() {
  await showAll(page.figure, latest.answer.figure, Object.keys(state.zoom));
}

/** A row was chosen: zoom to it, or back if that was done before. */
function onRow(row) {
  if (!page.figure.on) return;
  if (row === zoomedRow()) resetZoom();
  else zoomTo(row);
}

async function zoomTo(row) {
  const changes = Object.entries(zoomFor(row)).map(([axis, range]) => [`${axis}.range`, range]);
  await (await loadPlotly()).relayout(page.figure, Object.fromEntries(changes));
  markZoomed(row.key);
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
  page.comparison.hidden = !isComparing();
  page.summaries.replaceChildren(
    ...errors.map((error) => make("p", { className: "error" }, error)),
    ...(isComparing() ? [] : runs.map(card)),
  );
  showComparison(isComparing() ? comparedRuns() : [], colorOf);
}

/** What there is to say of one run. */
function card({ name, summary, counts }) {
  const { monitor, best, best_at, is_best_undone, last, is_undone, quantity, rate, epochs, steps } = summary;
  const bestNote = `epoch ${best_at}${is_best_undone ? ", rolled back" : ""}`;
  const facts = [
    [`Best ${monitor}`, best ?? "–", best === null ? "" : bestNote],
    [`Last ${monitor}`, last ?? "–", is_undone ? "of weights that were rolled back" : ""],
    ["Learning rate", rate ?? "–", quantity === "learning rate" ? "" : `decisions: ${quantity}`],
    ["Epochs", epochs.toLocaleString(), `${steps.toLocaleString()} optimizer step${steps === 1 ? "" : "s"}`],
    ["Decisions", countsOf(counts, latest.answer.figure), ""],
  ];
  return make(
    "article",
    { className: "summary", data: { run: name } },
    make("h1", {}, name),
    statusBadge({ error: null, summary }),
    make("span", { className: "note" }, meaningOf(summary)),
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

// --- the link --------------------------------------------------------------------------------------------------------

function applyLink({ run, runs, axis, scale, smoothing, whatif, ...others }) {
  const names = attempt(() => JSON.parse(runs).map(String)) ?? (run === undefined ? null : [run]);
  if (names) Object.assign(state, { selected: [...new Set(names)], isChosen: true });
  state.axis = Object.hasOwn(AXES, axis) ? axis : "epoch";
  state.scale = Object.hasOwn(SCALES, scale) ? scale : "auto";
  state.smoothing = Math.min(Math.max(Number(smoothing) || 0, 0), MOST_SMOOTHING);
  showChoices();
  applyArrangement(others);
  applyWhatIfLink(whatif);
}

/** What a link to what is shown now has to say, by key. */
function linkTexts() {
  const { selected, axis, scale, smoothing } = state;
  return {
    ...(selected.length === 1 ? { run: selected[0] } : { runs: JSON.stringify(selected) }),
    ...(axis === "epoch" ? {} : { axis }),
    ...(scale === "auto" ? {} : { scale }),
    ...(smoothing && { smoothing }),
    ...arrangement(),
    ...(whatIfLink() && { whatif: whatIfLink() }),
  };
}

async function copyLink() {
  let text = "Copied";
  try {
    await copy(linkWith(linkTexts()));
  } catch {
    text = "Cannot copy";
  }
  page.copy.textContent = text;
  setTimeout(() => (page.copy.textContent = "Copy link"), 2000);
}
