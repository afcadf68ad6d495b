// Inspections: one line of a list.
import { badge, distanceText, element, root, scoreBar } from "./dom.js";
import { clock } from "./times.js";
import { told } from "./told.js";
import { figures, t } from "./words.js";

// filter: the query of the list, so that older and newer parts are those of the list.
export function line(row, withDate = false, filter = "") {
  const picture = row.pictures.thumb
    ? element("img", { src: row.pictures.thumb, alt: "", loading: "lazy", width: 124, height: 92 })
    : element("span", {}, t("no picture"));
  const judged = row.verdict !== "ERROR";
  const score = !judged ? [told(row.words.what)] : [t("Distance {distance}", { distance: distanceText(row.distance) }), scoreBar(row.distance)];
  const small = !judged ? told(row.detail) : row.probability_text === "–" ? told(row.words.what) : t("defect {probability}", { probability: figures(row.probability_text) });
  const link = element(
    "a",
    { class: "row", "data-kind": row.words.kind, href: `${root}/inspections/${row.id}${filter}` },
    element("span", { class: "thumb" }, picture),
    element(
      "div",
      { class: "row-text" },
      element("div", { class: "row-head" }, badge(row.words), element("span", { class: "muted" }, clock(row.at, withDate))),
      element("p", { class: "row-score" }, ...score),
      element("p", { class: "muted pieces" }, element("span", {}, `${t("Part {part}", { part: row.id })} ·`), " ", element("span", {}, small)),
    ),
  );
  return element("li", {}, link);
}
