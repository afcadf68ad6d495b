// The live picture. It comes with the status that it belongs to and is decoded before, so that both change in one step.
import { byId, choice, decoded, element, exchange, setText } from "./dom.js";
import { clock } from "./times.js";
import { lookAmong, lookButton, openLook } from "./look.js";
import { knownRows } from "./rows.js";
import { told } from "./told.js";
import { t } from "./words.js";

const frame = byId("live-picture");
const legend = document.querySelector("#live .legend");
let raw = false;
let shown = { address: "", image: byId("live-image") };

const open = lookButton(frame, t("Show the live picture in full"), () => look());
let looked = null; // the status of the picture on show, and the copy of it that is looked at
let copy = "";

// The part that was tapped stays, while the line goes on behind it.
async function look() {
  const { latest } = looked ?? {};
  const pictures = latest?.pictures ?? {};
  const { naturalWidth: width, naturalHeight: height } = shown.image;
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage(shown.image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  if (!blob) return;
  URL.revokeObjectURL(copy);
  copy = URL.createObjectURL(blob);
  const title = latest ? `${t("Part {part}", { part: latest.id })} ${told(latest.words.headline)}` : t("What the camera sees");
  const rows = knownRows();
  const before = rows.find((row) => row.id < latest?.id && row.pictures.frame);
  openLook({ title, heat: raw ? pictures.heat ?? copy : copy, plain: raw ? copy : pictures.frame, part: pictures.thumb ? latest.id : null, older: before && (() => lookAmong(rows, before)) });
}

export const pictureQuery = () => `?inline=1&raw=${Number(raw)}`;

export function onPictureChoice(changed) {
  choice([byId("show-heat"), byId("show-raw")], (button) => {
    raw = button.id === "show-raw";
    legend.classList.toggle("void", raw);
    changed();
  });
}

// Returns the picture that a status speaks of, decoded; null when there is none to show.
export async function livePicture({ picture }) {
  if (!picture) return null;
  if (picture.address === shown.address) return shown;
  const image = await decoded(picture.address);
  return image && { address: picture.address, image };
}

// Without a status the last picture stays, as an old one, and `missing` says why. Without its own picture a part is shown with none.
export function showLive(status, found, missing = t("Old picture: no connection")) {
  if (found) {
    exchange(shown.image, found.image);
    shown = found;
    looked = status;
    shown.image.alt = raw ? t("Live picture of the part") : t("Live picture of the part with its heatmap");
  }
  shown.image.hidden = shown.address === "" || (status !== null && !found);
  open.hidden = shown.image.hidden;
  frame.classList.toggle("old", status === null || !status.picture?.now);
  setText(byId("live-note"), status === null ? missing : note(status, found));
  byId("live-note").hidden = byId("live-note").textContent === "";
}

function note(status, found) {
  if (!status.live) return t("No picture yet");
  const { engine, latest, picture } = status;
  if (found && picture.now) return engine.state === "running" && latest ? "" : t("What the camera sees now");
  if (engine.alive && !found) return latest ? t("No picture of part {part}", { part: latest.id }) : t("No picture");
  if (engine.alive || !engine.last_seen) return t("Not live: the last picture");
  return t("Not live: the last picture, before {time}", { time: clock(engine.last_seen) });
}
