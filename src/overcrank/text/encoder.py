"""What every text encoder gives, and how it is asked.

Axes: B batch, L text tokens, D width.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from overcrank.errors import RequestError


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """Prompts as the transformer reads them, padded to the longest prompt of the batch.

    `embeds_BLD` is float32 and zero at padding; `keep_BL` is bool, False at padding.
    """

    embeds_BLD: Tensor
    keep_BL: Tensor

    def rows(self) -> list[Tensor]:
        """Each prompt alone, (L, D), its padding cut off."""
        return [
            embeds_LD[keep_L]
            for embeds_LD, keep_L in zip(self.embeds_BLD, self.keep_BL, strict=True)
        ]

    @classmethod
    def from_rows(cls, rows: Sequence[Tensor]) -> "TextEmbedding":
        """Join prompts (L, D) of any lengths into one padded batch."""
        keep_rows = [row.new_ones(len(row), dtype=torch.bool) for row in rows]
        return cls(
            pad_sequence(list(rows), batch_first=True), pad_sequence(keep_rows, batch_first=True)
        )


class TextEncoder(Protocol):
    """Turns prompts into embeddings; `name` is what model files call it, `width` is D."""

    name: str
    width: int

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Embed the prompts as one batch, padding cut to the longest of them."""
        ...


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can write; half of a surrogate pair it cannot."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def tokenize(tokenizer: Any, prompts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, L), int64, and the keep-mask (B, L), bool, with special tokens added.

    A prompt over `longest` tokens is cut there, and a UserWarning says so.
    """
    if isinstance(prompts, str) or not prompts:
        raise RequestError(
            f"an encoder needs a list of prompts, got {prompts!r}: try ['a red ball']"
        )
    batch = tokenizer(
        [prompt.strip() for prompt in prompts],
        padding="longest",
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    for prompt, encoding in zip(prompts, batch.encodings, strict=True):
        if encoding.overflowing:
            warnings.warn(
                f"a prompt is read up to {longest} tokens, got a longer one "
                f"({prompt.strip()[:40]!r}...): make it shorter for the rest to count",
                stacklevel=3,
            )
    return batch["input_ids"], batch["attention_mask"].bool()
