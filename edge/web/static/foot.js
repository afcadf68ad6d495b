// The foot of each page: the language that a person chooses on this tablet, and a line when its clock differs.
import { byId, root, setText } from "./dom.js";
import "./place.js";
import { clock, minutesAhead, tabletClock } from "./times.js";
import { t } from "./words.js";

const LOOK_EVERY_MS = 60000;
const MOST_APART_MS = 5000; // the station tells its time in whole seconds, and an answer takes a while
const A_YEAR_S = 365 * 24 * 3600;

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `linewatch_language=${button.dataset.language}; path=/; max-age=${A_YEAR_S}; samesite=strict${secure}`;
    location.reload();
  });
}

async function compareClocks() {
  const asked = performance.now();
  const answer = await fetch(`${root}/healthz`, { method: "HEAD", cache: "no-store" }).catch(() => null);
  const station = Date.parse(answer?.headers.get("Date") ?? "");
  if (Number.isNaN(station) || performance.now() - asked > MOST_APART_MS / 2) return;
  const { text, minutes } = tabletClock();
  const apart = Math.abs(Date.now() - station) > MOST_APART_MS || minutes !== minutesAhead(station);
  const words = t("This tablet’s clock shows {tablet}, the station’s {station}. Times on this page are the station’s.", { tablet: text, station: clock(station) });
  setText(byId("clocks"), apart ? words : "");
}

compareClocks();
setInterval(compareClocks, LOOK_EVERY_MS);
