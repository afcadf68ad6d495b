// The set-up: what the camera sees, each step, and what is still missing for the certificate.
import { badge, byId, choice, element, number, root, setText } from "./dom.js";
import { clock } from "./times.js";
import { askWho, send } from "./person.js";
import { drag, place } from "./region.js";
import { told } from "./told.js";
import { count, t } from "./words.js";

const LOOK_MS = 500;
const STATES = { running: ["ok", t("inspects")], commissioning: ["wait", t("set-up runs")], camera_fault: ["camera", t("camera fault")], fault: ["error", t("self-test failed")], starting: ["wait", t("starts")] };
const MARKED = { good: t("good"), bad: t("bad") };
const KINDS = { OK: "ok", NG: "ng", ERROR: "error" };
const MARKS = "linewatch-dry-run"; // kept over a reload of this page
const marks = new Map(JSON.parse(sessionStorage.getItem(MARKS) ?? "[]"));
let found = null;
let best = 0;
let kind = "";
let seen = false; // parts that came before this page looked are not marked by themselves
let region = null;

async function refresh() {
  const response = await fetch(`${root}/api/set-up`).catch(() => null);
  const answer = response ? await response.json().catch(() => null) : null;
  const problem = answer ? told(answer.error ?? "") : t("No connection to the station.");
  setText(byId("problem"), problem);
  byId("problem").hidden = !problem;
  if (answer && !answer.error) {
    found = answer;
    show();
  }
  setTimeout(refresh, LOOK_MS);
}

function show() {
  const { commissioning: now, alive, state } = found;
  const [color, words] = alive ? STATES[state] ?? ["wait", state] : ["none", t("no engine")];
  byId("state").dataset.kind = color;
  setText(byId("state"), words);
  setText(byId("state-text"), now ? t("{who} sets the station up since {time}. Every part gets ERROR and is rejected.", { who: now.who, time: clock(now.since) }) : t("While the station is set up, every part gets ERROR and is rejected. Begin when the line stands still."));
  byId("begin").hidden = Boolean(now);
  byId("end").hidden = !now;
  byId("begin").disabled = !alive;
  for (const id of ["selftest", "certify"]) byId(id).disabled = !now;
  byId("baseline").disabled = !now || now.baseline_runs;
  showCamera();
  setText(byId("baseline-text"), now?.baseline_runs ? t("The baseline is being taken …") : told(now?.baseline_detail) || (found.commissioned ? t("A baseline of an earlier set-up is stored.") : t("No baseline is stored for this recipe.")));
  const test = found.self_test;
  setText(byId("selftest-text"), test ? `${test.passed ? t("Self-test passed at {time}", { time: clock(test.at) }) : t("Self-test FAILED at {time}", { time: clock(test.at) })}${test.detail ? `: ${told(test.detail)}` : ""}` : t("No self-test yet."));
  showOutputs();
  showTrials();
  showCertificate();
}

function showCamera() {
  const { sight } = found;
  setText(byId("camera"), `${found.camera} · ${t("{rate} pictures a second", { rate: number(found.fps, 3) })}${found.detail ? ` · ${told(found.detail)}` : ""}`);
  byId("picture").hidden = !sight;
  byId("no-picture").hidden = Boolean(sight);
  if (!sight) {
    setText(byId("no-picture"), found.alive && found.commissioning ? `${t("The camera gives no picture.")} ${told(found.detail)}` : t("The picture comes when the set-up has begun, or the camera is in fault."));
    for (const id of ["inspected", "region"]) byId(id).hidden = true;
    for (const id of ["focus-text", "light-text", "white-text"]) setText(byId(id), "–");
    return;
  }
  byId("picture").src = `${root}/live.jpg?raw=1&at=${encodeURIComponent(sight.at)}`;
  best = Math.max(best, sight.focus);
  const known = sight.commissioned_focus ?? best;
  byId("focus").value = known > 0 ? sight.focus / known : 0;
  byId("focus").low = found.focus_least;
  setText(byId("focus-text"), `${t("{now}; best so far {best}", { now: number(sight.focus, 3), best: number(best, 3) })}${sight.commissioned_focus ? t(", commissioned {value}", { value: number(sight.commissioned_focus, 3) }) : ""}`);
  byId("light").value = sight.exposure;
  const middle = sight.commissioned_exposure ?? 120;
  byId("light").low = Math.max(0, middle - found.exposure_most);
  byId("light").high = Math.min(255, middle + found.exposure_most);
  byId("light").optimum = middle;
  setText(byId("light-text"), `${t("brightness {value} of 255", { value: number(sight.exposure, 3) })}${sight.commissioned_exposure !== null ? t(", commissioned {value}", { value: number(sight.commissioned_exposure, 3) }) : ""}`);
  byId("white").value = sight.clipped;
  setText(byId("white-text"), t("{share} % of the picture is white", { share: number(100 * sight.clipped, 2) }));
  setText(byId("refused"), told(sight.refused ?? ""));
  byId("refused").hidden = !sight.refused;
  place(byId("inspected"), found.inspected, sight);
  const shown = region ?? found.region;
  place(byId("region"), shown, sight);
  setText(byId("region-line"), shown ? `crop = { x = ${shown.x}, y = ${shown.y}, width = ${shown.width}, height = ${shown.height} }` : t("No region was dragged."));
  byId("store-region").disabled = !region;
}

function showOutputs() {
  const now = JSON.stringify([found.outputs, found.commissioning?.by_hand, Boolean(found.commissioning)]);
  if (byId("outputs").dataset.of === now) return;
  byId("outputs").dataset.of = now;
  const rows = found.outputs.map(({ name }) => {
    const done = (found.commissioning?.by_hand ?? []).filter((one) => one.output === name).map(({ verdict }) => verdict ?? "safe");
    const buttons = ["OK", "NG", "ERROR", "safe"].map((verdict) => {
      const made = element("button", { type: "button", class: "button", "aria-label": `${name}: ${told(verdict)}` }, done.includes(verdict) ? `${told(verdict)} ✓` : told(verdict));
      made.disabled = !found.commissioning;
      made.addEventListener("click", () => act("set-up/output", { output: name, verdict }));
      return made;
    });
    return element("li", { class: "output-row" }, element("strong", {}, name), ...buttons);
  });
  byId("outputs").replaceChildren(...(rows.length ? rows : [element("li", {}, t("This station has no output that moves parts."))]));
}

function mark(id, name) {
  marks.set(id, name);
  sessionStorage.setItem(MARKS, JSON.stringify([...marks].slice(-200)));
}

function showTrials() {
  const trials = found.commissioning?.trials ?? [];
  setText(byId("trigger"), `${found.trigger} · ${t("{n} triggers refused", { n: count(found.overruns) })}`);
  byId("fire").hidden = !found.software_trigger || !found.commissioning;
  for (const { id } of trials) if (!marks.has(id)) mark(id, seen ? kind : "");
  seen = true;
  const of = (name) => trials.filter(({ id }) => marks.get(id) === name);
  const right = (name, verdict) => of(name).filter(({ would, reason }) => would === verdict && reason === "score").length;
  const { goods, bads } = byId("main").dataset;
  setText(byId("run-text"), t("{good} of {goods} good parts would be OK, {bad} of {bads} bad parts would be NG.", { good: right("good", "OK"), goods, bad: right("bad", "NG"), bads }));
  const list = byId("trials");
  const now = JSON.stringify(trials.map(({ id }) => [id, marks.get(id)]));
  if (list.dataset.of === now) return;
  list.dataset.of = now;
  list.replaceChildren(...trials.filter(({ id }) => marks.get(id)).reverse().map(({ id, would, reason, total_ms: ms }) => {
    const wrong = (marks.get(id) === "good") !== (would === "OK");
    const text = element("p", {}, element("a", { href: `${root}/inspections/${id}` }, t("Part {part}", { part: id })), ` · ${MARKED[marks.get(id)]} · ${number(ms, 3)} ms${reason === "score" ? "" : ` · ${told(reason.replaceAll("_", " "))}`}${wrong ? ` · ${t("WRONG")}` : ""}`);
    const drop = element("button", { type: "button", class: "button", "aria-label": t("Part {part} does not count", { part: id }) }, "✕");
    drop.addEventListener("click", () => {
      mark(id, "");
      showTrials();
    });
    return element("li", {}, badge({ kind: KINDS[would], headline: would }), text, drop);
  }));
}

function showCertificate() {
  const paper = found.certificate;
  const now = JSON.stringify(paper);
  if (byId("certificate").dataset.of === now) return;
  byId("certificate").dataset.of = now;
  if (!paper) return;
  const facts = {
    [t("Ready")]: `${clock(paper.at, true)}, ${paper.who}`, [t("Station")]: paper.station, [t("Recipe")]: paper.recipe, [t("Model")]: paper.bundle, [t("Camera")]: paper.camera, [t("Trigger")]: paper.trigger,
    [t("Processor")]: `${paper.cpu}, ${paper.runtime}`, [t("Baseline")]: told(paper.baseline), [t("Dry run")]: t("{goods} good parts would be OK, {bads} bad would be NG", { goods: paper.goods.length, bads: paper.bads.length }),
    [t("Trigger to output")]: t("median {median} ms, longest {max} ms, n = {n}; deadline {deadline} ms", { median: number(paper.latency_ms.median, 3), max: number(paper.latency_ms.max, 3), n: paper.latency_ms.n, deadline: number(paper.deadline_ms) }),
    [t("Set by hand")]: paper.outputs.map(({ output, verdict }) => `${output}: ${told(verdict ?? "safe")}`).join(", ") || t("no outputs"),
  };
  byId("certificate").replaceChildren(...Object.entries(facts).map(([label, text]) => element("div", {}, element("dt", {}, label), element("dd", {}, text))));
}

async function act(path, facts = {}) {
  const done = await send(path, facts);
  byId("answer").dataset.kind = done.error ? "error" : "ok";
  setText(byId("answer"), told(done.error ?? done.text) ?? t("Done."));
  return done;
}

byId("begin").addEventListener("click", () => byId("who").reportValidity() && act("set-up", { step: "begin" }));
byId("end").addEventListener("click", () => act("set-up", { step: "end" }));
byId("baseline").addEventListener("click", () => act("set-up", { step: "baseline", frames: Number(byId("frames").value), seconds: Number(byId("seconds").value) }));
byId("selftest").addEventListener("click", () => act("selftest"));
byId("fire").addEventListener("click", () => act("trigger"));
byId("best").addEventListener("click", () => {
  best = 0;
});
byId("store-region").addEventListener("click", async () => {
  if (!(await act("set-up/region", region)).error) region = null;
});
byId("certify").addEventListener("click", async () => {
  const of = (name) => found.commissioning.trials.map(({ id }) => id).filter((id) => marks.get(id) === name);
  const done = await act("set-up/certificate", { goods: of("good"), bads: of("bad") });
  byId("missing").replaceChildren(...(done.missing ?? []).map((text) => element("li", { class: "fault" }, told(text))));
});
choice([...byId("kind").children], (button) => {
  kind = button.dataset.kind;
});
drag(byId("view"), () => found?.sight, (drawn) => {
  region = drawn;
  showCamera();
});
askWho(byId("who"));
byId("who").required = true;
byId("who-label").hidden = byId("who").readOnly;
refresh();
