// What the form says, in the fields of a request; what is left as it is, the model decides.

const $ = (id) => document.getElementById(id);
const SIZES = ["128x128", "192x192", "256x256", "384x256", "256x384", "512x512"];
let model = { defaults: { width: 256, height: 256, num_frames: 121, fps: 24, steps: 4, guided_steps: 8, guidance: 1 } };
let picture = null;
let counted = model.defaults.steps;

const cells = () => Number($("length").value);
const frames = () => 8 * cells() + 1;
const touched = (id, own) => (Number($(id).value) === own ? null : Number($(id).value));
// What the model takes by itself.
const ownSteps = () =>
  touched("guidance", model.defaults.guidance) === null ? model.defaults.steps : model.defaults.guided_steps;

export function fill(described) {
  model = described;
  const { width, height, num_frames, fps, steps, guidance } = model.defaults;
  const own = `${width}x${height}`;
  const sizes = SIZES.includes(own) ? SIZES : [own, ...SIZES];
  $("size").replaceChildren(...sizes.map((size) => new Option(size.replace("x", " × "), size)));
  $("size").value = own;
  $("length").max = Math.max(30, 2 * Math.round((num_frames - 1) / 8));
  $("length").value = (num_frames - 1) / 8;
  $("length-help").textContent = `Frames come in eights and one, ${fps} a second.`;
  $("steps").value = steps;
  $("guidance").value = guidance;
  counted = steps;
  $("model").textContent = model.id;
  show();
}

function show() {
  const { fps } = model.defaults;
  $("length-text").textContent = `${(frames() / fps).toFixed(1)} s`;
  $("steps-text").textContent = $("steps").value;
  $("guidance-text").textContent = Number($("guidance").value) === 1 ? "off" : $("guidance").value;
  const seed = $("seed").value ? `, seed ${$("seed").value}` : "";
  $("summary").textContent =
    `${$("size").value.replace("x", " × ")}, ${(frames() / fps).toFixed(1)} s, ${$("steps").value} steps${seed}`;
}

export const wish = () => ({
  prompt: $("prompt").value.trim(),
  size: $("size").value,
  num_frames: frames(),
  steps: touched("steps", ownSteps()),
  guidance: touched("guidance", model.defaults.guidance),
  seed: $("seed").value ? Number($("seed").value) : null,
});

export const held = () => picture;
export const rate = () => model.defaults.fps;

// The form as it was for a job that was made before.
export function recall(job) {
  $("prompt").value = job.prompt;
  if (![...$("size").options].some((option) => option.value === job.size))
    $("size").append(new Option(job.size.replace("x", " × "), job.size));
  $("size").value = job.size;
  $("length").value = (job.num_frames - 1) / 8;
  $("guidance").value = job.guidance ?? model.defaults.guidance;
  counted = ownSteps();
  $("steps").value = job.steps ?? counted;
  $("seed").value = job.seed;
  show();
}

// Steps that nobody chose are those of the new guidance.
function follow() {
  if (Number($("steps").value) === counted) $("steps").value = ownSteps();
  counted = ownSteps();
}

export function hold(file) {
  picture = file;
  const drop = $("drop");
  drop.classList.toggle("held", Boolean(file));
  drop.style.backgroundImage = file ? `url(${URL.createObjectURL(file)})` : "";
  $("drop-text").textContent = file ? file.name : "Begin with a picture";
  $("drop-clear").hidden = !file;
  if (!file) $("picture").value = "";
}

export function wire() {
  $("guidance").addEventListener("input", follow);
  for (const id of ["size", "length", "steps", "guidance", "seed"]) $(id).addEventListener("input", show);
  $("dice").addEventListener("click", () => {
    $("seed").value = Math.floor(Math.random() * 2 ** 31);
    show();
  });
  $("picture").addEventListener("change", () => hold($("picture").files[0] ?? null));
  $("drop-clear").addEventListener("click", (event) => {
    event.preventDefault();
    hold(null);
  });
  $("drop").addEventListener("keydown", (event) => {
    if (event.target === $("drop") && ["Enter", " "].includes(event.key)) {
      event.preventDefault();
      $("picture").click();
    }
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      const file = kind === "drop" ? event.dataTransfer.files[0] : null;
      if (file?.type.startsWith("image/")) hold(file);
    });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file) hold(file);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      $("form").requestSubmit();
    }
  });
}
