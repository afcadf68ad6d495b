// The last inspections, for whoever on the page asks for them: two who ask at the same time share one answer.
import { root } from "./dom.js";

export const PAGE = 24;
const FOLLOW_EVERY_MS = 2000;

// Changes when those who follow the rows may ask again; the same for all of them, so that they ask at the same time.
export const turn = () => Math.floor(performance.now() / FOLLOW_EVERY_MS);

const asked = new Map();

// Returns the answer of the station; throws what it says instead, or when there is no connection.
export function lastRows(limit) {
  if (!asked.has(limit)) asked.set(limit, ask(limit).finally(() => asked.delete(limit)));
  return asked.get(limit);
}

async function ask(limit) {
  const response = await fetch(`${root}/api/inspections?limit=${limit}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
