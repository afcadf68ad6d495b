// The limit: what another one would have done to the answered parts, what is sure, and the wish to judge by it.
import { byId, choice, clock, element, number, root, setText, svg } from "./dom.js";
import { line } from "./inspections.js";
import { askWho, send, who } from "./person.js";

const SIZE = 250;
const EDGE = 34;
const NAMES = { good: "was good", bad: "really bad", unsure: "not sure" };
let found = null;
let asked = 0;
let of = "curve";

const score = (distance) => found.typical + distance * (found.threshold - found.typical);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

async function ask() {
  const mine = ++asked;
  const at = found ? score(Number(byId("at").value)) : null;
  const query = at !== null && byId("at").value !== "1" ? `?at=${at}` : "";
  const response = await fetch(`${root}/api/limit${query}`).catch(() => null);
  const answer = response ? await response.json().catch(() => null) : null;
  if (mine !== asked) return;
  const problem = answer?.error ?? (answer ? "" : "No connection to the station. Try again.");
  setText(byId("problem"), problem);
  byId("problem").hidden = !problem;
  if (problem) return;
  found = answer;
  show();
}

function show() {
  const { effect, guarantee: sure } = found;
  const own = found.own_limit ? `set by ${found.own_limit}; the bundle’s own is ${number(found.bundle_threshold)}` : "the bundle’s own";
  setText(byId("which"), `${found.bundle} · limit ${number(found.threshold)}, ${own}`);
  setText(byId("at-text"), `${Number(byId("at").value).toFixed(2)} (score ${number(found.at)})`);
  setText(byId("says-good"), `${effect.goods_rejected} of the ${effect.goods} good parts that people answered would be rejected (now ${effect.goods_rejected_now}).`);
  setText(byId("says-bad"), `${effect.bads_passed} of the ${effect.bads} bad parts would pass (now ${effect.bads_passed_now}).`);
  setText(byId("sure-good"), sure.goods ? `Of all good parts, at most ${percent(sure.goods_rejected_at_most_any)} are rejected: ${sure.goods_rejected} of ${sure.goods} in the random sample.` : "The random sample holds no good part yet, so nothing is sure about good parts.");
  setText(byId("sure-bad"), sure.passed ? `Of the parts that pass, at most ${percent(sure.passed_bad_at_most_any)} are bad: ${sure.passed_bad} of ${sure.passed} in the random sample.` : "No part of the random sample passes, so nothing is sure about those that pass.");
  setText(byId("sure-fixed"), sure.sample ? `For a limit that was fixed before anybody looked they are ${percent(sure.goods_rejected_at_most)} and ${percent(sure.passed_bad_at_most)}.` : "");
  setText(byId("changed-what"), found.changed ? `${found.changed} parts` : "none");
  byId("changed").replaceChildren(...effect.changed.map((row) => {
    const item = line(row, true);
    item.append(element("p", { class: "muted" }, `People said: ${NAMES[row.opinion]}`));
    return item;
  }));
  byId("log").replaceChildren(...found.log.map(change));
  byId("own").disabled = found.threshold === found.bundle_threshold;
  draw();
}

function change({ at, who: name, before, after, reason }) {
  const cells = [clock(at, true), name, number(before), after === null ? "the bundle’s own" : number(after), reason];
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
    svg("text", { x: x(0.5), y: SIZE - 2, "text-anchor": "middle" }, "good parts rejected"),
    svg("text", { x: x(0) + 6, y: y(0) - 8 }, "bad parts found"),
  );
  for (const { limit, goods_rejected: over, bads_found: hit } of points) {
    chart.append(svg("path", { class: "reach", d: `M${x(over.low)} ${y(hit.share)}H${x(over.high)}M${x(over.share)} ${y(hit.low)}V${y(hit.high)}` }));
    if (limit <= found.at) chart.append(svg("circle", { class: "passed", cx: x(over.share), cy: y(hit.share), r: 3 }));
  }
  const path = points.map(({ goods_rejected: over, bads_found: hit }, at) => `${at ? "L" : "M"}${x(over.share)} ${y(hit.share)}`).join("");
  if (path) chart.append(svg("path", { class: "course", d: path }));
  const area = auroc === null ? "it needs good and bad parts" : `AUROC ${auroc.toFixed(3)} (${interval.map((end) => end.toFixed(3)).join(" to ")})`;
  setText(byId("curve-what"), `${goods} good, ${bads} bad · ${area}`);
}

async function apply(after) {
  const answer = byId("apply-answer");
  if (!byId("apply").reportValidity()) return;
  answer.dataset.kind = "wait";
  setText(answer, "The engine proves it …");
  const told = await send("limit", { before: found.threshold, after, who: who(), reason: byId("reason").value });
  answer.dataset.kind = told.error ? "error" : "ok";
  setText(answer, told.error ?? told.text);
  if (!told.error) {
    byId("reason").value = "";
    byId("at").value = "1";
  }
  found = null;
  await ask();
}

function turn(step) {
  byId("at").value = String(Number(byId("at").value) + step);
  setText(byId("at-text"), Number(byId("at").value).toFixed(2));
  ask();
}

byId("at").addEventListener("input", () => setText(byId("at-text"), Number(byId("at").value).toFixed(2)));
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
