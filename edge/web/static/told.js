// Sentences that the station composed in English, in the language of the page; wording/told.py does the same. The holes of
// a sentence are numbered, as in "Part {1} is not one of this dry run". Times in UTC stand as those of the station.
import { clock, dateAndHour } from "./times.js";
import { figures, texts } from "./words.js";

const LONGEST = 1000;
const KEPT = 2000;
const BETWEEN = /(?<=[.!?]) (?=[A-Z“])|(?<=;) /;
const NUMBER = /^[<>]? ?-?\d[\d,]*\.?\d*( ?(%|ms|s|MB))?$/;
const STAMP = /\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z|\+00:00)/g;
const patterns = Object.keys(texts).filter((english) => /\{\d\}/.test(english)).map(pattern).sort((a, b) => b.weight - a.weight);
const known = new Map();

// A sentence of the station in the language of the page, as far as it is known.
export function told(text) {
  if (!text || text.length > LONGEST) return text;
  if (!known.has(text)) {
    if (known.size > KEPT) known.clear();
    const local = text.replace(STAMP, (stamp) => localTime(stamp));
    known.set(text, sentence(local) ?? sentences(local.split(BETWEEN)));
  }
  return known.get(text);
}

function pattern(english) {
  const own = english.split(/\{\d\}/);
  const escaped = own.map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return { english, weight: own.join("").length, test: new RegExp(`^${escaped.join("(.*?)")}$`, "s") };
}

function localTime(stamp) {
  const at = Date.parse(stamp.replace(" UTC", "Z").replace(" ", "T"));
  return Number.isNaN(at) ? stamp : /:\d\d:/.test(stamp) ? clock(at, true) : dateAndHour(at);
}

function sentences(pieces) {
  const found = [];
  for (let at = 0; at < pieces.length; ) {
    let end = pieces.length + 1;
    let words = null;
    while (words === null && --end > at) words = end - at < pieces.length ? sentence(pieces.slice(at, end).join(" ")) : null;
    found.push(words ?? pieces[at]);
    at = words === null ? at + 1 : end;
  }
  return found.join(" ");
}

function sentence(text) {
  if (texts[text]) return texts[text][0];
  if (NUMBER.test(text)) return figures(text);
  const bare = /[.;]$/.test(text) ? sentence(text.slice(0, -1)) : null;
  if (bare !== null) return bare + text.slice(-1);
  for (const { english, test } of patterns) {
    const match = test.exec(text);
    if (!match) continue;
    const order = english.match(/\{\d\}/g);
    return texts[english][0].replace(/\{\d\}/g, (hole) => told(match[order.indexOf(hole) + 1]));
  }
  return null;
}
