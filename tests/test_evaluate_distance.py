"""The distance of clips: what moves it, what does not, and what is refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.evaluate.compare import write_comparison
from overcrank.evaluate.distance import Distance, check_comparable, with_interval
from overcrank.evaluate.shown import Question, Shown
from overcrank.evaluate.spaces import TOYBOX, TRANSNET, Space, open_space
from overcrank.metrics import transnet
from overcrank.shapes import ClipSize
from overcrank.toybox import render
from overcrank.toybox.bench import bench
from test_evaluate_compare import SLOW

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from spoilt import Scale, Spoil, blurred, brighter, frozen, noisy, recoloured, shuffled

SIZE, RATE = ClipSize(9, 32, 32), 4.0


def look(frames: Tensor, _rate: float) -> Tensor:
    """Mean colour of the first and of the last frame, and how much changes: 7 features."""
    pixels = frames.float() / 255
    change = pixels.diff(dim=0).abs().mean()
    return torch.cat([pixels[0].mean((0, 1)), pixels[-1].mean((0, 1)), change[None]])


SPACE = Space("small", "abc", 7, look)


def shown(number: int, change: Callable[[Tensor], Tensor] = lambda frames: frames) -> Shown:
    item = bench()[number % 128]
    question = Question(item=item, wording="seen", caption=item.caption, seed=number)
    return Shown(question=question, frames=change(render(item.scene, SIZE, RATE)), frame_rate=RATE)


def measured(
    count: int, change: Callable[[Tensor], Tensor] = lambda frames: frames
) -> dict[str, Any]:
    measure = Distance(SPACE, count)
    for number in range(count):
        measure.see(shown(number, change))
    return measure.result()


@pytest.fixture(scope="module")
def true() -> dict[str, Any]:
    return measured(64)


def test_true_clips_are_as_far_as_the_floor(true: dict[str, Any]) -> None:
    assert true["distance"] == true["noise_floor"]
    assert true["times_floor"] == 1
    assert (true["coverage"], true["density"]) == (true["true_coverage"], true["true_density"])
    assert true["coverage"] > 0.8


def test_the_result_says_what_was_compared(true: dict[str, Any]) -> None:
    says = {"space": "small", "sha256": "abc", "features": 7, "n": 64}
    assert true.items() >= says.items()
    assert true["clip"] == "32 x 32 x 9, 4 a second"
    interval = true["distance"]
    assert 0 <= interval["low"] < interval["mean"] < interval["high"]


def test_clips_of_other_colours_are_further_away_the_more_they_differ(
    true: dict[str, Any],
) -> None:
    found = [
        measured(64, lambda frames, by=by: (frames.float() * by).byte()) for by in (0.9, 0.7, 0.4)
    ]
    away = [each["times_floor"] for each in found]
    assert 1 < away[0] < away[1] < away[2]
    assert all(each["noise_floor"] == true["noise_floor"] for each in found)
    assert found[-1]["coverage"] < 0.5 * true["coverage"]


def test_frozen_clips_are_further_away(true: dict[str, Any]) -> None:
    frozen = measured(64, lambda frames: frames[:1].expand(9, -1, -1, -1))
    assert frozen["distance"]["mean"] > true["distance"]["mean"]


def test_the_curve_shows_that_small_sets_are_further_apart(true: dict[str, Any]) -> None:
    sizes = {point["n"]: point for point in true["curve"]}
    assert {size: len(point["distance"]) for size, point in sizes.items()} == {16: 4, 32: 2, 64: 1}
    means = [sum(sizes[n]["noise_floor"]) / len(sizes[n]["noise_floor"]) for n in (16, 32, 64)]
    assert means[0] > means[1] > means[2]


def test_parts_that_are_too_small_are_left_out_of_the_curve() -> None:
    assert [point["n"] for point in measured(16)["curve"]] == [8, 16]


def test_a_question_that_is_asked_again_gets_another_true_clip() -> None:
    measure = Distance(SPACE, 8)
    for _ in range(2):
        measure.see(shown(3))
    assert torch.equal(measure.made[0], measure.made[1])
    assert not torch.equal(measure.true[0], measure.true[1])
    assert not torch.equal(measure.reference[0], measure.reference[1])


def test_too_few_clips_are_refused_before_any_is_made() -> None:
    with pytest.raises(RequestError, match="got 7, needed are 8"):
        Distance(SPACE, 7)


def test_clips_that_never_came_are_refused() -> None:
    measure = Distance(SPACE, 8)
    measure.see(shown(0))
    with pytest.raises(RequestError, match="got 1, needed are 8"):
        measure.result()


def test_clips_of_different_sizes_are_refused() -> None:
    measure = Distance(SPACE, 8)
    measure.see(shown(0))
    other = Shown(question=shown(1).question, frames=shown(1).frames, frame_rate=5.0)
    with pytest.raises(RequestError, match="got 32 x 32 x 9, 5 a second after 32 x 32 x 9, 4"):
        measure.see(other)


def test_results_of_different_networks_or_numbers_are_not_compared(true: dict[str, Any]) -> None:
    check_comparable(true, dict(true))
    for name, value in (("sha256", "xyz"), ("n", 32), ("clip", "64 x 64 x 9, 4 a second")):
        with pytest.raises(RequestError, match=f"not comparable: got {name} {true[name]}"):
            check_comparable(true, {**true, name: value})


def test_reports_with_distances_of_different_networks_are_not_compared(
    true: dict[str, Any], tmp_path: Path
) -> None:
    folders = tmp_path / "one", tmp_path / "other"
    for folder, sha256 in zip(folders, ("abc", "xyz"), strict=True):
        folder.mkdir()
        distance = {"small": {**true, "sha256": sha256}, "left out": "not installed"}
        report = {**SLOW, "text": {**SLOW["text"], "distance": distance}}
        (folder / "report.json").write_text(json.dumps(report))
    with pytest.raises(RequestError, match="not comparable: got sha256 abc and xyz of small"):
        write_comparison(tmp_path / "both", ("one", "other"), folders)
    assert not (tmp_path / "both").exists()


def test_the_interval_is_as_wide_as_distances_differ() -> None:
    dice = torch.Generator().manual_seed(0)
    found = [
        with_interval(
            torch.randn(400, 5, generator=dice), torch.randn(400, 5, generator=dice) + 0.5
        )
        for _ in range(60)
    ]
    means = torch.tensor([each["mean"] for each in found])
    widths = torch.tensor([each["high"] - each["low"] for each in found])
    assert widths.mean() / (2 * 1.96) == pytest.approx(means.std().item(), rel=0.3)
    inside = [each["low"] <= means.mean() <= each["high"] for each in found]
    assert sum(inside) >= 50


SPOILT: tuple[tuple[Spoil, tuple[float, ...]], ...] = (
    (blurred, (1.0, 2.0)),
    (noisy, (4.0, 12.0)),
    (shuffled, (0.3, 0.6)),
    (frozen, (0.4, 0.8)),
    (recoloured, (0.3, 0.6)),
)


SPOILT_SIZE = ClipSize(25, 64, 64)


def times(scale: Scale, spoil: Spoil, by: float) -> float:
    return scale.times(scale.features(spoil, by))


@pytest.mark.slow
def test_toybox_fd_notices_what_is_spoilt_the_more_the_worse_it_is() -> None:
    scale = Scale(open_space(TOYBOX, SPOILT_SIZE, 12.0), SPOILT_SIZE, 12.0, 64)
    for spoil, (weak, strong) in SPOILT:
        little, much = times(scale, spoil, weak), times(scale, spoil, strong)
        assert little > 1.25, spoil
        assert much > 1.2 * little, spoil
    assert times(scale, brighter, 1) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
@pytest.mark.skipif(transnet.PINNED.path() is None, reason="the weights are not installed")
def test_transnet_fd_notices_blur_order_stillness_and_colour_but_no_noise() -> None:
    scale = Scale(open_space(TRANSNET, SPOILT_SIZE, 12.0), SPOILT_SIZE, 12.0, 16)
    for spoil, by in ((blurred, 2.0), (shuffled, 0.6), (frozen, 0.8), (recoloured, 0.3)):
        assert times(scale, spoil, by) > 1.2, spoil
    assert times(scale, noisy, 4) == pytest.approx(1, abs=0.1)  # it looks at 27 x 48 pixels
    assert times(scale, brighter, 1) == pytest.approx(1, abs=0.1)
