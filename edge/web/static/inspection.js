// One inspection: heatmap or plain picture, and times in the reader's time zone.
import { byId, choice, clock } from "./dom.js";

choice([...document.querySelectorAll("[data-picture]")], (button) => {
  byId("picture").src = button.dataset.picture;
});
for (const node of document.querySelectorAll("time[datetime]")) node.textContent = clock(node.dateTime, "date" in node.dataset);
