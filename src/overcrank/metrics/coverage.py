"""Two halves of a distance: do made clips look true, and are all kinds of true clips made?

Around each true clip lies a ball that reaches to its k-th nearest true neighbour.
Source: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models",
arXiv:2002.09797, equations 3 and 4. Axes: B true clips, M made clips, N features.
"""

import torch
from torch import Tensor

from overcrank.errors import RequestError

NEIGHBOURS = 5
"""k, as in the paper."""


def density_and_coverage(
    true_BN: Tensor, made_MN: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Density: in how many balls a made clip lies, as a part of k on the average; 1 if both sets
    are alike, 0 if no made clip is near, above 1 where made clips crowd at the densest places.
    Coverage: the part of the balls that hold a made clip; 1 - 2^-k, 0.97, if both are alike.

    RequestError if there are no more true clips than neighbours.
    """
    if len(true_BN) <= neighbours:
        raise RequestError(
            f"too few true clips for density and coverage: got {len(true_BN)}, needed are "
            f"{neighbours + 1}: measure more clips"
        )
    true_BN, made_MN = true_BN.double(), made_MN.double()
    exact = "donot_use_mm_for_euclid_dist"
    apart_BB = torch.cdist(true_BN, true_BN, compute_mode=exact)
    radius_B = apart_BB.kthvalue(neighbours + 1, dim=1).values  # a clip is its own nearest
    inside_BM = torch.cdist(true_BN, made_MN, compute_mode=exact) < radius_B[:, None]
    density = inside_BM.sum(0).double().mean() / neighbours
    return float(density), float(inside_BM.any(1).double().mean())
