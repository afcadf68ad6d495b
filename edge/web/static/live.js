// The live picture: fetched, decoded, then swapped in one step, so that it never flickers.
import { byId, choice, clock, root, setText } from "./dom.js";

const image = byId("live-image");
const frame = byId("live-picture");
const legend = document.querySelector("#live .legend");
let raw = false;
let available = false;
let busy = false;
let shownUrl = "";
let version = "";

choice([byId("show-heat"), byId("show-raw")], (button) => {
  raw = button.id === "show-raw";
  version = "";
  legend.classList.toggle("void", raw);
  fetchPicture();
});

export function refreshLive(status) {
  const live = status !== null && status.engine.state === "running";
  available = status !== null && status.live;
  frame.classList.toggle("old", !live);
  setText(byId("live-note"), note(status));
  byId("live-note").hidden = byId("live-note").textContent === "";
  if (available && (live || image.hidden)) fetchPicture();
}

function note(status) {
  if (status === null) return "Old picture: no connection";
  if (!status.live) return "No picture yet";
  if (status.engine.state === "running") return status.latest?.reason === "no_frame" ? "No picture of this part: an earlier one is shown" : "";
  const seen = status.engine.alive || !status.engine.last_seen ? "" : `, before ${clock(status.engine.last_seen)}`;
  return `Not live: the last picture${seen}`;
}

async function fetchPicture() {
  if (busy || !available) return;
  busy = true;
  try {
    const response = await fetch(`${root}/live.jpg${raw ? "?raw=1" : ""}`, { cache: "no-cache" });
    const tag = `${raw}${response.headers.get("ETag")}`;
    if (response.ok && tag !== version) await swap(await response.blob(), tag);
  } catch {
    // No connection: the status poll says so.
  } finally {
    busy = false;
  }
}

async function swap(blob, tag) {
  const url = URL.createObjectURL(blob);
  const next = new Image();
  next.src = url;
  try {
    await next.decode();
  } catch {
    URL.revokeObjectURL(url);
    return;
  }
  image.src = url;
  image.hidden = false;
  image.alt = raw ? "Live picture of the part" : "Live picture of the part with its heatmap";
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = url;
  version = tag;
}
