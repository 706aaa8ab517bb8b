// The page: asking for clips, watching them while they are made, and going live.

import * as api from "./api.js";
import * as gallery from "./gallery.js";
import { Live } from "./live.js";
import { canStream, codecOf, Player } from "./player.js";
import * as settings from "./settings.js";
import * as strip from "./strip.js";

const $ = (id) => document.getElementById(id);
const video = $("video");
let running = null; // the clip that is being made: {job, abort, unwatch}
let live = null;
let player = null;

const mode = () => document.querySelector("[name=mode]:checked").value;

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function badge(text, hot = false) {
  $("badge").hidden = !text;
  $("badge").textContent = text ?? "";
  $("badge").classList.toggle("hot", hot);
}

function busy(on) {
  $("stop").hidden = !on;
  $("make").disabled = on && mode() === "clip";
  $("make").textContent = mode() === "clip" ? "Make it" : live ? "Say it" : "Go live";
}

function screen(width, height) {
  document.querySelector(".screen").style.aspectRatio = `${width} / ${height}`;
  $("empty").hidden = true;
  video.hidden = false;
}

async function refused(error) {
  if (error.status === 401) {
    $("key").showModal();
    await new Promise((done) => $("key").addEventListener("close", done, { once: true }));
    document.cookie = `overcrank_key=${$("key-text").value}; SameSite=Strict; Path=/; max-age=31536000`;
    location.reload();
  }
  say(error.message, true);
}

// A clip, from its wish to its last frame.
async function make() {
  stopWatching();
  const job = await api.create(settings.wish(), settings.held());
  const latents = (job.num_frames - 1) / 8 + 1;
  screen(job.width, job.height);
  strip.lay(latents);
  gallery.put(job, acts);
  busy(true);
  const abort = new AbortController();
  running = { job, abort, latents, shown: false };
  running.unwatch = api.watch(job.id, (now) => told(now));
  if (canStream) play(running, abort.signal).catch(() => {});
}

async function play(clip, signal) {
  const reader = await api.bytes(clip.job.id, signal);
  player?.close();
  player = new Player(video);
  const own = player;
  for (let first = true; ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (first) {
      first = false;
      own.open(`video/mp4; codecs="${codecOf(value)}"`);
      clip.shown = true;
      strip.hide();
      video.play().catch(() => {});
    }
    own.add(value);
    strip.light(Math.ceil((own.held * clip.job.fps) / 8));
  }
  own.end();
}

function told(job) {
  if (!running || running.job.id !== job.id) return;
  strip.progress(job.progress);
  const left = job.eta ? `, ${job.eta.toFixed(1)} s left` : "";
  if (job.status === "queued") say(job.queue_position ? `${job.queue_position} before it` : "waits");
  if (job.status === "in_progress") {
    say(`${job.progress} %, ${job.stage}${left}`);
    badge(`${job.stage} ${job.progress} %`, true);
    if (job.stage === "denoising" && job.progress > 0 && !running.shown)
      strip.look(`${api.content(job.id, "preview")}&at=${job.progress}`, running.latents).catch(() => {});
  }
  if (["completed", "failed", "cancelled"].includes(job.status)) over(job);
}

function over(job) {
  running = null;
  busy(false);
  badge(null);
  strip.hide();
  if (job.status === "failed") say(job.error.message, true);
  if (job.status === "cancelled") {
    say("stopped");
    document.getElementById(job.id)?.remove();
    api.remove(job.id).catch(() => {});
    return;
  }
  gallery.put(job, acts);
  if (job.status !== "completed") return;
  const { total } = job.report.seconds;
  say(`${Number(job.seconds).toFixed(1)} s of video in ${total.toFixed(1)} s, first frames after ${job.report.first_frame.toFixed(2)} s, seed ${job.seed}`);
  strip.finished(api.content(job.id, "spritesheet"), Math.min(16, job.num_frames));
  if (!canStream) show(job);
}

function show(job) {
  player?.close();
  player = null;
  screen(job.width, job.height);
  video.loop = true;
  video.src = api.content(job.id);
  video.play().catch(() => {});
  strip.lay((job.num_frames - 1) / 8 + 1);
  strip.finished(api.content(job.id, "spritesheet"), Math.min(16, job.num_frames));
  say(`${job.prompt} (seed ${job.seed})`);
  scrollTo({ top: 0, behavior: "smooth" });
}

function stopWatching() {
  running?.unwatch();
  running?.abort.abort();
  running = null;
  live?.stop();
  live = null;
}

// Live: the first prompt begins, later ones bend what is shown.
function goLive() {
  const { prompt, size, seed, steps, guidance } = settings.wish();
  if (live) {
    live.prompt(prompt);
    if (settings.held()) live.picture(settings.held());
    say(`next: ${prompt}`);
    return;
  }
  stopWatching();
  const [width, height] = size.split("x").map(Number);
  screen(width, height);
  strip.lay(7);
  strip.hide();
  badge("begins", true);
  live = new Live(video, heard);
  live.start({ prompt, size, seed, steps, guidance });
  busy(true);
}

function heard(message) {
  if (message.type === "window") {
    badge("live", true);
    say(`${message.seconds.toFixed(1)} s made, now: ${message.prompt}`);
    strip.light(message.number % 8);
  }
  if (message.type === "error") say(message.message, true);
  if (message.type === "ended" && message.message) say(message.message, true);
  if (message.type === "closed") {
    live = null;
    badge(null);
    busy(false);
  }
}

const acts = {
  play: show,
  again: (job) => {
    settings.recall(job);
    $("form").requestSubmit();
  },
  vary: (job) => {
    settings.recall(job);
    $("dice").click();
    $("form").requestSubmit();
  },
};

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  try {
    if (mode() === "clip") await make();
    else goLive();
  } catch (error) {
    busy(false);
    await refused(error);
  }
});
$("stop").addEventListener("click", () => {
  if (live) live.stop();
  else if (running) api.cancel(running.job.id).catch(refused);
});
document.querySelectorAll("[name=mode]").forEach((each) =>
  each.addEventListener("change", () => {
    document.body.classList.toggle("live", mode() === "live");
    if (mode() === "clip") live?.stop();
    busy(Boolean(live || running));
  }));
$("more").addEventListener("click", () => gallery.older(acts).catch(refused));

settings.wire();
try {
  const { data } = await api.models();
  settings.fill(data[0]);
  await gallery.load(acts);
} catch (error) {
  await refused(error);
}
busy(false);
