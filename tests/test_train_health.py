"""Held-out numbers stand beside reference runs and a plain guess; what is off is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from overcrank.errors import RequestError
from overcrank.pages import Curve, figure
from overcrank.train.config import read_config
from overcrank.train.health import Band, entry, guess, part_seen, reference, remarks
from overcrank.train.report import FILE, write_report
from overcrank.transformer import PRESETS, Transformer

CONFIG = read_config("nano-transformer").model_dump(mode="json")
BAND = Band(((100, 1.0, 1.2), (1000, 0.4, 0.6)))


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_plain_guess_is_the_best_of_what_knows_the_spread_alone(level: float) -> None:
    dice = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 400_000, generator=dice)
    noisy, velocity = (1 - level) * clean + level * noise, noise - clean
    slope = (noisy @ velocity) / (noisy @ noisy)  # least squares
    left = (velocity - slope * noisy).square().mean()
    assert float(left) == pytest.approx(guess(level), rel=0.01)


def test_a_band_lies_between_its_points() -> None:
    assert BAND.at(99) is None
    assert BAND.at(100) == (1.0, 1.2)
    assert BAND.at(316) == pytest.approx((0.7, 0.9), abs=0.01)
    assert BAND.at(1000) == BAND.at(50_000) == (0.4, 0.6)


def test_what_is_as_usual_or_better_is_not_remarked_on() -> None:
    for value in (0.1, 0.5, 0.59):
        assert remarks({"held_out_64_0.5": value}, {}, {"held_out_64_0.5": BAND}, 1000) == []
    assert remarks({"held_out_64_0.5": 1.9}, {"held_out_64_0.5": 1.9}, {}, 10) == []


def test_a_loss_behind_the_reference_is_told_with_what_is_usual() -> None:
    (said,) = remarks({"held_out_64_0.5": 0.7}, {}, {"held_out_64_0.5": BAND}, 1000)
    assert "held_out_64_0.5 is 0.7, usual is 0.4 to 0.6" in said


def test_decibels_are_behind_when_they_are_low() -> None:
    bands = {"held_out_psnr": Band(((10, 20.0, 22.0),))}
    assert remarks({"held_out_psnr": 25.0}, {}, bands, 10) == []
    (said,) = remarks({"held_out_psnr": 19.0}, {}, bands, 10)
    assert "usual is 20 to 22" in said


def test_a_loss_that_stays_above_the_plain_guess_is_told_with_its_likely_causes() -> None:
    high = {"held_out_64_0.5": 2.7, "held_out_64_0.1": 0.3}
    (said,) = remarks(high, {"held_out_64_0.5": 2.7}, {}, 10)
    assert "held_out_64_0.5 is 2.7" in said
    assert "held_out_64_0.1" not in said
    assert "not normalised" in said
    assert remarks(high, {}, {}, 10) == []  # the first one may be as high as it likes
    assert remarks(high, {"held_out_64_0.5": 3.0}, {}, 10) == []  # it falls


def test_a_network_narrower_than_the_latent_cannot_guess_all_channels() -> None:
    part = part_seen(Transformer(PRESETS["nano"]))
    assert part == 48 / 128
    assert part_seen(Transformer(replace(PRESETS["nano"], heads=6))) == 1
    dice = torch.Generator().manual_seed(0)
    noise_BC, clean_BC = torch.randn(2, 20_000, 128, generator=dice)
    seen_BC = noise_BC.clone()
    seen_BC[:, 48:] = 0  # at level 1 the input is the noise, of which 48 channels come through
    loss = (noise_BC - clean_BC - seen_BC).square().mean()
    assert float(loss) == pytest.approx(guess(1.0, part), rel=0.01)


def test_runs_with_other_seeds_make_a_band(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in "abc"]
    for run, value in zip(runs, (1.0, 1.1, 1.2), strict=True):
        run.mkdir()
        (run / "config.yaml").write_text("kind: transformer\npreset: nano\n")
        lines = [{"step": 0, "held_out_64_0.5": 2.0}, {"step": 5, "loss": 1.0}]
        lines.append({"step": 10, "held_out_64_0.5": value})
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reach = 9.9248 * 0.1 * (1 + 1 / 3) ** 0.5  # Student's, of two degrees of freedom
    band = [[10, round(1.1 - reach, 4), round(1.1 + reach, 4)]]
    assert entry(runs) == {"transformer nano": {"held_out_64_0.5": band}}
    with pytest.raises(RequestError, match="runs that differ, got 1"):
        entry(runs[:1])


@pytest.mark.parametrize("change", ["seed=7", "vae=other.safetensors", "save_every=9"])
def test_a_preset_taken_as_it_is_has_a_reference(change: str) -> None:
    assert reference(read_config("nano-transformer", [change]).model_dump())


@pytest.mark.parametrize(
    "change",
    ["steps=900", "optim.lr=1e-4", "clips.folder=mine", "latents.0.clips=64", "stages.0.batch=8"],
)
def test_other_runs_of_a_preset_have_no_reference(change: str) -> None:
    assert reference(read_config("nano-transformer", [change]).model_dump()) == {}
    assert reference(read_config("pocket-transformer").model_dump()) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_remarked_on(value: float) -> None:
    bands = {"held_out_64_0.5": BAND}
    (said,) = remarks({"held_out_64_0.5": value, "held_out_64_0.1": 0.2}, {}, bands, 1000)
    assert f"held_out_64_0.5 is {value}, which is no finite number" in said


def test_a_chart_draws_the_band_as_far_as_the_curve_goes() -> None:
    points = [(50.0, 1.3), (100.0, 1.1), (1000.0, 0.9)]
    drawn = figure("Loss", [Curve("0.5", points, band=BAND.points)])
    assert drawn.count("<polygon") == 1
    assert "<polygon" not in figure("Loss", [Curve("0.5", points)])
    short = [(50.0, 1.3), (99.0, 1.2)]
    assert "<polygon" not in figure("Loss", [Curve("0.5", short, band=BAND.points)])


@pytest.mark.parametrize(("last", "there"), [(100, False), (200, True)])
def test_a_page_speaks_of_reference_runs_only_where_it_draws_them(
    tmp_path: Path, last: int, there: bool
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    lines = [{"step": step, "held_out_64_0.5": 1.2} for step in (50, last)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(tmp_path, "cpu")
    page = (tmp_path / FILE).read_text()
    assert ("areas: reference runs" in page, "<polygon" in page) == (there, there)
