// Two small charts of the last parts, drawn as SVG. Verdicts differ by shape as well as by colour.
import { byId, number, root, svg } from "./dom.js";

const KEEP = 100;
const LEFT = 46;
const TOP = 12;
const BOTTOM = 8;
let rows = [];
let newest = 0;
let busy = false;
let deadline = 0;

export async function refreshCharts(status) {
  if (status.health) deadline = status.health.deadline_ms;
  const last = status.history ? status.history.last_id : 0;
  if (last < newest) [rows, newest] = [[], 0]; // another history
  if (busy || last === newest) return;
  busy = true;
  try {
    const response = await fetch(`${root}/api/inspections?limit=${Math.min(KEEP, last - newest)}`);
    if (!response.ok) return;
    const found = (await response.json()).inspections.filter((row) => row.id > newest).reverse();
    rows = rows.concat(found).slice(-KEEP);
    newest = rows.length ? rows[rows.length - 1].id : newest;
    draw();
  } catch {
    // No connection: the status poll says so.
  } finally {
    busy = false;
  }
}

function draw() {
  if (byId("chart-score").getBoundingClientRect().width < 2 * LEFT) return; // not laid out yet
  drawScores(byId("chart-score"));
  drawLatency(byId("chart-latency"));
}

function plane(chart) {
  const { width, height } = chart.getBoundingClientRect();
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.replaceChildren();
  const inner = width - LEFT - 10;
  return { height: height - TOP - BOTTOM, right: width, x: (index) => LEFT + ((KEEP - rows.length + index + 0.5) * inner) / KEEP, step: inner / KEEP };
}

function rule(chart, y, right, label, kind) {
  chart.append(svg("line", { x1: LEFT, x2: right, y1: y, y2: y, class: kind }));
  chart.append(svg("text", { x: LEFT - 6, y: y + 5, "text-anchor": "end" }, label));
}

// The scale is the heatmap's: 0 to twice the threshold; what is beyond stands at the top edge.
function drawScores(chart) {
  const { height, right, x, step } = plane(chart);
  const judged = rows.filter((row) => row.score !== null && row.threshold);
  const threshold = judged.length ? judged[judged.length - 1].threshold : null;
  const y = (share) => TOP + height * (1 - Math.min(1, share / 2));
  rule(chart, y(0), right, "0", "axis");
  rule(chart, y(2), right, threshold ? number(2 * threshold, 3) : "", "axis");
  rows.forEach((row, index) => {
    const share = row.score !== null && row.threshold ? row.score / row.threshold : 0;
    const kind = row.verdict;
    if (kind === "ERROR") chart.append(svg("rect", { x: x(index) - step / 2, y: y(2), width: step, height, class: "gap" }));
    else chart.append(svg("line", { x1: x(index), x2: x(index), y1: y(0), y2: y(share), class: "stem" }));
    chart.append(svg("path", { d: shape(kind, x(index), kind === "ERROR" ? y(2) + 18 : y(share)), class: `mark mark-${kind}` }));
  });
  rule(chart, y(1), right, threshold ? number(threshold, 3) : "", "limit");
  const count = (verdict) => rows.filter((row) => row.verdict === verdict).length;
  chart.setAttribute("aria-label", `Of the last ${rows.length} parts ${count("OK")} are OK, ${count("NG")} NG, ${count("ERROR")} ERROR`);
}

function shape(verdict, x, y) {
  if (verdict === "OK") return `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`;
  if (verdict === "NG") return `M${x - 5} ${y - 5}l10 10m-10 0l10 -10`;
  return `M${x} ${y - 14}l6 11h-12z`;
}

function drawLatency(chart) {
  const { height, right, x, step } = plane(chart);
  const slowest = Math.max(0, ...rows.map((row) => row.timings_ms.total));
  const top = Math.max(1.1 * deadline, Math.min(slowest, 2 * deadline), 1); // one slow part must not hide the others
  const y = (ms) => TOP + height * (1 - Math.min(1, ms / top));
  rule(chart, y(0), right, "0", "axis");
  rows.forEach((row, index) => {
    const ms = row.timings_ms.total;
    const late = deadline && ms > deadline ? " late" : "";
    const tall = Math.max(1, y(0) - y(ms));
    chart.append(svg("rect", { x: x(index) - step * 0.36, y: y(0) - tall, width: step * 0.72, height: tall, class: `column${late}` }));
  });
  if (deadline) rule(chart, y(deadline), right, number(deadline), "limit");
  chart.setAttribute("aria-label", `The slowest of the last ${rows.length} parts took ${number(slowest, 3)} ms, the deadline is ${number(deadline)} ms`);
}

new ResizeObserver(draw).observe(byId("chart-score"));
