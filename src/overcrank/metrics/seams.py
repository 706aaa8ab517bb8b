"""Seams where the parts meet that a clip was decoded in."""

from collections.abc import Sequence

from torch import Tensor


def seam(video: Tensor, reference: Tensor, borders: Sequence[int], dim: int) -> float:
    """How far the step across borders is from that of the same clip decoded whole.

    Mean |d - r| / mean |r|, where r is the whole clip's step from one pixel (or frame) to the next
    along the axis `dim`, everywhere, and d, r of the numerator are steps onto the places
    `borders`: 0 without a seam, 1 where it is as large as a typical step.
    """
    step, right = (x.float().diff(dim=dim).movedim(dim, 0) for x in (video, reference))
    places = [border - 1 for border in borders]
    away = (step[places] - right[places]).abs().mean()
    return float(away / right.abs().mean().clamp(min=1e-8))
