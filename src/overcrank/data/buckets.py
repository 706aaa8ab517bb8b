"""Prepared clips sorted into the sizes that a run's latents have.

A clip goes to the size that shows most of it (the part of its frames times the part of each
frame), and is cut into as many pieces of that length as it has.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overcrank.data.fitting import Fit, nothing_fits, show
from overcrank.data.originals import Original, Originals, key_frames
from overcrank.data.prepared import Prepared, PreparedClip
from overcrank.errors import RequestError
from overcrank.shapes import ClipSize

NAMED = 3
"""Clips that a message names, of all that it counts."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some frames of a clip, by their places in it."""

    clip: PreparedClip
    frames: range


def sort_clips(
    prepared: Prepared, sizes: Sequence[ClipSize], fit: Fit, seed: int
) -> dict[ClipSize, list[Piece]]:
    """The pieces of each size, in the order of the clips; each size has some.

    Clips that fit no size are left out; a video gives a size of one frame its first frame only.
    """
    sorted_: dict[ClipSize, list[Piece]] = {size: [] for size in sizes}
    for clip in prepared.clips:
        dice = random.Random(f"overcrank clip {seed} {clip.key}")
        step = 2 if dice.random() < fit.jitter and any(fit(clip, s, 2) for s in sizes) else 1
        possible = [size for size in sizes if fit(clip, size, step)]
        if possible:
            best = max(possible, key=lambda size: (_shown(clip, size, step), _pixels(size)))
            sorted_[best] += _pieces(clip, best, step)
    for size, pieces in sorted_.items():
        if not any(fit(clip, size) for clip in prepared.clips):
            raise nothing_fits(prepared, size, fit)
        if not pieces:
            raise RequestError(
                f"no clip is best shown in {size.frames} frames of {size.width} x {size.height}: "
                f"got {len(prepared.clips)} in {prepared.folder}, which fit another size better: "
                "leave this one out of the latents"
            )
    return sorted_


def _shown(clip: PreparedClip, size: ClipSize, step: int) -> float:
    """The part of a clip that one piece shows."""
    scale = min(clip.height / size.height, clip.width / size.width)
    area = size.height * scale * size.width * scale / (clip.height * clip.width)
    return round(area * size.frames / len(range(0, clip.frames, step)), 9)


def _pixels(size: ClipSize) -> int:
    return size.height * size.width


def _pieces(clip: PreparedClip, size: ClipSize, step: int) -> list[Piece]:
    length = size.frames * step
    count = len(range(0, clip.frames, step)) // size.frames if size.frames > 1 else 1
    starts = [number * length for number in range(count)]
    return [Piece(clip, range(start, start + length - step + 1, step)) for start in starts]


class PreparedOriginals(Originals):
    """Pieces of prepared clips, in one size; pieces of one clip follow each other."""

    def __init__(
        self,
        prepared: Prepared,
        size: ClipSize,
        pieces: Sequence[Piece],
        *,
        random_crop: bool = False,
        trigger: str | None = None,
    ) -> None:
        self.prepared, self.size, self.pieces = prepared, size, pieces
        self.random_crop, self.trigger = random_crop, trigger
        said = [(piece.clip.digest, piece.frames) for piece in pieces]
        digest = hashlib.sha256(repr((said, random_crop, trigger)).encode()).hexdigest()
        self.name = f"prepared clips {digest[:16]}"
        held = sum(piece.clip.key in prepared.held_out for piece in pieces)
        self.held_out = held if held < len(pieces) else 0
        self._decoded: tuple[PreparedClip, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Original:
        piece, grid = self.pieces[index], self.size.latent
        first = piece.frames.start // piece.frames.step
        caption = f"{self.trigger or ''} {piece.clip.caption or ''}".strip()
        return Original(
            self._frames_of(piece)[first : first + self.size.frames],
            torch.zeros(grid.frames, grid.height, grid.width, dtype=torch.uint8),
            piece.clip.frame_rate / piece.frames.step,
            [caption],
            key_frames(self.size.frames, int(piece.clip.digest[:8], 16) + first),
        )

    def _frames_of(self, piece: Piece) -> Tensor:
        """All frames of its clip that pieces show: the next piece is likely to be of it too."""
        clip, step = piece.clip, piece.frames.step
        if self._decoded is None or self._decoded[0] is not clip:
            dice = random.Random(f"overcrank crop {clip.digest}")
            place = (dice.uniform(-1, 1), dice.uniform(-1, 1)) if self.random_crop else (0.0, 0.0)
            last = _pieces(clip, self.size, step)[-1].frames[-1]
            frames = self.prepared.frames(clip, range(0, last + 1, step))
            self._decoded = clip, show(frames, self.size, place=place)
        return self._decoded[1]


def check_captions(pieces: Sequence[Piece], *, allow_empty: bool) -> None:
    """Refuse clips without a caption, unless they are wanted."""
    keys = sorted({p.clip.key for p in pieces if p.clip.caption is None})
    if keys and not allow_empty:
        sources = {p.clip.key: p.clip.source for p in pieces}
        named = ", ".join(f"{key} of {sources[key]}" for key in keys[:NAMED])
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        raise RequestError(
            f"{len(keys)} of {len(sources)} clips have no caption: got none for {named}{more}: "
            "prepare them with captions (docs/prepare.md), or set clips.allow_empty=true"
        )
