// All stations: asks for their state again and again and shows it. Without an answer nothing is shown as current.
import { byId, exchange, loaded, number, setText } from "./dom.js";
import "./session.js"; // the way out of whoever is signed in
import { told } from "./told.js";
import { count } from "./words.js";

const EVERY_MS = 400;
const LOST_AFTER_MS = 1500;
const PICTURE_WITHIN_MS = 700;
const LOOK_EVERY_MS = 100;
let askedAt = performance.now(); // when the question was asked whose answer is on show
let asking = false;
let known = { headers: {}, answer: null }; // the last answer; the station says 304 while it holds
let instance = null;
const spoken = new Map();

async function poll() {
  if (asking) return;
  asking = true;
  const at = performance.now();
  try {
    const response = await fetch("/api/stations", { headers: known.headers, signal: AbortSignal.timeout(LOST_AFTER_MS) });
    if (response.status !== 304) {
      if (response.status === 401) location.reload(); // it leads to the sign-in and back
      if (!response.ok) return;
      known = { headers: { "If-None-Match": response.headers.get("ETag") }, answer: await response.json() };
    }
    await show(known.answer);
    askedAt = at;
  } catch {
    // No connection: said below when it lasts.
  } finally {
    asking = false;
  }
}

function look() {
  const lost = performance.now() - askedAt > LOST_AFTER_MS;
  byId("alarm").hidden = !lost;
  byId("hall").classList.toggle("lost", lost);
}

async function show(answer) {
  if (instance !== null && instance !== answer.instance) location.reload(); // the page was restarted, perhaps with other stations
  instance = answer.instance;
  const tiles = answer.stations.map((station) => document.querySelector(`[data-path="${CSS.escape(station.path)}"]`));
  const pictures = await Promise.all(answer.stations.map((station, index) => picture(tiles[index], station)));
  answer.stations.forEach((station, index) => showTile(tiles[index], station, pictures[index]));
}

// The picture that a station's words speak of; the one that is shown already when it is the same.
async function picture(tile, { picture: address }) {
  const shot = tile.querySelector(".shot");
  if (address === null || shot.dataset.address === address) return address && shot;
  const image = await loaded(address, PICTURE_WITHIN_MS);
  if (image) image.dataset.address = address;
  return image;
}

function showTile(tile, station, image) {
  const top = tile.querySelector(".station-top");
  if (top.dataset.kind !== station.display.kind) {
    top.dataset.kind = station.display.kind;
    top.querySelector("use").setAttribute("href", `#i-${station.display.kind}`);
  }
  setText(tile.querySelector(".headline"), told(station.display.headline));
  setText(tile.querySelector(".station-title"), station.name);
  setText(tile.querySelector(".station-what"), told(station.display.what));
  setText(tile.querySelector(".station-notices"), station.notices.map(told).join(" · "));
  for (const node of tile.querySelectorAll("[data-count]")) setText(node, count(station.counts[node.dataset.count]));
  setText(tile.querySelector(".p99"), number(station.p99_ms, 3));
  tile.classList.toggle("silent", !station.live);
  const shot = tile.querySelector(".shot");
  if (image) exchange(shot, image);
  else shot.hidden = true;
  announceTrouble(station);
}

// For screen readers: only a station that stops judging, or judges again.
function announceTrouble({ path, name, display }) {
  const trouble = ["camera", "none"].includes(display.kind);
  if (spoken.has(path) && spoken.get(path) !== trouble) setText(byId("announce"), `${name}: ${told(display.headline)}. ${told(display.what)}`);
  spoken.set(path, trouble);
}

poll();
setInterval(poll, EVERY_MS);
setInterval(look, LOOK_EVERY_MS);
