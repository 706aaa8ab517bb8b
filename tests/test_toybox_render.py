"""The renderer and the truth it must agree with."""

from dataclasses import replace

import pytest
import torch

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox import Scene, render, sample_scene, truth
from overcrank.toybox.motion import BOUNCE_PERIOD, pose
from overcrank.toybox.scene import CAMERAS, GROUNDS, MOTIONS, SHAPES, SKIES

SMALL = ClipSize(9, 64, 64)


def one(motion: str, shape: str = "cube", camera: str = "still", colour: str = "red") -> Scene:
    """A scene of one solid with a motion of our choice."""
    scene = sample_scene(11, actors=1)
    actor = replace(scene.actors[0], shape=shape, motion=motion, texture="plain", x=0.0)
    actor = replace(actor, colour=colour)
    return replace(scene, actors=(actor,), camera=camera)


@pytest.mark.parametrize("size", [(1, 32, 32), (9, 64, 160), (17, 96, 64)])
def test_any_size_and_length_can_be_rendered(size: tuple[int, int, int]) -> None:
    frames = render(sample_scene(2), ClipSize(*size))
    assert frames.shape == (*size, 3)
    assert frames.dtype == torch.uint8


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_longer_clip_begins_with_the_shorter_one(motion: str, camera: str) -> None:
    scene = one(motion, camera=camera)
    longer = render(scene, ClipSize(17, 64, 64), 8.0)
    assert torch.equal(longer[:9], render(scene, SMALL, 8.0))


def test_frame_rate_changes_how_often_we_look_not_what_happens() -> None:
    scene = one("bounce")
    often = render(scene, ClipSize(17, 64, 64), 24.0)
    assert torch.equal(often[::2], render(scene, SMALL, 12.0))


def test_a_clip_may_start_later() -> None:
    scene = one("orbit")
    assert torch.equal(render(scene, SMALL, 8.0, start=1.0)[0], render(scene, SMALL, 8.0)[8])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_senseless_frame_rate_is_refused(rate: float) -> None:
    with pytest.raises(RequestError, match="try 24"):
        render(sample_scene(0), SMALL, rate)


@pytest.mark.parametrize("motion", [motion for motion in MOTIONS if motion != "still"])
def test_every_motion_changes_the_picture_within_two_seconds(motion: str) -> None:
    frames = render(one(motion), ClipSize(17, 64, 64), 8.0).float()
    assert (frames - frames[:1]).abs().amax(dim=(1, 2, 3)).max() > 60


def test_a_still_clip_is_still() -> None:
    frames = render(one("still"), SMALL)
    assert torch.equal(frames, frames[:1].expand_as(frames))


def test_grounds_and_skies_look_different() -> None:
    scenes = [replace(one("still"), ground=ground) for ground in GROUNDS]
    scenes += [replace(one("still"), sky=sky) for sky in SKIES if sky != scenes[0].sky]
    clips = [render(scene, ClipSize(1, 64, 64)).float() for scene in scenes]
    for i, clip in enumerate(clips):
        assert all((clip - other).abs().mean() > 4 for other in clips[:i])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_is_where_the_solid_changes_the_picture(shape: str) -> None:
    """Painting the solid in another colour must change its mask and nothing else."""
    red, green = one("spin", shape), one("spin", shape, colour="green")
    size = ClipSize(9, 96, 96)
    changed = (render(red, size).float() - render(green, size).float()).abs().amax(-1) > 10
    mask = truth(red, size).masks[0]
    union = (changed | mask).sum()
    assert (changed & mask).sum() / union > 0.85


def test_masks_of_two_actors_never_overlap() -> None:
    masks = truth(sample_scene(3, actors=2), SMALL, 4.0).masks
    assert not (masks[0] & masks[1]).any()


@pytest.mark.parametrize("motion", ["left", "rise", "orbit", "swing"])
def test_the_track_follows_the_middle_of_the_mask(motion: str) -> None:
    scene = one(motion, "ball")
    scene = replace(scene, actors=(replace(scene.actors[0], diameter=0.3),))
    facts = truth(scene, ClipSize(9, 128, 128), 8.0)
    for mask, (column, row) in zip(facts.masks[0], facts.tracks[0], strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert abs(columns.float().mean() + 0.5 - column) < 0.7
        assert abs(rows.float().mean() + 0.5 - row) < 0.7


def test_a_ball_is_as_wide_as_the_truth_says() -> None:
    """But for its smooth edge, which reaches half a pixel further on each side."""
    facts = truth(one("still", "ball"), ClipSize(1, 128, 128))
    columns = facts.masks[0, 0].any(dim=0).sum()
    assert abs(float(columns) - float(facts.sizes[0, 0])) <= 2.0


def test_a_solid_is_nearer_than_the_ground_behind_it() -> None:
    scene = one("still")
    facts = truth(scene, ClipSize(1, 64, 64))
    mask, depth = facts.masks[0, 0], facts.depth[0]
    top = int(mask.any(dim=1).nonzero()[0])
    assert depth[top:][mask[top:]].max() < depth[top:][~mask[top:]].max()
    assert depth[mask].isfinite().all()
    assert depth[0].isinf().all()


def test_contacts_are_when_the_solid_touches_the_ground() -> None:
    for motion in ("bounce", "fall"):
        scene = one(motion)
        contacts = truth(scene, ClipSize(121, 32, 32)).contacts[0]
        assert len(contacts) >= 3
        assert all(pose(scene.actors[0], time).lift < 1e-6 for time in contacts)
        assert pose(scene.actors[0], contacts[0] - BOUNCE_PERIOD / 4).lift > 0.01


def test_the_nearer_actor_hides_the_farther_one() -> None:
    scene = sample_scene(4, actors=2)
    near, far = (
        replace(actor, motion="still", shape="ball", x=0.0, z=z)
        for actor, z in zip(scene.actors, (0.0, 0.2), strict=True)
    )
    facts = truth(replace(scene, actors=(far, near), camera="still"), ClipSize(1, 64, 64))
    assert facts.visible[1, 0] == 1
    assert facts.visible[0, 0] < 0.9


def test_the_truth_of_a_later_part_is_that_part_of_the_truth() -> None:
    scene = one("bounce")
    whole, later = (
        truth(scene, ClipSize(17, 64, 64)),
        truth(scene, ClipSize(9, 64, 64), start=1 / 3),
    )
    assert torch.equal(whole.masks[:, 8:], later.masks)
    assert torch.equal(whole.tracks[:, 8:], later.tracks)
    assert whole.contacts[0][: len(later.contacts[0])] == later.contacts[0]
