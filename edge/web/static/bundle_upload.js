// Sends a file in pieces, one after the other. A piece that was lost on the way is sent again.
import { post } from "./session.js";

const TRIES = 4;
const PAUSE_MS = 1000;

// Resolves with the problem in words, or with an empty text when the whole file is there.
export async function sendFile(file, piece, progress) {
  const key = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (file.size === 0) return `${file.name}: the file is empty; choose another one.`;
  for (let at = 0; at < file.size; ) {
    const answer = await sendPiece(`/api/bundles/upload?key=${key}&at=${at}&size=${file.size}`, file.slice(at, at + piece));
    if (answer.error) return `${file.name}: ${answer.error}`;
    at = answer.at;
    progress(at / file.size);
  }
  return "";
}

async function sendPiece(path, body) {
  for (let tries = 1; ; tries += 1) {
    try {
      const response = await post(path, body, { "Content-Type": "application/octet-stream" });
      if (response.status !== 503) return await response.json().catch(() => ({ error: `the station refused (HTTP ${response.status})` }));
    } catch {
      // the connection was lost; the station may or may not have the piece
    }
    if (tries === TRIES) return { error: "no connection to the station; choose the file again" };
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
  }
}
