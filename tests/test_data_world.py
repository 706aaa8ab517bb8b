"""What clips show: scenes, masks of actors, names."""

import random
from dataclasses import replace

import pytest
import torch

from overcrank.data.crops import ToyCrops
from overcrank.data.originals import share_of_tokens
from overcrank.data.world import SOLIDS, World
from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox import actor_mask, caption, render, sample_scene, truth
from overcrank.toybox.figure_pack import PICTURE_SIDE, FigurePack
from overcrank.toybox.figures import (
    FigureScene,
    caption_figures,
    figure_masks,
    render_figures,
    sample_figure_scene,
)
from overcrank.toybox.stories import sample_figure_story, sample_story
from overcrank.toybox.voices import say, say_figures

SMALL = ClipSize(9, 32, 64)


def make_pack() -> FigurePack:
    """Two red cards that fill their pictures."""
    picture = torch.zeros(PICTURE_SIDE, PICTURE_SIDE, 4, dtype=torch.uint8)
    picture[..., 0] = picture[..., 3] = 255
    return FigurePack(
        names=("teapot", "fox"),
        kinds=("thing", "hopper"),
        pictures_NHWC=torch.stack([picture, picture]),
        source="drawn by a test",
        licence="none",
    )


PACK = make_pack()


def test_a_world_of_solids_is_the_toybox() -> None:
    scene = SOLIDS.scene(7, "train")
    assert scene == World(PACK, 0.0).scene(7, "train") == sample_scene(7)
    assert torch.equal(
        SOLIDS.render(scene, SMALL, 12.0, 1.5), render(scene, SMALL, 12.0, start=1.5)
    )


def test_a_world_of_figures_shows_the_pack() -> None:
    world = World(PACK, 1.0)
    scene = world.scene(7, "test")
    assert scene == sample_figure_scene(7, PACK, "test")
    frames = render_figures(scene, PACK, SMALL, 12.0, start=1.5)
    assert torch.equal(world.render(scene, SMALL, 12.0, 1.5), frames)


@pytest.mark.parametrize("world", [SOLIDS, World(PACK, 1.0)], ids=["solids", "figures"])
def test_a_share_of_the_captions_is_said_otherwise(world: World) -> None:
    otherwise = 0
    for seed in range(300):
        scene = world.scene(seed)
        text = world.caption(scene, 3)
        assert text == world.caption(scene, 3)
        if isinstance(scene, FigureScene):
            assert text in (caption_figures(scene, 3), say_figures(scene, 3))
            otherwise += text == say_figures(scene, 3)
        else:
            assert text in (caption(scene, 3), say(scene, 3))
            otherwise += text == say(scene, 3)
    assert 0.3 < otherwise / 300 < 0.5


def test_figures_come_as_often_as_asked_and_by_the_seed() -> None:
    world = World(PACK, 0.25)
    kinds = [isinstance(world.scene(seed, "train"), FigureScene) for seed in range(400)]
    assert 70 < sum(kinds) < 130
    assert world.scene(5, "train") == World(PACK, 0.25).scene(5, "train")
    solid = kinds.index(False)
    assert world.scene(solid, "train") == sample_scene(solid)


def test_stories_come_as_often_as_asked_and_leave_the_others_as_they_are() -> None:
    plain, told = World(PACK, 0.5), World(PACK, 0.5, stories=0.25)
    kept = [plain.scene(seed, "train") == told.scene(seed, "train") for seed in range(400)]
    assert 270 < sum(kept) < 330
    every = World(PACK, 0.5, stories=1.0)
    assert not any(plain.scene(seed, "train") == every.scene(seed, "train") for seed in range(50))
    assert World(stories=1.0).scene(3, "test") == sample_story(3, "test")
    assert World(PACK, 1.0, stories=1.0).scene(3, "test") == sample_figure_story(3, PACK, "test")


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_stories_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(RequestError, match=f"{share}"):
        World(stories=share)


@pytest.mark.parametrize(("pack", "share"), [(None, 0.1), (PACK, -0.1), (PACK, 1.1)])
def test_a_share_that_cannot_be_is_refused(pack: FigurePack | None, share: float) -> None:
    with pytest.raises(RequestError, match=f"{share}"):
        World(pack, share)


def test_a_scene_of_figures_needs_their_pack() -> None:
    with pytest.raises(RequestError, match="give World a pack"):
        SOLIDS.render(sample_figure_scene(7, PACK), SMALL, 24.0)


def test_the_name_tells_worlds_apart() -> None:
    assert SOLIDS.name == World(PACK).name == "solids"
    name = World(PACK, 0.25).name
    assert name.startswith("solids, 25% figures of ")
    assert len(name.rpartition(" ")[2]) == 8
    others = [
        World(PACK, 0.3),
        World(replace(PACK, names=("teapot", "cat")), 0.25),
        World(replace(PACK, kinds=("thing", "walker")), 0.25),
        World(replace(PACK, pictures_NHWC=PACK.pictures_NHWC // 2), 0.25),
    ]
    others += [World(PACK, 0.25, stories=0.1), World(PACK, 0.25, stories=0.2), World(stories=0.1)]
    assert len({name, *(world.name for world in others)}) == 8
    assert World(make_pack(), 0.25).name == name


@pytest.mark.parametrize("camera", ["still", "pan", "zoom", "above"])
def test_the_mask_of_actors_is_the_truth(camera: str) -> None:
    for seed in range(4):
        scene = replace(sample_scene(seed, actors=1 + seed % 3), camera=camera)
        expected = truth(scene, SMALL, 6.0, 0.5).masks.any(0)
        assert torch.equal(actor_mask(scene, SMALL, 6.0, 0.5), expected)


@pytest.mark.parametrize("world", [SOLIDS, World(PACK, 1.0)], ids=["solids", "figures"])
@pytest.mark.parametrize("side", [128, 256])
def test_coarse_masks_give_the_share_of_tokens(world: World, side: int) -> None:
    size = ClipSize(1, side, side)
    differences = []
    for seed in range(12):
        scene = world.scene(seed, "train")
        if isinstance(scene, FigureScene):
            fine = figure_masks(scene, PACK, size).any(0)
        else:
            fine = truth(scene, size).masks.any(0)
        coarse = world.actors(scene, size, 24.0)
        assert coarse.shape == fine.shape
        assert not torch.equal(coarse, fine)
        shares = [share_of_tokens(mask, size) for mask in (coarse, fine)]
        differences.append((shares[0] - shares[1]).abs().mean().item())
    assert sum(differences) / 12 < 0.02


def test_masks_of_figures_are_where_they_are_painted() -> None:
    """What changes with the colour of a figure is what is seen of it."""
    scene = sample_figure_scene(5, PACK, figures=2)
    size = ClipSize(9, 96, 96)
    masks = figure_masks(scene, PACK, size, 6.0, start=0.5)
    frames = render_figures(scene, PACK, size, 6.0, start=0.5).int()
    assert not masks.all(0).any()
    for mask, figure in zip(masks, scene.figures, strict=True):
        pictures = PACK.pictures_NHWC.clone()
        pictures[PACK.names.index(figure.name), ..., 1] = 255
        other = replace(PACK, pictures_NHWC=pictures)
        changed = (render_figures(scene, other, size, 6.0, start=0.5).int() - frames)[..., 1]
        seen = changed > 0.5 * changed.max()
        assert mask.sum() > 100
        assert (mask != seen).sum() < 0.03 * mask.sum()


@pytest.mark.parametrize("size", [32, 160])
def test_crops_are_of_the_world(size: int) -> None:
    """Cards of pure red are where the masks say, and clips larger than the canvas are whole."""
    crops = ToyCrops(0, 3, lambda _step: (5, ClipSize(1, size, size)), World(PACK, 1.0))
    batch = crops[1]
    assert batch.frames.shape == (5, 1, size, size, 3)
    assert batch.actors.any()
    red = (batch.frames[..., 0] > 3 * batch.frames[..., 1].int()) & (batch.frames[..., 0] > 60)
    assert (red & batch.actors).sum() > 0.8 * batch.actors.sum()
    assert torch.equal(batch.frames, crops[1].frames)


def test_a_batch_does_not_depend_on_dice_outside() -> None:
    crops = ToyCrops(0, 2, lambda _step: (2, ClipSize(1, 32, 32)))
    random.seed(0)
    first = crops[0].frames
    random.seed(1)
    assert torch.equal(first, crops[0].frames)


def test_crops_may_be_wide() -> None:
    for size in (ClipSize(1, 32, 128), ClipSize(1, 128, 256)):
        crops = ToyCrops(0, 1, lambda _step, size=size: (3, size))[0]
        assert crops.frames.shape == (3, 1, size.height, size.width, 3)
        assert crops.actors.shape == crops.frames.shape[:-1]


def test_a_short_clip_has_no_story_and_is_the_same_without_them() -> None:
    plain, told = World(PACK, 0.3), World(PACK, 0.3, stories=1.0)
    for seed in range(20):
        assert told.scene(seed, "train", 3.4) == plain.scene(seed, "train")
    assert any(told.scene(seed, "train", 3.6) != plain.scene(seed, "train") for seed in range(5))


def test_a_world_of_pairs_shows_two_actors() -> None:
    world = World(PACK, 0.5, pairs=1.0)
    for seed in range(8):
        scene = world.scene(seed, "train")
        assert len(scene.figures if isinstance(scene, FigureScene) else scene.actors) == 2
    assert "100% pairs" in world.name
