"""A picture that the clip shows at one of its frames."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Self

import PIL.Image
import torch
from torch import Tensor

from overcrank.conditioning.state import (
    LatentState,
    check_crf,
    check_place,
    check_strength,
)
from overcrank.errors import RequestError, SizeError
from overcrank.media.images import as_video_frame, fit_image, read_image
from overcrank.shapes import ClipSize
from overcrank.vae.remembered import Encodes

Picture = str | PathLike[str] | PIL.Image.Image | Tensor
"""A file, a Pillow image, or pixels as uint8 (H, W, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """A picture at frame `at`. Strength 1 keeps it; less lets the model change it."""

    image: Picture
    at: int = 0
    strength: float = 1.0
    fit: bool = True
    """Crop and resize to the clip; False refuses a picture of another size."""
    crf: int | None = None
    """How much the picture is treated as a frame of compressed video; None: as the model was
    trained, 0: not at all."""

    def __post_init__(self) -> None:
        check_place("a picture", self.at)
        check_strength("a picture", self.strength)
        check_crf(self.crf)
        check_picture(self.image)

    def opened(self, size: ClipSize, *, crf: int = 0) -> Self:
        """With its file read, refused if it cannot go into a clip of this size.

        `crf` is what the model was trained with.
        """
        if self.at >= size.frames:
            raise RequestError(
                f"a picture stands at a frame of the clip, got at={self.at} of {size.frames} "
                f"frames: try at={size.frames - 1}, its last"
            )
        crf = crf if self.crf is None else self.crf
        return replace(self, image=_open(self.image, size, self.fit), crf=crf)

    def apply(self, state: LatentState, encoder: Encodes) -> LatentState:
        """Put the picture into the first latent frame, or beside the clip as extra tokens."""
        pixels_CHW = fitted(self.image, state.size.clip, self.fit, self.crf or 0)
        latent = encoder.encode(pixels_CHW[None, :, None].to(state.tokens_BNC))
        if self.at == 0:
            return state.put(latent, self.strength)
        return state.add(latent, self.strength, self.at)

    def describe(self) -> dict[str, object]:
        """Where and how firmly; not the picture itself."""
        return {"kind": "image", "at": self.at, "strength": self.strength, "crf": self.crf}


def check_picture(picture: object) -> None:
    """Refuse what is not a `Picture`; a file is opened by `Image.opened`."""
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise RequestError(
                "the pixels of a picture are uint8 (height, width, 3), "
                f"got {picture.dtype} {tuple(picture.shape)}: convert them first"
            )
    elif not isinstance(picture, str | PathLike | PIL.Image.Image):
        raise RequestError(
            "a picture is a path, a Pillow image or a uint8 tensor (height, width, 3), "
            f"got {type(picture).__name__}: give one of these"
        )


def fitted(picture: Picture, size: ClipSize, fit: bool, crf: int = 0) -> Tensor:
    """The picture in the size of the clip, (3, H, W) in [-1, 1]; `crf` 0 leaves it untouched."""
    pixels_CHW = fit_image(_open(picture, size, fit), size.height, size.width)
    return as_video_frame(pixels_CHW, crf) if crf else pixels_CHW


def _open(picture: Picture, size: ClipSize, fit: bool) -> PIL.Image.Image:
    if isinstance(picture, Tensor):
        image = PIL.Image.fromarray(picture.cpu().numpy())
    elif isinstance(picture, PIL.Image.Image):
        image = picture
    else:
        image = read_image(picture)
    if not fit and image.size != (size.width, size.height):
        raise SizeError(
            f"a picture must have the size of the clip, got {image.width} x {image.height} "
            f"for {size.width} x {size.height}: resize it, or allow it to be fitted"
        )
    return image
