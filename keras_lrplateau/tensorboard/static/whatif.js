/**
 * The panel "What if …": what other settings, or the other rule, would have decided in the run that is shown. The
 * server replays it, see ../whatif.py. It also says which settings there are, checks what the user enters, and knows the
 * run's own settings.
 */

import { ask, attempt, choice, copy, countsOf, make, plot, showAll } from "./common.js";
import { symbolOf, syncChildren, table, Trouble, UNANSWERED } from "./common.js";

/** Milliseconds after the last key until the server is asked. */
const DELAY = 200;

/** Nobody compares more rows. */
const FEW_ROWS = 200;

const RULES = { default: "Default", auto: "Auto" };

const state = {
  /** What the user asks for instead of what the run has: "rule", and settings, by name; all of them texts. */
  changes: {},
  /** The changes that the server has taken; a link has them. */
  taken: {},
  /** The arguments of a request for the run that is shown; null if that is not one run. */
  view: null,
  /** The last answer about it; null before the first. */
  answer: null,
  /** Whether the last request was not answered at all. */
  isUnanswered: false,
  /** Whether to bring the panel into sight as soon as it shows something. */
  isToBeSeen: false,
  /** What to call when a link would have to say something else. */
  onChange: () => {},
};

/** The parts of the panel, by name. */
let parts;

/** What stops the request that is under way; null if there is none. */
let underWay = null;

let timer;

export function whatIfPanel(onChange) {
  parts = {
    /** By name, each setting that an answer had. */
    fields: new Map(),
    fieldset: make("div", { className: "fields" }),
    rule: choice("rule", "Rule", RULES, change),
    error: make("p", { className: "error", role: "status", hidden: true }),
    result: make("div", { className: "result", hidden: true }),
    caveat: make("p", { className: "caveat", role: "status" }),
    figure: make("div", { id: "whatif-figure" }),
    call: make("code", {}),
    copy: make("button", { type: "button", onclick: copyCall, aria: { live: "polite" } }, "Copy call"),
    table: table([]),
    rest: make("p", { className: "note" }),
  };
  parts.result.append(
    parts.caveat,
    parts.figure,
    make("div", { className: "call" }, parts.call, parts.copy),
    // Scrolled by the keyboard, too.
    make(
      "div",
      { className: "compared", tabIndex: 0, role: "region", aria: { label: "Decisions compared" } },
      parts.table,
    ),
    parts.rest,
  );
  parts.panel = make(
    "details",
    { id: "whatif", ontoggle: onToggle, hidden: true },
    make(
      "summary",
      {},
      "What if … ",
      make("span", { className: "note" }, "What would other settings have decided?"),
    ),
    make(
      "div",
      { className: "panel" },
      make(
        "form",
        { onsubmit: (event) => event.preventDefault(), aria: { label: "Settings" } },
        parts.rule,
        parts.fieldset,
        parts.error,
        make("button", { type: "button", onclick: reset, title: "The run's own settings" }, "Reset"),
      ),
      parts.result,
    ),
  );
  state.onChange = onChange;
  return parts.panel;
}

/** A setting with its name, as the constructor has it. */
function field({ name, kind, choices, text, empty }) {
  if (kind === "choice") {
    const options = Object.fromEntries(Object.entries(choices).map(([word, value]) => [value, word]));
    return Object.assign(choice(name, name, options, change), { className: "field", title: text });
  }
  const input = make("input", {
    type: "number",
    name,
    step: kind === "integer" ? 1 : "any",
    placeholder: empty,
    oninput: () => change(name, input.value, DELAY),
    aria: { description: text },
  });
  return make("label", { className: "field", title: text }, make("span", {}, name), input);
}

/** Show the panel for a run, given by the arguments of a request; or hide it. */
export function showWhatIf(view, isNew) {
  if (view?.run !== state.view?.run) {
    // What is there is of another run.
    state.answer = null;
    parts.result.hidden = true;
  }
  state.view = view;
  parts.panel.hidden = !view;
  if (isNew || state.isUnanswered) request();
}

/** What a link says about the panel; null if nothing. */
export function whatIfLink() {
  return parts.panel.open ? JSON.stringify(state.taken) : null;
}

/** Show what a link says about the panel. */
export function applyWhatIfLink(text) {
  const found = attempt(() => Object.entries(JSON.parse(text)));
  state.changes = Object.fromEntries((found ?? []).map(([name, value]) => [name, String(value)]));
  state.taken = { ...state.changes };
  parts.panel.open = state.isToBeSeen = Boolean(found);
  request();
}

function onToggle() {
  state.isToBeSeen = parts.panel.open;
  state.onChange();
  request();
}

function change(name, value, delay = 0) {
  state.changes[name] = value;
  parts.panel.ariaBusy = "true";
  clearTimeout(timer);
  timer = setTimeout(request, delay);
}

function reset() {
  state.changes = {};
  // Also what is no number, which the browser keeps to itself.
  for (const input of parts.panel.querySelectorAll("input[type=number]")) input.value = "";
  request();
}

/** Ask the server, and show its answer. A request that is still under way is given up, as in `index.js`. */
async function request() {
  clearTimeout(timer);
  underWay?.abort();
  if (!state.view || !parts.panel.open) return;
  const mine = (underWay = new AbortController());
  parts.panel.ariaBusy = "true";
  try {
    const changes = asked();
    state.answer = JSON.parse(await ask(`whatif?${new URLSearchParams({ ...state.view, ...changes })}`, mine.signal));
    state.taken = changes;
    complain("");
    await show(mine.signal);
    state.onChange();
    if (state.isToBeSeen) parts.panel.scrollIntoView({ block: "start" });
    state.isToBeSeen = false;
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Trouble)) console.error(error);
    complain(error.message, error.cause);
  } finally {
    if (underWay === mine) {
      underWay = null;
      parts.panel.ariaBusy = "false";
    }
  }
}

/** What was changed, if it can be sent: the browser keeps what is no number to itself. */
function asked() {
  for (const input of parts.panel.querySelectorAll("input[type=number]")) {
    if (input.validity.badInput) throw new Trouble(`${input.name}: ${input.validationMessage}`);
  }
  return { ...state.changes };
}

/** Say what is wrong, and mark the setting that the message begins with; nothing if it is empty. */
function complain(message, cause) {
  state.isUnanswered = cause === UNANSWERED;
  parts.error.textContent = message;
  parts.error.hidden = !message;
  for (const input of parts.panel.querySelectorAll("input[type=number]")) {
    input.ariaInvalid = new RegExp(`^${input.name}\\b`).test(message);
  }
}

async function show(signal) {
  const { answer } = state;
  parts.rule.querySelector(`[value=${answer.rule}]`).checked = true;
  showFields(answer);
  parts.caveat.textContent = answer.caveat;
  parts.caveat.classList.toggle("departs", answer.departs !== null);
  parts.call.textContent = answer.call;
  showRows(answer);
  parts.result.hidden = false;
  const { figure } = parts;
  const isFirst = !figure.on;
  const isDrawn = await plot(figure, answer.figure, { signal });
  if (isDrawn && isFirst) figure.on("plotly_doubleclick", showWhole);
}

async function showWhole() {
  const { figure } = state.answer;
  const axes = Object.keys(figure.layout).filter((name) => /^[xy]axis/.test(name));
  await showAll(parts.figure, figure, axes);
}

/** The settings of the rule. What the user has entered stays as it was entered. */
function showFields({ fields, settings, own }) {
  for (const about of fields) {
    if (!parts.fields.has(about.name)) parts.fields.set(about.name, field(about));
  }
  syncChildren(
    parts.fieldset,
    fields,
    ({ name }) => name,
    ({ name }) => parts.fields.get(name),
  );
  for (const { name, kind } of fields) {
    const element = parts.fields.get(name);
    element.classList.toggle("changed", settings[name] !== own[name]);
    const value = state.changes[name] ?? String(settings[name] ?? "");
    if (kind === "choice") {
      for (const button of element.querySelectorAll("input")) button.checked = button.value === value;
      continue;
    }
    const [input] = element.getElementsByTagName("input");
    if (input.value !== value) input.value = value;
    // What spans decades goes up and down by the decade that it is in.
    if (kind === "number") input.step = 10 ** Math.floor(Math.log10(Math.abs(settings[name]) || 1e-4));
  }
}

// --- the decisions of both -------------------------------------------------------------------------------------------

function showRows({ runs, departs, figure }) {
  const all = paired(runs);
  const heads = runs.map(({ name, counts }) => make("span", {}, name, countsOf(counts, figure)));
  const lines = all.slice(0, FEW_ROWS).map(([epoch, was, would]) => {
    const isSame = was && would && was.kind === would.kind && was.rate === would.rate;
    return make(
      "tr",
      { className: departs !== null && epoch > departs ? "unknown" : "", data: { epoch, same: Boolean(isSame) } },
      make("td", {}, String(epoch)),
      ...[was, would].map((row) => make("td", {}, ...(row ? decision(row, figure) : ["–"]))),
      make("td", { className: "reason" }, (would ?? was).reason),
    );
  });
  const found = table(["Epoch", ...heads, "Reason"], lines);
  parts.table.replaceWith(found);
  parts.table = found;
  found.hidden = !all.length;
  const isCut = all.length > FEW_ROWS;
  parts.rest.textContent = isCut
    ? `The first ${FEW_ROWS} of ${all.length.toLocaleString()} epochs with a decision.`
    : "";
}

/** The decisions side by side, in order: epoch, in the training, in the replay. */
function paired([was, would]) {
  const epochs = new Map();
  for (const [side, { rows }] of [was, would].entries()) {
    for (const row of rows) {
      if (!epochs.has(row.epoch)) epochs.set(row.epoch, [[], []]);
      epochs.get(row.epoch)[side].push(row);
    }
  }
  return [...epochs]
    .sort(([a], [b]) => a - b)
    .flatMap(([epoch, [ones, others]]) =>
      Array.from({ length: Math.max(ones.length, others.length) }, (_, at) => [epoch, ones[at], others[at]]),
    );
}

function decision({ kind, rate_before, rate }, figure) {
  const rates = rate === rate_before ? rate : `${rate_before} → ${rate}`;
  return [make("span", { className: "kind" }, symbolOf(kind, figure), kind), ` ${rates}`];
}

async function copyCall() {
  let text = "Copied";
  try {
    await copy(state.answer.call);
  } catch {
    text = "Cannot copy";
  }
  parts.copy.textContent = text;
  setTimeout(() => (parts.copy.textContent = "Copy call"), 2000);
}
