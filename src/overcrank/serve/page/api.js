// What the page asks the server for.

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.param = error.param;
  }
}

async function checked(answer) {
  if (answer.ok) return answer;
  let error = { message: `the server answered ${answer.status}: try again` };
  try { error = (await answer.json()).error; } catch { /* an answer without words */ }
  throw new Refusal(answer.status, error);
}

const json = async (path, options) => (await checked(await fetch(path, options))).json();

export const models = () => json("/v1/models");
export const video = (id) => json(`/v1/videos/${id}`);
export const videos = (after) => json(`/v1/videos?limit=24${after ? `&after=${after}` : ""}`);
export const cancel = (id) => json(`/v1/videos/${id}/cancel`, { method: "POST" });
export const remove = (id) => json(`/v1/videos/${id}`, { method: "DELETE" });
export const content = (id, variant) =>
  `/v1/videos/${id}/content${variant ? `?variant=${variant}` : ""}`;

export function create(fields, picture) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== null) body.set(name, value);
  if (picture) body.set("input_reference", picture);
  return json("/v1/videos", { method: "POST", body });
}

// Calls `told` with the job whenever it has changed, until it ends.
export function watch(id, told) {
  const events = new EventSource(`/v1/videos/${id}/events`);
  events.addEventListener("video", (event) => {
    const job = JSON.parse(event.data);
    if (!["queued", "in_progress"].includes(job.status)) events.close();
    told(job);
  });
  return () => events.close();
}

export async function bytes(id, signal) {
  return (await checked(await fetch(content(id), { signal }))).body.getReader();
}
