// The last inspections, for whoever on the page asks for them: two who ask at the same time share one answer. Only the
// first answer is whole. Later ones hold what is new, with the small pictures in it.
import { root } from "./dom.js";

export const PAGE = 24;
export const KEPT = 100;
const FOLLOW_EVERY_MS = 2000;
const STILL_STORED = 4; // rows at the top whose pictures may come later than they do

// Changes when those who follow the rows may ask again; the same for all of them, so that they ask at the same time.
export const turn = () => Math.floor(performance.now() / FOLLOW_EVERY_MS);

const asked = new Map();
let known = { rows: [], more: false }; // newest first, and whether the station has older ones

// Returns the last rows as the station answers; throws what it says instead, or when there is no connection.
// lastId: of the history; a lower one than is known is that of another history.
export function lastRows(limit, lastId) {
  if (known.rows.length && lastId < known.rows[0].id) known = { rows: [], more: false };
  if (!asked.has(limit)) asked.set(limit, ask(limit).finally(() => asked.delete(limit)));
  return asked.get(limit);
}

async function ask(limit) {
  const before = known;
  const enough = before.rows.length > 0 && (!before.more || before.rows.length + STILL_STORED >= limit);
  const since = enough ? `&after=${before.rows[0].id}&inline=1` : "";
  const response = await fetch(`${root}/api/inspections?limit=${limit}${since}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  const joins = enough && answer.next_before === null;
  const rows = joins ? [...answer.inspections, ...before.rows] : answer.inspections;
  const more = joins ? before.more || rows.length > KEPT : answer.next_before !== null;
  known = { rows: rows.slice(whole(rows), KEPT), more };
  const inspections = rows.slice(0, limit);
  return { inspections, next_before: more || rows.length > limit ? inspections.at(-1).id : null };
}

// Returns how many rows at the top are asked for again, because one of them has no picture yet.
function whole(rows) {
  return rows.slice(0, STILL_STORED).findLastIndex((row) => !row.pictures.thumb && row.reason !== "no_frame") + 1;
}
