// The page of a shift: the station writes it whole; this keeps a running shift fresh and sets the order.
import { byId, setText } from "./dom.js";
import { postJson } from "./session.js";
import { told } from "./told.js";
import { t } from "./words.js";

const EVERY_MS = 30000;
const field = byId("order");
const answer = byId("order-answer");

async function refresh() {
  if (!("running" in byId("report").dataset)) return;
  const response = await fetch(location.href).catch(() => null);
  if (!response?.ok) return;
  const found = new DOMParser().parseFromString(await response.text(), "text/html");
  const report = found.getElementById("report");
  if (report && !document.querySelector("#report :focus")) byId("report").replaceWith(document.adoptNode(report));
}

function say(kind, text) {
  answer.dataset.kind = kind;
  setText(answer, text);
}

byId("order-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const response = await postJson("/api/order", { order: field.value, before: field.dataset.before });
    const done = await response.json();
    if ("order" in done) field.dataset.before = done.order;
    if (!response.ok) return say("error", told(done.error));
    field.value = done.order;
    say("ok", done.order ? t("Parts from now on belong to order {order}.", { order: done.order }) : t("Parts from now on belong to no order."));
    await refresh();
  } catch {
    say("error", t("No connection to the station: whether the order was set is not known. Reload the page."));
  }
});

document.addEventListener("click", (event) => {
  if (event.target.id === "print") print();
});
setInterval(refresh, EVERY_MS);
