"""How far our numbers are from independent ones, stage by stage.

Every stage is compared in float32 with the same random weights; bfloat16 is our own, as a GPU runs
it, against the same independent float32 numbers: what bfloat16 costs, not what is wrong.
Axes: B batch, N video tokens, P pairs; B C T H W of a latent.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, get_args

import torch
from torch import Tensor, nn

from overcrank.evaluate.clips import CASES, Studio
from overcrank.evaluate.clips_elsewhere import THROUGH
from overcrank.evaluate.golden import golden_rows
from overcrank.evaluate.twins import TWINS, Diffusers, Inputs, Official, trace
from overcrank.flow import Schedule, SkipMode
from overcrank.shapes import LatentSize
from overcrank.transformer import Transformer, token_positions
from overcrank.transformer.rope import rotation_table
from overcrank.vae import VAE, VAEConfig
from overcrank.weights import Checkpoint

Network = TypeVar("Network", Transformer, VAE)

LIMIT = 1e-5
"""Largest relative error of a stage in float32."""
CLIP_LIMIT = 1e-4
PIXEL_LIMIT = 2 / 255
LEAST_SPREAD = 0.1
"""A quieter output proves little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stage of one layout, compared with one implementation."""

    stage: str
    layout: str
    against: str
    float32: float
    """Relative error: the norm of the difference over the norm of the independent numbers."""
    bfloat16: float | None = None
    spread: float | None = None
    """Smallest standard deviation of what was compared."""
    limit: float = LIMIT

    @property
    def holds(self) -> bool:
        """Whether the numbers are the same, and loud enough to say so."""
        return self.float32 <= self.limit and (self.spread is None or self.spread >= LEAST_SPREAD)


def relative(got: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is right."""
    got, expected = got.double().reshape(-1), expected.double().reshape(-1)
    return float((got - expected).norm() / expected.norm())


def golden() -> list[Row]:
    """Numbers that need no other package."""
    return [
        Row(stage=stage, layout="any", against="golden numbers", float32=relative(got, right))
        for stage, got, right in golden_rows()
    ]


def clips(twin: str) -> Iterator[Row]:
    """Whole clips with guidance, skip guidance and pictures: latents, and the largest pixel off."""
    for stage, case in CASES[twin].items():
        studio = Studio(case)
        ours, theirs, half = studio.ours(), THROUGH[twin](studio), studio.ours("bfloat16")
        yield Row(
            stage=f"{stage}: latents",
            layout=case.layout,
            against=twin,
            float32=relative(ours.latents, theirs.latents),
            bfloat16=relative(half.latents, theirs.latents),
            spread=float(theirs.latents.std()),
            limit=CLIP_LIMIT,
        )
        yield Row(
            stage=f"{stage}: largest difference of a pixel, of 1",
            layout=case.layout,
            against=twin,
            float32=float((ours.pixels - theirs.pixels).abs().max()),
            spread=float(theirs.pixels.std()),
            limit=PIXEL_LIMIT,
        )


def compare(layout: str, found: Checkpoint, twin: str) -> list[Row]:
    """All stages of a checkpoint's networks against another implementation."""
    transformer, vae = found.build_transformer(torch.float32), found.build_vae(torch.float32)
    other = TWINS[twin](transformer, vae)
    with torch.no_grad():
        stages = [
            *_rotation(transformer, other),
            *_schedules(found, other),
            *_transformer(transformer, other),
            *_vae(vae, other),
        ]
    return [
        Row(
            stage=each.stage,
            layout=layout,
            against=twin,
            float32=max(relative(a, b) for a, b in zip(each.float32, each.right, strict=True)),
            bfloat16=max(relative(a, b) for a, b in zip(each.bfloat16, each.right, strict=True))
            if each.bfloat16
            else None,
            spread=min(float(b.std()) for b in each.right),
        )
        for each in stages
    ]


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a stage gave, in every place where it stands."""

    stage: str
    right: Sequence[Tensor]
    float32: Sequence[Tensor]
    bfloat16: Sequence[Tensor] = ()


def inputs_for(transformer: Transformer, *, causal: bool) -> Inputs:
    """Two clips with texts of different lengths, and a noise level for each token."""
    generator = torch.Generator().manual_seed(0)
    latent, config = LatentSize(3, 2, 4), transformer.config
    return Inputs(
        torch.randn(2, latent.tokens, config.latent_channels, generator=generator),
        torch.rand(2, latent.tokens, generator=generator),
        token_positions(latent, 25.0, causal=causal).expand(2, -1, -1),
        torch.randn(2, 7, config.text_width, generator=generator),
        torch.arange(7)[None] < torch.tensor([[7], [4]]),
    )


def _rotation(transformer: Transformer, other: Diffusers | Official) -> list[_Stage]:
    config = transformer.config
    positions_BNX = inputs_for(transformer, causal=config.causal_positions).positions_BNX
    table_BNP2 = rotation_table(positions_BNX, config.width, config.rope_theta, config.max_position)
    right = other.rotation(positions_BNX)
    return [_Stage("rotary embedding", [right], [table_BNP2])]


def _schedules(found: Checkpoint, other: Diffusers | Official) -> Iterator[_Stage]:
    schedule = Schedule(kind="linear-quadratic")
    if found.finding is not None and found.finding.release.one.schedule.kind == "shifted":
        schedule = found.finding.release.one.schedule
    sizes = [(8, 1024), (20, 6144), (40, 13376)]
    ours = [schedule.sigmas(steps, tokens=tokens)[:-1] for steps, tokens in sizes]
    yield _Stage("schedule", [other.levels(schedule, *size) for size in sizes], ours)


def _transformer(transformer: Transformer, other: Diffusers | Official) -> Iterator[_Stage]:
    inputs = inputs_for(transformer, causal=transformer.config.causal_positions)
    blocks = [f"transformer_blocks.{index}" for index in range(transformer.config.layers)]
    places = {
        "modulation": ["adaln_single"],
        "text projection": ["caption_projection"],
        "self-attention": [f"{block}.attn1" for block in blocks],
        "cross-attention": [f"{block}.attn2" for block in blocks],
        "feed-forward": [f"{block}.ff" for block in blocks],
        "transformer block": blocks,
        "velocity": [""],
    }

    def ours(network: Transformer) -> Tensor:
        return network(*_fields(inputs))

    yield from _traced(
        "transformer", places, transformer, ours, other, lambda: other.velocity(inputs)
    )
    layer = transformer.config.layers - 1
    half = _half(transformer)
    for mode in get_args(SkipMode):

        def ours_skipping(network: Transformer, mode: SkipMode = mode) -> Tensor:
            return network(*_fields(inputs), stg_layers=(layer,), stg_mode=mode)

        yield _Stage(
            f"velocity without {mode.replace('_', ' ')}",
            [other.velocity(inputs, mode, layer)],
            [ours_skipping(transformer)],
            [_in_bfloat16(partial(ours_skipping, half))],
        )


def _vae(vae: VAE, other: Diffusers | Official) -> Iterator[_Stage]:
    generator = torch.Generator().manual_seed(1)
    video = torch.rand(1, 3, 17, 64, 96, generator=generator) * 2 - 1
    latent = torch.randn(2, vae.config.latent_channels, 3, 2, 3, generator=generator)
    raw = vae.per_channel_statistics.restore(latent)
    sigma = torch.tensor([0.05, 0.4]) if vae.config.denoises else None
    for side, run, theirs in (
        ("encoder", lambda v: v.posterior(video).mean_BCTHW, lambda: other.encode(video)),
        ("decoder", lambda v: v.decode(latent, sigma), lambda: other.decode(raw, sigma)),
    ):
        places = _places(vae.config, side)

        def seeded(network: VAE, run: Callable[[VAE], Tensor] = run) -> Tensor:
            torch.manual_seed(3)  # of the noise that some decoders inject
            return run(network)

        def seeded_theirs(theirs: Callable[[], Tensor] = theirs) -> Tensor:
            torch.manual_seed(3)
            return theirs()

        yield from _traced("vae", places, vae, seeded, other, seeded_theirs)
        what = "latents" if side == "encoder" else "pixels"
        half = _half(vae)
        yield _Stage(
            f"{side}: {what}",
            [seeded_theirs()],
            [seeded(vae)],
            [_in_bfloat16(partial(seeded, half))],
        )


def _places(config: VAEConfig, side: str) -> dict[str, list[str]]:
    """Modules of one side by what they do."""
    blocks = config.encoder_blocks if side == "encoder" else config.decoder_blocks[::-1]
    prefix = "encoder.down_blocks" if side == "encoder" else "decoder.up_blocks"
    found: dict[str, list[str]] = {}
    for index, block in enumerate(blocks):
        name = f"{prefix}.{index}"
        if block.kind == "res_x":
            inner = [f"{name}.res_blocks.{number}" for number in range(block.layers)]
            found.setdefault(f"{side}: residual blocks", []).extend(inner)
        else:
            kind = "changes of width" if block.kind == "res_x_y" else "changes of size"
            found.setdefault(f"{side}: {kind}", []).append(name)
    return found


def _traced(
    component: str,
    places: Mapping[str, Sequence[str]],
    network: Network,
    run: Callable[[Network], Tensor],
    other: Diffusers | Official,
    theirs: Callable[[], Tensor],
) -> Iterator[_Stage]:
    names = {name: name for group in places.values() for name in group}
    renamed = {
        name: other.module_name(f"{component}.{name}").partition(".")[2] if name else ""
        for name in names
    }
    twin: nn.Module = getattr(other, component)
    right = trace(twin, renamed, theirs)
    ours = trace(network, names, lambda: run(network))
    half = _half(network)
    rounded = trace(half, names, lambda: _in_bfloat16(lambda: run(half)))
    for stage, group in places.items():
        yield _Stage(stage, *([found[name] for name in group] for found in (right, ours, rounded)))


def _fields(inputs: Inputs) -> tuple[Tensor, ...]:
    return (
        inputs.tokens_BNC,
        inputs.sigma_BN,
        inputs.positions_BNX,
        inputs.text_BLE,
        inputs.keep_BL,
    )


def _half(network: Network) -> Network:
    return copy.deepcopy(network).to(torch.bfloat16)


def _in_bfloat16(run: Callable[[], Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return run().float()
