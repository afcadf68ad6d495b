// The sign-in page: the form, and then the page that a person wanted.
import { byId, element } from "./dom.js";
import { signInForm } from "./sign_in_form.js";
import { t } from "./words.js";

const next = byId("main").dataset.next;
signInForm(() => location.replace(next)).then(
  (form) => byId("sign-in").replaceChildren(form),
  () => byId("sign-in").replaceChildren(element("p", { class: "notice", role: "alert" }, t("No connection to the station. Load this page again."))),
);
