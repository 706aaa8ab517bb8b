"""Spoiling the clips that the recogniser learns from, as autoencoders and poor models do.

Axes: B batch, C channels, F frames, H W pixels, S slots.
"""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from overcrank.toybox.recogniser import NAMES, OF_ACTOR

UNSURE = -1
"""Label of what cannot be told."""
_LEFT, _RIGHT = NAMES["motion"].index("left"), NAMES["motion"].index("right")

Labels = dict[str, Tensor]


def spoil(
    frames_BFHWC: Tensor, labels: Labels, dice: torch.Generator, blank: float = 0.06
) -> tuple[Tensor, Labels]:
    """uint8 frames -> RGB about [-1, 1], (B, 3, F, H, W), with the labels that fit.

    Clips are mirrored, moved, smeared over neighbouring frames, blurred, tinted and noisy; a part
    `blank` of them is replaced by clips of nothing. All tensors are on the device of `dice`.
    """
    video_BCFHW = rearrange(frames_BFHWC, "b f h w c -> b c f h w").float() / 127.5 - 1
    mirrored_B = _chance(len(video_BCFHW), 0.5, dice)
    theta_B23 = _moves(mirrored_B, dice)
    video_BCFHW = _moved(video_BCFHW, theta_B23)
    labels = _mirrored(labels, mirrored_B)
    shift_B2, zoom_B2 = theta_B23[:, :, 2], theta_B23.diagonal(dim1=1, dim2=2)
    labels["centre"] = (labels["centre"] - shift_B2[:, None, None]) / zoom_B2[:, None, None]
    video_BCFHW = _smeared(video_BCFHW, _chance(len(video_BCFHW), 0.3, dice))
    for side in (44, 32, 24, 16, 10):
        chosen = _chance(len(video_BCFHW), 0.08, dice).nonzero()[:, 0]
        if len(chosen):
            video_BCFHW[chosen] = _coarse(video_BCFHW[chosen], side)
    chosen = _chance(len(video_BCFHW), 0.25, dice).nonzero()[:, 0]
    if len(chosen):
        blocks = _uniform((len(chosen), 1, 1, 1), 0.2, 0.8, dice)
        video_BCFHW[chosen] = _blocky(video_BCFHW[chosen], blocks)
    tint = (len(video_BCFHW), 3, 1, 1, 1)
    video_BCFHW = video_BCFHW * _uniform(tint, 0.9, 1.1, dice) + _uniform(tint, -0.07, 0.07, dice)
    strength = 0.15 * _uniform((len(video_BCFHW), 1, 1, 1, 1), 0, 1, dice).square()
    video_BCFHW += strength * torch.randn(video_BCFHW.shape, generator=dice, device=dice.device)
    blank_B = _chance(len(video_BCFHW), blank, dice)
    for i in blank_B.nonzero()[:, 0].tolist():
        video_BCFHW[i] = _nothing(video_BCFHW[i].shape, dice)
    return video_BCFHW, {**labels, **{name: _unsure(labels[name], blank_B) for name in NAMES}}


def _uniform(shape: tuple[int, ...], low: float, high: float, dice: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=dice, device=dice.device)


def _chance(count: int, part: float, dice: torch.Generator) -> Tensor:
    return torch.rand(count, generator=dice, device=dice.device) < part


def _mirrored(labels: Labels, mirrored_B: Tensor) -> Labels:
    """Left becomes right, and the actors, who come first in their slots, change order."""
    count_B = (labels["shape"] >= 0).sum(1)
    slots_S = torch.arange(labels["shape"].shape[1], device=mirrored_B.device)
    reverse_BS = count_B[:, None] - 1 - slots_S
    swap_BS = mirrored_B[:, None] & (reverse_BS >= 0)
    order_BS = torch.where(swap_BS, reverse_BS, slots_S)
    changed = {name: labels[name].gather(1, order_BS) for name in OF_ACTOR}
    motion_BS = changed["motion"]
    other_BS = torch.where(
        motion_BS == _LEFT, _RIGHT, torch.where(motion_BS == _RIGHT, _LEFT, motion_BS)
    )
    changed["motion"] = torch.where(mirrored_B[:, None], other_BS, motion_BS)
    first_BS = torch.arange(len(order_BS), device=mirrored_B.device)[:, None]
    return {**labels, **changed, "centre": labels["centre"][first_BS, order_BS]}


def _moves(mirrored_B: Tensor, dice: torch.Generator) -> Tensor:
    """A shift of up to 4 %, a zoom of up to 5 %: where each place of a frame is taken from."""
    batch = len(mirrored_B)
    zoom_B = _uniform((batch,), 0.95, 1.05, dice)
    theta_B23 = torch.zeros(batch, 2, 3, device=dice.device)
    theta_B23[:, 0, 0] = zoom_B * torch.where(mirrored_B, -1.0, 1.0)
    theta_B23[:, 1, 1] = zoom_B
    theta_B23[:, :, 2] = _uniform((batch, 2), -0.08, 0.08, dice)
    return theta_B23


def _moved(video_BCFHW: Tensor, theta_B23: Tensor) -> Tensor:
    """The same move in all frames of a clip."""
    frames = video_BCFHW.shape[2]
    flat = rearrange(video_BCFHW, "b c f h w -> b (c f) h w")
    grid = F.affine_grid(theta_B23, list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, padding_mode="reflection", align_corners=False)
    return rearrange(moved, "b (c f) h w -> b c f h w", f=frames)


def _smeared(video_BCFHW: Tensor, chosen_B: Tensor) -> Tensor:
    """Chosen clips get half of the frame before and after mixed in."""
    ends = torch.cat([video_BCFHW[:, :, :1], video_BCFHW, video_BCFHW[:, :, -1:]], dim=2)
    mixed = video_BCFHW / 2 + (ends[:, :, :-2] + ends[:, :, 2:]) / 4
    return torch.where(chosen_B[:, None, None, None, None], mixed, video_BCFHW)


def _coarse(video_BCFHW: Tensor, side: int) -> Tensor:
    """As sharp as a picture of `side` pixels."""
    flat = rearrange(video_BCFHW, "b c f h w -> b (c f) h w")
    small = F.interpolate(flat, (side, side), mode="bilinear", antialias=True)
    large = F.interpolate(small, flat.shape[2:], mode="bilinear")
    return large.unflatten(1, (3, -1))


def _blocky(video_BCFHW: Tensor, strength_B111: Tensor) -> Tensor:
    """Details within blocks of 4 x 4 pixels are weakened."""
    flat = rearrange(video_BCFHW, "b c f h w -> b (c f) h w")
    blocks = F.interpolate(F.avg_pool2d(flat, 4), scale_factor=4.0)
    return torch.lerp(flat, blocks, strength_B111).unflatten(1, (3, -1))


def _nothing(shape: torch.Size, dice: torch.Generator) -> Tensor:
    """Noise, coarse or fine, still or moving, on some colour: (C, F, H, W)."""
    channels, frames, height, width = shape
    sizes = torch.rand(2, generator=dice, device=dice.device).tolist()
    coarse, moments = 1 + int(32 * sizes[0]), 1 + int(8 * sizes[1])
    seeds = torch.randn(
        (1, channels, moments, max(2, height // coarse), max(2, width // coarse)),
        generator=dice,
        device=dice.device,
    )
    field = F.interpolate(seeds, (frames, height, width), mode="trilinear")[0]
    strength, ground = _uniform((1,), 0.02, 0.8, dice), _uniform((3, 1, 1, 1), -0.8, 0.8, dice)
    return (ground + strength * field).clamp(-1.1, 1.1)


def _unsure(label: Tensor, blank_B: Tensor) -> Tensor:
    return torch.where(blank_B.reshape(-1, *[1] * (label.ndim - 1)), UNSURE, label)
