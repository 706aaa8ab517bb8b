"""How the recogniser learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from overcrank import vae
from overcrank.toybox.bench import readable
from overcrank.toybox.motion import pose
from overcrank.toybox.recogniser import (
    FRAMES,
    LATER_ASKED,
    NAMES,
    Recogniser,
    RecogniserConfig,
)
from overcrank.toybox.scene import sample_scene
from overcrank.train import recogniser_clips
from overcrank.train.recogniser import begun, calibrate, fit, score, surely_right
from overcrank.train.recogniser_answers import fit_answers, looks_at
from overcrank.train.recogniser_clips import (
    NONE,
    PIECE,
    Clips,
    Draw,
    Mixture,
    draw,
    held_out_draws,
    label,
    make_clips,
    round_trip_draws,
    stored_clips,
    through,
    training_draws,
)
from overcrank.train.recogniser_loss import loss_of
from overcrank.train.spoil import UNSURE, spoil

SMALL = RecogniserConfig(stem=(4, 8), depth=1, heads=2, dilations=(1,), layers=1)


def clips(count: int = 4, actors: int | None = None) -> Clips:
    scenes = [sample_scene(seed, actors=actors) for seed in range(count)]
    return Clips.cat(list(make_clips([Draw(scene, 1.0, 0.05) for scene in scenes])))


def test_labels_stand_from_left_to_right() -> None:
    scene = sample_scene(5, actors=2)
    actors = sorted(scene.actors, key=lambda actor: actor.x)
    expected = [NAMES["colour"].index(actor.colour) for actor in actors]
    assert label(scene)["colour"].tolist() == [*expected, NONE]
    assert label(scene)["actors"] == 1


def test_of_two_actors_one_stands_in_front_and_one_alone_has_no_rank() -> None:
    front, back = NAMES["depth"].index("front"), NAMES["depth"].index("back")
    for seed in range(4):
        scene = sample_scene(seed, actors=2)
        left, right = sorted(scene.actors, key=lambda actor: pose(actor, 0.0).x)
        expected = [front, back, NONE] if left.z < right.z else [back, front, NONE]
        assert label(scene)["depth"].tolist() == expected
    assert label(sample_scene(0, actors=1))["depth"].tolist() == [NONE] * 3


def test_nobody_is_asked_for_the_sky_seen_from_above() -> None:
    scene = sample_scene(1)
    sky = NAMES["sky"].index(scene.sky)
    assert label(replace(scene, camera="pan"))["sky"] == sky
    assert label(replace(scene, camera="above"))["sky"] == NONE


def test_clips_have_the_length_that_is_looked_at() -> None:
    made = clips(2)
    assert made.frames.shape == (2, FRAMES, 64, 64, 3)
    assert made.labels["shape"].shape == (2, 3)


def test_clips_are_the_same_however_many_processes_render_them() -> None:
    draws = [draw(seed) for seed in range(PIECE + 1)]
    alone, shared = list(make_clips(draws)), list(make_clips(draws, processes=2))
    assert [len(piece.frames) for piece in shared] == [PIECE, 1]
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert all(torch.equal(one.labels[name], other.labels[name]) for name in one.labels)


def test_noise_on_the_way_through_an_autoencoder_depends_on_the_clip_alone() -> None:
    torch.manual_seed(0)
    network = vae.VAE(vae.PRESETS["nano"]).eval()
    frames = torch.randint(0, 256, (2, 9, 32, 32, 3), dtype=torch.uint8)
    piece = [Draw(sample_scene(seed), 1.0, 0.9) for seed in (3, 4)]
    together, apart = through(network, frames, piece), through(network, frames[1:], piece[1:])
    assert together.shape == frames.shape
    assert (together[1].int() - apart[0].int()).abs().max() <= 2
    other = through(network, frames[1:], piece[:1])
    assert (other.int() - apart.int()).abs().float().mean() > 2


def test_stored_clips_are_made_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser_clips, "PER_SHARD", PIECE)
    first = stored_clips(tmp_path, training_draws, PIECE)
    both = stored_clips(tmp_path, training_draws, PIECE + 1)
    (tmp_path / "0000.safetensors").unlink()
    assert torch.equal(both.frames[:PIECE], first.frames)
    assert not torch.equal(both.frames[PIECE:], first.frames)
    assert torch.equal(stored_clips(tmp_path, training_draws, 2 * PIECE).frames, both.frames)


def test_held_out_scenes_can_be_read_and_are_not_those_of_training() -> None:
    held_out = held_out_draws(range(4))
    assert [len(d.scene.actors) for d in held_out] == [1, 2, 1, 2]
    assert all(readable(d.scene) for d in held_out)
    assert held_out_draws(range(2, 4)) == held_out[2:]
    trained = {d.scene.seed for d in training_draws(range(64)) + round_trip_draws(range(64))}
    assert len(trained) == 128
    assert not trained & {d.scene.seed for d in held_out}


def test_a_mirrored_clip_has_mirrored_labels() -> None:
    left, right = NAMES["motion"].index("left"), NAMES["motion"].index("right")
    made = clips(1, actors=2)
    made.labels["motion"] = torch.tensor([[left, 3, NONE]])
    made.labels["colour"] = torch.tensor([[6, 2, NONE]])
    seen = set()
    for seed in range(20):
        _, labels = spoil(made.frames, made.labels, torch.Generator().manual_seed(seed), blank=0.0)
        seen.add((tuple(labels["motion"][0].tolist()), tuple(labels["colour"][0].tolist())))
    assert seen == {((left, 3, NONE), (6, 2, NONE)), ((3, right, NONE), (2, 6, NONE))}


def test_the_centre_of_an_actor_moves_with_it() -> None:
    frames, centre = torch.zeros(1, 2, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 3, 2, 2)
    frames[0, :, 10:22, 34:46] = 255  # about column 40, row 16
    centre[0, 0] = torch.tensor([0.25, -0.5])
    labels = {**clips(1, actors=1).labels, "centre": centre}
    for seed in range(4):
        dice = torch.Generator().manual_seed(seed)
        video, moved = spoil(frames, labels, dice, blank=0.0)
        light_HW = video[0, :, 0].mean(0).clamp(min=0)
        where = torch.stack([light_HW.sum(0), light_HW.sum(1)]) @ (torch.arange(64) + 0.5)
        assert torch.allclose(moved["centre"][0, 0, 0], where / light_HW.sum() / 32 - 1, atol=0.1)


def test_clips_of_nothing_are_to_be_unsure_of() -> None:
    made = clips(2)
    video, labels = spoil(made.frames, made.labels, torch.Generator().manual_seed(0), blank=1.0)
    assert video.shape == (2, 3, FRAMES, 64, 64)
    assert all((labels[name] == UNSURE).all() for name in NAMES)


def test_being_unsure_of_nothing_has_the_lowest_loss() -> None:
    labels = {"ground": torch.tensor([UNSURE])}
    even, decided = torch.zeros(1, 8), torch.eye(8)[:1] * 5
    assert loss_of({"ground": even}, labels) < loss_of({"ground": decided}, labels)


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    network, made = Recogniser(SMALL), clips(4)
    video = made.frames.movedim(-1, 1).float() / 127.5 - 1
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = loss_of(network(video), made.labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_batch_has_its_part_of_every_set() -> None:
    made = clips(2)
    dark = Clips(torch.zeros_like(made.frames), made.labels)
    light = Clips(torch.full_like(made.frames, 255), made.labels)
    mixture = Mixture([dark, light], [0.75, 0.25])
    batch = mixture.batch(8, torch.Generator().manual_seed(0))
    assert [int(frames.max()) for frames in batch.frames] == [0] * 6 + [255] * 2


def test_normalisations_are_settled_before_training_ends() -> None:
    torch.manual_seed(0)
    network, made = Recogniser(SMALL), clips(4)
    fit(network, Mixture([made], [1.0]), 4, lambda _: None, lr=1e-3, batch=2)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not network.training
    assert {int(norm.num_batches_tracked) for norm in norms} == {40}


def test_new_questions_leave_the_cells_as_they_are() -> None:
    torch.manual_seed(0)
    network, made = Recogniser(SMALL), clips(3)
    looks = looks_at(network, Mixture([made], [1.0]), [2])
    assert [tuple(look.sets[0].frames.shape) for look in looks] == [
        (6, FRAMES, 8, 8, 8),
        (6, 13, 8, 8, 8),
    ]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fit_answers(network, looks, 3, lambda _: None, lr=1e-2, batch=2)
    for name, tensor in network.state_dict().items():
        learns = name.startswith(("later.", "centre.")) or name.split(".")[-2:-1] in [
            [n] for n in LATER_ASKED
        ]
        assert learns or torch.equal(tensor, before[name]), name
    assert not torch.equal(network.heads["size"].weight, before["heads.size.weight"])


def test_calibration_widens_what_is_too_sure() -> None:
    torch.manual_seed(0)
    network, made = Recogniser(SMALL).eval(), clips(4, actors=1)
    with torch.no_grad():
        network.heads["ground"].weight *= 200
    calibrate(network, made)
    assert network.temperature[list(NAMES).index("ground")] > 1
    found = score(network, made)
    assert set(found) == {"24", "13"}
    assert set(found["24"]) == set(NAMES)
    assert found["24"]["shape"]["total"] == 4


def test_sure_is_what_is_right_often_enough() -> None:
    probability = torch.linspace(1, 0.001, 1000)
    right = torch.ones(1000, dtype=torch.bool)
    assert surely_right(probability, right) == 0
    right[600::2] = False
    assert surely_right(probability, right) == pytest.approx(0.398, abs=0.002)
    assert surely_right(probability, ~right.logical_or(right)) == pytest.approx(1)


def test_training_goes_on_from_a_file_that_knew_less(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = Recogniser(replace(SMALL, later=()))
    save_file(old.state_dict(), tmp_path / "old.safetensors", old.metadata())
    network = begun(tmp_path / "old.safetensors")
    assert network.config == SMALL
    assert torch.equal(network.heads["colour"].weight, old.heads["colour"].weight)
    assert network.later is not None
    assert torch.equal(network.later.queries_SD, old.first.queries_SD)
    assert len(network.sure) == len(NAMES)
