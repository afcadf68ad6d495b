// Who is at this tablet: the person who is signed in, or the name that was typed here last.
import { postJson } from "./session.js";
import { t } from "./words.js";

const KEY = "linewatch-who";
const signedIn = document.querySelector('meta[name="person"]')?.content ?? "";

export const who = () => signedIn || localStorage.getItem(KEY) || "";

// Fills a field with the name and keeps what is typed into it.
export function askWho(field) {
  field.value = who();
  field.readOnly = signedIn !== "";
  field.addEventListener("input", () => localStorage.setItem(KEY, field.value.trim()));
}

// Sends what a person did. An answer with `error` says why nothing was stored.
export async function send(path, body) {
  try {
    const response = await postJson(`/api/${path}`, { who: who(), ...body });
    const answer = await response.json().catch(() => ({ error: t("the station refused (HTTP {code})", { code: response.status }) }));
    return response.ok ? answer : { error: t("the station refused (HTTP {code})", { code: response.status }), status: response.status, ...answer };
  } catch {
    return { error: t("no connection to the station; nothing is lost, tap again") };
  }
}
