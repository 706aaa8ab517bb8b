"""The embedding cache: same answers, less work, bounded memory."""

from collections.abc import Sequence

import pytest
import torch

from overcrank.text import CachedEncoder, TextEmbedding


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
