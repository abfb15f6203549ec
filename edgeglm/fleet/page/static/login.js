// The link that is printed once has the token behind a #, which no browser sends to anybody.
const form = document.getElementById("login");

function take() {
  if (location.hash.length < 2) return;
  const token = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", "/login");
  form.elements.token.value = token;
  form.requestSubmit();
}

document.getElementById("wrong").hidden = !location.search.startsWith("?wrong");
addEventListener("hashchange", take);
take();
