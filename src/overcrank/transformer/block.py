"""One block of the video transformer.

Axes: B batch, N video tokens, T clocks (of N / T tokens each), L context tokens, D width,
P pairs (D / 2).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overcrank.flow import SkipMode
from overcrank.transformer.attention import Attention
from overcrank.transformer.config import Activation, TransformerConfig
from overcrank.transformer.ops import PLAIN, Ops

NORM_EPS = 1e-6


def activation(name: Activation) -> nn.Module:
    """The activation that a config names."""
    return SiLU() if name == "silu" else nn.GELU(approximate="tanh")


class SiLU(nn.Module):
    """In place where nothing is learnt: hidden values are the largest there are."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; x is gone afterwards, unless there are gradients."""
        return F.silu(x, inplace=not torch.is_grad_enabled())


class Projection(nn.Module):
    """A linear layer and an activation."""

    def __init__(self, width_in: int, width_out: int, act: Activation) -> None:
        super().__init__()
        self.proj = nn.Linear(width_in, width_out)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width_out)."""
        out: Tensor = self.act(self.proj(x))
        return out


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, inner: int, act: Activation) -> None:
        super().__init__()
        # The empty place is the published models' dropout; it keeps their parameter names.
        self.net = nn.Sequential(
            Projection(width, inner, act), nn.Identity(), nn.Linear(inner, width)
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out_BND: Tensor = self.net(x_BND)
        return out_BND


class Block(nn.Module):
    """Self-attention over all of space and time, cross-attention to the text, feed-forward.

    The noise level shifts, scales and gates the first and the last; the cross-attention reads
    the bare residual stream. Source: Chen et al., "PixArt-alpha", arXiv:2310.00426, section 2.3
    (adaLN-single); LTX-Video, arXiv:2501.00103, section 2.2.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.ops: Ops = PLAIN
        self.scale_shift_table = nn.Parameter(torch.empty(6, width))
        nn.init.kaiming_uniform_(self.scale_shift_table, nonlinearity="linear")
        self.attn1 = Attention(width, config.heads)
        self.attn2 = Attention(width, config.heads)
        self.ff = FeedForward(width, config.ff_multiple * width, config.activation)

    def forward(
        self,
        h_BND: Tensor,
        modulation_BT6D: Tensor,
        context_BLD: Tensor,
        rotation_BNP2: Tensor,
        *,
        keep_BL: Tensor | None,
        skip: SkipMode | None,
    ) -> Tensor:
        """One step of the residual stream; `keep_BL` is True where text may be attended to.

        With `skip` the self-attention mixes nothing, or the whole block does nothing.
        """
        if skip == "transformer_block":
            return h_BND
        table_BT6D = self.scale_shift_table.to(modulation_BT6D.dtype) + modulation_BT6D
        shift1, scale1, gate1, shift2, scale2, gate2 = table_BT6D.unbind(dim=2)

        u_BND = self.ops.modulate(self.ops.rms_norm(h_BND, NORM_EPS), shift1, scale1)
        mixed_BND = self.attn1(u_BND, rotation_BNP2=rotation_BNP2, skip=skip)
        h_BND = self.ops.add_gated(h_BND, gate1, mixed_BND)

        h_BND = h_BND + self.attn2(h_BND, context_BLD, keep_BL=keep_BL)

        u_BND = self.ops.modulate(self.ops.rms_norm(h_BND, NORM_EPS), shift2, scale2)
        return self.ops.add_gated(h_BND, gate2, self.ff(u_BND))
