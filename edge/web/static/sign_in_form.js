// The form that signs somebody in: a tap on a name, a PIN on large keys; or a typed name and a password; or a code.
import { element, root, setText, setToken, token } from "./dom.js";
import { told } from "./told.js";
import { t } from "./words.js";

// Returns the form; done(me) is called with the answer of /api/me when somebody has signed in.
export async function signInForm(done) {
  const me = await (await fetch(`${root}/api/me`)).json();
  setToken(me.csrf_token);
  const name = element("input", { id: "person-name", name: "name", autocomplete: "username", maxlength: 80, required: "" });
  const secret = element("input", { id: "person-secret", type: "password", name: "secret", autocomplete: "current-password", maxlength: 128, required: "" });
  const code = element("input", { id: "person-code", name: "code", autocomplete: "one-time-code", autocapitalize: "characters", maxlength: 40 });
  const codeRow = labelled(t("Code"), code);
  const toggle = element("button", { type: "button", class: "button wide", id: "have-code" });
  const problem = element("p", { class: "notice", role: "alert" });
  const submit = element("button", { class: "button primary big", id: "sign-in-submit" });
  const secretRow = labelled("", secret);
  const names = nameButtons(me.names, name, secret);
  const form = element("form", { class: "person" }, names, labelled(t("Name"), name), codeRow, secretRow, keypad(secret), problem, submit, toggle);

  function useCode(wanted) {
    codeRow.hidden = !wanted;
    code.required = wanted;
    names.hidden = wanted || me.names.length === 0;
    form.dataset.code = wanted;
    setText(secretRow.querySelector("span"), wanted ? t("Choose a PIN of 6 to 12 digits; an engineer: a password of at least 10 characters") : t("PIN or password"));
    secret.autocomplete = wanted ? "new-password" : "current-password";
    setText(submit, wanted ? t("Set it and sign in") : t("Sign in"));
    setText(toggle, wanted ? t("I have a PIN or password") : t("I have a code"));
  }

  toggle.addEventListener("click", () => useCode(form.dataset.code !== "true"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    const facts = { name: name.value, secret: secret.value, ...(form.dataset.code === "true" ? { code: code.value } : {}) };
    const answer = await tell(form.dataset.code === "true" ? "join" : "sign-in", facts);
    submit.disabled = false;
    secret.value = "";
    problem.hidden = !answer.error;
    setText(problem, told(answer.error ?? ""));
    if (!answer.error) done(answer);
  });
  problem.hidden = true;
  useCode(!me.people);
  return form;
}

async function tell(path, facts) {
  try {
    const answer = await fetch(`${root}/api/${path}`, {
      method: "POST",
      body: JSON.stringify(facts),
      headers: { "Content-Type": "application/json", "X-CSRF-Token": token },
    });
    return await answer.json();
  } catch {
    return { error: t("No connection to the station. Try again.") };
  }
}

function labelled(words, input) {
  return element("label", { for: input.id }, element("span", {}, words), input);
}

function nameButtons(names, name, secret) {
  const buttons = names.map((one) => {
    const button = element("button", { type: "button", class: "button", "aria-pressed": "false" }, one);
    button.addEventListener("click", () => {
      name.value = one;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      secret.value = "";
    });
    return button;
  });
  return element("div", { class: "names", role: "group", "aria-label": t("Who are you?") }, ...buttons);
}

function keypad(secret) {
  const key = (label, words, press) => {
    const button = element("button", { type: "button", class: "button", "aria-label": words }, label);
    button.addEventListener("click", press);
    return button;
  };
  const digit = (one) => key(one, t("Digit {digit}", { digit: one }), () => { secret.value += one; });
  const back = key("⌫", t("Delete the last digit"), () => { secret.value = secret.value.slice(0, -1); });
  const clear = key("C", t("Delete all digits"), () => { secret.value = ""; });
  return element("div", { class: "keypad", role: "group", "aria-label": t("Digits") }, ...[..."123456789"].map(digit), clear, digit("0"), back);
}
