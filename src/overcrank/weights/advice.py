"""What a model recommends where a request says nothing, whoever made the model."""

from dataclasses import dataclass
from typing import Self

from overcrank.flow import Guidance, Schedule
from overcrank.shapes import ClipSize
from overcrank.weights.card import Defaults
from overcrank.weights.releases import Pass, Release, Trained, TwoPasses

LEAST = 192
"""Pixels of the shorter side from which on our models take two passes."""
PUBLISHED_CRF = 29
"""The published models were trained with pictures that are frames of compressed video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How a model wants to be run."""

    size: ClipSize
    frame_rate: float
    negative_prompt: str
    walk: Pass
    decode_sigma: float | None
    """What the decoder is told; None where it takes no noise level."""
    decode_noise: float | None
    """How much noise clean latents get before decoding; None: the sampler stops where the decoder
    takes over."""
    keyframes: bool
    """Whether conditions may stand at other frames than the first."""
    crf: int
    """How pictures are treated before they are encoded, see `Image`."""
    two: TwoPasses | None = None
    """How it is run in two passes, where there is an upscaler."""
    guided: Pass | None = None
    """Where a few-step student takes `walk`: what takes its place if guidance is asked for."""
    trained: Trained | None = None
    """Sizes and lengths it was made for, where that is known."""

    @classmethod
    def of(cls, release: Release | None, defaults: Defaults) -> Self:
        """For a published model its release counts, for one of ours its defaults."""
        return cls.of_ours(defaults) if release is None else cls.of_release(release)

    @classmethod
    def of_ours(cls, defaults: Defaults) -> Self:
        """For a model that was trained here."""
        levels = defaults.levels
        guided = Pass(
            schedule=Schedule(kind="shifted", levels=levels),
            steps=defaults.steps,
            guidance=Guidance(float(defaults.guidance)),
            stochastic=bool(levels),
        )
        few = Pass(
            schedule=Schedule(kind="shifted", levels=defaults.student, between=True),
            steps=len(defaults.student),
            guidance=Guidance(),
            stochastic=True,
            student=True,
        )
        walk = few if defaults.student else guided
        return cls(
            size=ClipSize(defaults.frames, defaults.height, defaults.width),
            frame_rate=float(defaults.frame_rate),
            negative_prompt=defaults.negative_prompt,
            walk=walk,
            decode_sigma=defaults.decode_sigma,
            decode_noise=None,
            keyframes=False,
            crf=0,
            two=_two(walk, defaults.second, bool(levels)) if defaults.second else None,
            guided=guided if defaults.student else None,
        )

    @classmethod
    def of_release(cls, release: Release) -> Self:
        """For a published model."""
        return cls(
            size=release.size,
            frame_rate=release.frame_rate,
            negative_prompt=release.negative_prompt,
            walk=release.one,
            two=release.two,
            decode_sigma=release.decode_sigma,
            decode_noise=release.decode_noise or 0.0,
            # Extra tokens, which later frames need, came with the autoencoder of 0.9.5.
            keyframes=release.vae == "0.9.5",
            crf=PUBLISHED_CRF,
            trained=release.trained,
        )


def _two(walk: Pass, levels: tuple[float, ...], stochastic: bool) -> TwoPasses:
    """Half the size first; the second pass, which sees what is where, needs no guidance."""
    second = Pass(
        schedule=Schedule(kind="shifted", levels=levels),
        steps=len(levels),
        guidance=Guidance(1.0),
        stochastic=stochastic,
    )
    return TwoPasses(first=walk, second=second, downscale=0.5, adain=0.0, least=LEAST)
