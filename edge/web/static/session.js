// Who is at the page. A post that needs somebody else asks for them in front of the page and is then sent again, so that
// nothing that was typed is lost.
import { byId, element, root, setToken, token } from "./dom.js";
import { signInForm } from "./sign_in_form.js";
import { told } from "./told.js";
import { t } from "./words.js";

const NEEDS = {
  viewer: t("This needs a viewer. Sign in, and it is done then."),
  operator: t("This needs an operator. Sign in, and it is done then."),
  engineer: t("This needs an engineer. Sign in, and it is done then."),
};
export const ENDED = t("Your session has ended. Sign in to see the station again.");
let asking = null;
let refused = false; // somebody said “Not now” to a question that nothing of theirs had asked

// Returns the answer of the station. Without the right to do this, somebody is asked to sign in first.
export async function post(path, body, headers = {}) {
  const ask = () => fetch(`${root}${path}`, { method: "POST", body, headers: { ...headers, "X-CSRF-Token": token } });
  let answer = await ask();
  if (answer.status === 403 && !answer.headers.has("X-Needs-Role") && (await freshToken())) answer = await ask();
  const needed = answer.headers.get("X-Needs-Role");
  if (needed === null) return answer;
  return (await askWho(NEEDS[needed])) ? ask() : answer;
}

// After a restart of the page no token from before it counts. Returns whether there is another one now.
async function freshToken() {
  const before = token;
  const me = await fetch(`${root}/api/me`);
  if (me.ok) setToken((await me.json()).csrf_token);
  return token !== before;
}

export const postJson = (path, facts) => post(path, JSON.stringify(facts), { "Content-Type": "application/json" });

// Resolves with whether somebody has signed in. Everything behind the dialog stays as it is.
export function askWho(why) {
  asking ??= shown(why).finally(() => {
    asking = null;
  });
  return asking;
}

// The same for what the page asks for by itself: who said “Not now” is left alone until somebody signs in.
export async function askOnce(why) {
  if (!refused) refused = !(await askWho(why));
}

async function shown(why) {
  const dialog = element("dialog", { class: "sign-in", "aria-labelledby": "sign-in-why" });
  document.body.append(dialog);
  const signedIn = await new Promise((resolve) => {
    const close = element("button", { type: "button", class: "button wide" }, t("Not now"));
    close.addEventListener("click", () => resolve(false));
    dialog.addEventListener("cancel", () => resolve(false));
    signInForm((me) => {
      setToken(me.csrf_token);
      refused = false;
      showPerson(me);
      resolve(true);
    }).then((form) => {
      dialog.replaceChildren(element("h2", { id: "sign-in-why" }, why), form, close);
      dialog.showModal();
    }, () => resolve(false));
  });
  dialog.close();
  dialog.remove();
  return signedIn;
}

// Shows who is signed in, with the way out, in place of whoever was shown, or of a guest's way in.
function showPerson({ name, role }) {
  const out = element("button", { type: "button", class: "button", id: "sign-out" }, t("Sign out"));
  out.addEventListener("click", signOut);
  const person = element("span", { class: "who-name" }, `${name} `, element("small", { class: "muted" }, told(role)));
  document.querySelector(".top .who")?.replaceChildren(person, out);
}

async function signOut() {
  await fetch(`${root}/api/sign-out`, { method: "POST", headers: { "X-CSRF-Token": token } });
  location.assign(`${root}/`);
}

byId("sign-out")?.addEventListener("click", signOut);
