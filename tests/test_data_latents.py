"""The cache of latents: what it holds, who makes it, what batches take from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from overcrank.data import latents
from overcrank.data.batches import LatentBatches
from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.originals import FRAME_RATES, ToyOriginals, key_frames
from overcrank.data.world import SOLIDS
from overcrank.errors import ModelError
from overcrank.shapes import ClipSize
from overcrank.text import TextEmbedding
from overcrank.toybox import render, sample_scene

SPEC = CacheSpec(
    size=ClipSize(25, 32, 32),
    clips=12,
    captions=2,
    seed=3,
    latent_hash="abc",
    text="lengths",
    world=SOLIDS.name,
)


class WordLengths:
    """One token a word: the number of its letters, twice. Counts how often it is asked."""

    name = "lengths"
    width = 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, prompts: list[str]) -> TextEmbedding:
        self.batches.append(len(prompts))
        words = [prompt.split() or [""] for prompt in prompts]
        return TextEmbedding.from_rows(
            [torch.tensor([[float(len(word))] * 2 for word in row]) for row in words]
        )


def encode(frames_BFHW3: Tensor) -> Tensor:
    """The mean of every eighth frame: three channels, one cell."""
    assert frames_BFHW3.dtype == torch.uint8
    return F.adaptive_avg_pool3d(frames_BFHW3[:, ::8].movedim(-1, 1) / 255, (None, 1, 1))


def make(folder: Path, spec: CacheSpec = SPEC, processes: int = 0, turn: tuple[int, int] = (0, 1)):
    text = WordLengths()
    clips = ToyOriginals(SOLIDS, spec.size, seed=spec.seed, captions=spec.captions)
    makers = Makers(clips, encode, text, processes)
    make_cache(folder, spec, makers, lambda _done, _total: None, turn)
    return text


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "PER_SHARD", 6)
    monkeypatch.setattr(latents, "CAPTIONS_AT_ONCE", 5)


def test_a_clip_is_a_function_of_seed_and_index(tmp_path: Path) -> None:
    """The scene, rate and captions that a cache of this seed has always had."""
    make(tmp_path)
    cache = LatentCache(tmp_path, SPEC)
    for index in (0, 3, 11):
        clip, scene = cache[index], sample_scene(3 * 2**32 + index)
        assert clip.frame_rate == FRAME_RATES[index % 5]
        frames = render(scene, SPEC.size, clip.frame_rate)
        torch.testing.assert_close(clip.latent_CTHW, encode(frames[None])[0], atol=1e-3, rtol=0)
        for voice, embeds in enumerate(clip.texts):
            words = SOLIDS.caption(scene, index * 2 + voice).split()
            assert embeds[:, 0].tolist() == [len(word) for word in words]
        assert clip.key_frames_K.tolist() == key_frames(25, 3 * 2**32 + index)
        for key_CHW, place in zip(clip.keys_KCHW, clip.key_frames_K, strict=True):
            alone = encode(frames[None, place : place + 1])[0, :, 0]
            torch.testing.assert_close(key_CHW, alone, atol=1e-3, rtol=0)


def test_keys_are_the_last_frame_and_another() -> None:
    drawn = [key_frames(33, seed) for seed in range(60)]
    assert {last for last, _ in drawn} == {32}
    assert {other for _, other in drawn} == {8, 16, 24}
    assert key_frames(33, 5) == key_frames(33, 5)
    assert (key_frames(9, 0), key_frames(1, 0)) == ([8, 8], [0, 0])


def test_processes_and_turns_change_nothing(tmp_path: Path) -> None:
    alone = make(tmp_path / "alone")
    assert alone.batches == [5, 5, 2, 1] * 2
    make(tmp_path / "many", processes=2)
    make(tmp_path / "turns", turn=(1, 2))
    assert not (tmp_path / "turns" / "00000.safetensors").exists()
    make(tmp_path / "turns", turn=(0, 2))
    for name in ("00000.safetensors", "00001.safetensors"):
        first = load_file(tmp_path / "alone" / name)
        for folder in ("many", "turns"):
            other = load_file(tmp_path / folder / name)
            assert first.keys() == other.keys()
            assert all(torch.equal(first[key], other[key]) for key in first)


def test_only_missing_shards_are_made(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "00001.safetensors").unlink()
    before = (tmp_path / "00000.safetensors").stat().st_mtime_ns
    assert len(make(tmp_path, processes=1).batches) == 4
    assert (tmp_path / "00000.safetensors").stat().st_mtime_ns == before
    assert make(tmp_path, processes=1).batches == []


def test_a_cache_of_another_world_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    other = replace(SPEC, world="solids, 25% figures of 01234567")
    with pytest.raises(ModelError, match="got world solids, right is solids, 25% figures of 0123"):
        LatentCache(tmp_path, other)


def test_a_step_draws_from_its_own_cache(tmp_path: Path) -> None:
    small = replace(SPEC, held_out=2)
    large = replace(small, size=ClipSize(9, 64, 32))
    make(tmp_path / "small")
    make(tmp_path / "large", large)
    caches = [LatentCache(tmp_path / "small", small), LatentCache(tmp_path / "large", large)]
    batches = LatentBatches(
        lambda step: caches[step % 2],
        lambda step: (4, 3 - step % 2, 99),
        steps=2,
        seed=0,
        drop_text=0.0,
    )
    for step, frames in enumerate((25, 9)):
        batch = batches[step]
        assert batch.latent_BCTHW.shape == (4, 3, 3 - step, 1, 1)
        assert batch.actors_BTHW.shape == (4, 3 - step, 2 if step else 1, 1)
        assert batch.keys_BKCHW.shape == (4, 2, 3, 1, 1)
        assert batch.kept_BN.tolist() == [list(range(3 - step))] * 4
        assert batch.key_frames_BK.dtype == torch.int64
        assert (batch.key_frames_BK[:, 0] == frames - 1).all()


def test_it_is_told_at_once_what_is_there_and_then_what_is_made(tmp_path: Path) -> None:
    """Also before the first clip is rendered; held in memory are the frames of few clips."""
    clips = ToyOriginals(SOLIDS, SPEC.size, seed=SPEC.seed, captions=SPEC.captions)
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    make_cache(tmp_path, SPEC, Makers(clips, encode, WordLengths(), at_once=4), tell)
    assert told == [(0, 12), (4, 12), (6, 12), (10, 12), (12, 12)]
    (tmp_path / "00001.safetensors").unlink()
    told.clear()
    make_cache(tmp_path, SPEC, Makers(clips, encode, WordLengths(), at_once=6), tell)
    assert told == [(6, 12), (12, 12)]
