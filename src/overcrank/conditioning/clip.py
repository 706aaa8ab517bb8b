"""A part of the clip, given as frames: the model goes on from there, or arrives there."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Self

import torch
from torch import Tensor

from overcrank.conditioning.image import fitted
from overcrank.conditioning.state import (
    LatentState,
    check_crf,
    check_place,
    check_strength,
)
from overcrank.errors import RequestError, SizeError
from overcrank.media import read_frames
from overcrank.shapes import FRAMES_PER_CELL, ClipSize
from overcrank.vae.remembered import Encodes

Frames = str | PathLike[str] | Tensor
"""A video file, or pixels as uint8 (F, H, W, 3)."""

PREFIX = 2
"""Latent frames of a later clip that become extra tokens: the latent of its single first frame,
which a clip has at its beginning only, and the one next to it. Source: LTX-Video."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """Frames from frame `at` on, a multiple of 8; there are 8n + 1 of them."""

    frames: Frames
    at: int = 0
    strength: float = 1.0
    fit: bool = True
    """Crop and resize to the clip that is made; False refuses frames of another size."""
    crf: int | None = None
    """As in `Image`."""

    def __post_init__(self) -> None:
        check_place("a clip", self.at)
        check_strength("a clip", self.strength)
        check_crf(self.crf)
        check_frames(self.frames)

    def opened(self, size: ClipSize, *, crf: int = 0) -> Self:
        """With its file read, refused if it cannot be a part of a clip of this size.

        `crf` is what the model was trained with.
        """
        frames = open_frames(self.frames, size, self.fit)
        return replace(
            self, frames=self._placed(frames, size), crf=crf if self.crf is None else self.crf
        )

    def apply(self, state: LatentState, encoder: Encodes) -> LatentState:
        """Put the frames into the latent frames that stand for them.

        What begins later than the clip has its first latent frames beside it, as extra tokens.
        """
        size = state.size.clip
        frames = self._placed(open_frames(self.frames, size, self.fit), size)
        latent = encoded(frames, state, encoder, self.fit, self.crf or 0)
        if self.at == 0:
            return state.put(latent, self.strength)
        state = state.add(latent[:, :, :PREFIX], self.strength, self.at)
        return state.put(latent[:, :, PREFIX:], self.strength, self.at // FRAMES_PER_CELL + PREFIX)

    def _placed(self, frames: Tensor, size: ClipSize) -> Tensor:
        count, beyond = len(frames), self.at % FRAMES_PER_CELL
        if beyond and count > 1:
            raise RequestError(
                f"a clip begins at a multiple of {FRAMES_PER_CELL}, got at={self.at}: "
                f"try at={self.at - beyond} or at={self.at - beyond + FRAMES_PER_CELL}"
            )
        if self.at + count > size.frames:
            raise SizeError(
                "a clip cannot hold more frames than it has, got frames "
                f"{self.at} to {self.at + count - 1} of {size.frames}: give at most "
                f"{max(size.frames - self.at, 0)} there, begin earlier, or ask for a longer clip"
            )
        return frames

    def describe(self) -> dict[str, object]:
        """Where and how firmly; not the frames themselves."""
        return {"kind": "clip", "at": self.at, "strength": self.strength, "crf": self.crf}


def open_frames(given: Frames, size: ClipSize, fit: bool) -> Tensor:
    """The frames, 8n + 1 of them, uint8 (F, H, W, 3), refused if they may not be fitted."""
    frames = given if isinstance(given, Tensor) else read_frames(given)[0]
    ClipSize(len(frames), size.height, size.width)
    fitted(frames[0], size, fit)  # all have one size
    return frames


def encoded(frames: Tensor, state: LatentState, encoder: Encodes, fit: bool, crf: int) -> Tensor:
    """The frames in the size of the clip as normalised latents, (1, C, T, H, W)."""
    size = state.size.clip
    video_CFHW = torch.stack([fitted(frame, size, fit, crf) for frame in frames], dim=1)
    return encoder.encode(video_CFHW[None].to(state.tokens_BNC))


def check_frames(frames: object) -> None:
    """Refuse what is not `Frames`; a file is opened later."""
    if isinstance(frames, Tensor):
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise RequestError(
                "frames are uint8 (frames, height, width, 3), "
                f"got {frames.dtype} {tuple(frames.shape)}: convert them first"
            )
    elif not isinstance(frames, str | PathLike):
        raise RequestError(
            "frames are a path or a uint8 tensor (frames, height, width, 3), "
            f"got {type(frames).__name__}: give one of these"
        )
