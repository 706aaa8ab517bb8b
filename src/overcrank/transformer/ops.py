"""The few plain functions the transformer spends its time in.

`Ops` holds one of each, so that an instance can be given faster ones.
Axes: B batch, N tokens, T clocks, I tokens of one clock (N / T), L context tokens, D width,
P pairs (D / 2), A heads, K head width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def rms_norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    """Divide by the root mean square over the last axis; the statistic is float32."""
    unit: Tensor = _UnitRMS.apply(x, eps)  # type: ignore[no-untyped-call]
    return unit if weight is None else unit * weight.to(x.dtype)


class _UnitRMS(torch.autograd.Function):
    """y = r x with r = 1 / rms(x); backward dx = r (dy - y mean(dy y)), a third of the passes that
    autograd takes. Source: Zhang & Sennrich, arXiv:1910.07467, section 4."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        # vector_norm accumulates in float32 without a float32 copy of x.
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        factor = torch.rsqrt(norm.square() / x.shape[-1] + eps)
        unit = (x * factor).to(x.dtype)
        ctx.save_for_backward(unit, factor)
        return unit

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        unit, factor = ctx.saved_tensors
        along = torch.linalg.vecdot(slope, unit)[..., None] / unit.shape[-1]
        return torch.addcmul(slope, unit, along, value=-1).mul_(factor.to(slope.dtype)), None


def rotate(x_BND: Tensor, rotation_BNP2: Tensor) -> Tensor:
    """Turn each neighbouring pair of x by its angle; the table holds (cos, sin) in float32."""
    if torch.compiler.is_compiling():  # it makes one pass of real products
        return _rotated(x_BND, rotation_BNP2)
    # One complex product is several times faster on CPUs than its four real ones.
    x_BNP = torch.view_as_complex(rearrange(x_BND.float(), "b n (p c) -> b n p c", c=2))
    turned_BNP2 = torch.view_as_real(x_BNP * torch.view_as_complex(rotation_BNP2))
    return turned_BNP2.flatten(-2).to(x_BND.dtype)


def _rotated(x_BND: Tensor, rotation_BNP2: Tensor) -> Tensor:
    cos_BNP, sin_BNP = rotation_BNP2.unbind(-1)
    a_BNP, b_BNP = x_BND.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = (a_BNP * cos_BNP - b_BNP * sin_BNP, a_BNP * sin_BNP + b_BNP * cos_BNP)
    return torch.stack(turned, dim=-1).flatten(-2).to(x_BND.dtype)


def modulate(x_BND: Tensor, shift_BTD: Tensor, scale_BTD: Tensor) -> Tensor:
    """x * (1 + scale) + shift, where each of the T clocks holds for N / T neighbouring tokens."""
    x_BTID = x_BND.unflatten(1, (shift_BTD.shape[1], -1))
    return torch.addcmul(shift_BTD[:, :, None], x_BTID, 1 + scale_BTD[:, :, None]).flatten(1, 2)


def add_gated(x_BND: Tensor, gate_BTD: Tensor, y_BND: Tensor) -> Tensor:
    """x + gate * y, with clocks as in `modulate`."""
    x_BTID, y_BTID = (z.unflatten(1, (gate_BTD.shape[1], -1)) for z in (x_BND, y_BND))
    return torch.addcmul(x_BTID, gate_BTD[:, :, None], y_BTID).flatten(1, 2)


def attention(
    q_BND: Tensor, k_BLD: Tensor, v_BLD: Tensor, heads: int, keep_BL: Tensor | None = None
) -> Tensor:
    """softmax(q k / sqrt(K)) v in each head; True in `keep_BL` means: may be attended to."""
    mask = None if keep_BL is None else keep_BL[:, None, None, :]
    q, k, v = (rearrange(x, "b n (a k) -> b a n k", a=heads) for x in (q_BND, k_BLD, v_BLD))
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        # On CPUs the fused backward takes up to three times as long in bfloat16.
        compiling = torch.compiler.is_compiling()
        steps = _Attention.apply if compiling else _written_out
        out_BANK: Tensor = steps(q, k, v, mask)
    else:
        out_BANK = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return rearrange(out_BANK, "b a n k -> b n (a k)")


def _written_out(q_BANK: Tensor, k_BALK: Tensor, v_BALK: Tensor, mask: Tensor | None) -> Tensor:
    """Attention in three steps; the softmax is float32."""
    scores_BANL = (q_BANK * q_BANK.shape[-1] ** -0.5) @ k_BALK.transpose(-1, -2)
    if mask is not None:
        scores_BANL = scores_BANL.masked_fill(~mask, -torch.inf)
    weights_BANL: Tensor = scores_BANL.softmax(-1, dtype=torch.float32).to(v_BALK.dtype)
    return weights_BANL @ v_BALK


class _Attention(torch.autograd.Function):
    """The same with a backward pass that a compiler makes one pass over the weights:
    dS = P (dO V' - rowsum(dO O)). Source: Dao et al., arXiv:2205.14135, appendix B.2."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores_BANL = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores_BANL = scores_BANL.masked_fill(~mask, -torch.inf)
        weights_BANL = scores_BANL.softmax(-1, dtype=torch.float32).to(v.dtype)
        out_BANK: Tensor = weights_BANL @ v
        ctx.save_for_backward(q, k, v, weights_BANL, out_BANK)
        return out_BANK

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights_BANL, out_BANK = ctx.saved_tensors
        along_BAN1 = (slope.float() * out_BANK.float()).sum(-1, keepdim=True)
        to_weights_BANL = (slope @ v.transpose(-1, -2)).float()
        to_scores_BANL = weights_BANL * (to_weights_BANL - along_BAN1) * q.shape[-1] ** -0.5
        to_scores_BANL = to_scores_BANL.to(q.dtype)
        to_k_BALK = to_scores_BANL.transpose(-1, -2) @ q
        return to_scores_BANL @ k, to_k_BALK, weights_BANL.transpose(-1, -2) @ slope, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops:
    """One implementation of each function above."""

    rms_norm: Callable[..., Tensor] = rms_norm
    rotate: Callable[[Tensor, Tensor], Tensor] = rotate
    modulate: Callable[[Tensor, Tensor, Tensor], Tensor] = modulate
    add_gated: Callable[[Tensor, Tensor, Tensor], Tensor] = add_gated
    attention: Callable[..., Tensor] = attention


PLAIN = Ops()
