// Times as people read them: those of the station, whatever the clock and the zone of this tablet.
import { t } from "./words.js";

// [from when on (ms since 1970), minutes ahead of UTC, name of the zone], in their order
const changes = JSON.parse(document.documentElement.dataset.zone);
const MINUTE_MS = 60000;
const two = (number) => String(number).padStart(2, "0");

const zoneAt = (ms) => changes.findLast(([since]) => since <= ms) ?? changes[0];

// A date whose UTC fields are those of the station's clock.
function local(at) {
  const ms = new Date(at).getTime();
  return new Date(ms + zoneAt(ms)[1] * MINUTE_MS);
}

export const zoneName = (at) => zoneAt(new Date(at).getTime())[2];

export function dateText(at) {
  const date = local(at);
  const fields = { Y: date.getUTCFullYear(), m: two(date.getUTCMonth() + 1), d: two(date.getUTCDate()) };
  return t("%Y-%m-%d").replace(/%([Ymd])/g, (_, name) => fields[name]);
}

// Hours and minutes, without the zone: where there is no room, and the zone stands near by.
export function hourText(at) {
  const date = local(at);
  return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
}

// The time with its zone; the date too when it is not today.
export function clock(at, withDate = false) {
  const time = `${hourText(at)}:${two(local(at).getUTCSeconds())} ${zoneName(at)}`;
  return dateText(at) === dateText(Date.now()) && !withDate ? time : `${dateText(at)} ${time}`;
}

export const dateAndHour = (at) => `${dateText(at)} ${hourText(at)} ${zoneName(at)}`;

// The same for what goes on: without seconds.
export const sinceText = (at) => (dateText(at) === dateText(Date.now()) ? `${hourText(at)} ${zoneName(at)}` : dateAndHour(at));

// What a field of the kind datetime-local shows, and back: the station's time.
export const toField = (at) => local(at).toISOString().slice(0, 16);

export function fromField(text) {
  const asUtc = Date.parse(`${text}Z`);
  const guess = asUtc - zoneAt(asUtc)[1] * MINUTE_MS;
  return new Date(asUtc - zoneAt(guess)[1] * MINUTE_MS);
}

// The time that this tablet's own clock shows, with its own zone.
export function tabletClock() {
  const now = new Date();
  const minutes = -now.getTimezoneOffset();
  const zone = minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  return { text: `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())} ${zone}`, minutes };
}

export const minutesAhead = (at) => zoneAt(at)[1];
