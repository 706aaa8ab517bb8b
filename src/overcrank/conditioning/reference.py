"""A video that the clip follows frame by frame, such as depth, edges or poses.

Only a model with an IC-LoRA (in-context LoRA) for such a video knows what to do with it.
Source: Lightricks LTX-Video-Trainer, `reference_video`.
"""

from dataclasses import dataclass, replace
from typing import Self

from overcrank.conditioning.clip import Frames, check_frames, encoded, open_frames
from overcrank.conditioning.state import LatentState, check_strength
from overcrank.errors import SizeError
from overcrank.shapes import ClipSize
from overcrank.vae.remembered import Encodes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Extra tokens at the same places as those of the clip; 8n + 1 frames, from its first on."""

    frames: Frames
    strength: float = 1.0
    fit: bool = True
    """Crop and resize to the clip that is made; False refuses frames of another size."""

    def __post_init__(self) -> None:
        check_strength("a reference video", self.strength)
        check_frames(self.frames)

    def opened(self, size: ClipSize, *, crf: int = 0) -> Self:  # noqa: ARG002  as other conditions
        """With its file read, refused if it cannot lie beside a clip of this size."""
        frames = open_frames(self.frames, size, self.fit)
        if len(frames) > size.frames:
            raise SizeError(
                f"a reference video is at most as long as the clip, got {len(frames)} frames for "
                f"{size.frames}: give {size.frames}, or ask for a longer clip"
            )
        return replace(self, frames=frames)

    def apply(self, state: LatentState, encoder: Encodes) -> LatentState:
        """Put the video beside the clip."""
        frames = open_frames(self.frames, state.size.clip, self.fit)
        return state.add(encoded(frames, state, encoder, self.fit, crf=0), self.strength)

    def describe(self) -> dict[str, object]:
        """How firmly; not the frames themselves."""
        return {"kind": "reference", "strength": self.strength}
