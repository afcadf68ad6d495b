// The page's words. English is in the code; a catalogue of the station has them in another language. Names stand in
// braces, as in "Part {part}".

const LATE_MS = 3000;
const HOLE = /\{(\w+)\}/g;
export const { texts, forms } = await catalogue(document.documentElement.dataset.words);
const [, group, point] = /^1(.?)234(.)5$/.exec(texts["1,234.5"]?.[0] ?? "1,234.5");

// Without a catalogue the page is in English.
async function catalogue(path) {
  try {
    if (path) return await (await fetch(path, { signal: AbortSignal.timeout(LATE_MS) })).json();
  } catch {
    // The station does not answer: the page says so itself.
  }
  return { texts: {}, forms: [] };
}

const filled = (text, values) => text.replace(HOLE, (hole, name) => (name in values ? values[name] : hole));

export const t = (english, values = {}) => filled(texts[english]?.[0] ?? english, values);

export function tn(one, many, number, values = {}) {
  const form = number < 100 ? forms[number] : forms[100 + (number % 100)];
  const text = texts[one] ? texts[one][Math.min(form, texts[one].length - 1)] : number === 1 ? one : many;
  return filled(text, { n: count(number), ...values });
}

// Numbers that are written as in English, in the language of the page.
export const figures = (text) => String(text).replace(/[,.]/g, (sign) => (sign === "," ? group : point));

// A line never ends between the figure, written as in English, and its sign.
export const percentText = (figure) => `${figures(figure)}\u00a0%`;

export const count = (number) => figures(number.toLocaleString("en-GB"));
