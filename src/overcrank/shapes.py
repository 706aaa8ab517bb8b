"""Clip size and latent size: the only place that knows 8, 32 and "8n + 1".

One latent cell stands for 32 x 32 pixels and 8 frames; the first latent frame stands for the
single first frame, so a clip has 8n + 1 frames and n + 1 latent frames.
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.
"""

from dataclasses import dataclass

from overcrank.errors import SizeError

PIXELS_PER_CELL = 32
FRAMES_PER_CELL = 8
LATENT_CHANNELS = 128

MAX_FRAMES = 99_993
MAX_SIDE = 16_384
"""In pixels."""


@dataclass(frozen=True, slots=True)
class ClipSize:
    """Size of a clip in frames and pixels. Always on the grid: a wrong size is refused."""

    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % FRAMES_PER_CELL != 1:
            raise SizeError(
                f"a clip needs 8n + 1 frames, got {self.frames}: try {_neighbours(self.frames)}"
            )
        for name, pixels in (("height", self.height), ("width", self.width)):
            if pixels < PIXELS_PER_CELL or pixels % PIXELS_PER_CELL:
                low = max(PIXELS_PER_CELL, pixels // PIXELS_PER_CELL * PIXELS_PER_CELL)
                choices = f"{low} or {low + PIXELS_PER_CELL}" if pixels > low else str(low)
                raise SizeError(f"{name} must be a multiple of 32, got {pixels}: try {choices}")

    @property
    def latent(self) -> "LatentSize":
        """The latent grid of this clip."""
        return LatentSize(
            (self.frames - 1) // FRAMES_PER_CELL + 1,
            self.height // PIXELS_PER_CELL,
            self.width // PIXELS_PER_CELL,
        )


@dataclass(frozen=True, slots=True)
class LatentSize:
    """Size of a latent grid in cells."""

    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """Number of cells; the transformer sees one token for each."""
        return self.frames * self.height * self.width

    @property
    def clip(self) -> ClipSize:
        """The clip that this grid stands for."""
        return ClipSize(
            (self.frames - 1) * FRAMES_PER_CELL + 1,
            self.height * PIXELS_PER_CELL,
            self.width * PIXELS_PER_CELL,
        )


def nearest_frames(frames: float) -> int:
    """The nearest possible number of frames, at least 1."""
    return max(0, round((frames - 1) / FRAMES_PER_CELL)) * FRAMES_PER_CELL + 1


def _neighbours(frames: int) -> str:
    below = (frames - 1) // FRAMES_PER_CELL * FRAMES_PER_CELL + 1
    return "1 or 9" if below < 1 else f"{below} or {below + FRAMES_PER_CELL}"
