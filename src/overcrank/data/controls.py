"""Videos that say where things are in a clip, computed from it: references for IC-LoRAs."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from overcrank.metrics.wavelet import LUMA

_ACROSS = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def edges(frames_FHW3: Tensor) -> Tensor:
    """How fast brightness changes: uint8 frames -> uint8 frames, grey.

    The length of the Sobel gradient; black where nothing changes, white at a step of half the
    range and more.
    """
    grey_F1HW = (frames_FHW3.float() @ torch.tensor(LUMA))[:, None]
    padded = pad(grey_F1HW, (1, 1, 1, 1), mode="replicate")
    across_and_down = conv2d(padded, torch.stack([_ACROSS, _ACROSS.T])[:, None])
    strength_FHW = across_and_down.norm(dim=1) / 2  # a step of c has a gradient of 4 c
    edges_FHW = strength_FHW.round().clamp(max=255).to(torch.uint8)
    return edges_FHW[..., None].expand(-1, -1, -1, 3).contiguous()


CONTROLS: Mapping[str, Callable[[Tensor], Tensor]] = {"edges": edges}
"""By the names that a run calls them."""
