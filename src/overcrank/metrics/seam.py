"""Whether a clip goes on where it was taken up, or where the parts meet that it was decoded in.

Axes: F frames, H W pixels.
"""

from collections.abc import Sequence

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


def seam_of_parts(video: Tensor, reference: Tensor, borders: Sequence[int], dim: int) -> float:
    """How far the step across borders is from that of the same clip decoded whole.

    Mean |d - r| / mean |r|, where r is the whole clip's step from one pixel (or frame) to the next
    along the axis `dim`, everywhere, and d, r of the numerator are steps onto the places
    `borders`: 0 without a seam, 1 where it is as large as a typical step. Any shape.
    """
    step, right = (x.float().diff(dim=dim).movedim(dim, 0) for x in (video, reference))
    places = [border - 1 for border in borders]
    away = (step[places] - right[places]).abs().mean()
    return float(away / right.abs().mean().clamp(min=1e-8))
