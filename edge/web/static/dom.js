// Small words for the document. Text only ever enters it as text.
import { told } from "./told.js";
import { figures } from "./words.js";

export const root = document.documentElement.dataset.root; // where this station lives: empty, or /stations/NAME
export let token = document.querySelector('meta[name="csrf-token"]')?.content; // for posts; a sign-in changes it
export const setToken = (fresh) => { token = fresh; };
export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  const words = String(text);
  if (node.textContent !== words) node.textContent = words;
}

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

export function icon(kind) {
  const node = svg("svg", { class: "icon", "aria-hidden": "true" });
  node.append(svg("use", { href: `#i-${kind}` }));
  return node;
}

export function badge(words) {
  return element("span", { class: "badge", "data-kind": words.kind }, icon(words.kind), element("span", {}, told(words.headline)));
}

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const text = Number(value).toPrecision(digits);
  return figures(text.includes("e") ? text : String(Number(text)));
}

// Where a distance lies on every gauge and chart, from 0 to 1: -1 is the low end, the limit (1) the middle, 3 the top.
export function onScale(distance) {
  return distance === null || distance === undefined ? 0 : Math.max(0, Math.min(1, (distance + 1) / 4));
}

export const distanceText = (distance) => (distance === null || distance === undefined ? "–" : figures(distance.toFixed(2)));

// The bar of templates/macros.html, 200 wide.
export function scoreBar(distance) {
  const bar = svg("svg", { class: "bar thin", viewBox: "0 0 200 20", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(svg("rect", { class: "bar-track", width: 200, height: 20 }));
  bar.append(svg("rect", { class: "bar-fill", width: 200 * onScale(distance), height: 20 }));
  bar.append(svg("rect", { class: "bar-tick", x: 98, width: 4, height: 20 }));
  return bar;
}

export function setScore(box, distance) {
  setText(box.querySelector(".score-value"), distanceText(distance));
  box.querySelector(".bar-fill").setAttribute("width", 200 * onScale(distance));
}

// Two buttons of which one is pressed; calls back with the pressed one.
export function choice(buttons, pressed) {
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      pressed(button);
    });
  }
}

// Fetches a picture and decodes it, so that it can be shown in one step with the words that belong to it.
// null: it did not come in time, or it is not there any more.
export async function loaded(address, withinMs) {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(withinMs) });
    if (!response.ok) return null;
    const url = URL.createObjectURL(await response.blob());
    const image = await decoded(url);
    if (image === null) URL.revokeObjectURL(url);
    return image;
  } catch {
    return null;
  }
}

// Returns the picture that an address holds; null when it is none.
export async function decoded(address) {
  const image = element("img", { src: address, decoding: "sync" });
  return image.decode().then(() => image, () => null);
}

// Puts a loaded picture into the place of another one. The element itself is exchanged: its pixels are decoded already.
export function exchange(old, image) {
  image.hidden = false;
  if (old === image) return;
  for (const { name, value } of old.attributes) if (!["src", "hidden", "data-address"].includes(name)) image.setAttribute(name, value);
  old.replaceWith(image);
  if (old.src.startsWith("blob:")) URL.revokeObjectURL(old.src);
}
