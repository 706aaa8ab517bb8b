"""Prepared clips are read out of their shards, and cut to the sizes that a run wants."""

import io
import json
import random
import shutil
import tarfile
from itertools import islice
from pathlib import Path

import pytest
import torch

from overcrank.data.crops import ToyCrops
from overcrank.data.fitting import ClipCrops, Fit, fitting, show
from overcrank.data.prepared import Prepared, PreparedClip
from overcrank.errors import MediaError, RequestError
from overcrank.shapes import ClipSize
from prepared_clips import write_clips
from test_data_prepare import pan


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def test_clips_are_what_was_prepared(shards: Path) -> None:
    clips = Prepared(shards).clips
    assert [(clip.frames, clip.width, clip.height) for clip in clips] == [
        (12, 96, 64),
        (24, 64, 96),
        (36, 96, 64),
        (1, 128, 128),
    ]
    assert [clip.frame_rate for clip in clips] == [10.0, 20.0, 10.0, 24.0]
    assert clips[1].caption == "squares of kind 1 move"
    assert clips[3].is_picture
    assert len({clip.digest for clip in clips}) == 4


def test_frames_are_found_by_their_places(shards: Path) -> None:
    prepared = Prepared(shards)
    found = torch.stack(list(prepared.frames(prepared.clips[2], range(3, 12, 2))))
    drawn = pan(3, frames=36, size=(64, 96))[3:12:2]
    assert found.dtype == torch.uint8
    assert (found.float() - drawn.float()).abs().mean() < 10
    (picture,) = prepared.frames(prepared.clips[3], range(1))
    assert (picture.float() - pan(99, frames=1, size=(128, 128))[0].float()).abs().mean() < 10


def test_clips_without_a_manifest_are_read_too(copy: Path) -> None:
    (copy / "manifest.jsonl").unlink()
    assert len(Prepared(copy).clips) == 4


def test_what_is_no_folder_of_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no folder of clips: .*run `overcrank prepare VIDEOS"):
        Prepared(tmp_path / "lost")
    with pytest.raises(RequestError, match="holds no shards .*it is no folder of clips"):
        Prepared(tmp_path)
    (tmp_path / ".parts").mkdir()
    with pytest.raises(RequestError, match="holds no shards .*was stopped: run"):
        Prepared(tmp_path)


def read_all(folder: Path) -> None:
    prepared = Prepared(folder)
    for clip in prepared.clips:
        list(prepared.frames(clip, range(clip.frames)))


def test_damaged_shards_are_refused_by_name(copy: Path) -> None:
    shard = copy / "clips-000000.tar"
    whole = shard.read_bytes()
    for damage in (b"", whole[:700], whole[: len(whole) // 2], b"\1" + whole[1:]):
        shard.write_bytes(damage)
        with pytest.raises(MediaError, match="shard .*clips-000000.tar is damaged or lost: "):
            Prepared(copy)
    shard.unlink()
    (copy / "other.tar").write_bytes(whole)
    with pytest.raises(MediaError, match="clips-000000.tar is .*: 0 of its 4 clips are there"):
        Prepared(copy)


def test_a_clip_that_cannot_be_decoded_is_refused_by_name(copy: Path) -> None:
    clip = Prepared(copy).clips[0]
    with clip.shard.open("r+b") as file:
        file.seek(clip.offset + 40)
        file.write(bytes(clip.bytes - 40))
    prepared = Prepared(copy)
    with pytest.raises(MediaError, match="clips-000000.tar is damaged .*: 00000000"):
        list(prepared.frames(clip, range(clip.frames)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": "12"}, "00000000.json says too little: .*'12' is no"),
        ({"frames": 0}, "of another format"),
        ({"format_version": 2}, "of another format"),
        ({"frames": 40}, "is not, as it says, 40 frames"),
        ({"width": 64}, "is not, as it says, .* 64 x 64"),
    ],
)
def test_what_is_said_of_a_clip_has_to_be_true(
    shards: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with tarfile.open(shards / "clips-000000.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()[:2]}  # type: ignore[union-attr]
    said = json.loads(members["00000000.json"]) | changes
    members["00000000.json"] = json.dumps(said).encode()
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(MediaError, match=message):
        read_all(tmp_path)


def test_other_members_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("00000000.pkl"), io.BytesIO())
    with pytest.raises(MediaError, match="00000000.pkl is cut off, or no json, mp4 or webp"):
        Prepared(tmp_path)


def of(width: int, height: int, frames: int) -> PreparedClip:
    return PreparedClip("", "", Path(), 0, 0, False, frames, height, width, 24.0, None, "")


def test_a_clip_fits_what_it_is_long_and_large_enough_for() -> None:
    size, fit = ClipSize(9, 64, 96), Fit()
    assert fit(of(96, 64, 9), size)
    assert not fit(of(96, 64, 8), size)
    assert not fit(of(94, 64, 9), size)
    assert not fit(of(96, 62, 9), size)
    assert Fit(enlarge=2)(of(48, 32, 9), size)
    assert not Fit(enlarge=2)(of(46, 32, 9), size)
    assert fit(of(96, 64, 17), size, every=2)
    assert not fit(of(96, 64, 16), size, every=2)


def test_a_size_that_no_clip_fits_names_what_there_is(shards: Path) -> None:
    prepared = Prepared(shards)
    with pytest.raises(
        RequestError,
        match="no clip fits 41 frames of 64 x 32: got 4 in .* the longest of 36 frames, the "
        "largest 128 x 128, enlarged by 1 at most: give",
    ):
        fitting(prepared, ClipSize(41, 32, 64), Fit())


def test_what_is_shown_is_the_part_that_was_asked_for() -> None:
    """A ramp of 2 a column in a wide frame: where a part lies and how large it is can be read."""
    ramp = (2 * torch.arange(96, dtype=torch.uint8))[None, :, None].expand(64, 96, 3)
    size = ClipSize(1, 32, 32)
    whole, close = (show([ramp], size, zoom)[0, 16, :, 0].float() for zoom in (0.0, 1.0))
    assert (whole[-1] - whole[0]).item() == pytest.approx(2 * 62, abs=2)
    assert whole.mean().item() == pytest.approx(95, abs=1)
    assert (close[-1] - close[0]).item() == 2 * 31
    left, right = (show([ramp], size, 1.0, (0, at))[0, 0, :, 0] for at in (-1.0, 1.0))
    assert (left[0].item(), right[-1].item()) == (0, 190)
    enlarged = show([ramp], ClipSize(1, 128, 128))
    assert enlarged.shape == (1, 128, 128, 3)


def test_crops_are_a_function_of_the_dice_and_differ(shards: Path) -> None:
    size = ClipSize(9, 32, 64)
    crops = ClipCrops(Prepared(shards), [size], Fit(jitter=0.5))
    batches = [
        torch.stack([crop for _, crop in zip(range(6), crops.crops(dice, size), strict=False)])
        for dice in (random.Random(1), random.Random(1), random.Random(2))
    ]
    assert batches[0].shape == (6, 9, 32, 64, 3)
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert len({crop.float().mean().item() for crop in batches[0]}) == 6


def test_a_batch_of_clips_is_a_function_of_seed_and_step(shards: Path) -> None:
    size = ClipSize(9, 32, 64)

    def data(share: float) -> ToyCrops:
        clips = ClipCrops(Prepared(shards), [size], share=share)
        return ToyCrops(3, 4, lambda _step: (4, size), clips=clips)

    batch = data(1.0)[2]
    assert torch.equal(batch.frames, data(1.0)[2].frames)
    assert not torch.equal(batch.frames, data(1.0)[1].frames)
    assert not batch.actors.any()
    mixed = [data(0.5)[step].actors.flatten(1).any(1) for step in range(4)]
    assert 0 < torch.cat(mixed).sum() < 16


def test_clips_that_are_held_out_are_never_learnt_from(tmp_path: Path) -> None:
    prepared = Prepared(write_clips(tmp_path, count=10))
    assert prepared.held_out == {"00000000"}
    size = ClipSize(9, 64, 96)
    crops = ClipCrops(prepared, [size])
    (held,) = crops.held_out(size, 8)
    assert torch.equal(held, torch.stack(list(prepared.frames(prepared.clips[0], range(9)))))
    typical = list(crops.typical(size, 9))
    assert len(typical) == 9
    assert all(torch.equal(*pair) for pair in zip(typical, crops.typical(size, 9), strict=True))
    everything = [*typical, *islice(crops.crops(random.Random(0), size), 20)]
    assert not any((held.float() - other.float()).abs().mean() < 5 for other in everything)
