"""Shots are found where they begin, without looking at a frame twice."""

import sys

import numpy as np
import pytest

from overcrank.data.cuts import check_detector, with_cuts
from overcrank.errors import RequestError


def thumbnails(seed: int, frames: int) -> list[np.ndarray]:
    """A view of coloured cells, uint8 (18, 32, 3) each, that grows a little brighter."""
    view = np.random.default_rng(seed).integers(0, 200, (18, 32, 3), dtype=np.uint8)
    return [view + np.uint8(2 * place) for place in range(frames)]


def begins(frames: list[np.ndarray]) -> list[int]:
    given = list(with_cuts(frames, lambda frame: frame))
    assert all(a is b for (a, _, _), b in zip(given, frames, strict=True))
    return [place for place, (_, _, begins) in enumerate(given) if begins]


@pytest.mark.parametrize("cut", [1, 2, 7, 18, 19])
def test_a_shot_begins_at_its_first_frame_also_near_an_end(cut: int) -> None:
    assert begins([*thumbnails(1, cut), *thumbnails(2, 20 - cut)]) == [cut]


def test_shots_of_a_few_frames_are_told_apart() -> None:
    frames = [each for seed in range(5) for each in thumbnails(seed, 4)]
    assert begins(frames) == [4, 8, 12, 16]


def test_one_shot_has_no_cut_and_no_frames_have_none() -> None:
    assert begins(thumbnails(1, 20)) == []
    assert begins(thumbnails(1, 1)) == []
    assert begins([]) == []


def test_a_frame_that_is_held_is_looked_at_once_and_begins_a_shot_once() -> None:
    looked_at = []

    def look(frame: np.ndarray) -> np.ndarray:
        looked_at.append(frame)
        return frame

    shots = [*thumbnails(1, 6), *thumbnails(2, 6)]
    held = [frame for frame in shots for _ in range(3)]
    found = [place for place, (_, _, begins) in enumerate(with_cuts(held, look)) if begins]
    assert found == [18]
    assert len(looked_at) == 12


def test_without_the_detector_the_refusal_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(RequestError, match=r"got none that can be used .*: pip install"):
        check_detector()
