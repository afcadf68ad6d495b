// The bundles: what judges, what could, and what the station found out about them.
import { badge, byId, distanceText, element, number, root, setText } from "./dom.js";
import { clock } from "./times.js";
import { askWho, send, who } from "./person.js";
import { sendFile } from "./bundle_upload.js";
import { told } from "./told.js";
import { t } from "./words.js";

const ACTS = { check: t("Check of a new model"), shadow: t("In shadow"), activate: t("Let a model judge"), confirm: t("Confirmation"), roll_back: t("Way back") };
const STAGES = { working: ["wait", t("works")], done: ["ok", t("done")], failed: ["ng", t("not done")] };
const KINDS = { OK: "ok", NG: "ng", ERROR: "error" };
const UNTAKEN_S = 10;
const SILENT_MS = 60000; // without a word: whoever worked on it may have died
let found = null;
let shown = "";
let timer = 0;

async function refresh() {
  clearTimeout(timer);
  const response = await fetch(`${root}/api/bundles`).catch(() => null);
  const answer = response ? await response.json().catch(() => null) : null;
  const problem = answer ? told(answer.error ?? untaken(answer)) : t("No connection to the station. Try again.");
  setText(byId("problem"), problem);
  byId("problem").hidden = !problem;
  if (answer && !answer.error) {
    found = answer;
    show();
  }
  const busy = answer?.report?.stage === "working" || typeof answer?.waits_s === "number";
  timer = setTimeout(refresh, busy ? 700 : 5000);
}

const untaken = ({ waits_s: waits }) => (waits > UNTAKEN_S ? t("Nobody has taken the wish for {seconds} s. On the station look at: {command}", { seconds: Math.round(waits), command: "systemctl status linewatch-bundles.path" }) : "");

function show() {
  showWork(found.report);
  byId("check").hidden = found.uploaded === null || found.report?.stage === "working";
  const now = JSON.stringify([found.bundles, found.recipes, found.engine, found.acts, found.unconfirmed]);
  if (now === shown) return;
  shown = now;
  byId("recipes").replaceChildren(...found.recipes.map(recipeCard));
  byId("bundles").replaceChildren(...found.bundles.map(bundleItem));
  byId("acts-none").hidden = found.acts.length > 0;
  byId("acts-table").hidden = found.acts.length === 0;
  byId("acts").replaceChildren(...found.acts.map(({ at, who: name, act, why }) => row(clock(at, true), name, told(act.replace("_", " ")), told(why))));
}

const row = (...cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));

function showWork(report) {
  const waits = typeof found.waits_s === "number";
  byId("work").hidden = !report && !waits;
  if (!report) {
    setText(byId("work-what"), t("A wish waits to be taken"));
    byId("work-stage").dataset.kind = "wait";
    setText(byId("work-stage"), t("waits"));
    byId("stop").hidden = false;
    return;
  }
  const [kind, words] = waits && report.stage !== "working" ? ["wait", t("waits")] : STAGES[report.stage];
  setText(byId("work-what"), `${ACTS[report.act]}${report.bundle ? `: ${report.bundle}` : ""}`);
  byId("work-stage").dataset.kind = kind;
  setText(byId("work-stage"), words);
  const lines = [`${clock(report.since, true)}, ${report.who}`, ...report.lines.map(told)];
  if (report.wanted) lines.push(t("{tried} of {wanted} parts tried, {different} judged differently.", { tried: report.tried, wanted: report.wanted, different: report.differences.length }));
  const items = lines.map((line) => element("li", {}, line));
  if (report.fault) items.push(element("li", { class: "fault" }, told(report.fault)));
  if (byId("work-lines").textContent !== items.map((item) => item.textContent).join("")) byId("work-lines").replaceChildren(...items);
  byId("work-progress").hidden = !report.wanted || report.stage !== "working";
  byId("work-progress").value = report.wanted ? report.tried / report.wanted : 0;
  byId("stop").hidden = !(waits || (report.stage === "working" && (report.act === "shadow" || Date.now() - Date.parse(report.written_at) > SILENT_MS)));
  byId("differences").hidden = report.differences.length === 0;
  const rows = byId("difference-rows");
  if (rows.dataset.of !== `${report.id} ${report.differences.length}`) {
    rows.dataset.of = `${report.id} ${report.differences.length}`;
    rows.replaceChildren(...report.differences.map(difference));
  }
}

function difference({ part, before, now, distance_before: was, distance_now: is }) {
  const shot = element("img", { src: `${root}/pictures/${part}/thumb`, alt: "", width: 84, height: 63, loading: "lazy" });
  shot.addEventListener("error", () => shot.remove()); // it is not kept any more
  const link = element("a", { href: `${root}/inspections/${part}` }, shot, String(part));
  const verdict = (word) => badge({ kind: KINDS[word], headline: word });
  return row(link, verdict(before), verdict(now), `${distanceText(was)} → ${distanceText(is)}`);
}

function recipeCard({ name, folder, before, needs_reason: older }) {
  const bundle = found.bundles.find((one) => one.folder === folder);
  const pending = found.unconfirmed?.recipe === name;
  const inUse = found.engine.recipe === name;
  const card = element("div", { class: pending ? "recipe-card pending" : "recipe-card" });
  card.append(element("p", { class: "muted" }, found.recipes.length < 2 ? t("All parts") : inUse ? t("Recipe {recipe}, in use", { recipe: name }) : t("Recipe {recipe}", { recipe: name })));
  card.append(element("p", {}, element("strong", {}, bundle?.title ?? folder)));
  if (inUse && bundle && found.engine.alive && found.engine.bundle !== bundle.title) card.append(element("p", {}, t("The engine judges with {model} until it takes this one.", { model: found.engine.bundle })));
  if (!found.engine.alive) card.append(element("p", { class: "muted" }, t("The engine does not run.")));
  card.append(element("p", { class: "muted" }, before ? t("Before: {model}", { model: before.title }) : t("No model judged before.")));
  const buttons = element("div", { class: "choices" });
  if (pending) buttons.append(button(t("Confirm"), () => ask("confirm", { recipe: name, title: t("Confirm the new model?"), text: t("The running engine must judge with it. From then on no older version may judge.") })));
  if (pending || before) buttons.append(button(t("Go back"), () => ask("roll_back", { recipe: name, reason: older && !pending, title: t("Let the model before judge again?"), text: pending ? t("The model before is tested first. Until it judges, the present one goes on.") : t("{model} is tested first. Until it judges, the present one goes on.", { model: before.title }) })));
  card.append(buttons);
  return card;
}

function bundleItem(bundle) {
  const judges = bundle.roles.some((one) => one.role === "judges");
  const roles = bundle.roles.map(({ recipe, role }) => badge({ kind: role === "judges" ? "ok" : role === "not confirmed" ? "error" : "wait", headline: found.recipes.length > 1 ? `${told(role)}: ${recipe}` : told(role) }));
  const item = element("li", {}, element("div", { class: "bundle-head" }, element("h3", {}, bundle.title), ...roles));
  if (bundle.fault) item.append(element("p", { class: "notice" }, told(bundle.fault)));
  if (bundle.created) item.append(element("p", { class: "muted" }, `${t("Made {time}", { time: clock(bundle.created, true) })} · ${bundle.signed_by ? t("signed by key {key}", { key: bundle.signed_by }) : t("NOT SIGNED")}`));
  if (bundle.promise.length) item.append(element("details", judges ? { open: "" } : {}, element("summary", {}, t("What it promises")), promised(bundle.promise)));
  if (bundle.older) item.append(element("p", { class: "muted" }, t("An older version than one that judged here: it judges only when somebody goes back to it.")));
  if (bundle.fault || bundle.older) return item;
  const buttons = element("div", { class: "choices" });
  buttons.append(button(t("Try in shadow"), () => ask("shadow", { bundle: bundle.folder, title: t("Try this model in shadow?"), text: t("{model} judges parts beside the line. The line hears nothing of it.", { model: bundle.title }) })));
  if (!judges || found.recipes.length > 1) buttons.append(button(t("Let it judge"), () => ask("activate", { bundle: bundle.folder, title: t("Let this model judge?"), text: t("{model} is tested on this station and on stored pictures. The engine changes to it between two parts. If anything fails, the present model goes on.", { model: bundle.title }) })));
  item.append(buttons);
  return item;
}

function promised(promise) {
  return element("dl", { class: "facts" }, ...promise.map(({ label, text }) => element("div", {}, element("dt", {}, told(label)), element("dd", {}, told(text)))));
}

function button(words, does) {
  const made = element("button", { type: "button", class: "button" }, words);
  made.addEventListener("click", does);
  return made;
}

function ask(act, { title, text, bundle = null, recipe = null, reason = false }) {
  setText(byId("ask-title"), title);
  setText(byId("ask-text"), text);
  byId("ask-recipe").replaceChildren(...found.recipes.map(({ name }) => element("option", {}, name)));
  byId("ask-recipe").value = recipe ?? found.engine.recipe ?? "default";
  byId("ask-recipe-label").hidden = act !== "activate" || found.recipes.length < 2;
  byId("ask-product-label").hidden = act !== "activate";
  for (const name of ["parts", "coming"]) byId(`ask-${name}-label`).hidden = act !== "shadow";
  byId("ask-reason-label").hidden = !reason;
  byId("ask-reason").required = reason;
  askWho(byId("ask-who"));
  byId("ask-who-label").hidden = byId("ask-who").readOnly;
  byId("ask-product").checked = false;
  byId("ask-form").onsubmit = () => wish({
    act, bundle, recipe: byId("ask-recipe").value, parts: Number(byId("ask-parts").value), coming: byId("ask-coming").value === "coming",
    new_product: byId("ask-product").checked, reason: byId("ask-reason").value,
  });
  byId("ask").showModal();
}

async function wish(facts) {
  const done = await send("bundles", facts);
  setText(byId("upload-answer"), told(done.error ?? done.text ?? ""));
  byId("upload-answer").dataset.kind = done.error ? "error" : "ok";
  await refresh();
  if (!done.error) byId("work").scrollIntoView({ block: "nearest" });
  return !done.error;
}

async function upload(file) {
  const bar = byId("upload-progress");
  bar.hidden = false;
  byId("upload-answer").dataset.kind = "wait";
  const problem = await sendFile(file, Number(byId("file").dataset.piece), (share) => {
    bar.value = share;
    setText(byId("upload-answer"), t("{file}: {share} % of {size} MB sent", { file: file.name, share: number(share * 100, 3), size: number(file.size / 1e6, 3) }));
  });
  bar.hidden = true;
  byId("file").value = "";
  if (!problem) return wish({ act: "check", who: who() || "somebody" });
  byId("upload-answer").dataset.kind = "error";
  setText(byId("upload-answer"), problem);
}

byId("ask-no").addEventListener("click", () => byId("ask").close());
byId("stop").addEventListener("click", () => wish({ act: "stop", who: who() || "somebody" }));
byId("check").addEventListener("click", () => wish({ act: "check", who: who() || "somebody" }));
byId("file").addEventListener("change", ({ target }) => target.files[0] && upload(target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
}
refresh();
