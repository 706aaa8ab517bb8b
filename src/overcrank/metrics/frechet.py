"""How far two sets of clips are apart, by the features of a network: two Gaussians are compared.

    d = |m - n|^2 + tr(C + D - 2 (C D)^(1/2))

for features with means m, n and covariances C, D. Source: Heusel et al., "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium", arXiv:1706.08500, equation 6.

It is too large for small sets, the more the more features there are: compare sets of one size
only. Axes: B clips, N features.
"""

import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.metrics.coverage import NEIGHBOURS

Moments = tuple[Tensor, Tensor]


def frechet_distance(one_BN: Tensor, other_BN: Tensor) -> float:
    """`d` of two sets of features; RequestError if they hold fewer than `clips_needed`."""
    width = one_BN.shape[1]
    for features_BN in (one_BN, other_BN):
        check_enough(len(features_BN), width)
    return frechet(moments(one_BN), moments(other_BN))


def clips_needed(width: int) -> int:
    """Fewer leave the covariance of so many features without an inverse, or clips without
    neighbours."""
    return max(width, NEIGHBOURS) + 1


def check_enough(count: int, width: int) -> None:
    """Refuse to compare sets that are smaller than `clips_needed`."""
    if count < clips_needed(width):
        raise RequestError(
            f"too few clips for a Frechet distance of {width} features: got {count}, "
            f"needed are {clips_needed(width)}: measure more clips"
        )


def moments(features_BN: Tensor) -> Moments:
    """Mean (N,) and covariance (N, N), float64."""
    features_BN = features_BN.double()
    width = features_BN.shape[1]
    return features_BN.mean(0), torch.cov(features_BN.T).reshape(width, width)


def frechet(one: Moments, other: Moments) -> float:
    """`d` of two sets that are known by their moments, in float64."""
    (mean, cov_NN), (other_mean, other_cov_NN) = one, other
    values, vectors = torch.linalg.eigh(cov_NN)
    root_NN = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The eigenvalues of C D are those of the symmetric C^(1/2) D C^(1/2).
    cross = torch.linalg.eigvalsh(root_NN @ other_cov_NN @ root_NN).clamp(min=0).sqrt().sum()
    away = (mean - other_mean).square().sum()
    return float(away + cov_NN.trace() + other_cov_NN.trace() - 2 * cross)
