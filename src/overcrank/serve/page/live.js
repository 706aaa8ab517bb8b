// An endless clip that heeds what is said to it.

import { Player } from "./player.js";

const AHEAD = 4; // seconds that may be there before they are shown
const TELL = 250; // milliseconds

export class Live {
  constructor(video, told) {
    this.video = video;
    this.told = told;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/v1/live`);
    this.socket.binaryType = "arraybuffer";
    this.player = new Player(video);
    this.player.endless = true;
    video.loop = false;
  }

  start(wish) {
    this.socket.addEventListener("open", () => {
      this.#say({ type: "start", ...wish });
      this.#credit();
      this.timer = setInterval(() => this.#credit(), TELL);
    });
    this.socket.addEventListener("message", ({ data }) => {
      if (data instanceof ArrayBuffer) {
        this.player.add(new Uint8Array(data));
        if (this.video.paused && !this.held) this.video.play().catch(() => {});
      } else this.#heard(JSON.parse(data));
    });
    this.socket.addEventListener("close", () => this.#over());
  }

  prompt(text) {
    this.#say({ type: "prompt", prompt: text });
  }

  async picture(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    this.#say({ type: "picture", data: btoa(text) });
  }

  stop() {
    if (this.socket.readyState === WebSocket.OPEN) this.#say({ type: "stop" });
    this.socket.close();
  }

  #heard(message) {
    if (message.type === "session") this.player.open(message.mime);
    this.told(message);
  }

  #credit() {
    this.#say({ type: "credits", seconds: this.video.currentTime + AHEAD });
  }

  #say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #over() {
    clearInterval(this.timer);
    this.player.end();
    this.video.loop = true;
    this.told({ type: "closed" });
  }
}
