"""The first look at a video: its shots, their black bars, how much moves, what they look like.

Axes: T thumbnails, H W pixels, h w cells of a thumbnail.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from overcrank.data.cuts import THUMBNAIL, with_cuts

Box = tuple[int, int, int, int]
"""Top, left, bottom, right: pixels, the last two behind the end."""

BLACK = 12
"""A row or column at the edge is a black bar if it never gets brighter than this, of 255, on the
average: limited-range black plus what compression adds to it."""

EVERY = 8
"""Of so many frames one is looked at for black bars."""

HASHED = 3
"""Frames of a clip that its hash is made of, 64 bits each."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A stretch of one shot: frames [first, first + frames) of the video."""

    first: int
    frames: int
    box: Box | None
    """What is inside the black bars; None if all is black."""
    motion: float
    look: str
    """The difference hash, in hexadecimal."""
    colour: tuple[int, int, int]


def look(frames_HW3: Iterable[Tensor], longest: int) -> Iterator[Seen]:
    """Stretches of at most `longest` frames, without a cut inside, that follow each other."""
    thumbs: list[Tensor] = []
    brightest_HW = torch.zeros(0)
    first = 0
    for frame_HW3, thumb_hw3, begins in with_cuts(
        frames_HW3, lambda frame: thumbnail(frame).numpy()
    ):
        if thumbs and (begins or len(thumbs) == longest):
            yield _seen(first, thumbs, brightest_HW)
            first, thumbs = first + len(thumbs), []
        if len(thumbs) % EVERY == 0:
            bright_HW = frame_HW3.amax(-1)
            brightest_HW = torch.maximum(brightest_HW, bright_HW) if thumbs else bright_HW
        thumbs.append(torch.from_numpy(thumb_hw3))
    if thumbs:
        yield _seen(first, thumbs, brightest_HW)


def look_at(picture_HW3: Tensor) -> Seen:
    """The same of a picture."""
    return _seen(0, [thumbnail(picture_HW3)], picture_HW3.amax(-1))


def thumbnail(frame_HW3: Tensor) -> Tensor:
    """Uint8 (18, 32, 3)."""
    pixels_13HW = frame_HW3.permute(2, 0, 1)[None]
    small_13hw = interpolate(pixels_13HW, THUMBNAIL[::-1], mode="bilinear", antialias=True)
    return small_13hw[0].permute(1, 2, 0).contiguous()


def _seen(first: int, thumbs: list[Tensor], brightest_HW: Tensor) -> Seen:
    thumbs_Thw3 = torch.stack(thumbs)
    # Whole numbers: the order in which they are added up makes no difference.
    red, green, blue = (thumbs_Thw3.sum((0, 1, 2)) // thumbs_Thw3[..., 0].numel()).tolist()
    return Seen(
        first=first,
        frames=len(thumbs),
        box=inside_bars(brightest_HW),
        motion=motion_of(thumbs_Thw3),
        look=look_of(thumbs_Thw3),
        colour=(red, green, blue),
    )


def inside_bars(brightest_HW: Tensor) -> Box | None:
    """What is left when dark rows and columns are taken off the edges; None if nothing is."""
    rows = (brightest_HW.sum(1) > BLACK * brightest_HW.shape[1]).nonzero().flatten().tolist()
    if not rows:
        return None
    top, bottom = rows[0], rows[-1] + 1
    inner_hW = brightest_HW[top:bottom]
    columns = (inner_hW.sum(0) > BLACK * len(inner_hW)).nonzero().flatten().tolist()
    return (top, columns[0], bottom, columns[-1] + 1) if columns else None


def motion_of(thumbs_Thw3: Tensor) -> float:
    """How much the liveliest 2 % of the thumbnail's cells change over the clip, 0 to 255."""
    range_hw3 = thumbs_Thw3.amax(0).int() - thumbs_Thw3.amin(0).int()
    return round(float(torch.quantile(range_hw3.amax(-1).float(), 0.98)), 2)


def look_of(thumbs_Thw3: Tensor) -> str:
    """Difference hash: is a cell brighter than its left neighbour, on 8 x 9 cells of some frames.

    Source: N. Krawetz, "Kind of like that", 2013 (dHash).
    """
    count = len(thumbs_Thw3)
    places = [count * (2 * i + 1) // (2 * HASHED) for i in range(HASHED)]
    grey_Thw = thumbs_Thw3[places].sum(-1) / 3
    cells_T89 = adaptive_avg_pool2d(grey_Thw[:, None], (8, 9))[:, 0]
    bits = (cells_T89[..., 1:] > cells_T89[..., :-1] + 1).flatten().tolist()
    number = int("".join("01"[bit] for bit in bits), 2)
    return f"{number:0{len(bits) // 4}x}"
