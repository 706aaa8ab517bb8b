"""Latent upscalers: twice the height and width, twice the frames, or both, between two passes.

Axes: B batch, C channels, T H W frames, height, width of a latent grid.
Source: Lightricks LTX-Video, `LatentUpsampler` (published as ltxv-spatial-upscaler and
ltxv-temporal-upscaler). It works on raw latents, hence `upscale` for everybody else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import silu

from overcrank.errors import ModelError
from overcrank.vae.autoencoder import Statistics
from overcrank.vae.linear_upsampler import LinearUpsampler, LinearUpsamplerConfig
from overcrank.vae.ops import depth_to_space

GROUPS = 32
MAX_WIDTH = 8192
MAX_BLOCKS = 64
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsamplerConfig:
    """Architecture of an upscaler; fields are named as in the published files."""

    in_channels: int = 128
    mid_channels: int = 512
    num_blocks_per_stage: int = 4
    """Residual blocks before, and again after, the upsampling."""
    spatial_upsample: bool = True
    temporal_upsample: bool = False

    def __post_init__(self) -> None:
        for name, step, high in (
            ("in_channels", 1, MAX_WIDTH),
            ("mid_channels", GROUPS, MAX_WIDTH),
            ("num_blocks_per_stage", 1, MAX_BLOCKS),
        ):
            value = getattr(self, name)
            if type(value) is not int or not step <= value <= high or value % step:
                raise ModelError(
                    f"{name} of an upscaler must be a whole number, got {value!r}: "
                    f"choose a multiple of {step} up to {high}"
                )
        given = (self.spatial_upsample, self.temporal_upsample)
        if not all(isinstance(value, bool) for value in given) or not any(given):
            raise ModelError(
                "an upscaler enlarges space, time or both, got spatial_upsample="
                f"{given[0]!r}, temporal_upsample={given[1]!r}: one of them must be true"
            )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Time, height and width factors."""
        space = 2 if self.spatial_upsample else 1
        return (2 if self.temporal_upsample else 1, space, space)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as in the published files."""
        return {**asdict(self), "dims": 3}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The published JSON, in Lightricks' file or in diffusers' config.json.

        Every field must be there, since published defaults differ from the published models.
        """
        known = {field.name for field in fields(cls)}
        given = {name: values[name] for name in values if not name.startswith("_")}
        if given.pop("dims", None) != 3 or set(given) != known:
            raise ModelError(
                f"the config of an upscaler cannot be used, got {str(dict(values))[:200]}: "
                f"right are dims 3 and {', '.join(sorted(known))}"
            )
        return cls(**given)


class LatentUpsampler(nn.Module):
    """Raw latents (B, C, T, H, W) to raw latents on a finer grid; T frames become 2T - 1."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        width, blocks = config.mid_channels, config.num_blocks_per_stage
        time, height, width_factor = config.stride
        wider = width * time * height * width_factor
        self.initial_conv = nn.Conv3d(config.in_channels, width, 3, padding=1)
        self.initial_norm = nn.GroupNorm(GROUPS, width)
        self.res_blocks = nn.ModuleList(ResBlock(width) for _ in range(blocks))
        # In a list, since the published files call it upsampler.0.
        self.upsampler = nn.ModuleList(
            [nn.Conv3d(width, wider, 3, padding=1) if time == 2 else _FrameConv(width, wider)]
        )
        self.post_upsample_res_blocks = nn.ModuleList(ResBlock(width) for _ in range(blocks))
        self.final_conv = nn.Conv3d(width, config.in_channels, 3, padding=1)

    def forward(self, raw_BCTHW: Tensor) -> Tensor:
        x_BCTHW = silu(self.initial_norm(self.initial_conv(raw_BCTHW)))
        for block in self.res_blocks:
            x_BCTHW = block(x_BCTHW)
        x_BCTHW = depth_to_space(self.upsampler[0](x_BCTHW), self.config.stride)
        x_BCTHW = x_BCTHW[:, :, self.config.stride[0] - 1 :]  # the first frame stands alone
        for block in self.post_upsample_res_blocks:
            x_BCTHW = block(x_BCTHW)
        return self.final_conv(x_BCTHW)

    def upscale(self, latent_BCTHW: Tensor, statistics: Statistics) -> Tensor:
        """Normalised latents to normalised latents; `statistics` are those of their VAE."""
        raw_BCTHW = statistics.restore(latent_BCTHW).to(self.final_conv.weight.dtype)
        return statistics.normalise(self(raw_BCTHW).to(latent_BCTHW.dtype))


class ResBlock(nn.Module):
    """Two convolutions with group norm; the activation comes after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        h_BCTHW = silu(self.norm1(self.conv1(x_BCTHW)))
        return silu(x_BCTHW + self.norm2(self.conv2(h_BCTHW)))


class _FrameConv(nn.Conv2d):
    """A convolution over every frame by itself."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        frames: Tensor = rearrange(x_BCTHW, "b c t h w -> (b t) c h w")
        frames = super().forward(frames)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(x_BCTHW))


Upsampler = LatentUpsampler | LinearUpsampler
"""Published, or ours."""


def save_upsampler(path: str | Path, upsampler: LinearUpsampler) -> None:
    """Write one file, in float16, with the config in its metadata as in the published ones."""
    tensors = {name: t.half().contiguous() for name, t in upsampler.state_dict().items()}
    save_file(tensors, path, {"config": json.dumps(upsampler.config.to_dict())})


def load_upsampler(path: str | Path) -> Upsampler:
    """An upscaler of ours, from Lightricks' single file, or from a folder as diffusers keeps it.

    On the CPU, in the file's own dtype, evaluation mode; nothing is copied and nothing unpickled.
    """
    path = Path(path)
    file = path / "diffusion_pytorch_model.safetensors" if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
        if path.is_dir():
            metadata["config"] = (path / "config.json").read_text(encoding="utf-8")
        build = _build(json.loads(metadata["config"]))
        tensors = load_file(file)
    except (ModelError, SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be used as an upscaler: {error}: right is a file such as "
            "ltxv-spatial-upscaler-0.9.8.safetensors, with its config in the metadata"
        ) from error
    with torch.device("meta"):
        upsampler = build()
    expected = {name: tensor.shape for name, tensor in upsampler.state_dict().items()}
    wrong = [
        name
        for name in expected.keys() | tensors.keys()
        if name not in tensors
        or tensors[name].shape != expected.get(name)
        or tensors[name].dtype not in DTYPES
    ]
    if wrong:
        raise ModelError(
            f"{path} does not fit its own config: missing, surplus, or of another shape or dtype "
            f"are {len(wrong)} tensors, such as {min(wrong)}: right are {len(expected)}, in float"
        )
    upsampler.load_state_dict(tensors, assign=True)
    return upsampler.eval().requires_grad_(False)


def _build(values: Mapping[str, Any]) -> Callable[[], Upsampler]:
    if "rank" in values:
        return partial(LinearUpsampler, LinearUpsamplerConfig.from_dict(values))
    return partial(LatentUpsampler, UpsamplerConfig.from_dict(values))
