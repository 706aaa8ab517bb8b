"""Real film for training an autoencoder: one safetensors file, see docs/film.md.

Axes: N frames of the file, S shots, F frames of a crop, H W pixels.
"""

import random
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from overcrank.data.scale import resized
from overcrank.errors import MediaError, RequestError
from overcrank.shapes import ClipSize


class Film:
    """`frames` uint8 (N, H, W, 3) and `starts` int64 (S,), the first frame of each shot.

    The file is mapped, not read: worker processes that are forked share what they look at.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                keys = sorted(file.keys())
                found = {key: file.get_tensor(key) for key in keys if key in ("frames", "starts")}
        except (OSError, SafetensorError) as error:
            raise MediaError(
                f"the film cannot be read: got {path} ({error}): build one as docs/film.md says"
            ) from None
        if len(found) < 2:
            raise MediaError(
                f"{path} is no film: got tensors {keys}, right is ['frames', 'starts']"
            )
        self.path, self.frames_NHW3, starts_S = Path(path), found["frames"], found["starts"]
        shape, starts_shape = tuple(self.frames_NHW3.shape), tuple(starts_S.shape)
        pixels = self.frames_NHW3.dtype == torch.uint8 and len(shape) == 4 and shape[-1] == 3
        if not pixels or starts_S.dtype != torch.int64 or len(starts_shape) != 1:
            raise MediaError(
                f"{path} is no film: got frames {self.frames_NHW3.dtype} {shape} and starts "
                f"{starts_S.dtype} {starts_shape}, right is uint8 (N, H, W, 3) and int64 (S,)"
            )
        self.starts: list[int] = starts_S.tolist()
        bounds = [*self.starts, shape[0]]
        self.lengths = [end - start for start, end in pairwise(bounds)]
        if bounds[0] != 0 or min(self.lengths, default=0) < 1:
            raise MediaError(
                f"{path} is no film: got shots that begin at {self.starts[:8]}, right is 0 first, "
                f"then rising, below {shape[0]}"
            )

    def has_room(self, size: ClipSize) -> bool:
        """Whether there is a crop of that size."""
        height, width = self.frames_NHW3.shape[1:3]
        return size.height <= height and size.width <= width and size.frames <= max(self.lengths)

    def crop(self, dice: random.Random, size: ClipSize) -> Tensor:
        """A part of one shot, each possible beginning as likely: uint8 (F, H, W, 3).

        The part is `size` to twice as large, as far as the film is, and scaled down smoothly.
        """
        rooms = [max(0, length - size.frames + 1) for length in self.lengths]
        height, width = self.frames_NHW3.shape[1:3]
        if not self.has_room(size):
            raise RequestError(
                f"{self.path} has no room for a crop: got {size.frames} frames of {size.width} x "
                f"{size.height}, right is at most {max(self.lengths)} frames of {width} x {height}"
            )
        shot = dice.choices(range(len(rooms)), rooms)[0]
        first = self.starts[shot] + dice.randrange(rooms[shot])
        most = min(2 * size.height, height, width * size.height // size.width)
        tall = dice.randint(size.height, most)
        wide = round(tall * size.width / size.height)
        top, left = dice.randint(0, height - tall), dice.randint(0, width - wide)
        part_FHW3 = self.frames_NHW3[first : first + size.frames, top : top + tall]
        return resized(part_FHW3[:, :, left : left + wide], size.height, size.width)
