"""Positions and embeddings: golden numbers of the published model."""

import pytest
import torch
from torch import Tensor

from overcrank.shapes import LatentSize
from overcrank.transformer import token_positions
from overcrank.transformer.ops import rotate
from overcrank.transformer.rope import rotation_table, sigma_features

MAX_POSITION = (20.0, 2048.0, 2048.0)


def golden_table(width: int) -> tuple[Tensor, Tensor]:
    position = torch.tensor([[[0.36, 64.0, 96.0]]])
    table = rotation_table(position, width, 10000.0, MAX_POSITION)
    return table[0, 0, :, 0], table[0, 0, :, 1]


def test_rotation_of_the_2b_model_is_golden() -> None:
    cos, sin = golden_table(2048)
    first = torch.tensor([1.0, 0.0565185, 0.0980171, 0.1467305, 0.0149677, 0.0577052])
    torch.testing.assert_close(cos[:6], first, atol=1e-6, rtol=0)
    first = torch.tensor([0.0, -0.9984015, -0.9951847, -0.9891765])
    torch.testing.assert_close(sin[:4], first, atol=1e-6, rtol=0)
    # Angles of ten thousand radians: float32 leaves three digits.
    torch.testing.assert_close(cos[-2:], torch.tensor([0.0002566, -0.7070464]), atol=2e-3, rtol=0)
    torch.testing.assert_close(sin[-2:], torch.tensor([1.0, 0.7071671]), atol=2e-3, rtol=0)


def test_rotation_of_the_13b_model_is_golden() -> None:
    cos, _ = golden_table(4096)
    first = torch.tensor([1.0, 1.0, 0.0565185, 0.0980171, 0.1467305, 0.0359220])
    torch.testing.assert_close(cos[:6], first, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (0.05, [0.9649661, -0.8279875, 0.7749988, 0.9999856, -0.2623748, 0.5607466, 0.0053730]),
        (1.0, [0.5623791, 0.7896267, 0.4399279, 0.9942316, 0.8268796, 0.6135876, 0.1072541]),
    ],
)
def test_the_embedding_of_a_noise_level_is_golden(sigma: float, expected: list[float]) -> None:
    got = sigma_features(torch.tensor([sigma]))[0, [0, 1, 2, 127, 128, 129, 255]]
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=0)


def test_a_rotation_keeps_lengths() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 48)
    table = rotation_table(torch.rand(2, 5, 3) * 100, 48, 100.0, MAX_POSITION)
    torch.testing.assert_close(rotate(x, table).norm(dim=-1), x.norm(dim=-1))


def test_rotated_products_depend_on_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 48)
    near, far = torch.tensor([[[1.0, 32.0, 64.0]]]), torch.tensor([[[3.0, 96.0, 0.0]]])
    moved = torch.tensor([2.0, 320.0, 128.0])

    def product(here: Tensor, there: Tensor) -> Tensor:
        tables = (rotation_table(p, 48, 100.0, MAX_POSITION) for p in (here, there))
        return (rotate(q, next(tables)) * rotate(k, next(tables))).sum()

    torch.testing.assert_close(
        product(near, far), product(near + moved, far + moved), atol=1e-4, rtol=1e-4
    )


def test_causal_positions_start_at_the_first_new_frame() -> None:
    got = token_positions(LatentSize(3, 1, 1), 25.0, causal=True)[:, 0]
    torch.testing.assert_close(got, torch.tensor([0.0, 1 / 25, 9 / 25]))


def test_plain_positions_are_eight_frames_apart() -> None:
    got = token_positions(LatentSize(3, 1, 1), 25.0, causal=False)[:, 0]
    torch.testing.assert_close(got, torch.tensor([0.0, 8 / 25, 16 / 25]))


def test_tokens_run_along_the_width_first() -> None:
    positions = token_positions(LatentSize(2, 3, 4), 8.0, causal=False)
    token = (1 * 3 + 2) * 4 + 3
    assert positions.shape == (24, 3)
    assert positions[token].tolist() == [1.0, 64.0, 96.0]
