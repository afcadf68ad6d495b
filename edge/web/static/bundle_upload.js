// Sends a file in pieces, one after the other. A piece that was lost on the way is sent again.
import { post } from "./session.js";
import { told } from "./told.js";
import { t } from "./words.js";

const TRIES = 4;
const PAUSE_MS = 1000;

// Resolves with the problem in words, or with an empty text when the whole file is there.
export async function sendFile(file, piece, progress) {
  const key = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (file.size === 0) return t("{file}: the file is empty; choose another one.", { file: file.name });
  for (let at = 0; at < file.size; ) {
    const answer = await sendPiece(`/api/bundles/upload?key=${key}&at=${at}&size=${file.size}`, file.slice(at, at + piece));
    if (answer.error) return `${file.name}: ${told(answer.error)}`;
    at = answer.at;
    progress(at / file.size);
  }
  return "";
}

async function sendPiece(path, body) {
  for (let tries = 1; ; tries += 1) {
    try {
      const response = await post(path, body, { "Content-Type": "application/octet-stream" });
      if (response.status !== 503) return await response.json().catch(() => ({ error: t("the station refused (HTTP {code})", { code: response.status }) }));
    } catch {
      // the connection was lost; the station may or may not have the piece
    }
    if (tries === TRIES) return { error: t("no connection to the station; choose the file again") };
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
  }
}
