// The last inspections, for whoever on the page asks for them: two who ask at the same time share one answer. Only the
// first answer is whole. Later ones hold what is new, with the small pictures in it.
import { root } from "./dom.js";

export const KEPT = 100;
const FOLLOW_EVERY_MS = 2000;
const STILL_STORED = 4; // rows at the top whose pictures may come later than they do

// Changes when those who follow the rows may ask again; the same for all of them, so that they ask at the same time.
export const turn = () => Math.floor(performance.now() / FOLLOW_EVERY_MS);

let known = { rows: [], more: false }; // newest first, and whether the station has older ones
let asked = null; // the answer that is on its way

// Those that the page has loaded already, newest first.
export const knownRows = () => known.rows;

// Returns the last KEPT rows and whether there are older ones; throws what the station says instead, or when there is
// no connection. lastId: of the history; a lower one than is known is that of another history.
export function lastRows(lastId) {
  if (known.rows.length && lastId < known.rows[0].id) known = { rows: [], more: false };
  asked ??= ask().finally(() => { asked = null; });
  return asked;
}

async function ask() {
  const before = known;
  const since = before.rows.length ? `&after=${before.rows[0].id}&inline=1` : "";
  const response = await fetch(`${root}/api/inspections?limit=${KEPT}${since}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  const joins = since !== "" && answer.next_before === null;
  const all = joins ? [...answer.inspections, ...before.rows] : answer.inspections;
  const more = joins ? before.more || all.length > KEPT : answer.next_before !== null;
  const rows = all.slice(0, KEPT);
  known = { rows: rows.slice(whole(rows)), more };
  return { rows, more };
}

// Returns how many rows at the top are asked for again, because one of them has no picture yet.
function whole(rows) {
  return rows.slice(0, STILL_STORED).findLastIndex((row) => !row.pictures.thumb && row.reason !== "no_frame") + 1;
}
