"""The embedding cache: same answers, less work, bounded memory."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from overcrank.text import CachedEncoder, EmbeddingStore, TextEmbedding


class LetterEncoder:
    """Embeds each letter as its number, 4 wide, and keeps count of the prompts it was given."""

    name = "letters"
    width = 4

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        self.seen.extend(prompts)
        return TextEmbedding.from_rows(
            [
                torch.tensor([float(ord(letter)) for letter in prompt])[:, None].expand(-1, 4)
                for prompt in prompts
            ]
        )


def same(one: TextEmbedding, other: TextEmbedding) -> bool:
    return torch.equal(one.embeds_BLD, other.embeds_BLD) and torch.equal(one.keep_BL, other.keep_BL)


def test_a_cached_batch_equals_a_fresh_one_whatever_was_asked_before() -> None:
    cached = CachedEncoder(LetterEncoder())
    cached.encode(["a long prompt", "b"])
    assert same(cached.encode(["b", "new", "b"]), LetterEncoder().encode(["b", "new", "b"]))


def test_each_prompt_is_encoded_once() -> None:
    inner = LetterEncoder()
    cached = CachedEncoder(inner)
    for prompts in (["a", "b"], ["b", "c", "c"], ["a"]):
        cached.encode(prompts)
    assert inner.seen == ["a", "b", "c"]


def test_the_least_recently_used_prompt_is_forgotten_first() -> None:
    inner = LetterEncoder()
    cached = CachedEncoder(inner, max_bytes=2 * 4 * 4)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        cached.encode([prompt])
    assert inner.seen == ["a", "b", "c", "b"]


@pytest.mark.parametrize("max_bytes", [0, 40, 1000])
def test_a_batch_larger_than_the_cache_is_still_answered(max_bytes: int) -> None:
    cached = CachedEncoder(LetterEncoder(), max_bytes)
    prompts = ["one", "two", "three", "four"]
    assert same(cached.encode(prompts), LetterEncoder().encode(prompts))
    assert len(cached) * 4 * 4 <= max_bytes


def test_a_caller_that_writes_on_its_embeddings_does_not_spoil_the_cache() -> None:
    cached = CachedEncoder(LetterEncoder())
    cached.encode(["a"]).embeds_BLD.zero_()
    assert same(cached.encode(["a"]), LetterEncoder().encode(["a"]))


def stored(folder: Path, identity: str = "letters 1", max_bytes: int = 2**20) -> EmbeddingStore:
    return EmbeddingStore(folder, identity, max_bytes)


def test_a_prompt_on_the_disk_is_not_encoded_again(tmp_path: Path) -> None:
    CachedEncoder(LetterEncoder(), store=stored(tmp_path)).encode(["a", "long"])
    inner = LetterEncoder()
    later = CachedEncoder(inner, store=stored(tmp_path))
    assert same(later.encode(["long", "new", "a"]), LetterEncoder().encode(["long", "new", "a"]))
    assert inner.seen == ["new"]


def test_another_encoder_does_not_read_these_embeddings(tmp_path: Path) -> None:
    CachedEncoder(LetterEncoder(), store=stored(tmp_path)).encode(["a"])
    inner = LetterEncoder()
    CachedEncoder(inner, store=stored(tmp_path, "letters 2")).encode(["a"])
    assert inner.seen == ["a"]


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_read_from_the_disk_equals_what_was_written(tmp_path: Path, exact: bool) -> None:
    row = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    row = row.bfloat16().float() if exact else row
    stored(tmp_path).put("a", row)
    read = stored(tmp_path).get("a")
    assert read is not None
    assert torch.equal(read, row)


def test_no_prompt_can_be_read_on_the_disk(tmp_path: Path) -> None:
    stored(tmp_path).put("a secret plan", torch.ones(1, 4))
    (file,) = tmp_path.iterdir()
    assert "secret" not in file.name
    assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04pickle"])
def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Path, content: bytes) -> None:
    store = stored(tmp_path)
    store.put("a", torch.ones(1, 4))
    next(tmp_path.iterdir()).write_bytes(content)
    assert store.get("a") is None
    store.put("a", torch.ones(1, 4))
    assert "a" in store


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = stored(tmp_path / "file" / "folder")
    store.put("a", torch.ones(1, 4))
    assert store.get("a") is None


def test_the_folder_is_bounded_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.put("a", torch.ones(1, 4))
    size = next(tmp_path.iterdir()).stat().st_size
    store = stored(tmp_path, max_bytes=2 * size)
    store.put("b", torch.ones(1, 4))
    for age, path in enumerate(
        sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    ):
        os.utime(path, (age, age))
    assert store.get("a") is not None  # used just now
    store.put("c", torch.ones(1, 4))
    assert [prompt in store for prompt in "abc"] == [True, False, True]


class HeavyEncoder(LetterEncoder):
    """As `LetterEncoder`, with weights that can be dropped."""

    loaded = False

    def load(self) -> None:
        self.loaded = True

    def drop(self) -> None:
        self.loaded = False


def test_the_encoder_is_loaded_only_for_a_prompt_not_seen_before(tmp_path: Path) -> None:
    inner = HeavyEncoder()
    cached = CachedEncoder(inner, store=stored(tmp_path))
    cached.prepare(["a"])
    assert inner.loaded
    cached.encode(["a"])
    cached.drop()
    cached.prepare(["a", "a"])
    assert not inner.loaded
    cached.prepare(["a", "b"])
    assert inner.loaded
