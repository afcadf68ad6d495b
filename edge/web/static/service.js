// The page Service: the checks, and the course of scores and times.
import { byId, choice, number, root, setText } from "./dom.js";
import { drawCourse, drawLatency } from "./charts.js";
import { postJson } from "./session.js";
import { told } from "./told.js";
import { t } from "./words.js";

const HOUR_MS = 3600 * 1000;
const ASK_EVERY_MS = 1000;
const UNKNOWN = t("No connection to the station. Try again.");
let shown = null;
let hours = 24;

function say(id, kind, text) {
  byId(id).dataset.kind = kind;
  setText(byId(id), text);
}

async function read(path) {
  const response = await fetch(`${root}/api/${path}`);
  const answer = await response.json().catch(() => ({ error: t("The station refused (HTTP {code}).", { code: response.status }) }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const wordsOf = (error) => (error instanceof TypeError ? UNKNOWN : told(error.message));

// The history
function showVerification({ state, text }) {
  byId("verify").disabled = state === "running";
  const words = { none: "", running: t("Reading every row …"), whole: t("The history is whole: {proof}", { proof: told(text) }), wrong: told(text) };
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
    const answer = await response.json();
    if (answer.verification) showVerification(answer.verification);
    else say("verify-answer", "error", told(answer.error));
  } catch (error) {
    say("verify-answer", "error", wordsOf(error));
  }
});

// One part
byId("replay").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("replay-answer", "wait", t("Judging …"));
  try {
    const response = await postJson("/api/replay", { part: byId("part").value });
    const answer = await response.json();
    if (answer.error) say("replay-answer", "error", told(answer.error));
    else say("replay-answer", answer.same ? "ok" : "failed", told(answer.text));
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
    setText(byId("drift-words"), `${t("Test for drift: {result}", { result: told(status.facts.drift) })}${drift?.alarm ? ` ${told(drift.detail)}` : ""}`);
    const { p50_ms: p50, p99_ms: p99, max_ms: highest } = report.latency;
    setText(byId("latency-words"), report.total ? t("p50 {p50} ms, p99 {p99} ms, slowest {max} ms, deadline {deadline} ms", { p50: number(p50, 3), p99: number(p99, 3), max: number(highest, 3), deadline: number(report.deadline_ms) }) : t("No parts in this time"));
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
