"""The published releases: how each wants to be run. One row each; files are matched to rows.

Facts of architecture that a file states itself (block lists, widths) are not repeated here.
Source: the inference configurations and schedulers of Lightricks' LTX-Video repository.
"""

from dataclasses import dataclass, replace
from typing import Literal

from overcrank.flow import Guidance, GuidanceByLevel, Schedule
from overcrank.shapes import ClipSize

Scale = Literal["2b", "13b"]
VAELayout = Literal["0.9.0", "0.9.1", "0.9.5"]

NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"
ALLOWED = (1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219)
"""Levels of the distilled releases, as their files list them: linear-quadratic in eight steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One walk from noise to latents."""

    schedule: Schedule
    steps: int
    """Counted before the schedule skips any."""
    guidance: Guidance | GuidanceByLevel
    stochastic: bool = False
    """Fresh noise after each step."""
    student: bool = False
    """Walked by the model's few-step student, not by its transformer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPasses:
    """A small clip, upscaled in latent space, and refined."""

    first: Pass
    second: Pass
    downscale: float = 0.6666666
    """Side of the first pass over side of the request."""
    adain: float = 1.0
    """How far the upscaled latents take the statistics of the first pass."""
    tone_map: float = 0.0
    """Compression of the latents before decoding."""
    least: int = 0
    """Pixels of the shorter side; smaller clips are made in one pass unless two are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Sizes and lengths that a release was made for."""

    pixels: int = 720 * 1280
    frames: int = 257
    frame_rates: tuple[float, float] = (24.0, 30.0)

    def remarks(self, size: ClipSize, frame_rate: float) -> tuple[str, ...]:
        """A sentence for each way in which a clip lies outside; none is refused."""
        low, high = self.frame_rates
        found = []
        if size.height * size.width > self.pixels:
            found.append(
                f"the model was made for at most {self.pixels} pixels a frame, got "
                f"{size.height * size.width}: expect less, or make it smaller"
            )
        if size.frames > self.frames:
            found.append(
                f"the model was made for at most {self.frames} frames, got {size.frames}: "
                "expect less, or make it shorter"
            )
        if not low <= frame_rate <= high:
            found.append(
                f"the model was made for {low:g} to {high:g} frames a second, got "
                f"{frame_rate:g}: expect motion of another speed"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How one release is run where a request says nothing."""

    name: str
    scale: Scale
    version: str
    distilled: bool = False
    lists_levels: bool | None = None
    """Whether its file has `allowed_inference_steps`; None: not known."""
    vae: VAELayout = "0.9.5"
    one: Pass
    """All in one pass."""
    two: TwoPasses | None = None
    """What upstream recommends where there is a spatial upscaler; None: one pass."""
    decode_sigma: float | None = 0.05
    """What the decoder is told; None where it takes no noise level."""
    decode_noise: float | None = 0.025
    """How much noise the normalised latents get before decoding."""
    negative_prompt: str = NEGATIVE_PROMPT
    text_tokens: int = 256
    """To which length prompts are padded and cut."""
    size: ClipSize = ClipSize(121, 704, 1216)  # noqa: RUF009  frozen
    frame_rate: float = 30.0
    trained: Trained = Trained()

    @property
    def causal_positions(self) -> bool:
        """Whether latent frame f > 0 lies at its first new frame; the file's own flag counts."""
        return self.vae == "0.9.5"

    @property
    def transformer_preset(self) -> str:
        """Row of `transformer.PRESETS`."""
        return "ltxv-13b" if self.scale == "13b" else f"ltxv-2b-0.9{'.5' * self.causal_positions}"

    @property
    def vae_preset(self) -> str:
        """Row of `vae.PRESETS`."""
        return f"ltxv-{self.vae}"

    def behaves_like(self, other: "Release") -> bool:
        """Whether the same request gives the same clip, but for the default size."""
        alike = replace(
            other,
            name=self.name,
            version=self.version,
            lists_levels=self.lists_levels,
            size=self.size,
            frame_rate=self.frame_rate,
        )
        return alike == self


_SHIFTED = Schedule(kind="shifted", terminal=0.1)
_QUADRATIC = Schedule(kind="linear-quadratic")
_FIRST = Schedule(kind="linear-quadratic", levels=ALLOWED[:-1], allowed=ALLOWED)
_SECOND = Schedule(kind="linear-quadratic", levels=ALLOWED[-3:], allowed=ALLOWED)

# Upstream's rescale 1 means none; ours is 0.
_GUIDED_2B = Guidance(3.0, stg_scale=1.0, stg_layers=(19,), rescale=0.7)
_UNGUIDED = Guidance(1.0)
_GUIDED_13B = GuidanceByLevel.of(
    levels=(1.0, 0.996, 0.9933, 0.9850, 0.9767, 0.9008, 0.6180),
    scale=(1, 1, 6, 8, 6, 1, 1),
    stg_scale=(0, 0, 4, 4, 4, 2, 1),
    rescale=(0, 0, 0.5, 0.5, 0, 0, 0),
    stg_layers=((), (11, 25, 35, 39), (22, 35, 39), (28,), (28,), (28,), (28,)),
    project=True,
)
_REFINED_13B = Guidance(1.0, stg_scale=1.0, stg_layers=(27,), project=True)

_DEV_2B = Pass(schedule=_QUADRATIC, steps=40, guidance=_GUIDED_2B)
_OLD_2B = Pass(schedule=_SHIFTED, steps=40, guidance=_GUIDED_2B)
_DISTILLED = Pass(schedule=_FIRST, steps=len(_FIRST.levels), guidance=_UNGUIDED)
_TWO_DISTILLED = TwoPasses(
    first=_DISTILLED,
    second=Pass(schedule=_SECOND, steps=len(_SECOND.levels), guidance=_UNGUIDED),
)
_DEV_13B = Pass(schedule=_QUADRATIC, steps=30, guidance=_GUIDED_13B)
_TWO_DEV_13B = TwoPasses(
    first=replace(_DEV_13B, schedule=replace(_QUADRATIC, skip_final=3)),
    second=Pass(schedule=replace(_QUADRATIC, skip_initial=17), steps=30, guidance=_REFINED_13B),
)
_DEV_095 = Release(
    name="ltxv-2b-0.9.5",
    scale="2b",
    version="0.9.5",
    lists_levels=False,
    one=_DEV_2B,
    size=ClipSize(121, 512, 768),
    frame_rate=25.0,
)
_DEV_091 = replace(
    _DEV_095, name="ltxv-2b-0.9.1", version="0.9.1", vae="0.9.1", one=_OLD_2B, text_tokens=128
)
_DISTILLED_098 = Release(
    name="ltxv-2b-0.9.8-distilled",
    scale="2b",
    version="0.9.8",
    distilled=True,
    lists_levels=True,
    one=_DISTILLED,
    two=_TWO_DISTILLED,
)
_DEV_098 = Release(
    name="ltxv-13b-0.9.8-dev",
    scale="13b",
    version="0.9.8",
    lists_levels=False,
    one=_DEV_13B,
    two=_TWO_DEV_13B,
)

_ROWS: tuple[Release, ...] = (
    _DEV_095,
    Release(name="ltxv-2b-0.9.6-dev", scale="2b", version="0.9.6", lists_levels=False, one=_DEV_2B),
    _DISTILLED_098,
    Release(
        name="ltxv-2b-0.9.6-distilled",
        scale="2b",
        version="0.9.6",
        distilled=True,
        one=Pass(schedule=_QUADRATIC, steps=8, guidance=_UNGUIDED, stochastic=True),
    ),
    _DEV_091,
    replace(
        _DEV_091,
        name="ltxv-2b-0.9",
        version="0.9.0",
        vae="0.9.0",
        decode_sigma=None,
        decode_noise=None,
    ),
    _DEV_098,
    replace(_DEV_098, name="ltxv-13b-0.9.7-dev", version="0.9.7"),
    replace(
        _DISTILLED_098,
        name="ltxv-13b-0.9.8-distilled",
        scale="13b",
        two=replace(_TWO_DISTILLED, tone_map=0.6),
    ),
    replace(_DISTILLED_098, name="ltxv-13b-0.9.7-distilled", scale="13b", version="0.9.7"),
)

RELEASES: dict[str, Release] = {row.name: row for row in _ROWS}
"""By name; of two that a file could be, the one that stands first is taken."""
