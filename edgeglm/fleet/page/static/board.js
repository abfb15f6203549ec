// One board: what is wrong with it, how it did over a time of your choice, what happened, what it is.
import {age, byId, chip, element, figure, fill, moment, percent, plural, setText, tile} from "./dom.js";
import {listen, now} from "./live.js";
import {Chart, TONES} from "./charts.js";

const SPANS = [["1h", "1 hour"], ["6h", "6 hours"], ["24h", "1 day"], ["7d", "7 days"], ["30d", "30 days"]];
const [, , fleet, device] = location.pathname.split("/").map(decodeURIComponent);
const asked = new URLSearchParams(location.search);
let span = SPANS.some(([key]) => key === asked.get("span")) ? asked.get("span") : "1h";
let slot = asked.get("slot") ?? "";
let line = -1;
let life = null;
let asking = null;

const marks = () => (life?.events ?? []).filter(one => one.severity !== "info").slice(0, 40).map(one => ({at: one.at_ms / 1000, tone: one.severity === "error" ? "--bad" : "--open"}));
const make = (title, unit, series, least = null) => new Chart(byId("charts"), {title, unit, series, marks, least});
const charts = {
  latency: make("Latency, from input to result", "ms", [{label: "p50", tone: "--accent"}, {label: "p95", tone: "--warm"}, {label: "p99", tone: "--bad"}, {label: "model alone p95", tone: "--plain", dash: [5, 4]}]),
  rate: make("Throughput", "inferences per second", [{label: "inferences", tone: "--accent", fill: true}]),
  errors: make("Failed samples", "percent", [{label: "failed", tone: "--bad", fill: true}]),
  temperature: make("Temperature", "degrees Celsius", [{label: "hottest zone", tone: "--warm"}], 20),
  drift: make("Drift, by feature", "stability index; the limit is 0.25 where none is named", []),
  cpu: make("Processors", "percent", [{label: "busy", tone: "--accent"}]),
};

document.title = `${device} - fleet`;
setText(byId("title"), device);

async function ask() {
  asking?.abort();
  asking = new AbortController();
  const query = new URLSearchParams({span, ...(slot && {slot})});
  try {
    const answer = await fetch(`/life/${encodeURIComponent(fleet)}/${encodeURIComponent(device)}?${query}`, {signal: asking.signal});
    if (!answer.ok) {
      setText(byId("note"), answer.status === 404 ? "Nothing is known of this board." : `The store cannot be read: ${await answer.text()}`);
      return;
    }
    life = await answer.json();
    show();
  } catch (error) {
    if (error.name !== "AbortError") setText(byId("note"), "The server does not answer.");
  }
}

function show() {
  showHealth();
  const {curves, total} = life;
  const cut = life.since_ms > life.asked_since_ms ? ` This board says so much that only the time since ${moment(life.since_ms)} is shown.` : "";
  setText(byId("note"), `${plural(total.windows, "window")}${total.unreadable ? `, ${total.unreadable} with a damaged histogram` : ""}. Dashed lines: warnings and errors below.${cut}`);
  const failed = total.inferences + total.errors > 0 ? total.errors / (total.inferences + total.errors) : null;
  fill(
    byId("tiles"),
    tile("Latency p50", ms(total.p50_ms)), tile("p95", ms(total.p95_ms)), tile("p99", ms(total.p99_ms)),
    tile("Answered", figure(total.inferences)),
    tile("Failed", percent(failed), total.errors_by_kind, total.errors ? "bad" : ""));
  const at = curves.at_s;
  const time = [life.since_ms / 1000, life.now_ms / 1000]; // up to now: silence is seen
  const set = (chart, columns, series) => chart.set([at, ...columns], series ?? chart.series, time);
  set(charts.latency, [curves.p50_ms, curves.p95_ms, curves.p99_ms, curves.model_p95_ms]);
  set(charts.rate, [curves.per_second]);
  set(charts.errors, [curves.error_percent]);
  set(charts.temperature, [curves.temperature_c]);
  set(charts.cpu, [curves.cpu_percent]);
  const features = Object.keys(curves.psi);
  set(charts.drift, features.map(name => curves.psi[name]), features.map((name, place) => ({label: limited(name), tone: TONES[place]})));
  showEvents();
  showFacts();
}

// with the limit that the board told when it raised this one
const limited = name => (life.curves.psi_limits[name] === undefined ? name : `${name} (limit ${figure(life.curves.psi_limits[name])})`);
const ms = value => element("span", {}, figure(value), element("span", {class: "unit"}, " ms"));

function showHealth() {
  const section = byId("health");
  const state = life.online === false ? "offline" : life.online ? "online, as far as the broker knows" : "it has never said whether it is online";
  section.classList.toggle("met", !life.problems.length);
  section.classList.toggle("missed", life.problems.length > 0);
  fill(
    byId("health-title"),
    element("span", {class: "sign", "aria-hidden": "true"}, life.problems.length ? "!" : "\u2713"),
    life.problems.length ? plural(life.problems.length, "problem") : "No problem");
  fill(
    byId("problems"),
    element("p", {}, `${life.kind}, ${state}, last heard `, element("span", {id: "heard"}, `${age(life.last_seen_ms, now())} ago`)),
    life.problems.length > 0 && element("ul", {}, ...life.problems.map(one => element("li", {}, chip(one.kind), " ", one.slot && one.slot !== "main" ? `${one.slot}: ${one.reason}` : one.reason))));
}

function showEvents() {
  const heads = ["When", "Severity", "Slot", "Event", "Detail"];
  fill(
    byId("events"),
    element("caption", {class: "unseen"}, "Events, the newest first"),
    element("thead", {}, element("tr", {}, ...heads.map(text => element("th", {scope: "col"}, text)))),
    element("tbody", {}, ...(life.events.length ? life.events.map(one => element(
      "tr", {},
      element("th", {scope: "row", class: "number"}, moment(one.at_ms)),
      element("td", {"data-label": "Severity"}, element("span", {class: `chip ${one.severity === "error" ? "missed" : one.severity === "warning" ? "undecided" : ""}`}, one.severity)),
      element("td", {"data-label": "Slot"}, one.slot || "\u2013"),
      element("td", {"data-label": "Event"}, one.name),
      element("td", {"data-label": "Detail"}, one.detail || "\u2013"))) : [element("tr", {}, element("td", {colspan: "5"}, "Nothing was told in this time."))])));
  byId("earlier").hidden = !life.earlier_events;
}

const list = facts => facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));

function showFacts() {
  fill(byId("facts"), ...list(life.facts));
  fill(byId("slots"), ...life.slots.map(one => element("div", {class: "slot"}, element("h3", {}, `Slot ${one.slot}`), element("dl", {}, ...list(one.facts)))));
  byId("slot-choice").hidden = life.slots.length < 2;
  fill(byId("slot"), ...life.slots.map(one => element("option", {value: one.slot, selected: one.slot === life.slot}, one.slot)));
  byId("slot").value = life.slot;
}

function choose() {
  history.replaceState(null, "", `${location.pathname}?${new URLSearchParams({span, ...(slot && {slot})})}`);
  for (const button of byId("spans").children) button.setAttribute("aria-pressed", String(button.dataset.span === span));
  ask();
}

byId("spans").append(...SPANS.map(([key, text]) => element("button", {type: "button", class: "toggle", "data-span": key, "aria-pressed": String(key === span)}, text)));
byId("spans").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  span = button.dataset.span;
  choose();
});
byId("slot").addEventListener("change", event => {
  slot = event.target.value;
  choose();
});
setInterval(() => {
  const heard = byId("heard");
  if (life && heard) setText(heard, `${age(life.last_seen_ms, now())} ago`);
}, 1000);
ask();
listen(`view=board&board=${encodeURIComponent(`${fleet}/${device}`)}`, news => {
  if (news.line !== line && line >= 0) ask();
  line = news.line;
});
