// The people of the station: set up, give a new code, remove; the same for tokens; and who did what.
import { byId, element, root, setText } from "./dom.js";
import { clock } from "./times.js";
import { postJson } from "./session.js";
import { told } from "./told.js";
import { t } from "./words.js";

const cell = (...content) => element("td", {}, ...content);

async function refresh() {
  const [listed, audit] = await Promise.all([read("/api/people"), read("/api/audit?limit=50")]);
  if (listed) {
    byId("people").replaceChildren(...listed.people.map(person));
    byId("tokens").replaceChildren(...listed.tokens.map(token));
  }
  if (audit) byId("audit").replaceChildren(...audit.rows.map(deed));
}

async function read(path) {
  try {
    const answer = await fetch(`${root}${path}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function person({ name, role, ready }) {
  const code = action(t("New code"), name, () => change("/api/people/code", { name }));
  const remove = action(t("Remove"), name, () => change("/api/people/remove", { name }));
  return element("tr", {}, cell(name), cell(told(role)), cell(ready ? t("yes") : t("has a code")), cell(code, " ", remove));
}

function token({ name, role, created_at: since }) {
  return element("tr", {}, cell(name), cell(told(role)), cell(clock(since, true)), cell(action(t("Revoke"), name, () => change("/api/tokens/revoke", { name }))));
}

function deed({ at, who, role, via, what, before, after, outcome }) {
  const name = who || (via === "open" ? t("nobody is set up") : t("nobody"));
  const changed = [before, after].filter(Boolean).map(told).join(" → ");
  return element("tr", {}, cell(clock(at, true)), cell(role ? `${name}, ${told(role)}` : name), cell(told(what)), cell(changed), cell(told(outcome)));
}

// The first press asks, the second one does it: a slip of the hand changes nothing.
function action(words, name, does) {
  const button = element("button", { type: "button", class: "button", "aria-label": `${words}: ${name}` }, words);
  button.addEventListener("click", () => {
    if (button.dataset.sure) return does();
    button.dataset.sure = "yes";
    setText(button, t("Sure?"));
    setTimeout(() => {
      delete button.dataset.sure;
      setText(button, words);
    }, 4000);
  });
  return button;
}

async function change(path, facts) {
  const said = byId("said");
  said.hidden = false;
  try {
    const answer = await (await postJson(path, facts)).json();
    said.replaceChildren(...(answer.error ? [told(answer.error)] : words(answer)));
    if (!answer.error) await refresh();
    return !answer.error;
  } catch {
    setText(said, t("No connection to the station. Nothing is known of the change: look at the list."));
    return false;
  }
}

function words({ name, code, token: secret }) {
  if (code) return [t("{name} signs in with this code within a day:", { name }), " ", element("code", {}, code)];
  if (secret) return [t("The token of {name}, which is shown only now:", { name }), " ", element("code", {}, secret)];
  return [t("Done.")];
}

for (const [id, path] of [["add", "/api/people"], ["add-token", "/api/tokens"]]) {
  byId(id)?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    if (await change(path, Object.fromEntries(new FormData(form)))) form.reset();
  });
}
refresh();
