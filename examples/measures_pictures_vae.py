"""The pictures of docs/evaluation.md that show what the measures of clips and autoencoders catch.

    python examples/measures_pictures_vae.py docs/pictures

Each shows a true clip of the toybox beside the same clip spoilt, with what is measured under it.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from overcrank.metrics import load_features, perceptual_distance, psnr
from overcrank.metrics.artefacts import find_artefacts
from overcrank.metrics.grid import PERIODS, grid_peaks
from overcrank.metrics.seam import seam_of_parts
from overcrank.metrics.ssim import ssim
from overcrank.metrics.temporal import ends, flicker
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import bench
from overcrank.toybox.render import render

WIDTH = 640
GAP = 8
LINE = 17
RATE = 24.0
LEVEL = 1 / 127.5
"""One of the 255 steps of a stored pixel, in pixels from -1 to 1."""

Panel = tuple[Tensor, Sequence[str]]
"""A picture, uint8 (H, W, 3), and lines to write under it."""


def sheet(panels: Sequence[Panel], columns: int, path: Path, colours: int = 96) -> None:
    """Panels in rows, each picture scaled to the width of its column."""
    font = ImageFont.load_default(size=13)
    width = (WIDTH - GAP * (columns - 1)) // columns
    scaled = []
    for pixels, lines in panels:
        picture = Image.fromarray(pixels.numpy())
        height = round(picture.height * width / picture.width)
        scaled.append((picture.resize((width, height)), lines))
    rows = [scaled[i : i + columns] for i in range(0, len(scaled), columns)]
    heights = [max(p.height + LINE * len(lines) + GAP for p, lines in row) for row in rows]
    page = Image.new("RGB", (WIDTH, sum(heights)), "white")
    draw, top = ImageDraw.Draw(page), 0
    for row, height in zip(rows, heights, strict=True):
        for column, (picture, lines) in enumerate(row):
            left = column * (width + GAP)
            page.paste(picture, (left, top))
            for number, line in enumerate(lines):
                place = (left, top + picture.height + 1 + LINE * number)
                draw.text(place, line, fill="black", font=font)
        top += height
    page.quantize(colours).save(path, optimize=True)


def true_clip(size: ClipSize) -> Tensor:
    """A solid that bounces."""
    item = next(item for item in bench() if item.scene.actors[0].motion == "bounce")
    return render(item.scene, size, RATE)


def as_video(frames: Tensor) -> Tensor:
    """uint8 (F, H, W, 3) as (1, 3, F, H, W) in [-1, 1]."""
    return frames.float().movedim(-1, 0)[None] / 127.5 - 1


def as_frames(video: Tensor) -> Tensor:
    """And back."""
    return ((video[0].movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def changed(frames: Tensor, change: Tensor) -> Tensor:
    """Frames with something added to their pixels, in 255ths."""
    return (frames.float() + change).round().clamp(0, 255).to(torch.uint8)


def blurred(video: Tensor) -> Tensor:
    """By a box of 5 x 5."""
    padded = F.pad(video[0].movedim(1, 0), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, 1).movedim(0, 1)[None]


def closeness(path: Path) -> None:
    """PSNR, SSIM and perceptual distance of one frame."""
    video = as_video(true_clip(ClipSize(9, 128, 128)))
    features = load_features()
    noise = 10 * LEVEL * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    wrong = {
        "one level brighter": video + LEVEL,
        "noise of 10 levels": video + noise,
        "blurred": blurred(video),
        "other colours": video.flip(1),
    }
    panels: list[Panel] = []
    for name, spoilt in wrong.items():
        pair = (x[0].movedim(1, 0).clamp(-1, 1) for x in (spoilt, video))
        lines = [
            name,
            f"PSNR {float(psnr(spoilt, video)):.1f} dB",
            f"SSIM {float(ssim(spoilt, video)):.3f}",
            f"perceptual {float(perceptual_distance(features, *pair).mean()):.3f}",
        ]
        panels.append((as_frames(spoilt)[4], lines))
    sheet(panels, 4, path)


def over_time(path: Path) -> None:
    """Flicker and ends: a row of pixels in every frame, first at the top."""
    frames = true_clip(ClipSize(121, 128, 128))
    video = as_video(frames) * 0.9
    dice = torch.Generator().manual_seed(0)
    still = 12 * LEVEL * torch.randn(1, 3, 1, 128, 128, generator=dice)
    anew = 12 * LEVEL * torch.randn(video.shape, generator=dice)
    sign = (-1.0) ** torch.arange(121)[:, None, None]
    late = still * torch.where(torch.arange(121) >= 113, 3.0, 1.0)[:, None, None]
    wrong = {
        "error stands still": video + still,
        "new in each frame": video + anew,
        "brightness +-12": video + 12 * LEVEL * sign,
        "last 8 frames worse": video + late,
    }
    panels: list[Panel] = []
    for name, spoilt in wrong.items():
        change, share = flicker(spoilt, video)
        first, last = ends(spoilt, video)
        lines = [
            name,
            f"flicker {float(change):.1f} levels",
            f"share {float(share):.2f}",
            f"first {round(float(first))}, last {round(float(last))} dB",
        ]
        panels.append((as_frames(spoilt)[:, 80], lines))
    sheet(panels, 4, path)


def grids(path: Path) -> None:
    """A flat field, and flat fields with cells, amplified for the eye."""
    flat = torch.full((1, 3, 9, 128, 128), 0.1)
    flat = flat + (torch.rand(flat.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * LEVEL
    at = torch.arange(128)
    cells = {
        "no grid": torch.zeros(128),
        "period 32, 1 level": torch.cos(at * 2 * torch.pi / 32),
        "period 8, 1 level": torch.cos(at * 2 * torch.pi / 8),
        "edges of 4 px, 1 level": (at % 4 == 0).float(),
    }
    panels: list[Panel] = []
    for name, wave in cells.items():
        field = flat + LEVEL * (wave + wave[:, None])
        peaks = grid_peaks(field)
        heights = (f"{p} px: {round(peaks[p][0])} dB, {peaks[p][1]:.2f}" for p in PERIODS)
        lines = [name, *heights]
        shown = (field - field.mean()) * 20
        panels.append((as_frames(shown)[0], lines))
    sheet(panels, 4, path, colours=24)


def seams(path: Path) -> None:
    """The left half decoded apart from the right."""
    video = as_video(true_clip(ClipSize(9, 128, 128)))
    panels: list[Panel] = []
    for levels in (0, 2, 8, 24):
        spoilt = video + levels * LEVEL * (torch.arange(128) >= 64)
        found = [each for each in find_artefacts(as_frames(spoilt), RATE) if each.name == "seam"]
        lines = [
            f"right half +{levels} levels",
            f"seam {seam_of_parts(spoilt, video, [64], 4):.2f}",
            f"detector: {found[0].score:.1f}" if found else "detector: none",
        ]
        panels.append((as_frames(spoilt)[4], lines))
    sheet(panels, 4, path)


def artefacts(path: Path) -> None:
    """Five frames of each spoilt clip, and what is said of it."""
    frames = true_clip(ClipSize(49, 128, 128))
    time = torch.linspace(0, 1, 49)[:, None, None, None]
    grey = frames.float().mean(-1, keepdim=True).expand(frames.shape)
    wrong: dict[str, Callable[[], Tensor]] = {
        "true": lambda: frames,
        "black": lambda: frames // 16,
        "green": lambda: changed(grey, torch.tensor([-179.0, 135.0, -227.0])),
        "constant": lambda: torch.full_like(frames, 200),
        "blank frames": lambda: torch.cat(
            [frames[:22], torch.full_like(frames[:5], 128), frames[27:]]
        ),
        "frozen": lambda: frames[:1].expand_as(frames),
        "strobing": lambda: changed(frames, 15 * (-1.0) ** torch.arange(49)[:, None, None, None]),
        "seam": lambda: changed(frames, 12.0 * (torch.arange(128) >= 64)[:, None]),
        "colour drift": lambda: changed(frames, time * torch.tensor([-60.0, 0.0, 30.0])),
        "end flash": lambda: torch.cat([frames[:-2], changed(frames[-2:], torch.tensor(60.0))]),
    }
    panels: list[Panel] = []
    for name, spoil in wrong.items():
        spoilt = spoil()
        found = [each for each in find_artefacts(spoilt, RATE) if each.name == name]
        lines = [f"{each.name}: score {each.score:.3g}, limit {each.limit:g}" for each in found]
        picked = spoilt[[0, 11, 23, 36, 48], ::2, ::2]
        panels.append((torch.cat(list(picked), 1), lines or ["nothing found"]))
    sheet(panels, 2, path)


PICTURES = {
    "closeness": closeness,
    "over-time": over_time,
    "grid": grids,
    "seam": seams,
    "artefacts": artefacts,
}


def main() -> None:
    """Write all of them, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, draw in PICTURES.items():
        path = folder / f"eval-{name}.png"
        draw(path)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
