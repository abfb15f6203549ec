// The stream of news from the server, and what is said of the connection.
import {age, byId, element, fill, setText} from "./dom.js";

let skew = 0; // the server's clock less ours
let shown = 0; // when what is shown came
let heard = 0; // when the server said anything
let connected = false;
const SILENT_MS = 40000; // the server says something every 15 s: a connection that died may never tell

export const now = () => Date.now() + skew;

// which times these are: said once, as all of them are the browser's
function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const two = number => String(Math.floor(number)).padStart(2, "0");
  const offset = `UTC${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return `Times are of ${name && name !== "UTC" ? `${name}, now ${offset}` : offset}`;
}

export function listen(query, take) {
  setText(byId("zone"), zone());
  let stream = open(query, take);
  setInterval(() => {
    if (connected && Date.now() - heard > SILENT_MS) {
      connected = false;
      stream.close();
      stream = open(query, take);
    }
    tellLink();
  }, 5000);
  addEventListener("pagehide", () => stream.close());
}

function open(query, take) {
  const stream = new EventSource(`/live?${query}`);
  const hear = () => { heard = Date.now(); connected = true; tellLink(); };
  stream.addEventListener("news", message => {
    const news = JSON.parse(message.data);
    skew = news.now_ms - Date.now();
    shown = Date.now();
    tellTrouble(news.head);
    take(news);
    hear();
  });
  stream.addEventListener("still", hear);
  stream.addEventListener("open", hear);
  stream.addEventListener("error", () => {
    connected = false;
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => location.reload(), 5000); // refused: the token may have changed
    }
    tellLink();
  });
  return stream;
}

function tellLink() {
  const link = byId("link");
  link.classList.toggle("bad", !connected);
  setText(link, connected ? "Live" : shown ? `Connection lost; what you see is ${age(shown, Date.now())} old. Trying again` : "No connection. Trying");
}

function tellTrouble({trouble, quiet}) {
  const section = byId("trouble");
  section.hidden = !trouble && !quiet;
  if (section.hidden) return;
  const head = text => element("h2", {}, element("span", {class: "sign", "aria-hidden": "true"}, "!"), text);
  if (!trouble) {
    fill(section, head("Nothing comes in"), element("p", {}, `${quiet[0].toUpperCase()}${quiet.slice(1)}.`));
    return;
  }
  fill(
    section,
    head("The store cannot be read"),
    element("p", {}, trouble.what),
    trouble.hint && element("p", {class: "quiet"}, trouble.hint),
    element("p", {class: "quiet"}, "What is below is as it was before. This page goes on by itself once the store can be read."));
}
