// The limit: what another one would have done to the answered parts, what is sure, and the wish to judge by it.
import { byId, choice, distanceText, element, number, root, setText, svg } from "./dom.js";
import { clock } from "./times.js";
import { line } from "./inspections.js";
import { askWho, send, who } from "./person.js";
import { told } from "./told.js";
import { figures, percentText, t, tn } from "./words.js";

const SIZE = 250;
const EDGE = 34;
const NAMES = { good: t("was good"), bad: t("really bad"), unsure: t("not sure") };
const ASK_AGAIN_MS = 2000;
let found = null;
let answered = null; // the choice that `found` speaks of, as the slider tells it
let asked = 0;
let of = "curve";

const score = (distance) => found.typical + distance * (found.threshold - found.typical);
const percent = (share) => percentText((100 * share).toFixed(share < 0.1 ? 1 : 0));

async function ask() {
  const mine = ++asked;
  const value = byId("at").value;
  const known = found !== null; // without the limit of now nobody can say which score a distance is
  offer();
  const response = await fetch(`${root}/api/limit${known && value !== "1" ? `?at=${score(Number(value))}` : ""}`).catch(() => null);
  const answer = response ? await response.json().catch(() => null) : null;
  if (mine !== asked) return;
  const problem = answer ? told(answer.error ?? "") : t("No connection to the station. Try again.");
  setText(byId("problem"), problem);
  byId("problem").hidden = !problem;
  if (!response) setTimeout(() => mine === asked && ask(), ASK_AGAIN_MS);
  if (problem) {
    for (const id of ["says-good", "says-bad"]) setText(byId(id), "–");
    return;
  }
  found = answer;
  if (!known && value !== "1") {
    ask();
    return;
  }
  answered = value;
  show();
}

// The limit can be set while the page shows what this very one would do.
function offer() {
  byId("set").disabled = found === null || answered !== byId("at").value;
  byId("own").disabled = found === null || found.threshold === found.bundle_threshold;
}

function show() {
  offer();
  const { effect, guarantee: sure } = found;
  const own = found.own_limit ? t("set by {who}; the model’s own is {limit}", { who: found.own_limit, limit: number(found.bundle_threshold) }) : t("the model’s own");
  setText(byId("which"), `${found.bundle} · ${t("limit {limit}", { limit: number(found.threshold) })}, ${own}`);
  setText(byId("at-text"), t("{distance} (score {score})", { distance: distanceText(Number(byId("at").value)), score: number(found.at) }));
  setText(byId("says-good"), t("{goods_rejected} of the {goods} good parts that people answered would be rejected (now {goods_rejected_now}).", effect));
  setText(byId("says-bad"), t("{bads_passed} of the {bads} bad parts would pass (now {bads_passed_now}).", effect));
  setText(byId("sure-good"), sure.goods ? t("Of all good parts, at most {share} are rejected: {rejected} of {goods} in the random sample.", { share: percent(sure.goods_rejected_at_most_any), rejected: sure.goods_rejected, goods: sure.goods }) : t("The random sample holds no good part yet, so nothing is sure about good parts."));
  setText(byId("sure-bad"), sure.passed ? t("Of the parts that pass, at most {share} are bad: {bad} of {passed} in the random sample.", { share: percent(sure.passed_bad_at_most_any), bad: sure.passed_bad, passed: sure.passed }) : t("No part of the random sample passes, so nothing is sure about those that pass."));
  setText(byId("sure-fixed"), sure.sample ? t("For a limit that was fixed before anybody looked they are {goods} and {bads}.", { goods: percent(sure.goods_rejected_at_most), bads: percent(sure.passed_bad_at_most) }) : "");
  setText(byId("changed-what"), found.changed ? tn("{n} part", "{n} parts", found.changed) : t("no part"));
  byId("changed").replaceChildren(...effect.changed.map((row) => {
    const item = line(row, true);
    item.append(element("p", { class: "muted" }, t("People said: {answer}", { answer: NAMES[row.opinion] })));
    return item;
  }));
  byId("log-none").hidden = found.log.length > 0;
  byId("log-table").hidden = found.log.length === 0;
  byId("log").replaceChildren(...found.log.map(change));
  draw();
}

function change({ at, who: name, before, after, reason }) {
  const cells = [clock(at, true), name, number(before), after === null ? t("the model’s own") : number(after), reason];
  return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
}

function draw() {
  const chart = byId("roc");
  const { points, goods, bads, auroc, auroc_interval: interval } = found[of];
  const width = chart.getBoundingClientRect().width;
  const x = (share) => EDGE + share * (width - EDGE - 10);
  const y = (share) => SIZE - EDGE + 8 - share * (SIZE - EDGE - 4);
  chart.replaceChildren(
    svg("path", { class: "axis", fill: "none", d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}` }),
    svg("text", { x: x(0.5), y: SIZE - 2, "text-anchor": "middle" }, t("good parts rejected")),
    svg("text", { x: x(0) + 6, y: y(0) - 8 }, t("bad parts found")),
  );
  for (const { limit, goods_rejected: over, bads_found: hit } of points) {
    chart.append(svg("path", { class: "reach", d: `M${x(over.low)} ${y(hit.share)}H${x(over.high)}M${x(over.share)} ${y(hit.low)}V${y(hit.high)}` }));
    if (limit <= found.at) chart.append(svg("circle", { class: "passed", cx: x(over.share), cy: y(hit.share), r: 3 }));
  }
  const path = points.map(({ goods_rejected: over, bads_found: hit }, at) => `${at ? "L" : "M"}${x(over.share)} ${y(hit.share)}`).join("");
  if (path) chart.append(svg("path", { class: "course", d: path }));
  const area = auroc === null ? t("it needs good and bad parts") : t("AUROC {area} ({low} to {high})", { area: figures(auroc.toFixed(3)), low: figures(interval[0].toFixed(3)), high: figures(interval[1].toFixed(3)) });
  setText(byId("curve-what"), `${t("{goods} good, {bads} bad", { goods, bads })} · ${area}`);
}

async function apply(after) {
  const answer = byId("apply-answer");
  if (!byId("apply").reportValidity()) return;
  answer.dataset.kind = "wait";
  setText(answer, t("The engine proves it …"));
  const done = await send("limit", { before: found.threshold, after, who: who(), reason: byId("reason").value });
  answer.dataset.kind = done.error ? "error" : "ok";
  setText(answer, told(done.error ?? done.text));
  if (!done.error) {
    byId("reason").value = "";
    byId("at").value = "1";
  }
  found = null;
  await ask();
}

function turn(step) {
  byId("at").value = String(Number(byId("at").value) + step);
  chosen();
  ask();
}

function chosen() {
  setText(byId("at-text"), distanceText(Number(byId("at").value)));
  offer();
}

byId("at").addEventListener("input", chosen);
byId("at").addEventListener("change", ask);
byId("lower").addEventListener("click", () => turn(-0.05));
byId("higher").addEventListener("click", () => turn(0.05));
byId("apply").addEventListener("submit", (event) => {
  event.preventDefault();
  apply(found.at);
});
byId("own").addEventListener("click", () => apply("own"));
choice([...byId("curve-of").children], (button) => {
  of = button.dataset.of;
  draw();
});
askWho(byId("who"));
ask();
