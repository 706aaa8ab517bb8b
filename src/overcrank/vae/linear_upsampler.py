"""A latent upscaler without activations, small enough to ship: fitted in closed form.

What a refining pass needs of it is where things are and what they look like from afar; what is
finer is noised and made anew.

Axes: B batch, C channels, T H W frames, height, width of a latent grid, K clips of one shape.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from overcrank.errors import ModelError

SIDE = 3
"""Of the neighbourhood, in cells, that a cell's four cells are made from."""
RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearUpsamplerConfig:
    """Its architecture."""

    in_channels: int = 128
    rank: int = 192
    """Numbers that a cell's four cells are made from."""

    def __post_init__(self) -> None:
        for name in ("in_channels", "rank"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 4096:
                raise ModelError(
                    f"{name} of an upscaler must be a whole number, got {value!r}: choose one up "
                    "to 4096"
                )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Time, height and width factors."""
        return (1, 2, 2)

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        if set(values) != {"in_channels", "rank"}:
            raise ModelError(
                f"the config of an upscaler cannot be used, got {str(dict(values))[:200]}: "
                "right are in_channels and rank"
            )
        return cls(**values)


class LinearUpsampler(nn.Module):
    """Normalised latents (B, C, T, H, W) to (B, C, T, 2H, 2W), every frame by itself."""

    def __init__(self, config: LinearUpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.near = nn.Conv2d(
            config.in_channels,
            config.rank,
            SIDE,
            padding=SIDE // 2,
            padding_mode="replicate",
            bias=False,
        )
        self.apart = nn.Conv2d(config.rank, 4 * config.in_channels, 1)

    def forward(self, latent_BCTHW: Tensor) -> Tensor:
        frames = rearrange(latent_BCTHW, "b c t h w -> (b t) c h w")
        frames = F.pixel_shuffle(self.apart(self.near(frames)), 2)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(latent_BCTHW))

    def upscale(self, latent_BCTHW: Tensor, _statistics: object) -> Tensor:
        """As `LatentUpsampler.upscale`; this one knows normalised latents already."""
        out: Tensor = self(latent_BCTHW.to(self.apart.weight.dtype))
        return out.to(latent_BCTHW.dtype)

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """The least squared error on pairs of (K, C, T, H, W) and (K, C, T, 2H, 2W).

        Of the full linear map, the part whose outputs vary most is kept (reduced-rank regression).
        Source: Izenman, J. Multivariate Analysis 5 (1975), section 3.
        """
        inside = across = torch.zeros((), dtype=torch.float64)
        for small, large in pairs:
            x, y = _neighbourhoods(small.float()), _fours(large.float())
            inside, across = inside + (x.T @ x).double(), across + (x.T @ y).double()
        ridge = RIDGE * inside.diagonal().mean() * torch.eye(len(inside), dtype=torch.float64)
        whole = torch.linalg.solve(inside + ridge, across)
        slope, mean_x = whole[:-1], inside[-1, :-1] / inside[-1, -1]
        spread = inside[:-1, :-1] - inside[-1, -1] * torch.outer(mean_x, mean_x)
        # The outputs vary by these directions, the last of them most.
        _, directions = torch.linalg.eigh(slope.T @ spread @ slope)
        kept = directions[:, -self.config.rank :]
        rest = slope - slope @ kept @ kept.T  # of which the mean is left
        self.near.weight.copy_((slope @ kept).T.reshape(self.near.weight.shape))
        self.apart.weight.copy_(kept[:, :, None, None])
        self.apart.bias.copy_(whole[-1] + mean_x @ rest)  # type: ignore[union-attr]


def _neighbourhoods(latent: Tensor) -> Tensor:
    """Rows of the numbers around each cell, and a one."""
    frames = rearrange(latent, "k c t h w -> (k t) c h w")
    around = F.unfold(F.pad(frames, (SIDE // 2,) * 4, mode="replicate"), SIDE)
    rows = rearrange(around, "n d l -> (n l) d")
    return F.pad(rows, (0, 1), value=1.0)


def _fours(latent: Tensor) -> Tensor:
    """Rows of the numbers of the four cells in place of each, as `pixel_shuffle` has them."""
    frames = rearrange(latent, "k c t h w -> (k t) c h w")
    return rearrange(F.pixel_unshuffle(frames, 2), "n d h w -> (n h w) d")
