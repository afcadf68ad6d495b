// Inspections: one line of a list.
import { badge, clock, distanceText, element, root, scoreBar } from "./dom.js";

// filter: the query of the list, so that older and newer parts are those of the list.
export function line(row, withDate = false, filter = "") {
  const picture = row.pictures.thumb
    ? element("img", { src: row.pictures.thumb, alt: "", loading: "lazy", width: 124, height: 92 })
    : element("span", {}, "no picture");
  const judged = row.verdict !== "ERROR";
  const score = !judged ? [row.words.what] : [`Distance ${distanceText(row.distance)}`, scoreBar(row.distance)];
  const small = !judged ? row.detail : row.probability_text === "–" ? row.words.what : `defect ${row.probability_text}`;
  const link = element(
    "a",
    { class: "row", "data-kind": row.words.kind, href: `${root}/inspections/${row.id}${filter}` },
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
