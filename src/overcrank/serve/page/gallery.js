// Everything that was made here, newest first.

import * as api from "./api.js";

const list = document.getElementById("gallery");
const template = document.getElementById("card");
const SHEET = 16; // frames of a spritesheet, at most
let last = null;

export async function load(acts, after = null) {
  const page = await api.videos(after);
  for (const job of page.data) put(job, acts, false);
  last = page.last_id ?? last;
  document.getElementById("more").hidden = !page.has_more;
}

export const older = (acts) => load(acts, last);

// A card for a job, in the place of the one it had.
export function put(job, acts, first = true) {
  const card = template.content.firstElementChild.cloneNode(true);
  card.id = job.id;
  const done = job.status === "completed";
  const sheet = card.querySelector(".sheet");
  if (done) {
    sheet.style.backgroundImage = `url(${api.content(job.id, "spritesheet")})`;
    sheet.style.setProperty("--count", Math.min(SHEET, job.num_frames));
    sheet.style.setProperty("--seconds", job.num_frames / job.fps);
    sheet.style.setProperty("--ratio", job.width / job.height);
  }
  const words = { queued: "waits", in_progress: "is made", failed: "failed", cancelled: "stopped" };
  card.querySelector(".state").textContent = words[job.status] ?? "";
  card.querySelector(".said").textContent = job.prompt;
  const factor = job.report?.realtime_factor;
  const speed = factor ? `, ${factor.toFixed(1)}× as fast as it plays` : "";
  card.querySelector(".facts").textContent =
    job.error?.message ?? `${job.size}, ${Number(job.seconds).toFixed(1)} s, seed ${job.seed}${speed}`;
  const play = card.querySelector(".play");
  play.disabled = !done;
  play.setAttribute("aria-label", `Play: ${job.prompt}`);
  play.addEventListener("click", () => acts.play(job));
  card.querySelector(".again").addEventListener("click", () => acts.again(job));
  card.querySelector(".vary").addEventListener("click", () => acts.vary(job));
  const save = card.querySelector(".save");
  save.hidden = !done;
  save.href = api.content(job.id);
  save.download = `${job.prompt.slice(0, 40).replace(/[^\p{L}\p{N}]+/gu, "-")}-${job.seed}.mp4`;
  card.querySelector(".drop-it").addEventListener("click", async () => {
    await api.remove(job.id);
    document.getElementById(job.id)?.remove();
  });
  const before = document.getElementById(job.id);
  if (before) before.replaceWith(card);
  else if (first) list.prepend(card);
  else list.append(card);
}
