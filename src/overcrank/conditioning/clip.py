"""The beginning of a clip, given as frames: the model goes on from there."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Self

import torch
from torch import Tensor

from overcrank.conditioning.image import fitted
from overcrank.conditioning.state import LatentState, check_place
from overcrank.errors import RequestError, SizeError
from overcrank.media import read_frames
from overcrank.shapes import ClipSize
from overcrank.vae import VAE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """Frames from frame `at` on: a video file, or uint8 (F, H, W, 3); 8n + 1 of them."""

    frames: str | PathLike[str] | Tensor
    at: int = 0
    strength: float = 1.0
    fit: bool = True
    """Crop and resize to the clip that is made; False refuses frames of another size."""

    def __post_init__(self) -> None:
        check_place("a clip", self.at, self.strength)
        if isinstance(self.frames, Tensor):
            _check_frames(self.frames)
        elif not isinstance(self.frames, str | PathLike):
            raise RequestError(
                "frames are a path or a uint8 tensor (frames, height, width, 3), "
                f"got {type(self.frames).__name__}: give one of these"
            )

    def opened(self, size: ClipSize) -> Self:
        """With its file read, refused if it cannot begin a clip of this size."""
        return replace(self, frames=self._open(size))

    def apply(self, state: LatentState, vae: VAE) -> LatentState:
        """Put the frames into the first latent frames."""
        size = state.size.clip
        frames = self._open(size)
        video_CFHW = torch.stack([fitted(frame, size, self.fit) for frame in frames], dim=1)
        latent = vae.encode(video_CFHW[None].to(state.tokens_BNC))
        return state.begin_with(latent, self.strength)

    def _open(self, size: ClipSize) -> Tensor:
        frames = self.frames if isinstance(self.frames, Tensor) else read_frames(self.frames)[0]
        given = ClipSize(len(frames), size.height, size.width)
        if given.frames > size.frames:
            raise SizeError(
                f"a clip cannot begin with more frames than it has, got {given.frames} for "
                f"{size.frames}: give at most {size.frames}, or ask for a longer clip"
            )
        fitted(frames[0], size, self.fit)  # all have one size
        return frames

    def describe(self) -> dict[str, object]:
        """Where and how firmly; not the frames themselves."""
        return {"kind": "clip", "at": self.at, "strength": self.strength}


def _check_frames(frames: Tensor) -> None:
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise RequestError(
            "frames are uint8 (frames, height, width, 3), "
            f"got {frames.dtype} {tuple(frames.shape)}: convert them first"
        )
