// Full screen: two pictures under one crop. Fingers, mouse and keys do the same things.
import { byId, element, root, setText } from "./dom.js";
import { told } from "./told.js";
import { t } from "./words.js";

const HOLD_MS = 300; // a finger that rests so long wants the plain picture
const STILL_PX = 12;
const CLOSEST = 16;
const STEP = 1.5;
const dialog = byId("look");
const picture = byId("look-picture");
const reference = byId("look-reference");
const fingers = new Map(); // pointer -> where it is
let shown = null;
let crop = { scale: 1, x: 0, y: 0 }; // x and y: the middle of what is shown, as shares of the picture's place
let holding = null;
let held = false;

// what: title, heat, plain, part, older and newer (functions, or null). The pictures are addresses.
export function openLook(what) {
  shown = what;
  crop = { scale: 1, x: 0, y: 0 };
  setText(byId("look-title"), what.title);
  setText(byId("look-caption"), what.title);
  byId("look-plain").setAttribute("aria-pressed", "false");
  byId("look-plain").hidden = !what.plain || what.plain === what.heat;
  for (const name of ["older", "newer"]) byId(`look-${name}`).hidden = !what[name];
  byId("look-beside").hidden = true;
  const opened = !dialog.open;
  if (opened) dialog.showModal();
  if (opened || document.activeElement.hidden) byId("look-close").focus(); // keys reach what lies inside of the dialog only
  picture.alt = what.title;
  paint();
  move();
  if (what.part) compare(what);
}

export const lookIsOpen = () => dialog.open;

// Shows a row of a list, newest first, whose older and newer ones are those beside it that have a picture.
export function lookAmong(rows, row) {
  const shots = rows.filter(({ pictures }) => pictures.frame);
  const at = shots.findIndex(({ id }) => id === row.id);
  const to = (other) => other && (() => lookAmong(rows, other));
  const { heat, frame, thumb } = row.pictures;
  openLook({ title: `${t("Part {part}", { part: row.id })} ${told(row.words.headline)}`, heat: heat ?? frame, plain: frame, part: thumb ? row.id : null, older: to(shots[at + 1]), newer: to(shots[at - 1]) });
}

async function compare(what) {
  const response = await fetch(`${root}/api/inspections/${what.part}/reference`).catch(() => null);
  const found = response?.ok ? await response.json() : null;
  if (shown !== what || !found?.address) return;
  reference.src = found.address;
  setText(byId("look-words"), told(found.words));
  byId("look-beside").hidden = false;
}

function paint() {
  const plain = held || byId("look-plain").getAttribute("aria-pressed") === "true";
  const address = (plain && shown.plain) || shown.heat || shown.plain;
  if (picture.getAttribute("src") !== address) picture.src = address;
}

const short = (value) => Math.round(value * 1e4) / 1e4 + 0;

function move() {
  const most = (crop.scale - 1) / 2 / crop.scale;
  crop.x = Math.max(-most, Math.min(most, crop.x));
  crop.y = Math.max(-most, Math.min(most, crop.y));
  const place = `scale(${short(crop.scale)}) translate(${short(-100 * crop.x)}%, ${short(-100 * crop.y)}%)`;
  for (const image of [picture, reference]) image.style.transform = place;
}

// Changes the scale so that the place under a point of the view stays where it is.
function zoom(factor, view, at) {
  const box = view.getBoundingClientRect();
  const [u, v] = at ? [(at.x - box.left) / box.width - 0.5, (at.y - box.top) / box.height - 0.5] : [0, 0];
  const scale = Math.max(1, Math.min(CLOSEST, crop.scale * factor));
  crop.x += u / crop.scale - u / scale;
  crop.y += v / crop.scale - v / scale;
  crop.scale = scale;
  move();
}

function rest() {
  clearTimeout(holding);
  holding = null;
  if (!held) return;
  held = false;
  paint();
}

function spread() {
  const [a, b] = [...fingers.values()];
  return { wide: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

function down(event) {
  const view = event.currentTarget;
  view.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, x0: event.clientX, y0: event.clientY });
  rest();
  if (fingers.size > 1) return;
  holding = setTimeout(() => { held = true; paint(); }, HOLD_MS);
}

function drag(event) {
  const finger = fingers.get(event.pointerId);
  if (!finger) return;
  const view = event.currentTarget;
  const before = fingers.size === 2 ? spread() : { x: finger.x, y: finger.y };
  [finger.x, finger.y] = [event.clientX, event.clientY];
  const now = fingers.size === 2 ? spread() : finger;
  if (Math.hypot(finger.x - finger.x0, finger.y - finger.y0) > STILL_PX && !held) clearTimeout(holding);
  const box = view.getBoundingClientRect();
  crop.x -= (now.x - before.x) / box.width / crop.scale;
  crop.y -= (now.y - before.y) / box.height / crop.scale;
  if (fingers.size === 2 && before.wide > 0) zoom(now.wide / before.wide, view, now);
  else move();
}

function up(event) {
  fingers.delete(event.pointerId);
  rest();
}

function bind() {
  for (const view of dialog.querySelectorAll(".look-view")) {
    view.addEventListener("pointerdown", down);
    view.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) view.addEventListener(end, up);
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), view, { x: event.clientX, y: event.clientY });
    }, { passive: false });
    view.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is a hold here
  }
  byId("look-in").addEventListener("click", () => zoom(STEP, picture.parentElement));
  byId("look-out").addEventListener("click", () => zoom(1 / STEP, picture.parentElement));
  byId("look-whole").addEventListener("click", () => zoom(1 / CLOSEST, picture.parentElement));
  byId("look-close").addEventListener("click", () => dialog.close());
  byId("look-plain").addEventListener("click", (event) => {
    const pressed = event.currentTarget.getAttribute("aria-pressed") === "true";
    event.currentTarget.setAttribute("aria-pressed", String(!pressed));
    paint();
  });
  for (const name of ["older", "newer"]) byId(`look-${name}`).addEventListener("click", () => shown[name]());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoom(STEP, picture.parentElement);
    else if (event.key === "-") zoom(1 / STEP, picture.parentElement);
    else if (event.key === "0") zoom(1 / CLOSEST, picture.parentElement);
    else if (event.key === "ArrowLeft") shown.older?.();
    else if (event.key === "ArrowRight") shown.newer?.();
  });
  dialog.addEventListener("close", () => {
    fingers.clear();
    rest();
    shown?.closed?.();
  });
}

if (dialog) bind(); // a page without it, like that of the wall, shows nothing in full

// Lays a button over a picture that opens it. The button is one for keys and screen readers, too.
export function lookButton(frame, words, open) {
  const button = element("button", { type: "button", class: "look-open", "aria-label": words });
  button.addEventListener("click", open);
  if (dialog) frame.append(button);
  return button;
}
