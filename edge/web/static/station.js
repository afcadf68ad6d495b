// The first page: shows each status with its picture. Without an answer it says so.
import { badge, byId, element, icon, number, setScore, setText } from "./dom.js";
import { clock, sinceText } from "./times.js";
import { refreshCharts } from "./charts.js";
import { refreshCommands } from "./commands.js";
import { follow, poll } from "./follow.js";
import { refreshHistory } from "./history.js";
import { onPictureChoice, showLive } from "./live.js";
import { refreshRejects } from "./rejects.js";
import { ENDED, askWho } from "./session.js";
import "./upload.js";
import { told } from "./told.js";
import { count, percentText, t } from "./words.js";

const LOST = {
  kind: "lost",
  headline: t("NO LINK"),
  what: t("The station’s page does not answer."),
  action: t("The verdict is unknown. Check the network and the station; trying again."),
};

const CLOSED = { kind: "wait", headline: t("Sign in").toUpperCase(), what: ENDED, action: "" };

let announced = "";

// What a person has opened stays open. Hints stand further down: the verdict comes before them.
const noticeLists = [[byId("notices"), (notice) => notice.level !== "hint"], [byId("hints"), (notice) => notice.level === "hint"]];
let shownNotices = null;

function show(status, picture) {
  showVerdict(status.display, status.latest, status.engine);
  showAlarm(status);
  showCounters(status);
  refreshNotices(status.notices);
  refreshCommands(status);
  for (const node of document.querySelectorAll("[data-fact]")) showFact(node, status.facts[node.dataset.fact]);
  setText(byId("station-name"), status.station);
  showLive(status, picture);
  document.body.classList.toggle("stale", !status.engine.alive);
  refreshRejects(status);
  refreshHistory(status);
  refreshCharts(status);
}

// What this station does not have is not listed.
function showFact(node, text) {
  setText(node, told(text));
  node.parentElement.hidden = text === "–";
}

function showVerdict(display, latest, engine) {
  const panel = byId("verdict");
  if (panel.dataset.kind !== display.kind) {
    panel.dataset.kind = display.kind;
    byId("verdict-icon").setAttribute("href", `#i-${display.kind}`);
    byId("chip").replaceChildren(badge(display));
    document.title = `${told(display.headline)} · ${byId("station-name").textContent} · Linewatch`;
  }
  setText(byId("verdict-headline"), told(display.headline));
  setText(byId("verdict-what"), told(display.what));
  setText(byId("verdict-action"), told(display.action));
  setText(byId("verdict-detail"), told(latest ? latest.detail : engine ? engine.detail : ""));
  const box = byId("verdict-score");
  const scored = latest !== null && latest.score !== null;
  box.classList.toggle("void", !scored);
  if (scored) setScore(box, latest.distance);
  setText(byId("verdict-which"), latest ? `${t("Part {part}", { part: latest.id })} · ${clock(latest.at)}` : "\u00a0");
  announce(`${told(display.headline)}. ${told(display.what)} ${told(display.action)}`);
}

// For screen readers: once when the words change, not twice a second.
function announce(words) {
  if (words === announced) return;
  announced = words;
  setText(byId("announce"), words);
}

function showAlarm({ engine, display }) {
  byId("alarm").hidden = engine.alive;
  setClosed(false);
  if (engine.alive) return;
  byId("alarm").querySelector("use").setAttribute("href", "#i-none");
  setText(byId("alarm-title"), engine.last_seen ? t("Engine not running since {time}", { time: clock(engine.last_seen) }) : t("Engine not running"));
  setText(byId("alarm-text"), `${told(display.what)} ${told(display.action)}`);
}

function showLost(lastAnswer) {
  showNothing(LOST, t("No connection to the station since {time}", { time: clock(lastAnswer) }));
}

// Without a session nobody is signed in, whatever the header said.
function setClosed(closed) {
  byId("alarm-sign-in").hidden = !closed;
  const who = document.querySelector(".top .who");
  if (who) who.hidden = closed;
}

function showNothing(display, title) {
  showVerdict(display, null, null);
  byId("alarm").hidden = false;
  byId("alarm").querySelector("use").setAttribute("href", `#i-${display.kind}`);
  setText(byId("alarm-title"), title);
  setText(byId("alarm-text"), display.action);
  setClosed(display === CLOSED);
  showLive(null, null, display === CLOSED ? t("Not live: the last picture") : undefined);
  document.body.classList.add("stale");
}

// The banners above the verdict are drawn anew only when one comes, goes or changes, so that nothing flickers.
function refreshNotices(notices) {
  const now = JSON.stringify(notices);
  if (now === shownNotices) return;
  shownNotices = now;
  for (const [list, belongs] of noticeLists) {
    const open = new Map([...list.children].map((item) => [item.dataset.key, item.firstElementChild.open]));
    list.replaceChildren(...notices.filter(belongs).map((notice) => banner(notice, open.get(notice.key) ?? notice.level === "fault")));
  }
}

function banner({ key, level, icon: name, title, text, since }, open) {
  const heading = since ? t("{title} since {time}", { title: told(title), time: sinceText(since) }) : told(title);
  const summary = element("summary", {}, icon(name), element("strong", {}, heading), element("span", { class: "hinted" }, t("What to do")));
  const details = element("details", { class: "banner", "data-level": level }, summary, element("p", {}, told(text)));
  details.open = open;
  return element("li", { "data-key": key }, details);
}

function showCounters({ health, history }) {
  const counts = health ? health.counts : {};
  const total = (counts.OK ?? 0) + (counts.NG ?? 0) + (counts.ERROR ?? 0);
  for (const verdict of ["OK", "NG", "ERROR"]) {
    const found = counts[verdict] ?? 0;
    setText(byId(`count-${verdict}`), count(found));
    setText(byId(`share-${verdict}`), total ? percentText(((100 * found) / total).toFixed(1)) : "–");
    setText(byId(`ever-${verdict}`), history ? count(history[verdict]) : "–");
  }
  const latency = health ? health.latency : null;
  setText(byId("p99"), latency ? number(latency.p99_ms, 3) : "–");
  setText(byId("p50"), latency ? number(latency.p50_ms, 3) : "–");
  if (!health) return;
  byId("overruns").hidden = health.overruns === 0;
  setText(byId("overrun-count"), count(health.overruns));
  setText(byId("deadline"), `${number(health.deadline_ms)} ms`);
  const slow = latency !== null && latency.p99_ms > health.deadline_ms;
  setText(byId("too-slow"), slow ? ` · ${t("too slow")}` : "");
  byId("latency").dataset.kind = slow ? "ng" : "time";
  const share = latency ? Math.min(1, latency.p99_ms / health.deadline_ms) : 0;
  byId("latency-fill").setAttribute("width", 200 * share);
}

onPictureChoice(poll);
byId("alarm-sign-in").addEventListener("click", () => askWho(ENDED));
follow(show, showLost, () => showNothing(CLOSED, ENDED));
