"""Frames of another size."""

from torch import Tensor
from torch.nn.functional import interpolate


def resized(frames_FHW3: Tensor, height: int, width: int) -> Tensor:
    """A copy of uint8 frames of another size, scaled smoothly (antialiased)."""
    if tuple(frames_FHW3.shape[1:3]) == (height, width):
        return frames_FHW3.clone()
    scaled_F3HW = interpolate(
        frames_FHW3.permute(0, 3, 1, 2), (height, width), mode="bilinear", antialias=True
    )
    return scaled_F3HW.permute(0, 2, 3, 1).contiguous()
