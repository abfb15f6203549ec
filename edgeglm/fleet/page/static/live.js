// The stream of news from the server, and what is said of the connection.
import {age, byId, element, fill, setText} from "./dom.js";

let skew = 0; // the server's clock less ours
let heard = 0;
let connected = false;

export const now = () => Date.now() + skew;

export function listen(query, take) {
  const stream = new EventSource(`/live?${query}`);
  stream.addEventListener("news", message => {
    const news = JSON.parse(message.data);
    skew = news.now_ms - Date.now();
    heard = Date.now();
    connected = true;
    tellTrouble(news.head.trouble, news.now_ms);
    take(news);
    tellLink();
  });
  stream.addEventListener("open", () => { connected = true; tellLink(); });
  stream.addEventListener("error", () => {
    connected = false;
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => location.reload(), 5000); // refused: the token may have changed
    }
    tellLink();
  });
  setInterval(tellLink, 5000);
  addEventListener("pagehide", () => stream.close());
}

function tellLink() {
  const link = byId("link");
  link.classList.toggle("bad", !connected);
  setText(link, connected ? "Live" : heard ? `Connection lost; what you see is ${age(heard, Date.now())} old. Trying again` : "No connection. Trying");
}

function tellTrouble(trouble, nowMs) {
  const section = byId("trouble");
  section.hidden = !trouble;
  if (!trouble) return;
  fill(
    section,
    element("h2", {}, element("span", {class: "sign", "aria-hidden": "true"}, "!"), "The store cannot be read"),
    element("p", {}, trouble.what),
    trouble.hint && element("p", {class: "quiet"}, trouble.hint),
    element("p", {class: "quiet"}, "What is below is as it was before. This page goes on by itself once the store can be read."));
}
