"""The first prompts of bench-v1 as a model shows them, nothing selected: a sheet, and moving clips.

    python examples/bench_sheet.py pocket docs/pictures/bench.webp --moving docs/pictures/clips.webp

Each prompt is made once, with its own seed, in the size that the model recommends. A row of the
sheet has four prompts with four frames each, evenly from the first to the last, above number and
text. The moving picture has the first eight clips, at half of their frame rate.

Axes: F frames, H W pixels.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

import overcrank
from overcrank.request import Request
from overcrank.toybox.bench import BenchItem, bench
from overcrank.video import Video

ACROSS, FRAMES, SIDE = 4, 4, 96
LETTERS, LINE = 62, 12
"""Characters of a line of text below a clip, and its height in pixels."""
MOVING, MOVING_ACROSS, MOVING_SIDE = 8, 4, 144


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--moving", type=Path)
    parser.add_argument("--items", type=int, default=64)
    asked = parser.parse_args()
    items = bench()[: asked.items]
    pipe = overcrank.load(asked.model)
    cells, clips = [], []
    for item in items:
        video = pipe.generate(Request(prompt=item.caption, seed=item.seed))
        cells.append(cell(item, video))
        if len(clips) < MOVING:
            clips.append(scaled(video.frames[::2], MOVING_SIDE))
        print(f"{item.index + 1} of {len(items)}: {item.caption}", flush=True)
    grid(cells).save(asked.sheet, quality=80, method=6)
    if asked.moving:
        move(clips, video.frame_rate / 2, asked.moving)


def cell(item: BenchItem, video: Video) -> Image.Image:
    """Frames of one clip side by side above its number and prompt."""
    places = torch.linspace(0, len(video.frames) - 1, FRAMES).round().long()
    frames_FHW3 = scaled(video.frames[places], SIDE)
    picture = Image.new("RGB", (FRAMES * SIDE, SIDE + 2 * LINE + 4), "white")
    picture.paste(Image.fromarray(torch.cat(list(frames_FHW3), dim=1).numpy()))
    told = textwrap.wrap(f"{item.index}: {item.caption}", LETTERS)[:2]
    ImageDraw.Draw(picture).text((2, SIDE), "\n".join(told), fill="black", spacing=0)
    return picture


def grid(cells: Sequence[Image.Image]) -> Image.Image:
    """Some cells a row, a few pixels apart."""
    width, height = cells[0].width + 8, cells[0].height + 4
    rows = -(-len(cells) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * width - 8, rows * height), "white")
    for number, picture in enumerate(cells):
        sheet.paste(picture, (number % ACROSS * width, number // ACROSS * height))
    return sheet


def move(clips: Sequence[Tensor], frame_rate: float, path: Path) -> None:
    """All clips at once, in rows, as an animated picture."""
    rows = [clips[n : n + MOVING_ACROSS] for n in range(0, len(clips), MOVING_ACROSS)]
    whole_FHW3 = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    first, *others = (Image.fromarray(frame.numpy()) for frame in whole_FHW3)
    pause = round(1000 / frame_rate)
    first.save(path, save_all=True, append_images=others, duration=pause, loop=0, quality=60)


def scaled(frames_FHW3: Tensor, side: int) -> Tensor:
    """uint8 frames at another size, averaged."""
    pixels = frames_FHW3.movedim(-1, 1).float()
    small = interpolate(pixels, size=(side, side), mode="area")
    return small.round().to(torch.uint8).movedim(1, -1)


if __name__ == "__main__":
    main()
