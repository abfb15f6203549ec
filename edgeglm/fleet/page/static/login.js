// The link that is printed once has the token behind a #, which no browser sends to anybody.
const form = document.getElementById("login");
const asked = new URLSearchParams(location.search);
const to = asked.get("to");

function take() {
  if (location.hash.length < 2) return;
  const token = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.token.value = token;
  form.requestSubmit();
}

document.getElementById("wrong").hidden = !asked.has("wrong");
if (to && /^\/(models$|board\/)/.test(to)) {
  form.elements.to.value = to;
  document.getElementById("on").href = to.split("/").map(encodeURIComponent).join("/");
}
addEventListener("hashchange", take);
take();
