"""How well a clip agrees with what was asked of it: depth, edges, tracks, masks, events.

What was found in the clip is compared with what is true of it. Everything is counted in pixels of
the maps that are given, or in seconds. Axes: F frames, H W pixels, P points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

STEPS = (1, 2, 4, 8, 16)
"""Pixels of a frame of 256 x 256 within which a point counts as found. Source: TAP-Vid."""


@dataclass(frozen=True, slots=True)
class Match:
    """Of what was found, the part that is true (precision); of the true, what was found (recall).

    The first is 1 where nothing was found, the second where there was nothing to find.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean, in [0, 1]."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def depth_error(found_FHW: Tensor, true_FHW: Tensor) -> float:
    """Mean absolute error of depth, or disparity, whatever the scale and shift of either: 0 is
    perfect, about 1 a depth that has nothing to do with the true one.

    From each frame its median is subtracted, and the mean absolute deviation from that divides it.
    Places whose true depth is not finite are left out, and so are frames without any other; what
    was found must be finite where the truth is. Raises ValueError if no depth is known. Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation", arXiv:1907.01341, equations 5 and 6.
    """
    errors = []
    for found_HW, true_HW, known_HW in _known(found_FHW, true_FHW, true_FHW.isfinite()):
        found, true = _standard(found_HW[known_HW]), _standard(true_HW[known_HW])
        errors.append((found - true).abs().mean())
    return float(torch.stack(errors).mean())


def relative_depth_error(found_FHW: Tensor, true_FHW: Tensor) -> float:
    """AbsRel: mean of |found - true| / true over places of known, positive depth, after the scale
    and shift of each frame that fit best in squares (Ranftl et al., equation 4). Frames without
    such places are left out; raises ValueError if no frame has any."""
    errors = []
    positive_FHW = true_FHW.isfinite() & (true_FHW > 0)
    for found_HW, true_HW, known_HW in _known(found_FHW, true_FHW, positive_FHW):
        found, true = found_HW[known_HW].double(), true_HW[known_HW].double()
        columns = torch.stack([found, torch.ones_like(found)], 1)
        fit = torch.linalg.lstsq(columns, true[:, None], driver="gelsd").solution
        errors.append(((columns @ fit)[:, 0] - true).abs().div(true).mean())
    return float(torch.stack(errors).mean())


def edge_match(found_FHW: Tensor, true_FHW: Tensor, tolerance: int = 1) -> Match:
    """Of bool maps: an edge is matched by one at most `tolerance` pixels away, also diagonally."""
    near_found, near_true = (_widened(each, tolerance) for each in (found_FHW, true_FHW))
    return Match(_share(near_true, found_FHW), _share(near_found, true_FHW))


@dataclass(frozen=True, slots=True)
class TrackError:
    """`pixels` is the mean distance of points from where they should be, in pixels of the clip;
    `within` the part of them less than 1, 2, 4, 8, 16 pixels off if the frame were 256 pixels wide
    and high; `average` their mean, in [0, 1]."""

    pixels: float
    within: dict[int, float]

    @property
    def average(self) -> float:
        """TAP-Vid's delta: Doersch et al., arXiv:2211.03726, section 3.3."""
        return sum(self.within.values()) / len(self.within)


def track_error(
    found_PF2: Tensor, true_PF2: Tensor, visible_PF: Tensor, size: tuple[int, int]
) -> TrackError:
    """Of points (column, row) in a frame of `size` (height, width), where they are visible (bool).

    Raises ValueError if none ever is.
    """
    if not visible_PF.any():
        raise ValueError("no point is visible in any frame: give tracks of something that is seen")
    away_PF2 = (found_PF2 - true_PF2).double()
    height, width = size
    scaled_PF2 = away_PF2 * torch.tensor([256 / width, 256 / height], dtype=torch.float64)
    scaled = scaled_PF2.norm(dim=-1)[visible_PF]
    return TrackError(
        pixels=float(away_PF2.norm(dim=-1)[visible_PF].mean()),
        within={step: float((scaled < step).double().mean()) for step in STEPS},
    )


def mask_overlap(found_FHW: Tensor, true_FHW: Tensor) -> float:
    """Intersection over union of bool masks, all frames together; 1 if both are empty."""
    union = int((found_FHW | true_FHW).sum())
    return int((found_FHW & true_FHW).sum()) / union if union else 1.0


def event_match(found: Sequence[float], true: Sequence[float], tolerance: float = 0.1) -> Match:
    """Of times in seconds: each true event may be found once, at most `tolerance` seconds away."""
    found, true, hits = sorted(found), sorted(true), 0
    i = k = 0
    while i < len(found) and k < len(true):
        if abs(found[i] - true[k]) <= tolerance:
            hits, i, k = hits + 1, i + 1, k + 1
        elif found[i] < true[k]:
            i += 1
        else:
            k += 1
    return Match(*(hits / len(each) if each else float(not hits) for each in (found, true)))


def _known(
    found_FHW: Tensor, true_FHW: Tensor, known_FHW: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The frames in which something is known."""
    if not known_FHW.any():
        raise ValueError("no true depth is known in any frame: give one that is finite, above 0")
    frames = zip(found_FHW, true_FHW, known_FHW, strict=True)
    return [frame for frame in frames if frame[2].any()]


def _standard(values: Tensor) -> Tensor:
    values = values.double()
    values = values - values.median()
    return values / values.abs().mean().clamp(min=1e-12)


def _widened(map_FHW: Tensor, by: int) -> Tensor:
    return max_pool2d(map_FHW[:, None].float(), 2 * by + 1, stride=1, padding=by)[:, 0] > 0


def _share(near_FHW: Tensor, of_FHW: Tensor) -> float:
    """The part of the second map that the first one covers."""
    count = int(of_FHW.sum())
    return int((near_FHW & of_FHW).sum()) / count if count else 1.0
