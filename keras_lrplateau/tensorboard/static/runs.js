/**
 * The list of runs: their names in short, their order and groups, the filter, and which of them are chosen.
 *
 * What the server tells of a run is in ../plugin.py, `_runs`.
 */

import { attempt, make, menu, natural, paint, rove, setStatus, syncChildren } from "./common.js";

/** The orders of the list, by name: its title, and how two runs compare. */
const ORDERS = {
  name: ["name", byName],
  best: ["best", (a, b) => byMonitor(a, b) || byBest(a, b)],
  time: ["newest", (a, b) => (b.summary?.time ?? 0) - (a.summary?.time ?? 0)],
  status: ["status", (a, b) => natural(statusOf(a), statusOf(b))],
};

/** Characters at the end of a name that are always shown. */
const TAIL = 6;

/** Groups that are no setting's. */
const FOLDER = "folder";
const NONE = "nothing";

const state = {
  /** As the server lists them. */
  runs: [],
  /** The names of the chosen ones. */
  selected: [],
  order: "name",
  group: FOLDER,
};

/** The elements of the list, by id; and what to call when runs are chosen, or arranged in another way. */
let page;
let on;
let refreshStops;

/** The side of the page with the list of runs. */
export function runList({ onSelect, onArrange }) {
  on = { onSelect, onArrange };
  const orders = Object.fromEntries(Object.entries(ORDERS).map(([order, [title]]) => [order, title]));
  const element = make(
    "nav",
    { id: "sidebar", aria: { label: "Runs" } },
    make("input", {
      id: "filter",
      type: "search",
      placeholder: "Filter runs (regex)",
      spellcheck: false,
      autocomplete: "off",
      oninput: show,
      aria: { label: "Filter runs (regular expression)" },
    }),
    make(
      "div",
      { id: "arrange" },
      menu("order", "Sort by", orders, (value) => arrange({ order: value })),
      menu("group", "Group by", {}, (value) => arrange({ group: value })),
    ),
    make("p", { id: "count", role: "status" }),
    make(
      "div",
      { id: "head" },
      make("input", {
        id: "all",
        type: "checkbox",
        title: "Compare all",
        onchange: onAll,
        aria: { label: "Compare all runs in the list" },
      }),
      make("span", { id: "prefix" }),
      make("span", { id: "best" }),
    ),
    make("ul", { id: "list", onclick: onClick, aria: { label: "Runs; the arrow keys go from one to the next" } }),
  );
  page = Object.fromEntries([...element.querySelectorAll("[id]")].map((each) => [each.id, each]));
  refreshStops = rove(page.list, ".run");
  return element;
}

/** Show these runs, with the chosen ones marked; `colorOf` gives the color of a run by its name, or null. */
export function showRuns(runs, selected, colorOf) {
  Object.assign(state, { runs, selected, colorOf });
  show();
}

/** Scroll the list to what a link has chosen. */
export function revealSelected() {
  page.list.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
}

/** How the list is arranged, as a link says it; nothing of what is so anyway. */
export function arrangement() {
  const { order, group } = state;
  return { ...(order === "name" ? {} : { order }), ...(group === FOLDER ? {} : { group }) };
}

/** Arrange the list as a link says. */
export function applyArrangement({ order, group }) {
  state.order = Object.hasOwn(ORDERS, order) ? order : "name";
  state.group = group ?? FOLDER;
}

/** All names, in the order of the list. */
export function namesInOrder() {
  return arranged(state.runs, state.order, state.group).flatMap(({ runs }) => runs.map((run) => run.name));
}

/** If the runs are grouped by a setting, the number of the group of each, by name; else null. */
export function groupNumbers() {
  if ([FOLDER, NONE].includes(state.group)) return null;
  const groups = arranged(state.runs, "name", state.group);
  return new Map(groups.flatMap(({ runs }, number) => runs.map((run) => [run.name, number])));
}

// --- names -----------------------------------------------------------------------------------------------------------

/**
 * What distinguishes names: they without the end that nearly all our runs share, and without the beginning that all of
 * these do, up to a "/" or "_". Returns that beginning, and a function of a name.
 */
export function shortened(names) {
  const bare = (name) => name.replace(/\/lr_plateau$/, "");
  const folders = names.map((name) => name.replace(/(^|\/)lr_plateau(_\d+)?$/, ""));
  let prefix = folders.length > 1 ? folders[0] : "";
  for (const folder of folders) while (!folder.startsWith(prefix)) prefix = prefix.slice(0, -1);
  prefix = prefix.replace(/[^/_]*$/, "");
  if (folders.includes(prefix)) prefix = "";
  return { prefix, short: (name) => (bare(name).startsWith(prefix) ? bare(name).slice(prefix.length) : bare(name)) };
}

// --- order and groups ------------------------------------------------------------------------------------------------

/** A number that is lower for a better run. */
export function scoreOf({ summary }) {
  if (!summary || summary.best === null) return Infinity;
  return summary.mode === "max" ? -Number(summary.best) : Number(summary.best);
}

function byName(a, b) {
  return natural(a.group, b.group) || natural(a.label, b.label);
}

function byBest(a, b) {
  const [x, y] = [scoreOf(a), scoreOf(b)];
  return x < y ? -1 : Number(x > y);
}

function byMonitor(a, b) {
  return natural(a.summary?.monitor ?? "", b.summary?.monitor ?? "");
}

export function statusOf({ error, summary }) {
  return error ? "unreadable" : summary.status;
}

/** What counts as a setting, but is known better from the training itself, by name. */
const OBSERVED = { monitor: "monitor", "first rate": "first_rate" };

/** The value of a setting of a run as a text; empty if it is not known. */
export function settingOf({ settings, summary }, name) {
  return String(summary?.[OBSERVED[name]] ?? settings[name] ?? "");
}

/** The settings in which runs differ. A text that is another one in each run, such as its log dir, is only its name. */
export function differing(runs) {
  // Sorted, since TensorBoard has them in any order.
  const known = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))].sort(natural);
  return [...new Set([...Object.keys(OBSERVED), ...known])].filter((name) => {
    const values = new Set(runs.map((run) => settingOf(run, name)));
    const isText = runs.some(({ settings }) => typeof settings[name] === "string");
    return values.size > 1 && !(isText && runs.length > 2 && values.size === runs.length);
  });
}

/** The folder of a run's log dir. */
function folderOf({ group }) {
  return group.slice(0, Math.max(group.lastIndexOf("/"), 0));
}

/** The runs in groups, each {title, runs}; what is alone in its folder has no title. */
export function arranged(runs, order, group) {
  const [, inOrder] = ORDERS[order];
  const sorted = runs.toSorted((a, b) => inOrder(a, b) || byName(a, b));
  if (group === NONE) return [{ title: null, runs: sorted }];
  const isFolder = group === FOLDER;
  const groups = new Map();
  for (const run of sorted) {
    const value = isFolder ? folderOf(run) : settingOf(run, group);
    if (!groups.has(value)) groups.set(value, []);
    groups.get(value).push(run);
  }
  const found = [...groups].map(([value, members]) => {
    const isAlone = members.length === 1 || groups.size === 1;
    const title = isFolder ? (isAlone ? null : `${value || "."}/`) : `${group}: ${value || "not known"}`;
    return { title, value, runs: members };
  });
  // Else they are in the order of their first members already.
  return order === "name" && !isFolder ? found.sort((a, b) => natural(a.value, b.value)) : found;
}

function arrange(changes) {
  Object.assign(state, changes);
  show();
  on.onArrange();
}

// --- what is shown ---------------------------------------------------------------------------------------------------

function onClick({ target }) {
  const name = target.closest(".run")?.dataset.run;
  if (target.matches("input")) {
    const others = state.selected.filter((other) => other !== name);
    on.onSelect(target.checked ? [...others, name] : others);
  } else if (target.closest("button")) {
    on.onSelect([name]);
  }
}

/** All that match are chosen, beside the others; or none of them. */
function onAll() {
  const matching = listed().flatMap(({ runs }) => runs.map((run) => run.name));
  const others = state.selected.filter((name) => !matching.includes(name));
  on.onSelect(page.all.checked ? [...others, ...matching] : others);
}

function listed() {
  const matches = matcher(page.filter.value.trim());
  const groups = arranged(state.runs, state.order, state.group);
  return groups
    .map((group) => ({ ...group, runs: group.runs.filter((run) => matches(run.name)) }))
    .filter(({ runs }) => runs.length);
}

/** A test whether a name matches: by a regular expression, or, if the text is none, by the text as it is. */
function matcher(text) {
  const pattern = attempt(() => new RegExp(text, "i"));
  return (name) => (pattern ? pattern.test(name) : name.toLowerCase().includes(text.toLowerCase()));
}

function show() {
  showArrangement();
  const ofAll = shortened(state.runs.map((run) => run.name));
  const groups = listed();
  const items = groups.flatMap(({ title, runs }) => {
    const { prefix, short } = title === null ? ofAll : shortened(runs.map((run) => run.name));
    const members = runs.map((run) => {
      const label = short(run.name);
      return { key: `run ${title !== null} ${label} ${run.name}`, run, label, isMember: title !== null };
    });
    const text = state.group === FOLDER && prefix ? `${prefix}…` : title;
    return title === null ? members : [{ key: `group ${title} ${text}`, title, text }, ...members];
  });
  syncChildren(page.list, items, ({ key }) => key, item);
  const runs = groups.flatMap((group) => group.runs);
  const selected = new Set(state.selected);
  const byName = new Map(runs.map((run) => [run.name, run]));
  for (const element of page.list.querySelectorAll(".run")) {
    update(element, byName.get(element.dataset.run), selected.has(element.dataset.run));
  }
  showGroups(groups);
  showHead(runs, ofAll.prefix, selected);
  refreshStops();
}

function showArrangement() {
  const [order] = page.order.getElementsByTagName("select");
  const [group] = page.group.getElementsByTagName("select");
  order.value = state.order;
  const names = [FOLDER, NONE, ...differing(state.runs)];
  // A link may ask for a setting that no run has, or has yet.
  if (!names.includes(state.group)) names.push(state.group);
  syncChildren(group, names, String, (name) => make("option", { value: name }, name));
  group.value = state.group;
}

function item({ title, text, run, label, isMember }) {
  if (!run) {
    return make(
      "li",
      { className: "group", title, data: { title } },
      make("span", { className: "swatch" }),
      make("span", { className: "title" }, text),
    );
  }
  return make(
    "li",
    { className: isMember ? "run member" : "run", data: { run: run.name } },
    make("input", { type: "checkbox", title: "Compare", aria: { label: `Compare ${run.name}` } }),
    make(
      "button",
      { type: "button", title: run.name },
      // The end often tells more than the middle: it is never cut off.
      make("span", { className: "name" }, make("span", {}, label.slice(0, -TAIL)), make("span", {}, label.slice(-TAIL))),
      make("span", { className: "badge" }),
      make("span", { className: "best" }),
    ),
  );
}

function update(element, run, isSelected) {
  const [checkbox, button] = element.children;
  const [, badge, best] = button.children;
  checkbox.checked = isSelected;
  checkbox.style.accentColor = (isSelected && state.colorOf(run.name)) || "";
  button.ariaPressed = isSelected;
  setStatus(badge, run);
  best.textContent = run.summary?.best ?? "";
  best.title = run.summary?.best ? `Best ${run.summary.monitor}` : "";
}

/** A group by a setting has a color, which all its runs have. */
function showGroups(groups) {
  const byTitle = new Map(groups.map((group) => [group.title, group]));
  for (const element of page.list.querySelectorAll(".group")) {
    const { runs } = byTitle.get(element.dataset.title);
    const colors = runs.filter((run) => state.selected.includes(run.name)).map((run) => state.colorOf(run.name));
    paint(element.firstChild, state.group === FOLDER ? null : (colors.find(Boolean) ?? null));
  }
}

function showHead(runs, prefix, selected) {
  const chosen = runs.filter((run) => selected.has(run.name)).length;
  page.all.checked = runs.length > 0 && chosen === runs.length;
  page.all.indeterminate = chosen > 0 && chosen < runs.length;
  page.prefix.textContent = prefix ? `${prefix}…` : "Run";
  page.prefix.title = prefix ? `All names begin with ${prefix}` : "";
  const monitors = new Set(state.runs.map((run) => run.summary?.monitor).filter(Boolean));
  page.best.textContent = monitors.size === 1 ? `Best ${[...monitors][0]}` : "Best";
  const isFiltered = runs.length < state.runs.length;
  page.count.textContent = isFiltered
    ? runs.length
      ? `${runs.length} of ${state.runs.length} runs`
      : "No run matches."
    : "";
}
