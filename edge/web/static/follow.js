// Asks for the status and its picture again and again, and tells when nothing is known any more.
import { root } from "./dom.js";
import { ENDED, askOnce } from "./session.js";
import { livePicture, pictureQuery } from "./live.js";

const EVERY_MS = 400;
const LOST_AFTER_MS = 1500; // with the engine's own time to be missed, a person is told within two seconds
const LOOK_EVERY_MS = 100;
const CLOSED = {}; // in place of a status: nobody is signed in
let askedAt = performance.now(); // when the question was asked whose answer is on show
let lastAnswer = Date.now(); // the same by the clock on the wall
let asking = false;
let known = { query: null, tag: "", status: null }; // the last answer; the station says 304 while it holds
let instance = null;
let watcher = null;

// show(status, picture) is called for each answer, lost(lastAnswer) again and again while there is none, and closed()
// while the station answers that nobody is signed in.
export function follow(show, lost, closed) {
  watcher = { show, lost, closed };
  poll();
  setInterval(poll, EVERY_MS);
  setInterval(look, LOOK_EVERY_MS);
}

// An answer is as old as its question. One question at a time, and none waits for longer than its answer is of use.
export async function poll() {
  if (asking) return;
  asking = true;
  const at = performance.now();
  try {
    const status = await ask();
    if (status === null) return;
    if (status === CLOSED) watcher.closed();
    else await showStatus(status);
    askedAt = at;
    lastAnswer = Date.now();
    if (status === CLOSED) askOnce(ENDED);
  } finally {
    asking = false;
  }
}

async function showStatus(status) {
  const picture = await livePicture(status);
  if (instance !== null && instance !== status.instance) location.reload(); // a new process knows no old token
  instance = status.instance;
  watcher.show(status, picture);
}

async function ask() {
  const query = pictureQuery();
  const headers = known.query === query ? { "If-None-Match": known.tag } : {};
  try {
    const response = await fetch(`${root}/api/status${query}`, { headers, signal: AbortSignal.timeout(LOST_AFTER_MS) });
    if (response.status === 304) return known.status;
    if (response.status === 401) return CLOSED;
    if (!response.ok) return null;
    known = { query, tag: response.headers.get("ETag"), status: await response.json() };
    return known.status;
  } catch {
    return null;
  }
}

// A verdict that was not shown anew for a while is not current, whatever the cause: then the page says that it has none.
function look() {
  if (performance.now() - askedAt > LOST_AFTER_MS) watcher.lost(lastAnswer);
}
