// The history page: what was chosen is in the address, so that a report can be bookmarked and sent on.
import { byId, choice, number, root, setText } from "./dom.js";
import { dateAndHour, fromField, toField } from "./times.js";
import { drawBars, drawCourse, drawLatency } from "./charts.js";
import { line } from "./inspections.js";
import { filterOf, keepPlace, showPlace, takePlace } from "./place.js";
import "./session.js"; // the way out of whoever is signed in
import { told } from "./told.js";
import { count, percentText, t, tn } from "./words.js";

const PAGE = 24;
const HOUR_MS = 3600 * 1000;
const rows = byId("rows");
const params = new URLSearchParams(location.search);
let shown = null;
let nextBefore = null;
let inEffect = null; // the choice that is on show: a field that was changed since counts with the next “Show”
let asked = 0; // an answer that was overtaken by a later question is not shown

function setSpan(hours) {
  const end = new Date(Math.ceil(Date.now() / 60000) * 60000);
  byId("to").value = toField(end);
  byId("from").value = toField(new Date(end.getTime() - hours * HOUR_MS));
}

function chosen() {
  const query = new URLSearchParams();
  for (const name of ["from", "to"]) query.set(name, fromField(byId(name).value).toISOString());
  for (const name of ["verdict", "reason"]) if (byId(name).value) query.set(name, byId(name).value);
  return query;
}

async function read(path, query) {
  const response = await fetch(`${root}/api/${path}?${query}`);
  const answer = await response.json().catch(() => ({ error: t("The station refused (HTTP {code}).", { code: response.status }) }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function show() {
  if (!byId("query").reportValidity()) return;
  const query = chosen();
  const mine = ++asked;
  history.replaceState(null, "", `?${query}`);
  byId("csv").href = `${root}/history.csv?${query}`;
  byId("problem").hidden = true;
  try {
    const [report, list] = await Promise.all([read("report", query), read("inspections", withLimit(query))]);
    if (mine !== asked) return;
    shown = report;
    inEffect = query;
    showReport(report);
    rows.replaceChildren(...lines(list));
    ended(list);
    setText(byId("rows-what"), [byId("verdict").value, told(byId("reason").value.replaceAll("_", " ")), t("{n} of {of} parts of this time", { n: count(report.total), of: count(report.of) })].filter(Boolean).join(", "));
  } catch (error) {
    if (mine !== asked) return;
    setText(byId("problem"), error instanceof TypeError ? t("No connection to the station. Try again.") : told(error.message));
    byId("problem").hidden = false;
  }
}

function withLimit(query, before = null) {
  const full = new URLSearchParams(query);
  full.set("limit", PAGE);
  if (before) full.set("before", before);
  return full;
}

function showReport(report) {
  setText(byId("span"), `${t("{start} to {end}", { start: dateAndHour(report.from), end: dateAndHour(report.to) })} · ${tn("{n} part", "{n} parts", report.total)}${report.complete ? "" : t(", the first of more: choose a shorter time")}${report.sampled ? t("; scores and times from {n} of them", { n: count(report.sampled) }) : ""}`);
  for (const [verdict, found] of Object.entries(report.verdicts)) {
    setText(byId(`count-${verdict}`), count(found));
    setText(byId(`share-${verdict}`), report.total ? percentText(((100 * found) / report.total).toFixed(2)) : "–");
  }
  setText(byId("p99"), number(report.latency.p99_ms, 3));
  setText(byId("slowest"), report.total ? t("p50 {p50} ms, slowest {max} ms", { p50: number(report.latency.p50_ms, 3), max: number(report.latency.max_ms, 3) }) : "–");
  draw();
}

function draw() {
  if (shown === null || byId("chart-bars").getBoundingClientRect().width < 100) return;
  drawBars(byId("chart-bars"), byId("bars-what"), shown.bars);
  drawCourse(byId("chart-scores"), shown);
  drawLatency(byId("chart-latency"), shown);
}

function lines(list) {
  const filter = filterOf(inEffect);
  return list.inspections.map((row) => line(row, true, filter));
}

// The list as it was when a part was opened from it: as many rows, at the same place.
async function comeBack(place) {
  await show();
  while (nextBefore !== null && rows.children.length < place.count) if (!(await loadMore())) return;
  showPlace(rows, place);
}

function ended(list) {
  nextBefore = list.next_before;
  byId("more").hidden = nextBefore === null;
  byId("rows-empty").hidden = rows.children.length > 0;
}

async function loadMore() {
  try {
    const mine = asked;
    const list = await read("inspections", withLimit(inEffect, nextBefore));
    if (mine !== asked) return false;
    rows.append(...lines(list));
    ended(list);
    return true;
  } catch {
    return false; // no connection: the button stays
  }
}

byId("more").addEventListener("click", loadMore);
byId("query").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
const spans = [...byId("spans").children];
choice(spans, (button) => {
  setSpan(Number(button.dataset.hours));
  show();
});
for (const name of ["from", "to"]) {
  byId(name).addEventListener("change", () => spans.forEach((button) => button.setAttribute("aria-pressed", "false")));
}
for (const name of ["verdict", "reason"]) {
  byId(name).value = params.get(name) ?? "";
  byId(name).addEventListener("change", show);
}
const given = ["from", "to"].map((name) => new Date(params.get(name) ?? ""));
if (given.every((date) => !Number.isNaN(date.getTime()))) {
  [byId("from").value, byId("to").value] = given.map(toField);
  spans.forEach((button) => button.setAttribute("aria-pressed", "false"));
} else {
  setSpan(8);
}
new ResizeObserver(draw).observe(byId("chart-bars"));
const place = takePlace();
keepPlace(rows, () => ({ count: rows.children.length }));
if (place) comeBack(place);
else show();
