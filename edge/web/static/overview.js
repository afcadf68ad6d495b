// All stations: asks for their state once a second and shows it. Without an answer nothing is shown as current.
import { byId, number, setText } from "./dom.js";

const EVERY_MS = 1000;
const LOST_AFTER_MS = 3000;
let shownAt = Date.now();
let instance = null;
const spoken = new Map();

async function poll() {
  try {
    const response = await fetch("/api/stations", { signal: AbortSignal.timeout(4000) });
    if (response.ok) {
      show(await response.json());
      shownAt = Date.now();
    }
  } catch {
    // No connection: said below when it lasts.
  } finally {
    const lost = Date.now() - shownAt > LOST_AFTER_MS;
    byId("alarm").hidden = !lost;
    byId("hall").classList.toggle("lost", lost);
    setTimeout(poll, EVERY_MS);
  }
}

function show(answer) {
  if (instance !== null && instance !== answer.instance) location.reload(); // the page was restarted, perhaps with other stations
  instance = answer.instance;
  for (const station of answer.stations) showTile(document.querySelector(`[data-path="${CSS.escape(station.path)}"]`), station);
}

function showTile(tile, station) {
  const top = tile.querySelector(".station-top");
  if (top.dataset.kind !== station.display.kind) {
    top.dataset.kind = station.display.kind;
    top.querySelector("use").setAttribute("href", `#i-${station.display.kind}`);
  }
  setText(tile.querySelector(".headline"), station.display.headline);
  setText(tile.querySelector(".station-title"), station.name);
  setText(tile.querySelector(".station-what"), station.display.what);
  setText(tile.querySelector(".station-notices"), station.notices.join(" · "));
  for (const node of tile.querySelectorAll("[data-count]")) setText(node, station.counts[node.dataset.count].toLocaleString("en-GB"));
  setText(tile.querySelector(".p99"), number(station.p99_ms, 3));
  tile.classList.toggle("silent", !station.live);
  showPicture(tile.querySelector(".shot"), station.picture);
  announceTrouble(station);
}

// Decoded before it is shown, so that it never flickers.
async function showPicture(image, address) {
  if (address === null || image.getAttribute("src") === address) return;
  const next = new Image();
  next.src = address;
  try {
    await next.decode();
    image.src = address;
    image.hidden = false;
  } catch {
    // The engine has already replaced it: the next look shows the newer one.
  }
}

// For screen readers: only a station that stops judging, or judges again.
function announceTrouble({ path, name, display }) {
  const trouble = ["camera", "none"].includes(display.kind);
  if (spoken.has(path) && spoken.get(path) !== trouble) setText(byId("announce"), `${name}: ${display.headline}. ${display.what}`);
  spoken.set(path, trouble);
}

poll();
