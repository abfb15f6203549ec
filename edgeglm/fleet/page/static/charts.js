// Curves by uPlot (MIT), in the page's colours, each with a table of its numbers for those who cannot see it.
import {element, figure, fill, moment} from "./dom.js";

const HEIGHT = 180;
const TABLE_ROWS = 24;
const LABEL_ROOM = 30; // right of the curves: half of the last time, 23:59:59, stands there
const FEW = 40; // of fewer each is a dot; of more those alone, which no line reaches
const all = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const TONES = ["--accent", "--warm", "--bad", "--good", "--plain", "--open"];

// One chart in a figure. series: [{label, tone, dash}]; time: whether x is a time in seconds
export class Chart {
  constructor(parent, {title, unit, series, time = true, logX = false, marks = () => [], least = null}) {
    Object.assign(this, {title, unit, series, time, logX, marks, least});
    this.box = element("div", {class: "plot", role: "img"});
    this.key = element("p", {class: "key", "aria-hidden": "true"});
    this.table = element("table", {class: "plain"});
    this.details = element("details", {}, element("summary", {}, "As a table"), element("div", {class: "scroll", tabindex: "0"}, this.table));
    this.details.addEventListener("toggle", () => this.#tell());
    this.figure = element("figure", {hidden: true}, element("h3", {}, title), this.key, this.box, this.details);
    parent.append(this.figure);
    this.data = [[], ...series.map(() => [])];
    all.add(this);
    new ResizeObserver(() => this.#fit()).observe(this.box);
  }

  // span: where the axis of time begins and ends, whatever the data
  set(data, series = this.series, span = null) {
    this.data = data;
    this.span = span;
    const other = series.length !== this.series.length || series.some((one, at) => one.label !== this.series[at].label);
    this.series = series;
    const told = data.slice(1).some(values => values.some(value => value !== null));
    this.figure.hidden = !told;
    if (!told) return;
    if (other) this.#drop();
    if (this.plot) this.plot.setData(data);
    else this.#draw();
    this.#tell();
  }

  #drop() {
    this.plot?.destroy();
    this.plot = null;
  }

  redraw() {
    this.#drop();
    if (!this.figure.hidden) this.#draw();
  }

  #fit() {
    const width = Math.floor(this.box.clientWidth);
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({width, height: HEIGHT});
    else if (!this.plot && width > 0 && !this.figure.hidden) this.#draw();
  }

  #draw() {
    const width = Math.floor(this.box.clientWidth);
    if (width <= 0 || !this.data[0].length) return;
    const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--faint"), width: 1}, ticks: {show: false}, font: "12px system-ui, sans-serif"};
    const written = (_, values) => values.map(value => (value === null ? "" : figure(value)));
    this.plot = new uPlot({
      width, height: HEIGHT, legend: {show: false}, cursor: {drag: {x: false, y: false}, points: {size: 6}},
      padding: [10, LABEL_ROOM, 0, 0],
      scales: {
        x: {time: this.time, range: (_, low, high) => this.span ?? (low === high ? [low - 30, high + 30] : [low, high]), ...(this.logX && {distr: 3})},
        y: {range: (_, low, high) => [this.least === null ? Math.min(0, low ?? 0) : Math.min(this.least, low ?? this.least), high > 0 ? high * 1.08 : 1]},
      },
      axes: [
        {...axis, ...(this.time ? {values: clock} : {values: written}), space: 64, size: 30},
        {...axis, size: 48, values: written},
      ],
      series: [
        {},
        ...this.series.map(one => ({
          label: one.label, stroke: colour(one.tone), width: 1.8, dash: one.dash, spanGaps: false,
          fill: one.fill ? `color-mix(in srgb, ${colour(one.tone)} 14%, transparent)` : undefined,
          points: {show: plot => plot.data[0].length < FEW, filter: (plot, at, every) => (every ? null : alone(plot.data[at])), size: 5, fill: colour(one.tone)},
        })),
      ],
      hooks: {
        draw: [plot => this.#mark(plot)],
        setCursor: [plot => this.#point(plot)],
      },
    }, this.data, this.box);
  }

  // moments at which something happened
  #mark(plot) {
    const context = plot.ctx;
    context.save();
    context.lineWidth = devicePixelRatio;
    for (const {at, tone} of this.marks()) {
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
      context.strokeStyle = colour(tone);
      context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      context.beginPath();
      context.moveTo(x, plot.bbox.top);
      context.lineTo(x, plot.bbox.top + plot.bbox.height);
      context.stroke();
    }
    context.restore();
  }

  #point(plot) {
    const at = plot.cursor.idx;
    this.#tellKey(at === null || at === undefined ? null : at);
  }

  #last() {
    for (let at = this.data[0].length - 1; at >= 0; at -= 1) {
      if (this.data.slice(1).some(values => values[at] !== null)) return at;
    }
    return null;
  }

  // the key has the newest numbers, or those below the pointer
  #tellKey(at) {
    const shown = at ?? (this.time ? this.#last() : null);
    fill(
      this.key,
      ...this.series.map((one, place) => element(
        "span", {class: "entry"},
        element("span", {class: `swatch tone${one.tone}${one.dash ? " dashed" : ""}`}),
        `${one.label}${shown === null || !this.time ? "" : ` ${figure(this.data[place + 1][shown])}`}`)),
      element("span", {class: "quiet"}, shown === null ? this.unit : this.time ? `${this.unit}, at ${moment(this.data[0][shown] * 1000).slice(Date.now() / 1000 - this.data[0][shown] < 43200 ? 11 : 5)}` : `at ${figure(this.data[0][shown])} ${this.unit}`));
  }

  #tell() {
    this.#tellKey(null);
    const last = this.#last();
    const newest = last === null || !this.time ? "" : `: ${this.series.map((one, place) => `${one.label} ${figure(this.data[place + 1][last])}`).join(", ")}`;
    this.box.setAttribute("aria-label", `${this.title}, in ${this.unit}${newest}. The numbers are in the table that follows.`);
    if (!this.details.open) return;
    const step = Math.max(1, Math.ceil(this.data[0].length / TABLE_ROWS));
    const rows = [];
    for (let at = (this.data[0].length - 1) % step; at < this.data[0].length; at += step) rows.push(at);
    fill(
      this.table,
      element("thead", {}, element("tr", {}, element("th", {scope: "col"}, this.time ? "Time" : this.unit), ...this.series.map(one => element("th", {scope: "col"}, one.label)))),
      element("tbody", {}, ...rows.reverse().map(at => element(
        "tr", {},
        element("th", {scope: "row"}, this.time ? moment(this.data[0][at] * 1000) : figure(this.data[0][at])),
        ...this.data.slice(1).map(values => element("td", {class: "number"}, this.time || values[at] === null ? figure(values[at]) : `${figure(values[at] * 100)} %`))))));
  }
}

const alone = values => values.flatMap((value, at) => ((value ?? null) !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));

function clock(plot, splits, _, __, step) {
  const two = number => String(number).padStart(2, "0");
  return splits.map(seconds => {
    const at = new Date(seconds * 1000);
    if (step >= 86400) return `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
    return step < 60 ? `${time}:${two(at.getSeconds())}` : time;
  });
}

dark.addEventListener("change", () => all.forEach(chart => chart.redraw()));
