"""The Frechet distance, density and coverage: formulas, references, and what they must notice."""

import pytest
import torch
from torch import Tensor, nn

from overcrank.errors import RequestError
from overcrank.metrics import (
    clips_needed,
    density_and_coverage,
    frechet,
    frechet_distance,
    moments,
)


def normal(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def correlated(count: int, seed: int) -> Tensor:
    """24 features with long and short axes that point anywhere."""
    axes = torch.linspace(0.1, 3.0, 24)[:, None] * normal(24, 24, 100 + seed)
    return normal(count, 24, seed) @ axes + seed


def test_the_distance_of_two_gaussians_is_the_one_of_the_formula() -> None:
    a_BN = normal(200_000, 3, 0)
    assert frechet(moments(a_BN), moments(a_BN)) == pytest.approx(0, abs=1e-9)
    # Of independent coordinates: the squared shift, and the squares of what deviations differ by.
    b_BN = a_BN * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([3.0, 0.0, 0.0])
    assert frechet(moments(a_BN), moments(b_BN)) == pytest.approx(9 + 1 + 0.25, rel=0.02)


@pytest.mark.reference
def test_the_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image import fid

    one_BN, other_BN = correlated(300, 0), correlated(260, 1)
    network = nn.Flatten()
    network.num_features = 24
    theirs = fid.FrechetInceptionDistance(feature=network)
    theirs.update(one_BN.reshape(-1, 1, 4, 6), real=True)
    theirs.update(other_BN.reshape(-1, 1, 4, 6), real=False)
    ours = frechet_distance(one_BN, other_BN)
    assert ours > 10
    assert ours == pytest.approx(theirs.compute().item(), rel=1e-4)


def test_the_distance_is_the_same_both_ways_and_grows_with_a_shift() -> None:
    one_BN, other_BN = correlated(300, 0), correlated(300, 1)
    there, back = frechet_distance(one_BN, other_BN), frechet_distance(other_BN, one_BN)
    assert there == pytest.approx(back, rel=1e-9)
    shifts = [frechet_distance(one_BN, one_BN + far) for far in (0.0, 0.5, 1.0)]
    assert shifts == pytest.approx([0, 24 * 0.25, 24], abs=1e-6)


def test_small_sets_are_further_apart_than_large_ones() -> None:
    means = []
    for count in (32, 128, 512):
        draws = [frechet_distance(normal(count, 8, n), normal(count, 8, 50 + n)) for n in range(8)]
        means.append(sum(draws) / len(draws))
    assert means[0] > 3 * means[1] > 9 * means[2] > 0


def test_fewer_clips_than_needed_are_refused_with_the_number_needed() -> None:
    assert clips_needed(24) == 25
    with pytest.raises(RequestError, match=r"got 24, needed are 25: measure more clips"):
        frechet_distance(normal(24, 24, 0), normal(200, 24, 1))
    with pytest.raises(RequestError, match="got 5, needed are 25"):
        frechet_distance(normal(200, 24, 0), normal(5, 24, 1))
    assert frechet_distance(normal(25, 24, 0), normal(25, 24, 1)) > 0


def test_sets_of_one_kind_have_density_1_and_full_coverage() -> None:
    density, coverage = density_and_coverage(normal(800, 4, 0), normal(800, 4, 1))
    assert density == pytest.approx(1, abs=0.08)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.03)  # proposition 2 of the paper


def test_coverage_falls_when_a_kind_is_missing_and_density_does_not() -> None:
    far = torch.tensor([20.0, 0, 0, 0])
    true_BN = torch.cat([normal(300, 4, 0), normal(300, 4, 1) + far])
    density, coverage = density_and_coverage(true_BN, normal(600, 4, 2))
    assert density > 0.9
    assert coverage == pytest.approx(0.5, abs=0.02)


def test_density_falls_when_clips_are_unlike_true_ones() -> None:
    true_BN, made_BN = normal(400, 4, 0), normal(400, 4, 1)
    found = [density_and_coverage(true_BN, made_BN + far)[0] for far in (0, 1, 2, 10)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0


def test_balls_are_those_of_the_paper() -> None:
    true_BN, made_MN = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [2.5], [9.0]])
    # With k = 1 the balls are about 0, 1 and 3 with radii 1, 1 and 2: the first made clip lies in
    # two of them, the second in one, the third in none.
    density, coverage = density_and_coverage(true_BN, made_MN, neighbours=1)
    assert (density, coverage) == (1.0, 1.0)
    with pytest.raises(RequestError, match="got 3, needed are 6"):
        density_and_coverage(true_BN, made_MN)
