"""Prepared clips go where most of them is shown, and become latents."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from overcrank.data import latents
from overcrank.data.buckets import Piece, PreparedOriginals, check_captions, sort_clips
from overcrank.data.fitting import Fit
from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.prepared import Prepared
from overcrank.errors import ModelError, RequestError
from overcrank.shapes import ClipSize
from prepared_clips import write_clips
from test_data_latents import WordLengths, encode

WIDE, TALL, PICTURE = ClipSize(9, 64, 96), ClipSize(17, 96, 64), ClipSize(1, 64, 64)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """0: 12 frames of 96 x 64; 1: 24 of 64 x 96; 2: 36 of 96 x 64; 3: a picture of 128 x 128."""
    return Prepared(write_clips(tmp_path_factory.mktemp("prepared")))


def places(pieces: list[Piece]) -> list[tuple[str, int, int]]:
    """Of each piece: the last digit of its clip, its first frame and its step."""
    return [(piece.clip.key[-1], piece.frames.start, piece.frames.step) for piece in pieces]


def test_a_clip_goes_where_most_of_it_is_shown(prepared: Prepared) -> None:
    found = sort_clips(prepared, [WIDE, TALL, PICTURE], Fit(), 0)
    assert {size: places(pieces) for size, pieces in found.items()} == {
        WIDE: [("0", 0, 1), ("2", 0, 1), ("2", 9, 1), ("2", 18, 1), ("2", 27, 1)],
        TALL: [("1", 0, 1)],
        PICTURE: [("3", 0, 1)],
    }


def test_the_longer_and_larger_of_two_sizes_wins(prepared: Prepared) -> None:
    long, large = replace(WIDE, frames=25), ClipSize(1, 128, 128)
    small = ClipSize(1, 32, 32)
    found = sort_clips(prepared, [WIDE, long, large], Fit(), 0)
    assert places(found[long]) == [("2", 0, 1)]
    assert places(found[WIDE]) == [("0", 0, 1)]
    assert places(found[large]) == [("3", 0, 1)]
    found = sort_clips(prepared, [small, large], Fit(), 0)
    assert [places(found[size])[-1][0] for size in (small, large)] == ["2", "3"]


def test_clips_that_fit_nowhere_are_left_out(prepared: Prepared) -> None:
    found = sort_clips(prepared, [TALL], Fit(), 0)
    assert places(found[TALL]) == [("1", 0, 1)]
    with pytest.raises(RequestError, match="no clip fits 41 frames of 32 x 32"):
        sort_clips(prepared, [ClipSize(41, 32, 32)], Fit(), 0)
    with pytest.raises(RequestError, match="no clip is best shown in 1 frames of 64 x 96: got 4"):
        sort_clips(prepared, [WIDE, TALL, PICTURE, ClipSize(1, 96, 64)], Fit(), 0)


def test_jitter_takes_every_second_frame_of_long_clips(prepared: Prepared) -> None:
    found = sort_clips(prepared, [WIDE], Fit(jitter=1.0), 0)
    assert places(found[WIDE]) == [("0", 0, 1), ("2", 0, 2), ("2", 18, 2)]
    rates = [PreparedOriginals(prepared, WIDE, found[WIDE])[i].frame_rate for i in range(3)]
    assert rates == [10.0, 5.0, 5.0]
    drawn = {len(sort_clips(prepared, [WIDE], Fit(jitter=0.5), seed)[WIDE]) for seed in range(9)}
    assert drawn == {3, 5}


def test_a_piece_is_the_frames_that_it_says(prepared: Prepared) -> None:
    pieces = sort_clips(prepared, [WIDE], Fit(jitter=1.0), 0)[WIDE]
    originals = PreparedOriginals(prepared, WIDE, pieces, trigger="sqr")
    for index in random.Random(0).sample(range(3), 3):
        found, piece = originals[index], pieces[index]
        wanted = torch.stack(list(prepared.frames(piece.clip, piece.frames)))
        assert torch.equal(found.frames_FHW3, wanted)
        assert found.captions == [f"sqr {piece.clip.caption}"]
        assert found.key_frames == [8, 8]


def test_frames_are_cut_in_the_middle_or_anywhere(prepared: Prepared) -> None:
    size = ClipSize(9, 64, 64)
    pieces = sort_clips(prepared, [size], Fit(), 0)[size]
    centred = PreparedOriginals(prepared, size, pieces)
    anywhere = PreparedOriginals(prepared, size, pieces, random_crop=True)
    wanted = torch.stack(list(prepared.frames(pieces[0].clip, range(9))))[:, :, 16:80]
    assert torch.equal(centred[0].frames_FHW3, wanted)
    assert not torch.equal(anywhere[0].frames_FHW3, wanted)
    assert torch.equal(
        anywhere[0].frames_FHW3,
        PreparedOriginals(prepared, size, pieces, random_crop=True)[0].frames_FHW3,
    )
    assert centred.name != anywhere.name


def test_missing_captions_are_refused_by_name(tmp_path: Path) -> None:
    silent = Prepared(write_clips(tmp_path, captions=False))
    pieces = sort_clips(silent, [ClipSize(1, 64, 64)], Fit(), 0)[ClipSize(1, 64, 64)]
    with pytest.raises(
        RequestError,
        match="^4 of 4 clips have no caption: got none for 00000000 of 00.mp4, .* and 1 more: ",
    ):
        check_captions(pieces, allow_empty=False)
    check_captions(pieces, allow_empty=True)
    assert PreparedOriginals(silent, ClipSize(1, 64, 64), pieces)[0].captions == [""]


def test_prepared_clips_become_latents(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of 3 for 5 pieces: the last one is not full; processes change nothing."""
    monkeypatch.setattr(latents, "PER_SHARD", 3)
    pieces = sort_clips(prepared, [WIDE, TALL], Fit(), 0)[WIDE]
    caches = []
    for processes in (0, 1):
        clips = PreparedOriginals(prepared, WIDE, pieces)
        spec = CacheSpec(
            size=WIDE,
            clips=len(clips),
            captions=1,
            seed=0,
            latent_hash="abc",
            text="lengths",
            world=clips.name,
            held_out=clips.held_out,
        )
        folder = tmp_path / str(processes)
        make_cache(folder, spec, Makers(clips, encode, WordLengths(), processes), lambda *_: None)
        caches.append(LatentCache(folder, spec))
    assert [len(cache) for cache in caches] == [5, 5]
    for index in range(5):
        first, second = (cache[index] for cache in caches)
        assert torch.equal(first.latent_CTHW, second.latent_CTHW)
        wanted = encode(clips[index].frames_FHW3[None])[0]
        torch.testing.assert_close(first.latent_CTHW, wanted, atol=1e-3, rtol=0)
        assert first.frame_rate == 10.0
        assert [len(text) for text in first.texts] == [5]
    other = PreparedOriginals(prepared, WIDE, pieces[:4], trigger="now")
    with pytest.raises(ModelError, match="got world prepared clips .*, right is prepared clips"):
        LatentCache(tmp_path / "0", replace(spec, clips=3, world=other.name))
