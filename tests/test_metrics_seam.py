"""The seam of a continued clip."""

import pytest
import torch

from overcrank.metrics.seam import seam
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene

SIZE = ClipSize(49, 64, 64)


def true(seed: int) -> torch.Tensor:
    return render(sample_scene(seed, split="test"), SIZE)


def test_true_clips_go_on_without_a_seam() -> None:
    found = torch.tensor([seam(true(seed), 25) for seed in range(40)])
    assert found.median() == pytest.approx(1, abs=0.1)
    assert (found < 2).float().mean() > 0.95


def test_the_seam_grows_with_the_jump() -> None:
    clip, other = true(2), true(3)
    found = []
    for share in (0.0, 0.1, 0.3, 1.0):
        joined = clip.clone()
        joined[25:] = torch.lerp(clip[25:].float(), other[25:].float(), share).byte()
        found.append(seam(joined, 25))
    assert found == sorted(found)
    assert found[1] > 2
    assert found[-1] > 10


def test_frames_that_are_left_out_are_a_seam_and_brightness_is_not() -> None:
    scene = next(
        scene
        for scene in (sample_scene(n, split="test", actors=1) for n in range(100))
        if scene.actors[0].motion == "right"
    )
    clip = render(scene, ClipSize(97, 64, 64))
    assert seam(clip[:49], 25) < 2
    assert seam(torch.cat([clip[:25], clip[40:64]]), 25) > 3
    assert seam((clip[:49].float() * 0.9).byte(), 25) < 2


def test_the_border_is_the_first_frame_behind_it() -> None:
    clip = torch.zeros(9, 4, 4, 3, dtype=torch.uint8)
    clip[4:] = 100
    assert [seam(clip, border) for border in (3, 4, 5)] == [1, 400, 1]


def test_nothing_that_moves_has_no_seam() -> None:
    assert seam(torch.zeros(9, 4, 4, 3, dtype=torch.uint8), 4) == 1


@pytest.mark.parametrize("border", [0, 9])
def test_a_border_lies_between_frames(border: int) -> None:
    clip = torch.zeros(9, 4, 4, 3, dtype=torch.uint8)
    assert seam(clip, 1) == seam(clip, 8) == 1
    with pytest.raises(ValueError, match="between three frames"):
        seam(clip, border)
