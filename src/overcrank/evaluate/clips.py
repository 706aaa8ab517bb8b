"""Whole clips, made by us and by other implementations from the same noise, text and pictures.

Reduced networks with random weights, guidance and skip guidance on. What the others draw at random
and we do not (a sample of the encoder instead of its mean) is switched off through the weights.
Axes: B batch, L text tokens, E text width, C T H W of a latent, F H W of frames.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from overcrank.conditioning import Image
from overcrank.flow import Guidance, GuidanceByLevel
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.shapes import LATENT_CHANNELS, ClipSize
from overcrank.vae.upsampler import LatentUpsampler, UpsamplerConfig
from overcrank.weights import Model
from overcrank.weights.own import recommended
from overcrank.weights.releases import RELEASES, Pass, Release
from overcrank.weights.synthetic import fill_randomly, reduced_release

SEED = 0
TEXT_TOKENS = (7, 4)
"""Of which the last three of the negative one are padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A clip that all of them can make."""

    layout: str
    size: ClipSize
    places: tuple[int, ...] = (0,)
    """Frames at which pictures are given."""
    steps: int = 8
    guidance: Guidance | GuidanceByLevel
    upscaled: bool = False


_SKIPPED = Guidance(3.0, stg_scale=1.0, stg_layers=(1,))
_LISTED = GuidanceByLevel.of(
    levels=(1.0, 0.99, 0.9, 0.5),
    scale=(1, 6, 8, 1),
    stg_scale=(0, 4, 4, 1),
    rescale=(0, 0.5, 0, 0),
    stg_layers=((), (0, 2), (1,), (2,)),
    project=True,
)
CASES: dict[str, dict[str, Case]] = {
    "diffusers": {
        "one step": Case(
            layout="ltxv-2b-0.9.5", size=ClipSize(17, 64, 96), steps=1, guidance=_SKIPPED
        ),
        "clip, old": Case(layout="ltxv-2b-0.9", size=ClipSize(17, 64, 96), guidance=_SKIPPED),
        "clip": Case(
            layout="ltxv-2b-0.9.5", size=ClipSize(17, 64, 96), places=(0, 11), guidance=_SKIPPED
        ),
    },
    "ltx-video": {
        "one step": Case(
            layout="ltxv-2b-0.9.5",
            size=ClipSize(17, 64, 96),
            steps=1,
            guidance=replace(_SKIPPED, rescale=0.7),
        ),
        "clip, old": Case(
            layout="ltxv-2b-0.9",
            size=ClipSize(17, 64, 96),
            guidance=replace(_SKIPPED, rescale=0.7),
        ),
        "clip": Case(
            layout="ltxv-2b-0.9.5",
            size=ClipSize(17, 64, 96),
            places=(0, 11),
            guidance=replace(_SKIPPED, rescale=0.7, stg_mode="attention_skip"),
        ),
        "clip, guidance by level": Case(
            layout="ltxv-13b-0.9.8-dev", size=ClipSize(9, 64, 96), guidance=_LISTED
        ),
        "clip in two passes": Case(
            layout="ltxv-13b-0.9.8-dev",
            size=ClipSize(9, 96, 96),
            steps=12,
            guidance=_LISTED,
            upscaled=True,
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Made:
    """Latents (1, C, T, H, W), and pixels (F, 3, H, W) from 0 to 1."""

    latents: Tensor
    pixels: Tensor


class Studio:
    """One case: the model, its noise, text and pictures."""

    def __init__(self, case: Case) -> None:
        self.case = case
        found = reduced_release(case.layout, seed=SEED)
        vae, transformer = found.build_vae(torch.float32), found.build_transformer(torch.float32)
        with torch.no_grad():  # one draw of the encoder is then its mean
            vae.encoder.conv_out.conv.weight[-1] = 0
            vae.encoder.conv_out.conv.bias[-1] = -30  # type: ignore[index]
        self.release = _shortened(RELEASES[case.layout], case)
        self.model = Model(
            case.layout,
            vae,
            transformer,
            recommended(found),
            release=self.release,
            upsampler=_upsampler() if case.upscaled else None,
        )
        generator = torch.Generator().manual_seed(SEED)
        longest = max(TEXT_TOKENS)
        shape = (1, longest, transformer.config.text_width)
        self.text_BLE, self.negative_BLE = (
            torch.randn(shape, generator=generator) for _ in TEXT_TOKENS
        )
        # One colour, where pictures are scaled: everybody does that in a way of their own.
        detail = (1, 1) if case.upscaled else (case.size.height, case.size.width)
        self.pictures = [
            torch.randint(0, 256, (*detail, 3), generator=generator)
            .byte()
            .expand(case.size.height, case.size.width, 3)
            .contiguous()
            for _ in case.places
        ]

    def noise(self, count: int = 1) -> list[Tensor]:
        """Standard normal latents of the first pass, then of the second."""
        size, generator = self.first_size, torch.Generator().manual_seed(SEED + 1)
        found = []
        for scale in (1, 2)[:count]:
            latent = ClipSize(size.frames, scale * size.height, scale * size.width).latent
            shape = (1, LATENT_CHANNELS, latent.frames, latent.height, latent.width)
            found.append(torch.randn(shape, generator=generator))
        return found

    @property
    def first_size(self) -> ClipSize:
        """Of the first pass."""
        return ClipSize(self.case.size.frames, 32, 32) if self.case.upscaled else self.case.size

    def ours(self, dtype: str = "float32") -> Made:
        """The clip through our pipeline."""
        denoises = self.model.vae.config.denoises
        request = Request(
            prompt_embeds=self.text_BLE,
            negative_prompt_embeds=self.negative_BLE,
            conditions=[
                Image(at=at, image=picture, crf=0)
                for at, picture in zip(self.case.places, self.pictures, strict=True)
            ],
            height=self.case.size.height,
            width=self.case.size.width,
            num_frames=self.case.size.frames,
            frame_rate=25.0,
            guidance=self.case.guidance,
            num_inference_steps=self.case.steps,
            latents=self.noise()[0],
            decode_sigma=0.05 if denoises else None,
            decode_noise=0.0 if denoises else None,
        )
        second = (lambda *_: self.noise(2)[1]) if self.case.upscaled else None
        with replaced("overcrank.denoise", "gaussian", second):
            video = Pipeline(self.model, device="cpu", dtype=dtype).generate(request)
        pixels = rearrange(video.frames, "f h w c -> f c h w") / 255
        return Made(video.latents, pixels)


@contextmanager
def replaced(module: str, name: str, function: Any) -> Iterator[None]:
    """Another function of that name in a module; None leaves it."""
    if function is None:
        yield
        return
    home = import_module(module)
    own = getattr(home, name)
    setattr(home, name, function)
    try:
        yield
    finally:
        setattr(home, name, own)


def _upsampler() -> LatentUpsampler:
    config = UpsamplerConfig(mid_channels=32, num_blocks_per_stage=1)
    upsampler = LatentUpsampler(config).eval().requires_grad_(False)
    fill_randomly(upsampler, SEED)
    return upsampler


def _shortened(release: Release, case: Case) -> Release:
    """With as many steps as the case, and layers that the small networks have."""
    if release.two is None:
        return release
    quarter = case.steps // 4
    guidance = Guidance(1.0, stg_scale=1.0, stg_layers=(2,), project=True)
    first, second = release.two.first, release.two.second
    return replace(
        release,
        two=replace(
            release.two,
            first=replace(first, schedule=replace(first.schedule, skip_final=1)),
            second=Pass(
                schedule=replace(second.schedule, skip_initial=quarter),
                steps=case.steps,
                guidance=guidance,
            ),
        ),
    )
