// The banners above the verdict: drawn anew only when one comes, goes or changes, so that nothing flickers.
import { byId, clock, element, icon } from "./dom.js";

// What a person has opened stays open. Hints stand further down: the verdict comes before them.
const lists = [[byId("notices"), (notice) => notice.level !== "hint"], [byId("hints"), (notice) => notice.level === "hint"]];
let shown = null;

export function refreshNotices(notices) {
  const now = JSON.stringify(notices);
  if (now === shown) return;
  shown = now;
  for (const [list, belongs] of lists) {
    const open = new Map([...list.children].map((item) => [item.dataset.key, item.firstElementChild.open]));
    list.replaceChildren(...notices.filter(belongs).map((notice) => banner(notice, open.get(notice.key) ?? notice.level === "fault")));
  }
}

function banner({ key, level, icon: name, title, text, since }, open) {
  const heading = since ? `${title} since ${clock(since).replace(/:\d\d$/, "")}` : title;
  const summary = element("summary", {}, icon(name), element("strong", {}, heading), element("span", { class: "hinted" }, "What to do"));
  const details = element("details", { class: "banner", "data-level": level }, summary, element("p", {}, text));
  details.open = open;
  return element("li", { "data-key": key }, details);
}
