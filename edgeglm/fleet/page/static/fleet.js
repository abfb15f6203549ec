// The fleet at a glance: figures, problems, models on kinds of boards, and a line a board, the worst first.
import {age, boardPath, byId, chip, element, figure, fill, percent, plural, setText, tile} from "./dom.js";
import {listen, now} from "./live.js";
import {Chart} from "./charts.js";

const PAGE = 100;
const COLUMNS = [
  ["Board", line => line.id],
  ["Model", line => line.slots[0]?.model ?? ""],
  ["Status", line => status(line, line.slots[0])],
  ["Seen", line => -line.seen_ms],
  ["p95 ms", line => most(line, "p95_ms")],
  ["Per s", line => most(line, "per_second")],
  ["Errors", line => most(line, "error_share")],
  ["Temp", line => most(line, "temperature_c")],
  ["Problems", null],
];
const KINDS = ["silent", "down", "no-input", "erroring", "throttled", "hot", "drifting", "slow", "busy", "gaps", "restored", "clock", "wrong-model"];

const boards = new Map(); // id -> what is known of it
const rows = new Map(); // id -> its row
let head = null;
let trend = [];
let shown = PAGE;
let kind = new URLSearchParams(location.search).get("problem") ?? "";
let sorted = {column: 8, down: false};
let fleets = 1;
let saidIll = null;
let saidAt = 0;

const charts = [
  new Chart(byId("charts"), {title: "Boards with problems", unit: "boards", series: [{label: "with problems", tone: "--warm", fill: true}]}),
  new Chart(byId("charts"), {title: "Latency", unit: "ms", series: [{label: "p50", tone: "--accent"}, {label: "p95", tone: "--warm"}, {label: "p99", tone: "--bad"}]}),
  new Chart(byId("charts"), {title: "Inferences", unit: "per second", series: [{label: "all boards", tone: "--accent", fill: true}]}),
];

const status = (line, slot) => (line.online === false ? "offline" : slot?.status ?? "\u2013");
const most = (line, name) => line.slots.reduce((high, slot) => Math.max(high, slot[name] ?? -1), -1);
const rank = line => (line.problems.length ? KINDS.indexOf(line.problems[0].kind) * 100 - Math.min(99, line.problems.length) : 1e6);

function take(news) {
  head = news.head;
  if (news.all) {
    boards.clear();
    trend = [];
  }
  for (const id of news.gone) boards.delete(id);
  for (const line of news.boards) boards.set(line.id, {...line, words: wordsOf(line)});
  for (const point of news.trend) if (!trend.length || point.at_ms > trend.at(-1).at_ms) trend.push(point);
  trend = trend.slice(-360);
  if (news.all || news.boards.length) fleets = new Set([...boards.values()].map(line => line.fleet)).size;
  showHead();
  showGroups(news.groups);
  showTrend();
  showBoards();
  if (news.all) performance.mark("boards-shown"); // for who measures
}

const wordsOf = line => [line.id, line.kind, status(line, line.slots[0]), ...line.slots.flatMap(slot => [slot.slot, slot.model, slot.status]), ...line.problems.map(one => one.kind)].join(" ").toLowerCase();

function showHead() {
  const well = head.boards - head.ill;
  fill(
    byId("tiles"),
    tile("Boards", figure(head.boards), `${figure(head.online)} online: connected, as far as the broker knows`),
    tile("Well", figure(well), head.boards ? percent(well / head.boards) : "", head.ill ? "" : "good"),
    tile("With problems", figure(head.ill), head.ill ? "the worst come first below" : "none", head.ill ? "bad" : ""),
    tile("Latency p95", element("span", {}, figure(head.p95_ms), element("span", {class: "unit"}, " ms")), `p50 ${figure(head.p50_ms)}, p99 ${figure(head.p99_ms)}`),
    tile("Inferences", element("span", {}, figure(head.per_second), element("span", {class: "unit"}, " /s")), `errors ${percent(head.error_share)}`),
    head.unreadable > 0 && tile("Unreadable", figure(head.unreadable), "messages or rows, ever, put aside"));
  const kinds = Object.entries(head.kinds);
  if (kind && !head.kinds[kind]) kinds.push([kind, 0]);
  const holder = byId("kinds");
  const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.kind : null;
  const made = fill(holder, ...kinds.map(([name, count]) => element(
    "button", {type: "button", "data-kind": name, "aria-pressed": String(name === kind), class: "toggle"}, `${name} `, element("b", {}, figure(count)))));
  if (made && focused) [...holder.children].find(one => one.dataset.kind === focused)?.focus();
  if (saidIll !== head.ill && Date.now() - saidAt > 10000) { // not each change is read out
    saidIll = head.ill;
    saidAt = Date.now();
    setText(byId("said"), `${plural(head.boards, "board")}, ${figure(head.ill)} with problems`);
  }
}

function showGroups(groups) {
  const table = byId("groups");
  const heads = ["Model", "Board", "Boards", "Health", "p50 ms", "p95 ms", "p99 ms", "Per s", "Errors", "Hottest"];
  fill(
    table,
    element("thead", {}, element("tr", {}, ...heads.map(text => element("th", {scope: "col"}, text)))),
    element("tbody", {}, ...groups.map(group => element(
      "tr", {},
      element("th", {scope: "row"}, group.model, group.scheme && element("small", {}, group.scheme)),
      cell("Board", group.board), cell("Boards", figure(group.boards), "number"),
      element("td", {"data-label": "Health"}, health(group)),
      cell("p50 ms", figure(group.p50_ms), "number"), cell("p95 ms", figure(group.p95_ms), "number"), cell("p99 ms", figure(group.p99_ms), "number"),
      cell("Per s", figure(group.per_second), "number"),
      cell("Errors", percent(group.samples + group.errors > 0 ? group.errors / (group.samples + group.errors) : null), "number"),
      cell("Hottest", group.temperature_c === null ? "\u2013" : `${figure(group.temperature_c)} \u00b0C`, "number")))));
  if (!groups.length) fill(table, element("tbody", {}, element("tr", {}, element("td", {}, "No board has said what it runs."))));
}

// a bar of how many are well, with the problems by name: no colour carries a meaning alone
function health(group) {
  const well = group.boards - group.ill;
  const kinds = Object.entries(group.problems).slice(0, 4).map(([name, count]) => `${name} ${count}`).join(", ");
  return element(
    "div", {class: "health"},
    element("meter", {min: "0", max: String(group.boards), value: String(well), "aria-label": `${well} of ${group.boards} are well`}),
    element("small", {}, group.ill ? kinds : "all well"));
}

const cell = (label, text, kindOfCell = "") => element("td", {"data-label": label, class: kindOfCell || null}, text);

function showTrend() {
  byId("trends").hidden = trend.length < 2;
  if (trend.length < 2) return;
  const at = trend.map(point => point.at_ms / 1000);
  charts[0].set([at, trend.map(point => point.ill)]);
  charts[1].set([at, trend.map(point => point.p50_ms), trend.map(point => point.p95_ms), trend.map(point => point.p99_ms)]);
  charts[2].set([at, trend.map(point => point.per_second)]);
}

function wanted() {
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...boards.values()].filter(line => (!kind || line.problems.some(one => one.kind === kind)) && words.every(word => line.words.includes(word)));
  const value = COLUMNS[sorted.column][1] ?? rank;
  const order = (a, b) => {
    const [left, right] = [value(a), value(b)];
    const by = typeof left === "string" ? left.localeCompare(right, "en", {numeric: true}) : left - right;
    return (sorted.down ? -by : by) || a.id.localeCompare(b.id, "en", {numeric: true});
  };
  return found.sort(order);
}

function showBoards() {
  const found = wanted();
  const here = found.slice(0, shown);
  const body = byId("boards").tBodies[0];
  const ids = new Set(here.map(line => line.id));
  for (const [id, row] of rows) if (!ids.has(id)) {
    row.remove();
    rows.delete(id);
  }
  const focused = document.activeElement;
  let after = null; // rows are moved only where their place has changed
  for (const line of here) {
    let row = rows.get(line.id);
    if (!row) rows.set(line.id, row = element("tr"));
    if (row.line !== line) showLine(row, line);
    setText(row.seen, `${age(line.seen_ms, now())}`);
    const right = after ? after.nextSibling : body.firstChild;
    if (row !== right) body.insertBefore(row, right);
    after = row;
  }
  if (focused && focused !== document.activeElement && document.contains(focused)) focused.focus({preventScroll: true});
  const most = byId("more");
  most.hidden = found.length <= shown;
  const all = boards.size;
  setText(byId("shown"), all === 0 ? "No board has said anything yet." : `${figure(here.length)} of ${plural(found.length, "board")}${found.length === all ? "" : ` (of ${figure(all)} in all)`}`);
}

function showLine(row, line) {
  const slots = line.slots.length ? line.slots : [{}];
  const lines = read => slots.map((slot, at) => element("div", {}, read(slot, at)));
  const several = line.slots.length > 1;
  row.line = line;
  row.seen = row.seen ?? element("td", {"data-label": "Seen", class: "number"});
  fill(
    row,
    element("th", {scope: "row"}, element("a", {href: boardPath(line.fleet, line.device)}, line.device), element("small", {}, fleets > 1 ? `${line.fleet}, ${line.kind}` : line.kind)),
    element("td", {"data-label": "Model"}, ...lines(slot => (several ? `${slot.slot}: ${slot.model}` : slot.model || "\u2013"))),
    element("td", {"data-label": "Status"}, ...lines(slot => status(line, slot))),
    element("td", {"data-label": "Seen", class: "number"}),
    element("td", {"data-label": "p95 ms", class: "number"}, ...lines(slot => figure(slot.p95_ms))),
    element("td", {"data-label": "Per s", class: "number"}, ...lines(slot => figure(slot.per_second))),
    element("td", {"data-label": "Errors", class: "number"}, ...lines(slot => percent(slot.error_share))),
    element("td", {"data-label": "Temp", class: "number"}, line.slots[0]?.temperature_c == null ? "\u2013" : `${figure(line.slots[0].temperature_c)} \u00b0C`),
    element("td", {"data-label": "Problems"}, line.problems.length
      ? element("ul", {class: "reasons"}, ...line.problems.slice(0, 4).map(one => element("li", {}, chip(one.kind), " ", element("span", {}, several && one.slot ? `${one.slot}: ${one.reason}` : one.reason))),
        line.problems.length > 4 && element("li", {}, `and ${line.problems.length - 4} more`))
      : element("span", {class: "quiet"}, "none")));
  row.seen = row.cells[3];
}

function makeTable() {
  const header = element("tr", {}, ...COLUMNS.map(([name], at) => {
    const button = element("button", {type: "button", class: "sort"}, name);
    button.addEventListener("click", () => {
      sorted = {column: at, down: sorted.column === at ? !sorted.down : at > 3 && at < 8};
      tellSort();
      showBoards();
    });
    return element("th", {scope: "col"}, button);
  }));
  byId("boards").append(element("caption", {class: "unseen"}, "Boards; the heads of columns sort"), element("thead", {}, header), element("tbody"));
  tellSort();
}

function tellSort() {
  [...byId("boards").tHead.rows[0].cells].forEach((one, at) => {
    if (at === sorted.column) one.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    else one.removeAttribute("aria-sort");
  });
}

makeTable();
byId("words").addEventListener("input", () => { shown = PAGE; showBoards(); });
byId("filter").addEventListener("submit", event => event.preventDefault());
byId("more").addEventListener("click", () => {
  const first = rows.size;
  shown += PAGE;
  showBoards();
  byId("boards").tBodies[0].rows[first]?.querySelector("a")?.focus();
});
byId("kinds").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  kind = kind === button.dataset.kind ? "" : button.dataset.kind;
  shown = PAGE;
  history.replaceState(null, "", kind ? `/?problem=${encodeURIComponent(kind)}` : "/");
  showHead();
  showBoards();
});
setInterval(() => { for (const row of rows.values()) setText(row.seen, age(row.line.seen_ms, now())); }, 1000);
listen("view=fleet", take);
