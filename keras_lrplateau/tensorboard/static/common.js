/** What the parts of the page share: elements, the server, figures. Nothing here knows what is shown. */

/** Milliseconds after which an answer is not waited for any longer. */
const PATIENCE = 60_000;

/** The outlines of the symbols that the figure's marks have, 12 pixels wide; "-open" ones are not filled. */
const SYMBOLS = {
  "triangle-down": "M.8 2.2h10.4L6 11z",
  "triangle-up": "M.8 9.8h10.4L6 1z",
  "triangle-left": "M9.8.8v10.4L1 6z",
  star: "M6 .4 7.7 4l4 .5-3 2.7.8 4L6 9.3l-3.5 1.9.8-4-3-2.7 4-.5z",
  x: "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
  diamond: "M6 .4 11.6 6 6 11.6.4 6z",
  square: "M1.6 1.6h8.8v8.8H1.6z",
  circle: "M6 1.2a4.8 4.8 0 0 1 0 9.6 4.8 4.8 0 0 1 0-9.6z",
  hexagram: "M6 .2 7.7 3h3.4L9.4 6l1.7 3H7.7L6 11.8 4.3 9H.9l1.7-3L.9 3h3.4z",
};

/** What an action returns; undefined if it throws. */
export function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

// --- elements --------------------------------------------------------------------------------------------------------

const { compare } = new Intl.Collator(undefined, { numeric: true });

/** How two texts compare, for `sort`; numbers in them by their size, decimals and exponents included. */
export function natural(a, b) {
  const [x, y] = [a, b].map((text) => text.split(/(\d+(?:\.\d+)?(?:e[-+]?\d+)?)/i));
  // Every second part is a number, and the last part is none.
  for (let at = 0; at < Math.min(x.length, y.length); at += 1) {
    const found = at % 2 ? Number(x[at]) - Number(y[at]) : compare(x[at], y[at]);
    if (found) return found;
  }
  return x.length - y.length || compare(a, b);
}

/** An element with these properties, `data-` and `aria-` attributes, and elements or texts in it. */
export function make(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

/** One of several; radio buttons, so that the arrow keys work. */
export function choice(name, label, options, onChoice) {
  const buttons = Object.entries(options).map(([value, text]) =>
    make(
      "label",
      {},
      make("input", { type: "radio", name, value, onchange: () => onChoice(name, value) }),
      make("span", {}, text),
    ),
  );
  return make("fieldset", { id: name }, make("legend", {}, label), ...buttons);
}

/** One of several, in a menu; for more than a few. */
export function menu(id, label, options, onChoice) {
  const select = make("select", { title: label, onchange: () => onChoice(select.value), aria: { label } });
  select.append(...Object.entries(options).map(([value, text]) => make("option", { value }, text)));
  return make("label", { id }, make("span", {}, label), select);
}

export function table(heads, lines = []) {
  const cells = heads.map((head) => make("th", { scope: "col" }, head));
  return make("table", {}, make("thead", {}, make("tr", {}, ...cells)), make("tbody", {}, ...lines));
}

/**
 * Make the children of an element those of a list. Those that stay are not touched, so neither the focus nor the scroll
 * position is lost.
 */
export function syncChildren(parent, items, keyOf, create) {
  const wanted = new Set(items.map(keyOf));
  const present = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.key)) present.set(child.dataset.key, child);
    else child.remove();
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = present.get(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

/**
 * Make the rows of a container one stop of the Tab key: the up and down keys go from row to row, left and right within
 * one, Home and End to the first and the last. Returns what to call when the rows have changed.
 */
export function rove(container, selector) {
  const controlsOf = (row) => [...row.querySelectorAll("input, button")];
  const stopAt = (stop) => {
    for (const row of container.querySelectorAll(selector)) {
      for (const control of controlsOf(row)) control.tabIndex = row === stop ? 0 : -1;
    }
  };
  container.addEventListener("focusin", ({ target }) => stopAt(target.closest(selector)));
  container.addEventListener("keydown", (event) => {
    const rows = [...container.querySelectorAll(selector)];
    const here = event.target.closest(selector);
    if (!here) return;
    const [row, column] = [rows.indexOf(here), controlsOf(here).indexOf(event.target)];
    const places = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [0, column],
      End: [rows.length - 1, column],
    };
    if (!places[event.key]) return;
    event.preventDefault();
    const [there, place] = places[event.key];
    if (rows[there]) controlsOf(rows[there])[place]?.focus();
  });
  return () => {
    const rows = [...container.querySelectorAll(selector)];
    const isPressed = (row) => row.querySelector("[aria-pressed=true]");
    stopAt(rows.find((row) => row.contains(document.activeElement)) ?? rows.find(isPressed) ?? rows[0]);
  };
}

/** Put a text on the clipboard. Throws if the browser refuses. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https the browser offers only this older way.
    const focused = document.activeElement;
    const field = make("textarea", { value: text });
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    if (!isCopied) throw new Error("The browser refuses to copy.");
  }
}

// --- parts of a run --------------------------------------------------------------------------------------------------

/** What the badges mean. */
const STATUSES = {
  searching: "trying out first rates",
  holding: "no raise or restart under way",
  "in excursion": "trying a raised rate",
  "in restart": "trying again from the first weights",
  annealing: "the rate goes down towards the end of training",
  exhausted: "no raise is left to try",
};

/** What the status of a run means; empty if that is not known. */
export function meaningOf({ status }) {
  return STATUSES[status] ?? "";
}

export function setStatus(badge, { error, summary }) {
  badge.textContent = badge.dataset.status = error ? "unreadable" : summary.status;
  badge.title = error ?? meaningOf(summary);
}

export function statusBadge(run) {
  const badge = make("span", { className: "badge" });
  setStatus(badge, run);
  return badge;
}

export function paint(swatch, color) {
  swatch.hidden = !color;
  swatch.style.backgroundColor = color ?? "";
}

export function timeOf({ time }, style) {
  if (!time) return "–";
  const date = new Date(1000 * time);
  const text = date.toLocaleString(undefined, { dateStyle: style, timeStyle: style });
  return make("time", { dateTime: date.toISOString() }, text);
}

// --- the server ------------------------------------------------------------------------------------------------------

/** The cause of a `Trouble` that may pass by itself. */
export const UNANSWERED = "unanswered";

/** What went wrong elsewhere, in words for the user. */
export class Trouble extends Error {}

/** The text of an answer. Throws `Trouble` if there is none. */
export async function ask(address, signal = new AbortController().signal) {
  let response, text;
  try {
    response = await fetch(address, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) });
    text = await response.text();
  } catch {
    signal.throwIfAborted();
    throw new Trouble("TensorBoard does not answer. Trying again …", { cause: UNANSWERED });
  }
  signal.throwIfAborted();
  if (response.ok) return text;
  const reason = attempt(() => JSON.parse(text).error);
  throw new Trouble(reason ?? `TensorBoard answers ${response.status} ${response.statusText}.`);
}

// --- figures ---------------------------------------------------------------------------------------------------------

/** A promise of plotly.js; null if it has to be loaded again. */
let plotly = null;

/** Takes about a second at first; after that, the browser has it for a day. */
export function loadPlotly() {
  if (!plotly) {
    plotly = new Promise((resolve, reject) => {
      const script = make("script", {
        src: "plotly.min.js",
        onload: () => resolve(window.Plotly),
        // Why not, only an answer that is no script can tell.
        onerror: () => ask(script.src).then(() => reject(new Trouble("plotly.js cannot be loaded.")), reject),
      });
      document.head.append(script);
    });
    // TensorBoard may be starting again: try once more when there is something new.
    plotly.catch(() => (plotly = null));
  }
  return plotly;
}

/**
 * Draw a figure of the server's in an element, by way of what `adapt` does to its data and layout. Returns whether that
 * was possible; if not, the element says why.
 */
export async function plot(element, figure, { signal, adapt = () => {} } = {}) {
  let Plotly;
  try {
    Plotly = await loadPlotly();
  } catch (error) {
    element.replaceChildren(make("p", { className: "error" }, error.message));
    return false;
  }
  signal?.throwIfAborted();
  // A copy, since plotly writes into it.
  const { data, layout } = structuredClone(figure);
  layout.font.family = getComputedStyle(document.body).fontFamily;
  adapt(data, layout);
  await Plotly.react(element, data, layout, {
    displaylogo: false,
    responsive: true,
    // Plotly's own way back leads to where the axes were when the first figure was drawn.
    doubleClick: false,
    // All of them by name, since plotly has added one that sends the figure to its makers.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]],
    toImageButtonOptions: { filename: "lr_plateau" },
  });
  return true;
}

/** Show all of some axes of a figure that was drawn in an element. */
export async function showAll(element, figure, axes) {
  const changes = {};
  for (const axis of axes) {
    const range = figure.layout[axis]?.range;
    Object.assign(changes, range ? { [`${axis}.range`]: [...range] } : { [`${axis}.autorange`]: true });
  }
  await (await loadPlotly()).relayout(element, changes);
}

/** The symbol of a kind of decision, as in a figure's legend: where several runs are compared, in no run's color. */
export function symbolOf(kind, figure) {
  const trace = figure.data.findLast(({ mode, name }) => mode === "markers" && name === kind);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  if (!trace) return svg;
  const { symbol, color } = trace.marker;
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", SYMBOLS[symbol.replace("-open", "")] ?? SYMBOLS.circle);
  path.setAttribute("fill", symbol.endsWith("-open") ? "none" : color);
  path.setAttribute("stroke", color);
  svg.append(path);
  return svg;
}

/** How many decisions there are of each kind. */
export function countsOf(counts, figure) {
  const entries = Object.entries(counts).map(([kind, count]) =>
    make("span", { className: "kind", data: { kind } }, symbolOf(kind, figure), `${kind} ×${count}`),
  );
  return make("span", { className: "counts" }, ...(entries.length ? entries : ["none yet"]));
}
