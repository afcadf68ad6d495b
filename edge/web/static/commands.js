// What the page asks of the engine: each answer is shown in words, and what changes the line is asked twice.
import { badge, byId, element, setText } from "./dom.js";
import { post as send } from "./session.js";
import { told } from "./told.js";
import { t } from "./words.js";

const recipe = byId("recipe");
const buttons = [byId("trigger"), byId("switch-recipe"), byId("selftest")];
let offered = "";
let current = null;
let busy = false;

export function refreshCommands({ commands }) {
  byId("trigger").hidden = !commands.trigger;
  byId("recipes").hidden = commands.recipes.length === 0;
  byId("selftest").hidden = !commands.selftest;
  byId("controls").hidden = !commands.trigger && commands.recipes.length === 0;
  offer(commands);
  enable();
}

// The chosen recipe stays chosen until the engine itself has changed: a person may still be reading.
function offer({ recipes, recipe: inUse }) {
  const now = JSON.stringify([recipes, inUse]);
  if (now === offered) return;
  offered = now;
  current = inUse;
  recipe.replaceChildren(...recipes.map((name) => element("option", { value: name }, name === inUse ? t("{recipe} (in use)", { recipe: name }) : name)));
  recipe.value = inUse;
}

function enable() {
  for (const button of buttons) button.disabled = busy;
  byId("switch-recipe").disabled = busy || recipe.value === current;
}

async function post(command, body) {
  busy = true;
  enable();
  try {
    const response = await send(`/api/${command}`, JSON.stringify(body), { "Content-Type": "application/json" });
    return await response.json().catch(() => ({ error: t("The station refused (HTTP {code}).", { code: response.status }) }));
  } catch {
    return { error: t("No connection to the station. Whether the command was carried out is not known: look at the last part.") };
  } finally {
    busy = false;
    enable();
  }
}

function say(answer, kind, text, words = null) {
  answer.dataset.kind = kind;
  answer.replaceChildren(...(words ? [badge(words), " "] : []), text);
}

function confirmed(title, text, yes) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  byId("confirm-no").focus(); // a slip of the hand changes nothing
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

byId("trigger").addEventListener("click", async () => {
  const answer = byId("command-answer");
  say(answer, "wait", t("Inspecting …"));
  const found = await post("trigger", {});
  if (found.error) say(answer, "error", told(found.error));
  else say(answer, found.words.kind, `${t("Part {part}", { part: found.id })}: ${told(found.words.what)} ${told(found.words.action)}`, found.words);
});

recipe.addEventListener("change", enable);
byId("switch-recipe").addEventListener("click", async () => {
  const name = recipe.value;
  const text = t("Every part from now on is judged by “{recipe}”, no longer by “{before}”. Make sure that the line runs those parts.", { recipe: name, before: current });
  if (!(await confirmed(t("Switch to recipe “{recipe}”?", { recipe: name }), text, t("Yes, switch")))) return;
  const answer = byId("command-answer");
  say(answer, "wait", t("Switching …"));
  const found = await post("recipe", { recipe: name });
  if (found.error) say(answer, "error", told(found.error));
  else say(answer, "ok", told(found.text));
});

byId("selftest").addEventListener("click", async () => {
  const text = t("It takes about a second and the parts are judged meanwhile. If it fails, every part is rejected until one passes.");
  if (!(await confirmed(t("Run the self-test now?"), text, t("Yes, test")))) return;
  const answer = byId("selftest-answer");
  say(answer, "wait", t("Testing …"));
  const found = await post("selftest", {});
  if (found.error) say(answer, "error", told(found.error));
  else say(answer, found.passed ? "ok" : "failed", told(found.text));
});
