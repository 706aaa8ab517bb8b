// Plays fragmented mp4 while it arrives.

const Source = window.ManagedMediaSource ?? window.MediaSource;
const KEPT = 20; // seconds behind the playhead that stay in memory

// The codec that the first bytes of a clip name: "avc1." and three bytes of avcC.
export function codecOf(head) {
  for (let i = 4; i + 8 < head.length; i++) {
    if (head[i] === 0x61 && head[i + 1] === 0x76 && head[i + 2] === 0x63 && head[i + 3] === 0x43) {
      const three = [...head.slice(i + 5, i + 8)];
      return `avc1.${three.map((b) => b.toString(16).padStart(2, "0")).join("").toUpperCase()}`;
    }
  }
  return null;
}

export class Player {
  constructor(video) {
    this.video = video;
    this.waiting = [];
    this.done = false;
    this.video.disableRemotePlayback = true;
    this.source = new Source();
    this.url = URL.createObjectURL(this.source);
    video.src = this.url;
    this.opened = new Promise((done) => this.source.addEventListener("sourceopen", done, { once: true }));
  }

  async open(mime) {
    await this.opened;
    if (this.source.readyState !== "open") return;
    this.buffer = this.source.addSourceBuffer(mime);
    this.buffer.addEventListener("updateend", () => this.#next());
    this.#next();
  }

  add(bytes) {
    this.waiting.push(bytes);
    this.#next();
  }

  end() {
    this.done = true;
    this.#next();
  }

  // Seconds from the beginning that are there.
  get held() {
    const there = this.buffer?.buffered;
    return there?.length ? there.end(there.length - 1) : 0;
  }

  close() {
    this.closed = true;
    URL.revokeObjectURL(this.url);
  }

  #next() {
    if (this.closed || !this.buffer || this.buffer.updating || this.source.readyState !== "open") return;
    const there = this.buffer.buffered;
    const old = this.video.currentTime - KEPT;
    if (this.endless && there.length && there.start(0) < old - KEPT) this.buffer.remove(0, old);
    else if (this.waiting.length) this.buffer.appendBuffer(this.waiting.shift());
    else if (this.done) this.source.endOfStream();
  }
}

export const canStream = Boolean(Source);
