// The wall display: the verdict, its picture and the yield, to be read from five metres. A person may switch on its sound.
import { byId, setText } from "./dom.js";
import { clock, sinceText } from "./times.js";
import { follow } from "./follow.js";
import { showLive } from "./live.js";
import { ENDED } from "./session.js";
import { told } from "./told.js";
import { count, percentText, t } from "./words.js";

const LOST = { kind: "lost", headline: t("NO LINK"), what: t("The station’s page does not answer. The verdict is unknown.") };
const CLOSED = { kind: "wait", headline: t("Sign in").toUpperCase(), what: ENDED };
const BEEP_S = 0.18;
const SOUNDS = { ng: [440, 440], error: [880, 660, 880], camera: [880, 660, 880], none: [880, 660, 880], lost: [880, 660, 880] };
let heard = ""; // the verdict or fault whose sound was played
let sound = null; // the browser's audio, once a person has switched it on

function show(status, picture) {
  const { latest, health } = status;
  showWords(status.display, latest?.id ?? null);
  setText(byId("wall-which"), latest ? `${t("Part {part}", { part: latest.id })} · ${clock(latest.at)}` : "\u00a0");
  setText(byId("station-name"), status.station);
  showYield(health?.counts ?? {}, health?.started_at);
  showLive(status, picture);
  document.body.classList.toggle("stale", !status.engine.alive);
}

function showNothing(display, which) {
  showWords(display, null);
  setText(byId("wall-which"), which);
  showLive(null, null, display === CLOSED ? t("Not live: the last picture") : undefined);
  document.body.classList.add("stale");
}

function showWords(display, part) {
  byId("wall").dataset.kind = display.kind;
  byId("verdict-icon").setAttribute("href", `#i-${display.kind}`);
  setText(byId("verdict-headline"), told(display.headline));
  setText(byId("verdict-what"), told(display.what));
  const now = `${display.kind} ${display.headline} ${part}`;
  if (now === heard) return;
  heard = now;
  setText(byId("announce"), `${told(display.headline)}. ${told(display.what)}`);
  play(SOUNDS[display.kind] ?? []);
}

function showYield(counts, startedAt) {
  const total = (counts.OK ?? 0) + (counts.NG ?? 0) + (counts.ERROR ?? 0);
  for (const verdict of ["OK", "NG", "ERROR"]) setText(byId(`count-${verdict}`), count(counts[verdict] ?? 0));
  setText(byId("yield"), total ? percentText(Math.floor((1000 * (counts.OK ?? 0)) / total) / 10) : "–");
  setText(byId("since"), startedAt ? t("since {time}", { time: sinceText(startedAt) }) : "");
}

function play(tones) {
  if (sound === null) return;
  tones.forEach((frequency, index) => {
    const start = sound.currentTime + index * 1.4 * BEEP_S;
    const tone = sound.createOscillator();
    tone.type = "square";
    tone.frequency.value = frequency;
    tone.connect(sound.destination);
    tone.start(start);
    tone.stop(start + BEEP_S);
  });
}

// Browsers allow sound only after a tap, so it is off again after a reload and the button says so.
async function toggleSound() {
  if (sound === null) {
    sound = new AudioContext();
    await sound.resume();
    play([660]);
  } else {
    await sound.close();
    sound = null;
  }
  byId("sound").setAttribute("aria-pressed", String(sound !== null));
  setText(byId("sound"), sound === null ? t("Sound is off") : t("Sound is on"));
}

// A browser lets a page keep the screen on only over https or on the station itself.
async function keepScreenOn() {
  if (document.visibilityState !== "visible") return;
  try {
    await navigator.wakeLock.request("screen");
    setText(byId("awake"), t("Screen stays on"));
  } catch {
    setText(byId("awake"), t("Screen may go dark: switch off its power saving"));
  }
}

async function toggleFull() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await document.documentElement.requestFullscreen();
}

byId("sound").addEventListener("click", toggleSound);
byId("full").addEventListener("click", toggleFull);
document.addEventListener("visibilitychange", keepScreenOn);
keepScreenOn();
follow(show, (lastAnswer) => showNothing(LOST, t("Last answer {time}", { time: clock(lastAnswer) })), () => showNothing(CLOSED, "\u00a0"));
