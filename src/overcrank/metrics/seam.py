"""Whether a clip goes on where it was taken up. Axes: F frames, H W pixels."""

from torch import Tensor

NEIGHBOURS = 8
"""Changes on each side of the border that say what is typical."""
STILL = 0.25
"""Grey levels of 255 that a clip in which nothing moves changes, at most: a border in it is
compared with these."""


def seam(frames: Tensor, border: int) -> float:
    """How much larger the change from frame `border` - 1 to frame `border` is than the median
    of the 8 changes before and after it: 1 is seamless.

    Changes are mean absolute differences of uint8 frames (F, H, W, 3), `STILL` at least. Raises
    ValueError where there is no such frame, or no other change to compare with.
    """
    if not 1 <= border <= len(frames) - 1 or len(frames) < 3:
        raise ValueError(
            f"a border lies between three frames or more, got {border} of {len(frames)}"
        )
    near = frames[max(0, border - 1 - NEIGHBOURS) : border + 1 + NEIGHBOURS].float()
    change_F = near.diff(dim=0).abs().mean((1, 2, 3))
    at = min(border - 1, NEIGHBOURS)
    others = [float(change) for i, change in enumerate(change_F) if i != at]
    typical = sorted(others)[len(others) // 2]
    return max(float(change_F[at]), STILL) / max(typical, STILL)
