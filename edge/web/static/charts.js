// All charts, drawn as SVG in the size they have on the screen, so that their words stay readable.
// Verdicts differ by shape as well as by colour.
import { byId, distanceText, number, onScale, setText, svg } from "./dom.js";
import { KEPT, lastRows, turn } from "./rows.js";
import { dateAndHour, dateText, hourText } from "./times.js";
import { count, t } from "./words.js";

const LEFT = 58;
const RIGHT = 12;
const TOP = 14;
const NO_WORDS_BELOW = 8;
const WORDS_BELOW = 30;

// The frame of a chart: `x` and `y` turn shares from 0 to 1 into places in it.
function plane(chart, bottom, widest = "") {
  const { width, height } = chart.getBoundingClientRect();
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.replaceChildren();
  const left = Math.max(LEFT, 14 + 9 * widest.length);
  const [inner, tall] = [width - left - RIGHT, height - TOP - bottom];
  return { left, inner, tall, right: width - RIGHT, foot: height - bottom, x: (share) => left + share * inner, y: (share) => TOP + (1 - Math.max(0, Math.min(1, share))) * tall };
}

function rule(chart, y, right, label, kind, left = LEFT) {
  chart.append(svg("line", { x1: left, x2: right, y1: y, y2: y, class: kind }));
  chart.append(svg("text", { x: left - 6, y: y + 5, "text-anchor": "end" }, label));
}

function mark(verdict, x, y) {
  return svg("path", { d: shape(verdict, x, y), class: `mark mark-${verdict}` });
}

function shape(verdict, x, y) {
  if (verdict === "OK") return `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`;
  if (verdict === "NG") return `M${x - 5} ${y - 5}l10 10m-10 0l10 -10`;
  return `M${x} ${y - 14}l6 11h-12z`;
}

// Station page: the last parts, one place each.
let readIn = null; // the turn in which they were read
let rows = [];
let newest = 0;
let busy = false;
let deadline = 0;

export async function refreshCharts(status) {
  if (status.health) deadline = status.health.deadline_ms;
  const last = status.history ? status.history.last_id : 0;
  if (busy || last === newest || turn() === readIn) return;
  busy = true;
  readIn = turn();
  try {
    rows = [...(await lastRows(last)).rows].reverse(); // the list asks for the same
    newest = rows.at(-1)?.id ?? 0;
    draw();
  } catch {
    // No connection: the status poll says so.
  } finally {
    busy = false;
  }
}

function draw() {
  if (byId("chart-score").getBoundingClientRect().width < 2 * LEFT) return; // not laid out yet
  drawLastScores(byId("chart-score"));
  drawLastTimes(byId("chart-latency"));
}

const place = (index) => (KEPT - rows.length + index + 0.5) / KEPT;

// The scale of the gauge; what is beyond stands at the edge.
function scale(chart, right, y) {
  rule(chart, y(onScale(0)), right, "0", "axis");
  rule(chart, y(onScale(3)), right, "3", "axis");
  rule(chart, y(onScale(1)), right, "1", "limit");
}

function drawLastScores(chart) {
  const { inner, tall, right, x, y } = plane(chart, NO_WORDS_BELOW);
  const step = inner / KEPT;
  rows.forEach((row, index) => {
    const at = x(place(index));
    const top = y(onScale(row.distance));
    const failed = row.verdict === "ERROR";
    if (failed) chart.append(svg("rect", { x: at - step / 2, y: y(1), width: step, height: tall, class: "gap" }));
    else chart.append(svg("line", { x1: at, x2: at, y1: y(0), y2: top, class: "stem" }));
    chart.append(mark(row.verdict, at, failed ? y(1) + 18 : top));
  });
  scale(chart, right, y);
  const of = (verdict) => rows.filter((row) => row.verdict === verdict).length;
  chart.setAttribute("aria-label", t("Of the last {parts} parts {ok} are OK, {ng} NG, {error} ERROR", { parts: rows.length, ok: of("OK"), ng: of("NG"), error: of("ERROR") }));
}

function drawLastTimes(chart) {
  const { inner, right, x, y } = plane(chart, NO_WORDS_BELOW);
  const step = inner / KEPT;
  const slowest = Math.max(0, ...rows.map((row) => row.timings_ms.total));
  const top = Math.max(1.1 * deadline, Math.min(slowest, 2 * deadline), 1); // one slow part must not hide the others
  rule(chart, y(0), right, "0", "axis");
  rows.forEach((row, index) => {
    const ms = row.timings_ms.total;
    const late = deadline && ms > deadline ? " late" : "";
    const tall = Math.max(1, y(0) - y(ms / top));
    chart.append(svg("rect", { x: x(place(index)) - step * 0.36, y: y(0) - tall, width: step * 0.72, height: tall, class: `column${late}` }));
  });
  if (deadline) rule(chart, y(deadline / top), right, number(deadline), "limit");
  chart.setAttribute("aria-label", t("The slowest of the last {parts} parts took {slowest} ms, the deadline is {deadline} ms", { parts: rows.length, slowest: number(slowest, 3), deadline: number(deadline) }));
}

if (byId("chart-score")) new ResizeObserver(draw).observe(byId("chart-score"));

// History page: the parts of a span of time.
function below(chart, foot, x, label, anchor = "middle") {
  chart.append(svg("text", { x, y: foot + 21, "text-anchor": anchor }, label));
}

function when(iso, seconds) {
  return seconds >= 86400 ? dateText(iso).replace(/[^0-9]?\d{4}-?/, "") : hourText(iso);
}

function spanText(seconds) {
  if (seconds >= 86400) return t("share in each day; the rest is OK");
  if (seconds === 3600) return t("share in each hour; the rest is OK");
  if (seconds === 60) return t("share in each minute; the rest is OK");
  return t("share in each {span}; the rest is OK", { span: seconds > 3600 ? `${seconds / 3600} h` : `${seconds / 60} min` });
}

const NICE_TOPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1];

// Each bar is the share of its own parts, so a quiet hour is as readable as a busy one. What is not drawn is OK:
// on the scale of all parts a rise from 1 % to 2 % could not be seen.
export function drawBars(chart, what, { seconds, bars }) {
  setText(what, spanText(seconds));
  const totals = bars.map((bar) => bar.OK + bar.NG + bar.ERROR);
  const worst = Math.max(0, ...bars.map((bar, index) => (totals[index] ? (bar.NG + bar.ERROR) / totals[index] : 0)));
  const top = NICE_TOPS.find((share) => worst <= share);
  const { inner, right, foot, x, y } = plane(chart, WORDS_BELOW);
  for (const share of [0, 0.5, 1]) rule(chart, y(share), right, `${number(100 * share * top)}\u00a0%`, "axis");
  const step = inner / bars.length;
  const every = Math.ceil(62 / step);
  bars.forEach((bar, index) => {
    const total = totals[index];
    let base = 0;
    for (const verdict of ["NG", "ERROR"]) {
      if (!bar[verdict]) continue;
      const [low, high] = [base / total / top, (base + bar[verdict]) / total / top];
      const box = svg("rect", { x: x(0) + (index + 0.1) * step, y: y(high), width: 0.8 * step, height: y(low) - y(high), class: `share-${verdict}` });
      box.append(svg("title", {}, t("{time}: {n} of {total} {verdict}", { time: dateAndHour(bar.at), n: bar[verdict], total, verdict })));
      chart.append(box);
      base += bar[verdict];
    }
    if (index % every === 0) below(chart, foot, x(0) + (index + 0.5) * step, when(bar.at, seconds));
  });
  const busy = bars.filter((_, index) => totals[index] > 0);
  chart.setAttribute("aria-label", busy.length ? busy.map((bar) => `${dateAndHour(bar.at)}: ${bar.OK} OK, ${bar.NG} NG, ${bar.ERROR} ERROR`).join("; ") : t("No parts in this time"));
}

export function drawCourse(chart, { from, to, scores, bars }) {
  const { right, foot, x, y } = plane(chart, WORDS_BELOW);
  const [start, end] = [Date.parse(from), Date.parse(to)];
  const at = (iso) => x((Date.parse(iso) - start) / (end - start));
  const high = (distance) => y(onScale(distance));
  const path = scores.map((slot, index) => `${index ? "L" : "M"}${at(slot.at)} ${high(slot.median_distance)}`).join("");
  for (const slot of scores) chart.append(mark(slot.highest_distance >= 1 ? "NG" : "OK", at(slot.at), high(slot.highest_distance)));
  if (path) chart.append(svg("path", { d: path, class: "course" }));
  scale(chart, right, y);
  below(chart, foot, x(0), when(from, bars.seconds), "start");
  below(chart, foot, x(1), when(to, bars.seconds), "end");
  const last = scores[scores.length - 1];
  chart.setAttribute("aria-label", last ? t("Median distance from good {first} at the beginning, {last} at the end; the limit is 1", { first: distanceText(scores[0].median_distance), last: distanceText(last.median_distance) }) : t("No scores in this time"));
}

export function drawLatency(chart, { latency, deadline_ms: deadline }) {
  const { edges_ms: edges, counts } = latency;
  const highest = Math.max(1, ...counts);
  const most = count(highest);
  const { left, inner, right, foot, x, y } = plane(chart, WORDS_BELOW, most);
  rule(chart, y(0), right, "0", "axis", left);
  rule(chart, y(1), right, most, "axis", left);
  const step = inner / counts.length;
  const every = Math.ceil(44 / step);
  counts.forEach((parts, index) => {
    const late = index > 0 && edges[index - 1] >= deadline;
    const tall = parts ? Math.max(2, y(0) - y(parts / highest)) : 0;
    const box = svg("rect", { x: x(0) + (index + 0.08) * step, y: y(0) - tall, width: 0.84 * step, height: tall, class: `column${late ? " late" : ""}` });
    box.append(svg("title", {}, index < edges.length ? t("{parts} parts up to {ms} ms", { parts, ms: number(edges[index]) }) : t("{parts} parts over {ms} ms", { parts, ms: number(edges[edges.length - 1]) })));
    chart.append(box);
    if (index < edges.length && index % every === every - 1) below(chart, foot, x(0) + (index + 1) * step, number(edges[index]));
  });
  const limit = edges.findIndex((edge) => edge >= deadline) + 1;
  if (limit > 0) chart.append(svg("line", { x1: x(0) + limit * step, x2: x(0) + limit * step, y1: TOP, y2: foot, class: "limit" }));
  const late = counts.filter((_, index) => index > 0 && edges[index - 1] >= deadline).reduce((sum, parts) => sum + parts, 0);
  chart.setAttribute("aria-label", t("{parts} parts, {late} of them took longer than the deadline of {deadline} ms", { parts: counts.reduce((sum, parts) => sum + parts, 0), late, deadline: number(deadline) }));
}
