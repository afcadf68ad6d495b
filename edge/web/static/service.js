// The page Service: the checks, and the course of scores and times.
import { byId, choice, number, root, setText } from "./dom.js";
import { drawCourse, drawLatency } from "./charts.js";
import { postJson } from "./session.js";

const HOUR_MS = 3600 * 1000;
const ASK_EVERY_MS = 1000;
const UNKNOWN = "No connection to the station. Try again.";
let shown = null;
let hours = 24;

function say(id, kind, text) {
  byId(id).dataset.kind = kind;
  setText(byId(id), text);
}

async function read(path) {
  const response = await fetch(`${root}/api/${path}`);
  const told = await response.json().catch(() => ({ error: `The station refused (HTTP ${response.status}).` }));
  if (!response.ok) throw new Error(told.error);
  return told;
}

const wordsOf = (error) => (error instanceof TypeError ? UNKNOWN : error.message);

// The history
function showVerification({ state, text }) {
  byId("verify").disabled = state === "running";
  const words = { none: "", running: "Reading every row …", whole: `The history is whole: ${text}`, wrong: text };
  say("verify-answer", { running: "wait", whole: "ok", wrong: "failed" }[state] ?? "", words[state]);
  if (state === "running") setTimeout(follow, ASK_EVERY_MS);
}

async function follow() {
  try {
    showVerification((await read("service")).verification);
  } catch (error) {
    say("verify-answer", "error", wordsOf(error));
    byId("verify").disabled = false;
  }
}

byId("verify").addEventListener("click", async () => {
  try {
    const response = await postJson("/api/verify", {});
    const told = await response.json();
    if (told.verification) showVerification(told.verification);
    else say("verify-answer", "error", told.error);
  } catch (error) {
    say("verify-answer", "error", wordsOf(error));
  }
});

// One part
byId("replay").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("replay-answer", "wait", "Judging …");
  try {
    const response = await postJson("/api/replay", { part: byId("part").value });
    const told = await response.json();
    if (told.error) say("replay-answer", "error", told.error);
    else say("replay-answer", told.same ? "ok" : "failed", told.text);
  } catch (error) {
    say("replay-answer", "error", wordsOf(error));
  }
});

// The course
async function course() {
  const end = new Date(Math.ceil(Date.now() / 60000) * 60000);
  const query = new URLSearchParams({ from: new Date(end.getTime() - hours * HOUR_MS).toISOString(), to: end.toISOString() });
  byId("problem").hidden = true;
  try {
    const [report, status] = await Promise.all([read(`report?${query}`), read("status")]);
    shown = report;
    const drift = status.health?.drift;
    setText(byId("drift-words"), `Test for drift: ${status.facts.drift}${drift?.alarm ? ` ${drift.detail}` : ""}`);
    const { p50_ms: p50, p99_ms: p99, max_ms: highest } = report.latency;
    setText(byId("latency-words"), report.total ? `p50 ${number(p50, 3)} ms, p99 ${number(p99, 3)} ms, slowest ${number(highest, 3)} ms, deadline ${number(report.deadline_ms)} ms` : "No parts in this time.");
    draw();
  } catch (error) {
    setText(byId("problem"), wordsOf(error));
    byId("problem").hidden = false;
  }
}

function draw() {
  if (shown === null || byId("chart-scores").getBoundingClientRect().width < 100) return;
  drawCourse(byId("chart-scores"), shown);
  drawLatency(byId("chart-latency"), shown);
}

choice([...byId("spans").children], (button) => {
  hours = Number(button.dataset.hours);
  course();
});
new ResizeObserver(draw).observe(byId("chart-scores"));
course();
if (byId("verify-answer").dataset.state !== "none") follow();
