// Elements made of text: nothing here, nor anywhere in this folder, makes markup of what a board wrote.

export const byId = id => document.getElementById(id);

// element("td", {class: "number"}, "3.2"): children are texts or nodes; null and false are left out
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== false && child !== undefined));
  return made;
}

// Put children in place of what is there, unless it shows the same: a screen reader hears only what changed.
export function fill(parent, ...children) {
  const fresh = document.createElement(parent.tagName);
  fresh.append(...children.flat().filter(child => child !== null && child !== false && child !== undefined));
  const same = fresh.childNodes.length === parent.childNodes.length
    && [...fresh.childNodes].every((child, at) => child.isEqualNode(parent.childNodes[at]));
  if (!same) parent.replaceChildren(...fresh.childNodes);
  return !same;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// a number in three digits, a dash for none
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(1);
  if (size >= 999_500) return value.toLocaleString("en", {notation: "compact", maximumSignificantDigits: 3}); // 25.9M
  return size < 999.5 ? String(Number(value.toPrecision(3))) : Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

export const percent = share => (share === null || share === undefined ? "\u2013" : `${figure(share * 100)} %`);

const AGES = [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];

export function age(atMs, nowMs) {
  const seconds = Math.max(0, Math.floor((nowMs - atMs) / 1000));
  const [, size, unit] = AGES.find(([least]) => seconds >= least);
  return `${Math.floor(seconds / size)} ${unit}`;
}

export function moment(atMs) {
  const at = new Date(atMs);
  if (Number.isNaN(at.getTime())) return `${atMs} ms`;
  const two = number => String(number).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export const plural = (count, word) => `${count.toLocaleString("en").replaceAll(",", "\u202f")} ${word}${count === 1 ? "" : "s"}`;

const WORST = new Set(["silent", "down", "no-input", "erroring"]);

export const chip = (kind, count = null) => element(
  "span", {class: `chip ${WORST.has(kind) ? "missed" : "undecided"}`}, count === null ? kind : `${kind} ${count}`);

export const tile = (what, big, small = "", tone = "") => element(
  "div", {class: "tile"},
  element("p", {class: "what"}, what), element("p", {class: `big ${tone}`.trim()}, big), small && element("p", {class: "quiet"}, small));

export const boardPath = (fleet, device) => `/board/${encodeURIComponent(fleet)}/${encodeURIComponent(device)}`;
