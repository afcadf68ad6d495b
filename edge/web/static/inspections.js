// Inspections: one line of a list, and the page of a single inspection.
import { badge, byId, choice, clock, distanceText, element, root, scoreBar } from "./dom.js";

export function line(row, withDate = false) {
  const picture = row.pictures.thumb
    ? element("img", { src: row.pictures.thumb, alt: "", loading: "lazy", width: 124, height: 92 })
    : element("span", {}, "no picture");
  const judged = row.verdict !== "ERROR";
  const score = !judged ? [row.words.what] : [`Distance ${distanceText(row.distance)}`, scoreBar(row.distance)];
  const small = !judged ? row.detail : row.probability_text === "–" ? row.words.what : `defect ${row.probability_text}`;
  const link = element(
    "a",
    { class: "row", "data-kind": row.words.kind, href: `${root}/inspections/${row.id}` },
    element("span", { class: "thumb" }, picture),
    element(
      "div",
      { class: "row-text" },
      element("div", { class: "row-head" }, badge(row.words), element("span", { class: "muted" }, clock(row.at, withDate))),
      element("p", { class: "row-score" }, ...score),
      element("p", { class: "muted" }, `Part ${row.id} · ${small}`),
    ),
  );
  return element("li", {}, link);
}

// Only the page of a single inspection has these: heatmap or plain picture, and its time in the reader's time zone.
choice([...document.querySelectorAll("[data-picture]")], (button) => {
  byId("picture").src = button.dataset.picture;
});
for (const node of document.querySelectorAll("time[data-date]")) node.textContent = clock(node.dateTime, true);
