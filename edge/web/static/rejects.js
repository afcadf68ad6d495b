// The last rejected parts. The newest one that nobody has looked at stays in view until somebody says so; the station
// keeps who did, so that every tablet shows the same.
import { badge, byId, clock, element, root, setText } from "./dom.js";
import { openLook } from "./look.js";
import { send } from "./person.js";

let drawn = "";
let busy = false;

export function refreshRejects(rejects) {
  byId("waiting").hidden = !rejects?.unseen;
  if (!rejects) return;
  const now = JSON.stringify(rejects);
  if (now === drawn || busy) return;
  drawn = now;
  const count = `${rejects.unseen.toLocaleString("en-GB")}${rejects.more ? " or more" : ""}`;
  setText(byId("waiting"), `${count} not seen`);
  byId("waiting").setAttribute("aria-label", `${count} rejected parts that nobody has looked at`);
  byId("strip").replaceChildren(...rejects.last.map((row) => element("li", {}, tile(row))));
  hold(rejects);
}

function look(row) {
  openLook({ title: `Part ${row.id} ${row.words.headline}`, heat: row.pictures.heat ?? row.pictures.frame, plain: row.pictures.frame, part: row.pictures.thumb ? row.id : null });
}

function tile(row) {
  const what = row.seen ? "seen" : "not seen";
  const shot = row.pictures.thumb ? element("img", { src: row.pictures.thumb, alt: "", width: 124, height: 92 }) : element("span", { class: "none" }, "no picture");
  const node = element("button", { type: "button", class: "reject", "data-kind": row.words.kind, "data-seen": row.seen, "aria-label": `Part ${row.id} ${row.words.headline}, ${what}: show in full` }, shot, element("span", {}, `${row.id} · ${clock(row.at).slice(-8, -3)}`));
  node.disabled = !row.pictures.frame;
  node.addEventListener("click", () => look(row));
  return node;
}

function hold(rejects) {
  const row = rejects.last.find((one) => one.id === rejects.held);
  const box = byId("held");
  box.dataset.kind = row ? row.words.kind : "";
  if (!row) {
    const words = rejects.unseen ? `${rejects.unseen} older rejected parts wait to be looked at.` : "No rejected part waits to be looked at.";
    box.replaceChildren(element("p", { class: "muted", id: "held-none" }, words), ...(rejects.unseen ? [seenButton("All seen", { up_to: rejects.last[0].id })] : []));
    return;
  }
  const shown = row.pictures.heat ?? row.pictures.frame;
  const shot = shown ? element("img", { src: shown, alt: `Picture of part ${row.id}` }) : element("span", { class: "none" }, "no picture");
  const open = element("button", { type: "button", class: "held-shot", "aria-label": `Show part ${row.id} in full` }, shot);
  open.disabled = !shown;
  open.addEventListener("click", () => look(row));
  const link = element("a", { class: "onward", href: `${root}/inspections/${row.id}` }, `Part ${row.id} · ${clock(row.at)}`);
  const buttons = element("div", { class: "choices" }, seenButton("Seen", { part: row.id }));
  if (rejects.unseen > 1) buttons.append(seenButton(`All ${rejects.unseen.toLocaleString("en-GB")} seen`, { up_to: rejects.last[0].id }, ""));
  box.replaceChildren(open, element("div", { class: "held-words" }, element("p", {}, badge(row.words)), element("p", { class: "held-what" }, row.words.what), link, buttons));
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
    setText(byId("seen-answer"), answer.error ? `Not done: ${answer.error}` : "");
  });
  return button;
}
