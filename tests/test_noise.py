"""Noise that depends on what it is for, not on what was drawn before it."""

import pytest
import torch

from overcrank.noise import gaussian


def test_noise_is_golden() -> None:
    """These numbers may never change: every recipe ever written relies on them."""
    expected = torch.tensor(
        [[0.3296047, -0.6587499, 0.2567183], [1.5372574, 0.6694456, -1.0245472]]
    )
    got = gaussian(7, "latent", (3,), 2, step=2)
    torch.testing.assert_close(got, expected, atol=2e-7, rtol=1e-6)


def test_a_longer_clip_keeps_its_beginning() -> None:
    assert torch.equal(gaussian(3, "latent", (4, 5), 9)[:2], gaussian(3, "latent", (4, 5), 2))


def test_a_frame_keeps_its_first_values_when_it_grows() -> None:
    assert torch.equal(gaussian(3, "latent", (101,), 1)[:, :7], gaussian(3, "latent", (7,), 1))


@pytest.mark.parametrize(
    ("seed", "purpose", "step"), [(4, "latent", 0), (3, "decode", 0), (3, "latent", 1)]
)
def test_every_use_has_its_own_noise(seed: int, purpose: str, step: int) -> None:
    base = gaussian(3, "latent", (2000,), 1)
    other = gaussian(seed, purpose, (2000,), 1, step=step)
    assert abs(torch.corrcoef(torch.cat((base, other)))[0, 1]) < 0.1


def test_frames_and_neighbours_are_independent() -> None:
    noise = gaussian(0, "latent", (20000,), 3)
    off_diagonal = torch.corrcoef(noise) - torch.eye(3)
    assert off_diagonal.abs().max() < 0.03
    pairs = torch.stack((noise.flatten()[:-1], noise.flatten()[1:]))
    assert abs(torch.corrcoef(pairs)[0, 1]) < 0.02


def test_noise_has_the_moments_of_a_normal_distribution() -> None:
    noise = gaussian(11, "latent", (50, 1000), 4).double()
    for power, expected in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs(noise.pow(power).mean() - expected) < 0.05


def test_noise_is_float32_and_has_its_shape() -> None:
    noise = gaussian(0, "latent", (2, 3, 5), 4)
    assert noise.shape == (4, 2, 3, 5)
    assert noise.dtype == torch.float32


def test_seeds_may_be_large_or_negative() -> None:
    assert not torch.equal(gaussian(2**70, "latent", (3,), 1), gaussian(-1, "latent", (3,), 1))
