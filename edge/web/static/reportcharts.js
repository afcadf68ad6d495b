// Three charts of a shift, drawn as SVG in the size they have on the screen, so that their words stay readable.
import { clock, number, setText, svg } from "./dom.js";

const LEFT = 52;
const RIGHT = 12;
const TOP = 14;
const BOTTOM = 30;

function plane(chart) {
  const { width, height } = chart.getBoundingClientRect();
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.replaceChildren();
  const [inner, tall] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  return { inner, tall, right: width - RIGHT, foot: height - BOTTOM, x: (share) => LEFT + share * inner, y: (share) => TOP + (1 - Math.max(0, Math.min(1, share))) * tall };
}

function rule(chart, y, right, label, kind) {
  chart.append(svg("line", { x1: LEFT, x2: right, y1: y, y2: y, class: kind }));
  chart.append(svg("text", { x: LEFT - 6, y: y + 5, "text-anchor": "end" }, label));
}

function below(chart, foot, x, label, anchor = "middle") {
  chart.append(svg("text", { x, y: foot + 21, "text-anchor": anchor }, label));
}

function when(iso, seconds) {
  const text = clock(iso, true);
  return seconds >= 86400 ? text.slice(5, 10) : text.slice(11, 16);
}

function spanText(seconds) {
  if (seconds >= 86400) return "day";
  if (seconds > 3600) return `${seconds / 3600} h`;
  return seconds === 3600 ? "hour" : seconds === 60 ? "minute" : `${seconds / 60} min`;
}

const NICE_TOPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1];

// Each bar is the share of its own parts, so a quiet hour is as readable as a busy one. What is not drawn is OK:
// on the scale of all parts a rise from 1 % to 2 % could not be seen.
export function drawBars(chart, what, { seconds, bars }) {
  setText(what, `share in each ${spanText(seconds)}; the rest is OK`);
  const totals = bars.map((bar) => bar.OK + bar.NG + bar.ERROR);
  const worst = Math.max(0, ...bars.map((bar, index) => (totals[index] ? (bar.NG + bar.ERROR) / totals[index] : 0)));
  const top = NICE_TOPS.find((share) => worst <= share);
  const { inner, right, foot, x, y } = plane(chart);
  for (const share of [0, 0.5, 1]) rule(chart, y(share), right, `${number(100 * share * top)} %`, "axis");
  const step = inner / bars.length;
  const every = Math.ceil(62 / step);
  bars.forEach((bar, index) => {
    const total = totals[index];
    let base = 0;
    for (const verdict of ["NG", "ERROR"]) {
      if (!bar[verdict]) continue;
      const [low, high] = [base / total / top, (base + bar[verdict]) / total / top];
      const box = svg("rect", { x: x(0) + (index + 0.1) * step, y: y(high), width: 0.8 * step, height: y(low) - y(high), class: `share-${verdict}` });
      box.append(svg("title", {}, `${clock(bar.at, true).slice(0, 16)}: ${bar[verdict]} of ${total} ${verdict}`));
      chart.append(box);
      base += bar[verdict];
    }
    if (index % every === 0) below(chart, foot, x(0) + (index + 0.5) * step, when(bar.at, seconds));
  });
  const busy = bars.filter((_, index) => totals[index] > 0);
  chart.setAttribute("aria-label", busy.length ? busy.map((bar) => `${clock(bar.at, true).slice(0, 16)}: ${bar.OK} OK, ${bar.NG} NG, ${bar.ERROR} ERROR`).join("; ") : "No parts in this time");
}

// The scale is the heatmap's: 0 to twice the threshold; what is beyond stands at the top edge.
export function drawCourse(chart, { from, to, scores, bars }) {
  const { right, foot, x, y } = plane(chart);
  const limit = scores.length ? scores[scores.length - 1].threshold : null;
  rule(chart, y(0), right, "0", "axis");
  rule(chart, y(1), right, limit ? number(2 * limit, 3) : "", "axis");
  const [start, end] = [Date.parse(from), Date.parse(to)];
  const at = (iso) => x((Date.parse(iso) - start) / (end - start));
  const high = (score, threshold) => y(threshold ? score / threshold / 2 : 0);
  const path = scores.map((slot, index) => `${index ? "L" : "M"}${at(slot.at)} ${high(slot.median, slot.threshold)}`).join("");
  for (const slot of scores) {
    const over = slot.threshold !== null && slot.highest >= slot.threshold;
    const [cx, cy] = [at(slot.at), high(slot.highest, slot.threshold)];
    chart.append(svg("path", { d: over ? `M${cx - 5} ${cy - 5}l10 10m-10 0l10 -10` : `M${cx - 3} ${cy}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`, class: `mark mark-${over ? "NG" : "OK"}` }));
  }
  if (path) chart.append(svg("path", { d: path, class: "course" }));
  rule(chart, y(0.5), right, limit ? number(limit, 3) : "", "limit");
  below(chart, foot, x(0), when(from, bars.seconds), "start");
  below(chart, foot, x(1), when(to, bars.seconds), "end");
  const last = scores[scores.length - 1];
  chart.setAttribute("aria-label", last ? `Median score ${number(scores[0].median, 3)} at the beginning, ${number(last.median, 3)} at the end; the threshold is ${number(limit, 3)}` : "No scores in this time");
}

export function drawLatency(chart, { latency, deadline_ms: deadline }) {
  const { inner, right, foot, x, y } = plane(chart);
  const { edges_ms: edges, counts } = latency;
  const most = Math.max(1, ...counts);
  rule(chart, y(0), right, "0", "axis");
  rule(chart, y(1), right, most.toLocaleString("en-GB"), "axis");
  const step = inner / counts.length;
  const every = Math.ceil(44 / step);
  counts.forEach((count, index) => {
    const late = index > 0 && edges[index - 1] >= deadline;
    const tall = count ? Math.max(2, y(0) - y(count / most)) : 0;
    const box = svg("rect", { x: x(0) + (index + 0.08) * step, y: y(0) - tall, width: 0.84 * step, height: tall, class: `column${late ? " late" : ""}` });
    box.append(svg("title", {}, `${count} parts ${index < edges.length ? `up to ${number(edges[index])}` : `over ${number(edges[edges.length - 1])}`} ms`));
    chart.append(box);
    if (index < edges.length && index % every === every - 1) below(chart, foot, x(0) + (index + 1) * step, number(edges[index]));
  });
  const place = edges.findIndex((edge) => edge >= deadline) + 1;
  if (place > 0) chart.append(svg("line", { x1: x(0) + place * step, x2: x(0) + place * step, y1: TOP, y2: foot, class: "limit" }));
  const late = counts.filter((_, index) => index > 0 && edges[index - 1] >= deadline).reduce((sum, count) => sum + count, 0);
  chart.setAttribute("aria-label", `${counts.reduce((sum, count) => sum + count, 0)} parts, ${late} of them took longer than the deadline of ${number(deadline)} ms`);
}
