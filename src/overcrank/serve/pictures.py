"""Small pictures of a clip: one frame, a strip of frames, and what a step points at."""

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from overcrank.serve.files import write_whole

THUMBNAIL = 256
"""Longest side, in pixels."""
IN_SHEET, SHEET_SIDE = 16, 128
"""Frames of a spritesheet, and the longest side of each."""


def write_thumbnail(path: Path, frames_FHW3: Tensor) -> None:
    """The frame in the middle."""
    _write(path, _small(frames_FHW3[len(frames_FHW3) // 2], THUMBNAIL))


def write_spritesheet(path: Path, frames_FHW3: Tensor) -> None:
    """Frames side by side, evenly spaced from the first to the last."""
    count = min(IN_SHEET, len(frames_FHW3))
    places = torch.linspace(0, len(frames_FHW3) - 1, count).round().long()
    small = [_small(frames_FHW3[place], SHEET_SIDE) for place in places.tolist()]
    width, height = small[0].size
    sheet = Image.new("RGB", (width * count, height))
    for number, picture in enumerate(small):
        sheet.paste(picture, (number * width, 0))
    _write(path, sheet)


def write_preview(path: Path, colours_3THW: Tensor) -> None:
    """Rough frames, about [-1, 1], side by side, one pixel a cell: a viewer enlarges them."""
    strip_HW3 = colours_3THW.permute(2, 1, 3, 0).flatten(1, 2)
    pixels = (strip_HW3.float() + 1).mul(127.5).clamp(0, 255).to(torch.uint8)
    _write(path, Image.fromarray(pixels.cpu().contiguous().numpy()), lossless=True)


def _small(frame_HW3: Tensor, longest: int) -> Image.Image:
    picture = Image.fromarray(frame_HW3.numpy())
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def _write(path: Path, picture: Image.Image, *, lossless: bool = False) -> None:
    memory = BytesIO()
    picture.save(memory, format="WEBP", quality=85, lossless=lossless)
    write_whole(path, memory.getvalue())
