// The page of one part: its picture in full, its neighbours inside the filter, and the way back to the list.
import { byId, choice } from "./dom.js";
import { clock } from "./times.js";
import { lookButton, lookIsOpen, openLook } from "./look.js";
import { leadBack } from "./place.js";
import "./session.js"; // the way out of whoever is signed in
import { t } from "./words.js";

const LOOKING = "#look"; // the next part is looked at in full, too
const picture = byId("picture");
const title = document.querySelector("h1").textContent;
const verdict = document.querySelector(".title-row .badge").textContent.trim();
const link = (name) => document.querySelector(`.pager [rel=${name}]`);

// A neighbour takes this page's place in the browser's memory, so that back leads to the list.
const goTo = (name) => link(name) && (() => location.replace(link(name).href + (lookIsOpen() ? LOOKING : "")));

function look() {
  const { heat, plain, part } = picture.dataset;
  openLook({ title: `${title} ${verdict}`, heat, plain, part, older: goTo("prev"), newer: goTo("next"), closed: () => history.replaceState(null, "", location.pathname + location.search) });
}

for (const name of ["prev", "next"]) {
  link(name)?.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(name)();
  });
}
addEventListener("keydown", (event) => {
  if (lookIsOpen() || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "ArrowLeft") goTo("prev")?.();
  else if (event.key === "ArrowRight") goTo("next")?.();
});
choice([...document.querySelectorAll("[data-picture]")], (button) => {
  picture.src = button.dataset.picture;
  const ofClass = byId("class-legend");
  if (!ofClass) return;
  ofClass.hidden = button.dataset.legend !== "class";
  ofClass.previousElementSibling.hidden = !ofClass.hidden;
});
for (const node of document.querySelectorAll("time[data-date]")) node.textContent = clock(node.dateTime, true);
leadBack(byId("back"));
if (picture) {
  lookButton(picture.parentElement, t("Show the picture in full"), look);
  if (location.hash === LOOKING) look();
}
