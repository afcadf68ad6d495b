// One part after the other: a tap answers it and shows the next one. What could not be stored stays on the page.
import { byId, distanceText, element, root, setText } from "./dom.js";
import { clock } from "./times.js";
import { lookButton, openLook } from "./look.js";
import { clearMask, hideMask, maskStrokes, startMask } from "./mask.js";
import { askWho, send, who } from "./person.js";
import { ENDED, askOnce } from "./session.js";
import { told } from "./told.js";
import { count, t } from "./words.js";

const WHY = { chosen: t("picked by hand"), limit: t("near the limit"), sample: t("random sample") };
const WORDS = { good: t("was good"), bad: t("really bad"), unsure: t("not sure"), none: t("no answer") };
const SHOWN = 12;
const ASK_AGAIN_MS = 2000;
const LOOK_AGAIN_MS = 10000; // a queue that was empty
const left = new Set(); // parts that somebody left out on this page
let picked = new URLSearchParams(location.search).get("part");
let parts = [];
let last = null; // the answer that Undo takes back
let busy = false;
let again = 0; // the timer of a question that found no answer
let later = 0; // and of one whose answer was that no part waits
let counts = { answered: 0, of: 0, sampled: 0, of_sample: 0 };

// Returns whether the station answered.
async function fill() {
  if (picked && !(await pick())) return false;
  if (parts.length > 0) return true;
  const response = await fetch(`${root}/api/reviews/queue?limit=${SHOWN + Math.min(38, left.size)}`).catch(() => null);
  const found = response ? await response.json().catch(() => null) : null;
  if (response?.status === 401) askOnce(ENDED);
  if (!found || found.error) {
    complain(found?.error ?? t("no connection to the station; try again"));
    return false;
  }
  heard();
  counts = found;
  if (parts.length === 0) parts = found.parts.filter((part) => !left.has(part.id));
  return true;
}

// A part that somebody picked comes first, once. Returns whether the station answered.
async function pick() {
  const id = encodeURIComponent(picked);
  const ask = (path) => fetch(`${root}/api/${path}`).then((response) => response.json()).catch(() => null);
  const [part, listed] = await Promise.all([ask(`inspections/${id}`), ask(`reviews?part=${id}`)]);
  if (!part || !listed) {
    complain(t("no connection to the station; try again"));
    return false;
  }
  heard();
  history.replaceState(null, "", location.pathname);
  if (part.error || !part.pictures.frame) complain(part.error ?? t("Part {part} has no picture to answer.", { part: picked }));
  else {
    const [review] = listed.reviews ?? [];
    parts.unshift({ ...part, origin: "chosen", review: review?.opinion === "none" ? null : review ?? null, known: review?.number ?? 0 });
  }
  picked = null;
  return true;
}

// What was said of a question that found no answer is not true any more.
function heard() {
  if (again) complain("");
  again = 0;
}

function complain(words) {
  setText(byId("problem"), told(words));
  byId("problem").hidden = !words;
}

async function next() {
  clearTimeout(again);
  clearTimeout(later);
  if (parts.length === 0 && !(await fill())) again = setTimeout(next, ASK_AGAIN_MS);
  const part = parts[0];
  byId("review").hidden = !part;
  byId("nothing").hidden = Boolean(part) || !byId("problem").hidden;
  setText(byId("progress"), t("{answered} of {of} parts answered, {sampled} of {of_sample} of the random sample", { answered: count(counts.answered), of: count(counts.of), sampled: count(counts.sampled), of_sample: count(counts.of_sample) }));
  hideMask();
  byId("label").value = "";
  if (part) show(part);
  else if (byId("problem").hidden) later = setTimeout(next, LOOK_AGAIN_MS);
}

function show(part) {
  byId("review-image").src = part.pictures.heat ?? part.pictures.frame;
  byId("review-image").alt = t("Picture of part {part}", { part: part.id });
  setText(byId("review-part"), `${t("Part {part}", { part: part.id })}: ${told(part.words.headline)}`);
  setText(byId("review-why"), `${WHY[part.origin]} · ${t("distance from good {distance}, limit 1", { distance: distanceText(part.distance) })} · ${clock(part.at, true)}`);
  setText(byId("review-earlier"), part.review ? t("{who} said: {answer}", { who: part.review.who, answer: WORDS[part.review.opinion] }) : "");
}

async function answer(opinion) {
  const part = parts[0];
  if (busy || !part) return;
  if (!who()) {
    complain(t("Type your name first: each answer is kept with it."));
    byId("who").focus();
    return;
  }
  busy = true;
  const bad = opinion === "bad";
  const given = { part: part.id, opinion, origin: part.origin, after: part.known ?? part.review?.number ?? 0 };
  const stored = await send("reviews", { ...given, label: bad ? byId("label").value : "", mask: bad ? maskStrokes() : [] });
  busy = false;
  if (stored.error) {
    complain(`${t("Part {part}", { part: part.id })}: ${told(stored.error)}`);
    if (stored.review !== undefined) { // somebody else was faster: their answer is shown, and this one can be given again
      part.review = stored.review;
      part.known = stored.review?.number ?? 0;
      show(part);
    }
    return;
  }
  complain("");
  last = { part, number: stored.number };
  if (!part.review) counts.answered += 1;
  if (part.origin === "sample") counts.sampled += 1;
  remember(stored.label);
  setText(byId("undo-words"), `${t("Part {part}", { part: part.id })}: ${WORDS[opinion]}.`);
  byId("undo").hidden = false;
  parts.shift();
  await next();
}

async function undo() {
  if (busy || !last) return;
  busy = true;
  const { part, number } = last;
  const taken = await send("reviews", { part: part.id, opinion: "before", origin: part.origin, after: number });
  busy = false;
  if (taken.error) {
    complain(`${t("Part {part}", { part: part.id })}: ${told(taken.error)}`);
    return;
  }
  last = null;
  complain("");
  part.known = taken.number;
  part.review = taken.opinion === "none" ? null : taken;
  counts.answered -= part.review ? 0 : 1;
  if (part.origin === "sample") counts.sampled -= 1;
  setText(byId("undo-words"), t("Part {part}: the answer is taken back.", { part: part.id }));
  byId("undo").hidden = true;
  parts.unshift(part);
  await next();
}

function remember(label) {
  const known = [...byId("labels").children].map((option) => option.value);
  if (label && !known.includes(label)) byId("labels").append(element("option", { value: label }));
}

for (const button of document.querySelectorAll("[data-opinion]")) button.addEventListener("click", () => answer(button.dataset.opinion));
byId("skip").addEventListener("click", () => {
  left.add(parts.shift().id);
  next();
});
byId("undo").addEventListener("click", undo);
byId("draw").addEventListener("click", () => {
  if (byId("mask").hidden) startMask();
  else hideMask();
});
byId("wipe").addEventListener("click", clearMask);
lookButton(byId("review-image").parentElement, t("Show the picture in full"), () => {
  const { id, words, pictures } = parts[0];
  openLook({ title: `${t("Part {part}", { part: id })} ${told(words.headline)}`, heat: pictures.heat, plain: pictures.frame, part: id });
});
askWho(byId("who"));
next();
