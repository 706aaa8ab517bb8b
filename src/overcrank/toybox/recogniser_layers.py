"""What the recogniser is built of: convolutions over cells, and slots that look at them.

Axes: B batch, C channels, F frames, H W pixels or cells, N cells of a whole clip, S slots,
D width, A heads, K head width.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def with_hints(clip_BCFHW: Tensor, longest: int) -> Tensor:
    """Squares of 2 x 2 pixels become one: (B, F, 27, H, W) of colours, what changed since the
    frame before, and when (in parts of `longest` frames) and where it is."""
    batch, _, frames = clip_BCFHW.shape[:3]
    before = torch.cat([clip_BCFHW[:, :, :1], clip_BCFHW[:, :, :-1]], dim=2)
    seen = rearrange(
        torch.cat([clip_BCFHW, 2 * (clip_BCFHW - before)], 1), "b c f h w -> b f c h w"
    )
    seen = F.pad(seen, (0, seen.shape[4] % 2, 0, seen.shape[3] % 2))
    seen = F.pixel_unshuffle(seen, 2)
    high, wide = seen.shape[3:]
    short = min(high, wide)
    axes = [
        torch.arange(frames, device=seen.device) / longest,
        *((torch.arange(n, device=seen.device) + 0.5 - n / 2) / short for n in (high, wide)),
    ]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=1)
    return torch.cat([seen, where.expand(batch, -1, -1, -1, -1)], dim=2)


class Conv(nn.Sequential):
    """3 x 3 convolution, normalisation, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class Residual(nn.Module):
    """A convolution that adds to what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv(x_BCHW)


class TimeConv(nn.Module):
    """Each cell on its own: how it changes over three frames."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.taps = nn.Parameter(torch.randn(3, width) / 3**0.5)
        self.mix = nn.Linear(width, width)

    def forward(self, x_BNFC: Tensor) -> Tensor:
        frames = x_BNFC.shape[2]
        y = F.pad(self.norm(x_BNFC), (0, 0, self.dilation, self.dilation))
        parts = (
            y[:, :, i * self.dilation :][:, :, :frames] * tap for i, tap in enumerate(self.taps)
        )
        return F.silu(self.mix(sum(parts, torch.zeros_like(x_BNFC))))


class Look(nn.Module):
    """Slots look at the cells, then at each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_cells, self.norm_slots = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_inner, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.inner_in, self.inner_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, slots_BSD: Tensor, cells_BND: Tensor) -> Tensor:
        key, value = self.key_value(self.norm_cells(cells_BND)).chunk(2, -1)
        seen = self._attend(self.query(self.norm_slots(slots_BSD)), key, value)
        slots_BSD = slots_BSD + self.out(seen)
        inner = self._attend(*self.inner_in(self.norm_inner(slots_BSD)).chunk(3, -1))
        slots_BSD = slots_BSD + self.inner_out(inner)
        return slots_BSD + self.mlp(self.norm_mlp(slots_BSD))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (rearrange(x, "b n (a k) -> b a n k", a=self.heads) for x in (query, key, value))
        return rearrange(F.scaled_dot_product_attention(q, k, v), "b a n k -> b n (a k)")


class Reader(nn.Module):
    """Slots that have looked at all cells of a clip, `layers` times."""

    def __init__(self, slots: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.queries_SD = nn.Parameter(torch.randn(slots, width))
        self.look = nn.ModuleList(Look(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, cells_BFDHW: Tensor) -> Tensor:
        """(B, S, D)"""
        cells_BND = rearrange(cells_BFDHW, "b f d h w -> b (f h w) d")
        slots_BSD = self.queries_SD.expand(len(cells_BND), -1, -1)
        for layer in self.look:
            slots_BSD = layer(slots_BSD, cells_BND)
        out: Tensor = self.norm(slots_BSD)
        return out
