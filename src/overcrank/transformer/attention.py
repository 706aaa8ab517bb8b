"""Attention of the video transformer.

Axes: B batch, N video tokens, L context tokens, D width, P pairs (D / 2).
"""

import torch
from torch import Tensor, nn

from overcrank.flow import SkipMode
from overcrank.transformer.ops import PLAIN, Ops

QK_NORM_EPS = 1e-5


class Scale(nn.Module):
    """One learned factor for each channel of a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Attention(nn.Module):
    """Self-attention, or cross-attention when a context is passed.

    Queries and keys are RMS-normalised over the whole width D before the heads are split.
    Source: LTX-Video, arXiv:2501.00103, section 2.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ops: Ops = PLAIN
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.q_norm = Scale(width)
        self.k_norm = Scale(width)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(
        self,
        x_BND: Tensor,
        context_BLD: Tensor | None = None,
        *,
        rotation_BNP2: Tensor | None = None,
        keep_BL: Tensor | None = None,
        skip: SkipMode | None = None,
    ) -> Tensor:
        """`keep_BL` is True where a context token may be attended to; None keeps all.

        With `skip` nothing is mixed: each token attends to itself alone ("attention_values"), or
        its own input stands for what attention gives ("attention_skip").
        """
        source = x_BND if context_BLD is None else context_BLD
        out_BND: Tensor
        if skip is not None:
            out_BND = self.to_out(source if skip == "attention_skip" else self.to_v(source))
            return out_BND
        q = self.ops.rms_norm(self.to_q(x_BND), QK_NORM_EPS, self.q_norm.weight)
        k = self.ops.rms_norm(self.to_k(source), QK_NORM_EPS, self.k_norm.weight)
        if rotation_BNP2 is not None:
            q = self.ops.rotate(q, rotation_BNP2)
            k = self.ops.rotate(k, rotation_BNP2)
        out_BND = self.to_out(self.ops.attention(q, k, self.to_v(source), self.heads, keep_BL))
        return out_BND
