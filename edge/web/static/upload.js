// Try an image: choose, photograph or drop one, see the heatmap and the defect probability. Nothing goes to the line.
import { badge, byId, choice, element, number, setScore, setText } from "./dom.js";
import { lookButton, openLook } from "./look.js";
import { post } from "./session.js";
import { told } from "./told.js";
import { figures, t } from "./words.js";

const drop = byId("drop");
const result = byId("result");
const image = byId("result-image");
let heatUrl = "";
let plainUrl = "";

// Several pictures are judged one after the other; the last one is shown, and the list names each with its verdict.
async function sendAll(files) {
  if (files.length === 0 || result.getAttribute("aria-busy") === "true") return;
  const list = byId("result-list");
  list.replaceChildren();
  for (const file of files) {
    const answer = await send(file);
    if (files.length > 1) list.append(element("li", {}, `${file.name}: `, told(answer.error) ?? badge(answer.words)));
  }
}

async function send(file) {
  result.setAttribute("aria-busy", "true");
  setText(byId("result-empty"), t("Judging the picture …"));
  const form = new FormData();
  form.append("image", file, "image");
  try {
    const response = await post("/api/inspect", form);
    const answer = await response.json().catch(() => ({ error: t("The station refused the picture (HTTP {code}).", { code: response.status }) }));
    if (response.ok) show(answer, file);
    else fail(answer.error);
    return answer;
  } catch {
    fail(t("No connection to the station. Try again."));
    return { error: t("no connection") };
  } finally {
    result.setAttribute("aria-busy", "false");
  }
}

function show(answer, file) {
  if (plainUrl) URL.revokeObjectURL(plainUrl);
  plainUrl = URL.createObjectURL(file);
  heatUrl = answer.heatmap ?? plainUrl;
  image.src = heatUrl;
  byId("result-heat").click();
  setText(byId("result-probability"), figures(answer.probability_text));
  byId("result-badge").replaceChildren(badge(answer.words));
  setText(byId("result-what"), told(answer.words.what));
  setScore(byId("result-score"), answer.distance);
  setText(byId("result-small"), `${answer.bundle} · ${answer.image.width} × ${answer.image.height} px · ${t("model {time} ms", { time: number(answer.timings_ms.infer, 3) })}`);
  byId("result-body").hidden = false;
  byId("result-error").hidden = byId("result-empty").hidden = true;
  byId("result-body").closest(".result").scrollIntoView({ block: "nearest" });
}

function fail(text) {
  setText(byId("result-error"), told(text));
  byId("result-error").hidden = false;
  byId("result-body").hidden = byId("result-empty").hidden = true;
}

for (const input of [byId("file"), byId("photo")]) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be tried again
    sendAll(files);
  });
}
choice([byId("result-heat"), byId("result-raw")], (button) => {
  image.src = button.id === "result-raw" ? plainUrl : heatUrl;
});
lookButton(image.parentElement, t("Show the picture in full"), () => openLook({ title: byId("result-badge").textContent.trim(), heat: heatUrl, plain: plainUrl }));
for (const event of ["dragenter", "dragover"]) {
  drop.addEventListener(event, (change) => {
    change.preventDefault();
    drop.classList.add("over");
  });
}
for (const event of ["dragleave", "drop"]) drop.addEventListener(event, () => drop.classList.remove("over"));
drop.addEventListener("drop", (change) => {
  change.preventDefault();
  sendAll([...change.dataTransfer.files]);
});
// A picture that is dropped beside the box would replace the page: with the verdict out of sight a defect is missed.
for (const event of ["dragover", "drop"]) addEventListener(event, (change) => change.preventDefault());
byId("upload").addEventListener("submit", (change) => change.preventDefault());
