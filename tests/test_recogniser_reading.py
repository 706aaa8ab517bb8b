"""The recogniser that ships: it reads true clips, and knows when it cannot."""

import json
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from overcrank.errors import ModelError, RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.recogniser import (
    FIRST_ASKED,
    NAMES,
    NOT_READ,
    OF_ACTOR,
    OF_WORLD,
    Recogniser,
    RecogniserConfig,
    prepare,
)
from overcrank.toybox.render import render
from overcrank.toybox.truth import tracks

SHIPPED = Path(str(files("overcrank.toybox"))) / "recogniser.safetensors"
OF_SOLID = ("colour", "shape", "motion")


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load()


def right_names(recogniser: Recogniser, items: list[BenchItem], size: ClipSize, rate: float) -> int:
    """How many colours, shapes, motions and grounds are read right."""
    right = 0
    for item in items:
        reading = recogniser.read(render(item.scene, size, rate), rate)
        (actor,) = item.scene.actors
        right += sum(getattr(reading, name).name == getattr(actor, name) for name in OF_SOLID)
        right += reading.ground.name == item.scene.ground
    return right


def test_true_clips_are_read_right(recogniser: Recogniser) -> None:
    assert right_names(recogniser, list(bench()[:12]), ClipSize(121, 128, 128), 24.0) >= 47


@pytest.mark.parametrize(
    ("size", "rate"), [(ClipSize(49, 128, 128), 24.0), (ClipSize(65, 96, 160), 16.0)]
)
def test_clips_of_other_lengths_sizes_and_rates_are_read(
    recogniser: Recogniser, size: ClipSize, rate: float
) -> None:
    assert right_names(recogniser, list(bench()[12:18]), size, rate) >= 22


def test_the_actors_of_a_clip_are_counted_and_told_apart(recogniser: Recogniser) -> None:
    item = next(
        item for item in bench() if {a.motion for a in item.scene.actors} == {"still", "spin"}
    )
    reading = recogniser.read(render(item.scene, ClipSize(121, 128, 128)), 24.0)
    actors = sorted(item.scene.actors, key=lambda actor: actor.x)
    assert reading.actors.name == "2"
    assert [solid.colour.name for solid in reading.solids] == [actor.colour for actor in actors]


@pytest.mark.parametrize("coarse", [1, 16])
def test_noise_leaves_it_unsure(recogniser: Recogniser, coarse: int) -> None:
    dice = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (49, 128 // coarse, 128 // coarse, 3), generator=dice)
    frames = noise.to(torch.uint8).repeat_interleave(coarse, 1).repeat_interleave(coarse, 2)
    reading = recogniser.read(frames, 24.0)
    assert [getattr(reading, name).name for name in OF_SOLID] == [None, None, None]
    assert all(getattr(reading, name).probability < 0.5 for name in OF_SOLID)


def test_a_single_frame_can_be_read(recogniser: Recogniser) -> None:
    frames = render(bench()[0].scene, ClipSize(1, 128, 128))
    assert recogniser.read(frames, 24.0).ground.name in {*NAMES["ground"], None}


def test_what_it_is_sure_of_is_right(recogniser: Recogniser) -> None:
    right, sure = 0, 0
    for item in bench()[:8]:
        reading = recogniser.read(render(item.scene, ClipSize(49, 128, 128)), 24.0)
        (actor,) = item.scene.actors
        (solid, *_) = reading.solids
        read = {name: (getattr(solid, name), actor) for name in ("size", "texture")}
        read |= {name: (getattr(reading, name), item.scene) for name in ("sky", "camera")}
        for name, (answer, holder) in read.items():
            if answer.name is not None and (name, item.scene.camera) != ("sky", "above"):
                sure += 1
                right += answer.name == getattr(holder, name)
    assert sure >= 12
    assert right >= sure - 1


def test_it_knows_where_actors_begin(recogniser: Recogniser) -> None:
    for item in bench()[300:304]:
        size = ClipSize(49, 128, 128)
        places = sorted(track[0] for track in tracks(item.scene, size))
        reading = recogniser.read(render(item.scene, size), 24.0)
        for solid, (column, row) in zip(reading.solids, places, strict=True):
            assert solid.centre == pytest.approx((column / 128, row / 128), abs=0.15)


def test_it_ships_small_with_its_score() -> None:
    assert SHIPPED.stat().st_size <= 1.5 * 2**20
    with safe_open(SHIPPED, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format_version"] == "2"
    score = json.loads(metadata["score"])
    for rows in score["through_vae"].values():
        assert set(rows) == set(NAMES)
        for name in FIRST_ASKED:
            assert rows[name]["right"] >= 0.98, name
            assert rows[name]["right_when_sure"] >= 0.985, name


def small(**changes: Any) -> Recogniser:
    torch.manual_seed(0)
    config = RecogniserConfig(stem=(4, 8), depth=1, heads=2, dilations=(1,), layers=1)
    return Recogniser(replace(config, **changes)).eval()


def test_everything_that_is_asked_is_answered(tmp_path: Path) -> None:
    network = small()
    network.sure[:] = 0.0
    save_file(network.state_dict(), tmp_path / "new.safetensors", network.metadata())
    clip = render(bench()[0].scene, ClipSize(9, 64, 64))
    reading = Recogniser.load(tmp_path / "new.safetensors").read(clip, 24.0)
    for name in OF_WORLD:
        assert getattr(reading, name).name in NAMES[name]
    for solid in reading.solids:
        assert all(getattr(solid, name).name in NAMES[name] for name in OF_ACTOR)
        assert solid.centre is not None


def test_a_name_has_its_own_threshold() -> None:
    network = small()
    clip = render(bench()[0].scene, ClipSize(9, 64, 64))
    network.sure[:] = 0.0
    network.sure[list(NAMES).index("ground")] = 1.0
    reading = network.read(clip, 24.0)
    assert reading.ground.name is None
    assert reading.camera.name is not None


def test_files_of_the_first_format_are_read(tmp_path: Path) -> None:
    network = small(later=())
    tensors = {
        name.removeprefix("first."): tensor
        for name, tensor in network.state_dict().items()
        if name != "sure"
    }
    config = asdict(network.config)
    del config["later"]
    metadata = {"format_version": "1", "config": json.dumps(config)}
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    read = Recogniser.load(tmp_path / "old.safetensors")
    clip = render(bench()[0].scene, ClipSize(9, 64, 64))
    assert read.read(clip, 24.0) == network.read(clip, 24.0)
    assert read.read(clip, 24.0).camera == NOT_READ
    save_file(tensors, tmp_path / "later.safetensors", {**metadata, "format_version": "3"})
    with pytest.raises(ModelError, match="got format_version 3, right is 1 or 2"):
        Recogniser.load(tmp_path / "later.safetensors")


def test_time_is_sampled_by_the_clock_not_by_frames() -> None:
    slow, fast = torch.zeros(24, 8, 8, 3), torch.zeros(96, 8, 8, 3)
    slow += torch.arange(24)[:, None, None, None]
    fast += torch.arange(96)[:, None, None, None] / 4
    assert torch.allclose(prepare(slow, 6.0), prepare(fast, 24.0))


@pytest.mark.parametrize("frames", [torch.zeros(3, 8, 8), torch.zeros(0, 8, 8, 3)])
def test_what_is_no_clip_is_refused(recogniser: Recogniser, frames: torch.Tensor) -> None:
    with pytest.raises(RequestError, match="F, H, W, 3"):
        recogniser.read(frames, 24.0)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be read as a recogniser"):
        Recogniser.load(cut)
