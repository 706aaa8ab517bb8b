// The strip of film under the screen, and the rough look at a clip before it is decoded.

const strip = document.getElementById("strip");
const canvas = document.getElementById("preview");
let turn = 0;
let picture = null;
let url = null;

// A frame of film for each latent frame.
export function lay(count) {
  strip.replaceChildren(...Array.from({ length: count }, () => document.createElement("i")));
  progress(0);
  hide();
}

export function progress(percent) {
  strip.setAttribute("aria-valuenow", percent);
}

// The first `count` are decoded.
export function light(count) {
  [...strip.children].forEach((frame, place) => frame.classList.toggle("lit", place < count));
}

function cover(image, count, dim) {
  const frames = [...strip.children];
  frames.forEach((frame, place) => {
    const from = Math.round((place * (count - 1)) / Math.max(1, frames.length - 1));
    frame.classList.remove("lit");
    frame.classList.toggle("dim", dim);
    frame.style.backgroundImage = `url(${image})`;
    frame.style.backgroundSize = `${count * 100}% 100%`;
    frame.style.backgroundPosition = `${count > 1 ? (100 * from) / (count - 1) : 0}% 0`;
  });
}

export const finished = (sheet, count) => cover(sheet, count, false);

// What the last step has pointed at, as it moves: one pixel for each cell.
export async function look(path, count) {
  const answer = await fetch(path);
  if (!answer.ok) return;
  const blob = await answer.blob();
  picture = await createImageBitmap(blob);
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(blob);
  cover(url, count, true);
  canvas.hidden = false;
  canvas.width = 256;
  canvas.height = (256 * picture.height * count) / picture.width;
  clearInterval(turn);
  let place = 0;
  const draw = () => {
    const wide = picture.width / count;
    canvas.getContext("2d").drawImage(
      picture, (place++ % count) * wide, 0, wide, picture.height, 0, 0, canvas.width, canvas.height);
  };
  draw();
  turn = setInterval(draw, 333);
}

export function hide() {
  clearInterval(turn);
  canvas.hidden = true;
}
