// Models side by side: the same figures for each model, artifact and kind of board.
import {byId, element, figure, fill, percent} from "./dom.js";
import {listen} from "./live.js";
import {Chart, TONES} from "./charts.js";

const DRAWN = 6; // curves beyond that cannot be told apart
const chart = new Chart(byId("spread"), {title: "Spread of latencies", unit: "ms", series: [], time: false, logX: true});
const nameOf = group => `${group.model}, ${group.board}`;

function take(news) {
  const groups = news.groups.filter(group => group.distribution.length > 1);
  byId("none").hidden = groups.length > 0;
  showSpread(groups.slice(0, DRAWN));
  showTable(news.groups);
}

// each curve has its own latencies: they are laid on one axis, and what lies between two of its points is drawn through
function showSpread(groups) {
  const at = [...new Set(groups.flatMap(group => group.distribution.map(([ms]) => ms)))].filter(ms => ms > 0).sort((a, b) => a - b);
  const columns = groups.map(group => at.map(ms => between(group.distribution, ms)));
  chart.set([at, ...columns], groups.map((group, place) => ({label: nameOf(group), tone: TONES[place], dash: place % 2 ? [6, 3] : undefined})));
}

function between(points, ms) {
  const next = points.findIndex(([at]) => at >= ms);
  if (next < 0) return null;
  if (points[next][0] === ms) return points[next][1];
  if (next === 0) return null;
  const [[left, low], [right, high]] = [points[next - 1], points[next]];
  return low + (high - low) * (ms - left) / (right - left);
}

const ROWS = [
  ["Board", group => group.board],
  ["Artifact", group => [group.artifact, group.scheme].filter(Boolean).join(", ") || "\u2013"],
  ["Runs in", group => group.runtime || "\u2013"],
  ["Boards", group => figure(group.boards), "number"],
  ["Serving", group => figure(group.serving), "number"],
  ["With problems", group => (group.ill ? `${figure(group.ill)}: ${Object.entries(group.problems).slice(0, 4).map(([kind, count]) => `${kind} ${count}`).join(", ")}` : "none")],
  ["p50 ms", group => figure(group.p50_ms), "number"],
  ["p95 ms", group => figure(group.p95_ms), "number"],
  ["p99 ms", group => figure(group.p99_ms), "number"],
  ["Model alone p95 ms", group => figure(group.model_p95_ms), "number"],
  ["Per s", group => figure(group.per_second), "number"],
  ["Errors", group => percent(group.samples + group.errors > 0 ? group.errors / (group.samples + group.errors) : null), "number"],
  ["Hottest", group => (group.temperature_c === null ? "\u2013" : `${figure(group.temperature_c)} \u00b0C`), "number"],
];

function showTable(groups) {
  const table = byId("models");
  if (!groups.length) {
    fill(table, element("tbody", {}, element("tr", {}, element("td", {}, "No board has said what it runs."))));
    return;
  }
  fill(
    table,
    element("thead", {}, element("tr", {}, element("th", {scope: "col"}, "Model"), ...ROWS.map(([name]) => element("th", {scope: "col"}, name)))),
    element("tbody", {}, ...groups.map(group => element(
      "tr", {},
      element("th", {scope: "row"}, group.model, group.manifest && element("small", {}, `manifest ${group.manifest}`)),
      ...ROWS.map(([name, read, kind]) => element("td", {"data-label": name, class: kind ?? null}, read(group)))))));
}

listen("view=models", take);
