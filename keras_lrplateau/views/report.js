/** The page of the report, in the browser; ../views/report.py makes the page. */

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
