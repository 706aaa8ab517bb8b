"""A finished clip, and what it took to make it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Self

from torch import Tensor

from overcrank.errors import RequestError, in_words
from overcrank.media import write_mp4
from overcrank.metrics.artefacts import find_artefacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a clip cost; memory is in bytes.

    `seconds` has the stages prepare (deciding, enhancing the prompt, and loading the text encoder),
    text, denoise and decode.
    """

    seconds: Mapping[str, float]
    video_seconds: float
    peak_memory: int
    warnings: tuple[str, ...]

    @property
    def realtime_factor(self) -> float:
        """Seconds of video for each second from the prompt to the last frame on the host."""
        spent = sum(seconds for stage, seconds in self.seconds.items() if stage != "prepare")
        return self.video_seconds / spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known when the last frame has left a stream."""

    frame_rate: float
    latents: Tensor
    """As the sampler left them, (1, C, T, H, W): what a condition fixed is exact and clean."""
    report: Report
    recipe: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Video:
    """Frames uint8 (F, H, W, 3), frames a second, and all that is needed to make them again."""

    frames: Tensor
    frame_rate: float
    latents: Tensor
    report: Report
    recipe: Mapping[str, object]

    @classmethod
    def of(cls, frames: Tensor, outcome: Outcome) -> Self:
        """A gathered stream; what is wrong with its frames joins the warnings."""
        found = [each.message for each in find_artefacts(frames, outcome.frame_rate)]
        warnings = (*outcome.report.warnings, *found)
        return cls(
            frames=frames,
            frame_rate=outcome.frame_rate,
            latents=outcome.latents,
            report=replace(outcome.report, warnings=warnings),
            recipe=outcome.recipe,
        )

    @in_words
    def save(self, path: str | PathLike[str], *, metadata: bool = True) -> None:
        """Write an mp4 marked as generated, with its recipe; `metadata=False` omits the prompt."""
        if not isinstance(metadata, bool):
            raise RequestError(f"metadata is true or false, got {metadata!r:.80}: choose one")
        write_mp4(
            path, [self.frames], self.frame_rate, metadata=tagged(self.recipe, prompt=metadata)
        )


def tagged(recipe: Mapping[str, object], *, prompt: bool = True) -> dict[str, str]:
    """What a file says of a clip: that it was generated, and how; without `prompt`, not of what."""
    said = {
        key: value
        for key, value in recipe.items()
        if prompt or key not in ("prompt", "negative_prompt", "enhanced")
    }
    return {"overcrank": "generated", "comment": json.dumps(said)}
