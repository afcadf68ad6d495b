// Where the defect is, drawn with a finger over the picture. Numbers are ten-thousandths of the picture's sides.
import { byId } from "./dom.js";

const WHOLE = 10000;
const BRUSH = 300; // of the picture's width
const APART = 60; // points that are nearer to the one before say nothing
const MOST = 60;
const canvas = byId("mask");
const image = canvas.previousElementSibling;
let strokes = [];
let drawing = null;

export const maskStrokes = () => strokes;

export function startMask() {
  canvas.hidden = false;
  byId("wipe").hidden = false;
  byId("draw").setAttribute("aria-pressed", "true");
  layOver();
}

// Over the picture as it is shown now: it has another size once the tablet was turned.
function layOver() {
  const frame = image.parentElement.getBoundingClientRect();
  if (canvas.hidden || !image.naturalWidth || !frame.width) return;
  const scale = Math.min(frame.width / image.naturalWidth, frame.height / image.naturalHeight);
  [canvas.width, canvas.height] = [image.naturalWidth * scale, image.naturalHeight * scale].map(Math.round);
  canvas.style.left = `${(frame.width - canvas.width) / 2}px`;
  canvas.style.top = `${(frame.height - canvas.height) / 2}px`;
  paint();
}

export function hideMask() {
  strokes = [];
  canvas.hidden = true;
  byId("wipe").hidden = true;
  byId("draw").setAttribute("aria-pressed", "false");
}

export function clearMask() {
  strokes = [];
  paint();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const share = (value) => Math.max(0, Math.min(WHOLE, Math.round(value * WHOLE)));
  return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
}

function paint() {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = "rgb(255 176 0 / 70%)";
  for (const [width, ...points] of strokes) {
    pen.lineWidth = (width / WHOLE) * canvas.width;
    pen.beginPath();
    for (let at = 0; at < points.length; at += 2) pen.lineTo((points[at] / WHOLE) * canvas.width, (points[at + 1] / WHOLE) * canvas.height);
    if (points.length === 2) pen.lineTo((points[0] / WHOLE) * canvas.width + 0.1, (points[1] / WHOLE) * canvas.height);
    pen.stroke();
  }
}

canvas.addEventListener("pointerdown", (event) => {
  if (strokes.length >= MOST) return;
  canvas.setPointerCapture(event.pointerId);
  drawing = [BRUSH, ...place(event)];
  strokes.push(drawing);
  paint();
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const [x, y] = place(event);
  if (Math.hypot(x - drawing.at(-2), y - drawing.at(-1)) < APART) return;
  drawing.push(x, y);
  paint();
});
image.addEventListener("load", layOver);
new ResizeObserver(layOver).observe(image.parentElement);
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drawing = null; });
