// The last rejected parts. The newest one that nobody has looked at stays in view until somebody says so; the station
// keeps who did, so that every tablet shows the same.
import { badge, byId, element, root, setText } from "./dom.js";
import { clock, hourText } from "./times.js";
import { lookAmong } from "./look.js";
import { send } from "./person.js";
import { told } from "./told.js";
import { count, t } from "./words.js";

let drawn = "";
let busy = false;

export function refreshRejects({ rejects, history }) {
  byId("waiting").hidden = !rejects?.unseen;
  if (!rejects) return;
  const all = history.NG + history.ERROR;
  setText(byId("strip-what"), t("{n} of {of} rejected parts", { n: count(Math.min(rejects.last.length, all)), of: count(all) }));
  const now = JSON.stringify(rejects);
  if (now === drawn || busy) return;
  drawn = now;
  const waiting = { n: count(rejects.unseen) };
  setText(byId("waiting"), rejects.more ? t("{n} or more not seen", waiting) : t("{n} not seen", waiting));
  byId("waiting").setAttribute("aria-label", rejects.more ? t("{n} or more rejected parts that nobody has looked at", waiting) : t("{n} rejected parts that nobody has looked at", waiting));
  byId("strip").replaceChildren(...rejects.last.map((row) => element("li", {}, tile(row, rejects.last))));
  hold(rejects);
}

function tile(row, rows) {
  const names = { part: row.id, verdict: told(row.words.headline) };
  const label = row.seen ? t("Part {part} {verdict}, seen: show in full", names) : t("Part {part} {verdict}, not seen: show in full", names);
  const shot = row.pictures.thumb ? element("img", { src: row.pictures.thumb, alt: "", width: 124, height: 92 }) : element("span", { class: "none" }, t("no picture"));
  const node = element("button", { type: "button", class: "reject", "data-kind": row.words.kind, "data-seen": row.seen, "aria-label": label }, shot, element("span", {}, `${row.id} · ${hourText(row.at)}`));
  node.disabled = !row.pictures.frame;
  node.addEventListener("click", () => lookAmong(rows, row));
  return node;
}

function hold(rejects) {
  const row = rejects.last.find((one) => one.id === rejects.held);
  const box = byId("held");
  box.dataset.kind = row ? row.words.kind : "";
  if (!row) {
    const words = rejects.unseen ? t("{n} older rejected parts wait to be looked at.", { n: count(rejects.unseen) }) : t("No rejected part waits to be looked at.");
    box.replaceChildren(element("p", { class: "muted", id: "held-none" }, words), ...(rejects.unseen ? [seenButton(t("All seen"), { up_to: rejects.last[0].id })] : []));
    return;
  }
  const shown = row.pictures.heat ?? row.pictures.frame;
  const shot = shown ? element("img", { src: shown, alt: t("Picture of part {part}", { part: row.id }) }) : element("span", { class: "none" }, t("no picture"));
  const open = element("button", { type: "button", class: "held-shot", "aria-label": t("Show part {part} in full", { part: row.id }) }, shot);
  open.disabled = !shown;
  open.addEventListener("click", () => lookAmong(rejects.last, row));
  const link = element("a", { class: "onward", href: `${root}/inspections/${row.id}` }, `${t("Part {part}", { part: row.id })} · ${clock(row.at)}`);
  const buttons = element("div", { class: "choices" }, seenButton(t("Seen"), { part: row.id }));
  if (rejects.unseen > 1) buttons.append(seenButton(t("All {n} seen", { n: count(rejects.unseen) }), { up_to: rejects.last[0].id }, ""));
  box.replaceChildren(open, element("div", { class: "held-words" }, element("p", {}, badge(row.words)), element("p", { class: "held-what" }, told(row.words.what)), link, buttons));
}

function seenButton(words, what, kind = "primary") {
  const button = element("button", { type: "button", class: `button ${kind}` }, words);
  button.addEventListener("click", async () => {
    busy = true;
    button.disabled = true;
    const answer = await send("seen", what);
    busy = false;
    button.disabled = false;
    drawn = "";
    setText(byId("seen-answer"), answer.error ? t("Not done: {why}", { why: told(answer.error) }) : "");
  });
  return button;
}
