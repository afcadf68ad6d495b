// Where a person was in a list is kept while they look at a part, so that back leads there and not to its top.
import { root } from "./dom.js";

const key = `linewatch-place ${root}${location.pathname}`;
const LIST = `linewatch-list ${root}`; // the address of the page from which the part on show was opened
const PART = "linewatch-part"; // the page before this one was that of a part
const came = sessionStorage.getItem(PART); // no page here tells the next one where it was
sessionStorage.removeItem(PART);

// Whatever page leads to a part, the part's way back leads there. A part that leads to another one is none of them.
if (!location.pathname.startsWith(`${root}/inspections/`)) {
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("a")?.pathname.startsWith(`${root}/inspections/`)) sessionStorage.setItem(LIST, location.href);
  });
}

// state: what the list shows, as a function, so that it is asked for when a part is opened.
export function keepPlace(rows, state) {
  rows.addEventListener("click", (event) => {
    const link = event.target.closest("a.row");
    if (!link) return;
    sessionStorage.setItem(key, JSON.stringify({ ...state(), part: link.pathname, y: scrollY }));
  });
}

// Returns what keepPlace noted, once, when a person comes back from a part; null otherwise.
export function takePlace() {
  const noted = sessionStorage.getItem(key);
  sessionStorage.removeItem(key);
  return noted && came ? JSON.parse(noted) : null;
}

// The page of a part: its way back is the list from which it was opened, with the filter and the place in it.
export function leadBack(link) {
  sessionStorage.setItem(PART, "1");
  const list = sessionStorage.getItem(LIST);
  if (list) link.href = list;
}

export function showPlace(rows, { part, y }) {
  scrollTo({ top: y, behavior: "instant" });
  [...rows.querySelectorAll("a.row")].find((link) => link.pathname === part)?.focus({ preventScroll: true });
}

export const filterOf = (query) => {
  const kept = new URLSearchParams([...query].filter(([name, value]) => value && ["verdict", "reason", "from", "to"].includes(name)));
  return kept.size ? `?${kept}` : "";
};
