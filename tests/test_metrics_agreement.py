"""Agreement with depth, edges, tracks, masks and events: on what the toybox knows of its clips,
and on what becomes of it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from overcrank.data.controls import edges
from overcrank.metrics.agreement import (
    depth_error,
    edge_match,
    event_match,
    mask_overlap,
    relative_depth_error,
    track_error,
)
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.toybox.truth import Truth, truth

SIZE = ClipSize(9, 96, 96)
SCENE = sample_scene(5, split="test", actors=2)
STRONG = 64
"""Grey levels of the gradient from which on there is an edge."""


@pytest.fixture(scope="module")
def known() -> Truth:
    return truth(SCENE, SIZE)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return render(SCENE, SIZE)


def noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


def edge_map(frames: Tensor) -> Tensor:
    return edges(frames)[..., 0] > STRONG


def blurred(frames: Tensor, size: int) -> Tensor:
    pooled = torch.nn.functional.avg_pool2d(
        frames.permute(0, 3, 1, 2).float(), size, 1, size // 2, count_include_pad=False
    )
    return pooled.permute(0, 2, 3, 1).round().byte()


def test_depth_agrees_whatever_its_scale_and_shift(known: Truth) -> None:
    assert known.depth.isinf().any()
    assert depth_error(3 * known.depth + 2, known.depth) == pytest.approx(0, abs=1e-6)
    away = known.depth + 2  # a camera that stands away from the origin: depth is positive
    assert relative_depth_error(3 * away - 1, away) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("error", [depth_error, relative_depth_error])
def test_frames_without_known_depth_are_left_out(
    known: Truth, error: Callable[[Tensor, Tensor], float]
) -> None:
    away = known.depth + 2
    found = away + 0.1 * noise(away)
    partly = away.clone()
    partly[0] = torch.inf
    assert error(found, partly) == pytest.approx(error(found[1:], away[1:]))
    with pytest.raises(ValueError, match="no true depth is known"):
        error(found, torch.full_like(away, torch.inf))


def test_the_error_of_depth_grows_with_noise_and_is_about_1_for_any_other_depth(
    known: Truth,
) -> None:
    away = known.depth + 2
    found = [depth_error(away + sigma * noise(away), away) for sigma in (0.02, 0.1, 0.5)]
    relative = [
        relative_depth_error(away + sigma * noise(away), away) for sigma in (0.02, 0.1, 0.5)
    ]
    assert 0 < found[0] < found[1] < found[2]
    assert 0 < relative[0] < relative[1] < relative[2]
    assert 0.7 < depth_error(noise(away), away) < 1.5
    assert depth_error(-away, away) > 1.2


def test_the_mean_and_median_of_depth_are_those_of_the_paper() -> None:
    true, found = torch.tensor([[[0.0, 1.0, 5.0]]]), torch.tensor([[[0.0, 2.0, 4.0]]])
    # medians 1 and 2, deviations 5 / 3 and 4 / 3
    expected = sum(abs(a - b) for a, b in zip((-1.5, 0, 1.5), (-0.6, 0, 2.4), strict=True)) / 3
    assert depth_error(found, true) == pytest.approx(expected)


def test_edges_agree_with_themselves_and_with_what_is_a_pixel_away(frames: Tensor) -> None:
    true = edge_map(frames)
    assert 0.01 < true.float().mean() < 0.3
    assert edge_match(true, true).f1 == 1
    assert edge_match(true.roll((1, 1), (1, 2)), true).f1 > 0.97
    assert edge_match(edge_map((frames.float() * 0.99).byte()), true).f1 > 0.97


def test_edges_of_another_clip_or_of_a_blurred_or_shifted_one_agree_less(frames: Tensor) -> None:
    true = edge_map(frames)
    blurs = [edge_match(edge_map(blurred(frames, size)), true) for size in (1, 5, 9)]
    assert 1 == blurs[0].f1 > blurs[1].f1 > blurs[2].f1
    assert blurs[2].recall < blurs[2].precision  # what blur takes is recall
    shifts = [edge_match(true.roll(by, 2), true).f1 for by in (1, 3, 6)]
    assert shifts == sorted(shifts, reverse=True)
    other = edge_map(render(sample_scene(6, split="test", actors=1), SIZE))
    assert edge_match(other, true).f1 < 0.6
    noisy = edge_match(noise(true) > 1, true)
    assert noisy.precision < 0.6


def test_empty_maps_agree() -> None:
    nothing, something = torch.zeros(1, 8, 8).bool(), torch.ones(1, 8, 8).bool()
    assert edge_match(nothing, nothing).f1 == 1
    assert edge_match(nothing, something).f1 == edge_match(something, nothing).f1 == 0
    assert mask_overlap(nothing, nothing) == 1
    assert mask_overlap(nothing, something) == mask_overlap(something, nothing) == 0


def test_tracks_agree_within_pixels(known: Truth) -> None:
    seen, size = known.visible > 0.1, (SIZE.height, SIZE.width)
    found = [
        track_error(known.tracks + torch.tensor([away, 0.0]), known.tracks, seen, size)
        for away in (0.0, 0.5, 2.0, 20.0)
    ]
    assert [error.pixels for error in found] == pytest.approx([0, 0.5, 2, 20], abs=1e-4)
    # 2 of 96 pixels are 5.3 of 256: within 8 and 16 only.
    assert [error.average for error in found] == pytest.approx([1, 0.8, 0.4, 0])
    assert found[2].within == {1: 0, 2: 0, 4: 0, 8: 1, 16: 1}


def test_tracks_count_where_they_are_seen_only(known: Truth) -> None:
    wrong = known.tracks.clone()
    wrong[0] += 50
    seen = torch.ones_like(known.visible).bool()
    size = (SIZE.height, SIZE.width)
    assert track_error(wrong, known.tracks, seen, size).average == pytest.approx(0.5)
    seen[0] = False
    assert track_error(wrong, known.tracks, seen, size).average == 1
    with pytest.raises(ValueError, match="no point is visible"):
        track_error(wrong, known.tracks, ~seen & seen, size)


def test_masks_agree_less_the_further_they_are_shifted(known: Truth) -> None:
    mask = known.masks[0]
    found = [mask_overlap(mask.roll(by, 2), mask) for by in (0, 2, 8, 48)]
    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.2
    assert mask_overlap(mask & (noise(mask) > 0), mask) == pytest.approx(0.5, abs=0.05)


def test_events_are_matched_once_within_the_tolerance() -> None:
    scene = next(
        scene
        for scene in (sample_scene(n, split="test", actors=1) for n in range(100))
        if scene.actors[0].motion == "bounce"
    )
    (hits,) = truth(scene, ClipSize(121, 32, 32)).contacts
    assert len(hits) >= 4
    assert event_match([time + 0.08 for time in hits], hits).f1 == 1
    assert event_match([time + 0.12 for time in hits], hits).f1 == 0
    assert event_match(hits[1:], hits).recall == 1 - 1 / len(hits)
    assert event_match([*hits, *hits], hits).precision == 0.5
    assert event_match([], []).f1 == 1
    assert event_match([], hits).f1 == event_match(hits, []).f1 == 0
    shifts = [event_match([time + by for time in hits], hits, 0.2).f1 for by in (0.1, 0.3, 0.5)]
    assert shifts == [1, 0, 0]
