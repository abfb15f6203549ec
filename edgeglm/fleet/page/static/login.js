// The link that is printed once has the token behind a #, which no browser sends to anybody.
const form = document.getElementById("login");
document.getElementById("wrong").hidden = !location.search.startsWith("?wrong");
if (location.hash.length > 1) {
  const token = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", "/login");
  form.elements.token.value = token;
  form.requestSubmit();
}
