// The last inspections. The list stands still under a finger: it follows by itself only while nobody touches the page.
import { byId, choice, root, setText } from "./dom.js";
import { line } from "./inspections.js";
import { filterOf, keepPlace, showPlace, takePlace } from "./place.js";
import { lastRows, turn } from "./rows.js";
import { told } from "./told.js";
import { count, t } from "./words.js";

const PAGE = 24;
const HANDS_OFF_MS = 10000;
const COMPLETE_AFTER_MS = 1000;
const rows = byId("rows");
let place = takePlace(); // to which a person comes back from a part
let verdict = place?.verdict ?? "";
let newest = null; // highest id of the history when the list was read; null: not read yet
let counts = null; // of the history, as the last status says
let lastId = 0; // of the history, as the last status says
let nextBefore = null;
let paged = false;
let touchedAt = -HANDS_OFF_MS;
let readIn = null; // the turn in which the list was read
let reading = false;

for (const event of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"]) {
  addEventListener(event, () => { touchedAt = performance.now(); }, { passive: true });
}

export function refreshHistory({ history, history_problem: problem }) {
  setText(byId("history-problem"), told(problem));
  byId("history-problem").hidden = !problem;
  if (!history) return;
  lastId = history.last_id;
  counts = history;
  showCounts();
  const now = performance.now();
  const fresh = newest === null ? 0 : Math.max(0, history.last_id - newest);
  const follow = newest === null || history.last_id < newest || (fresh > 0 && !paged && now - touchedAt > HANDS_OFF_MS);
  if (follow && turn() !== readIn) reload();
  byId("newer").hidden = follow || fresh === 0;
  setText(byId("newer"), t("Show {n} newer", { n: count(fresh) }));
}

function showCounts() {
  if (counts) setText(byId("rows-what"), t("{n} of {of} parts", { n: count(verdict ? counts[verdict] : counts.total), of: count(counts.total) }));
}

async function read(before) {
  if (!verdict && !before) return newestPage();
  const query = new URLSearchParams({ limit: PAGE });
  if (verdict) query.set("verdict", verdict);
  if (before) query.set("before", before);
  const response = await fetch(`${root}/api/inspections?${query}`);
  if (!response.ok) throw new Error((await response.json()).error);
  return response.json();
}

async function newestPage() {
  const last = await lastRows(lastId);
  const inspections = last.rows.slice(0, PAGE);
  return { inspections, next_before: last.more || last.rows.length > PAGE ? inspections.at(-1).id : null };
}

async function reload() {
  if (reading) return;
  reading = true;
  readIn = turn();
  const wanted = verdict;
  const seen = lastId;
  try {
    const page = await read(null);
    if (wanted !== verdict) return;
    rows.replaceChildren(...lines(page));
    completeLater(page.inspections);
    newest = Math.max(seen, page.inspections[0]?.id ?? 0);
    paged = false;
    byId("newer").hidden = true;
    ended(page);
  } catch {
    // No connection or no history: the status poll says so.
  } finally {
    reading = false;
    if (wanted !== verdict) reload();
    else if (place && rows.children.length) comeBack();
  }
}

// The list as it was when a part was opened from it: as many rows, at the same place.
async function comeBack() {
  const was = place;
  place = null;
  touchedAt = performance.now();
  while (nextBefore !== null && rows.children.length < was.count) {
    const before = rows.children.length;
    await more();
    if (rows.children.length === before) return;
  }
  showPlace(rows, was);
}

const filter = () => filterOf(new URLSearchParams({ verdict }));
const lines = (page) => page.inspections.map((row) => line(row, false, filter()));

async function more() {
  if (reading || nextBefore === null) return;
  reading = true;
  try {
    const page = await read(nextBefore);
    rows.append(...lines(page));
    paged = true;
    ended(page);
  } catch {
    // No connection: the status poll says so, and the button stays.
  } finally {
    reading = false;
  }
}

function ended(page) {
  nextBefore = page.next_before;
  byId("more").hidden = nextBefore === null;
  byId("rows-empty").hidden = rows.children.length > 0;
}

// A row is stored before its pictures: ask once more for those that came without.
function completeLater(found) {
  for (const [index, row] of found.slice(0, 4).entries()) {
    if (row.pictures.thumb || row.reason === "no_frame") continue;
    const item = rows.children[index];
    setTimeout(async () => {
      const response = await fetch(`${root}/api/inspections/${row.id}`).catch(() => null);
      if (response?.ok && item.isConnected) item.replaceWith(line(await response.json(), false, filter()));
    }, COMPLETE_AFTER_MS);
  }
}

choice([...byId("filter").children], (button) => {
  verdict = button.dataset.verdict;
  showCounts();
  reload();
});
for (const button of byId("filter").children) button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
keepPlace(rows, () => ({ verdict, count: rows.children.length }));
byId("newer").addEventListener("click", reload);
byId("more").addEventListener("click", more);
