"""A bounded memory of prompts that were already encoded, and the same on the disk.

Axes: L text tokens, D width.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from overcrank.text.encoder import TextEmbedding, TextEncoder
from overcrank.text.store import EmbeddingStore

DEFAULT_MAX_BYTES = 256 * 2**20


@runtime_checkable
class Droppable(Protocol):
    """An encoder so large that it does not stay in memory for nothing."""

    def load(self) -> None:
        """Read the weights, if they are not in memory."""
        ...

    def drop(self) -> None:
        """Free the memory of the weights until they are needed again."""
        ...


class CachedEncoder:
    """Wraps any encoder and encodes each prompt once; least recently used prompts go first.

    Bounded by bytes, since one T5-XXL prompt takes up to 4 MiB and one of the small encoder at
    most 192 KiB. With a `store`, what is on the disk is not encoded again either.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        max_bytes: int = DEFAULT_MAX_BYTES,
        store: EmbeddingStore | None = None,
    ) -> None:
        self.encoder = encoder
        self.name = encoder.name
        self.width = encoder.width
        self.max_bytes = max_bytes
        self.store = store
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def prepare(self, prompts: Sequence[str]) -> None:
        """Load the encoder now if one of the prompts will need it."""
        if isinstance(self.encoder, Droppable) and len(self._known(prompts)) < len(set(prompts)):
            self.encoder.load()

    def drop(self) -> None:
        """Free the memory of the encoder; it comes back for a prompt not seen before."""
        if isinstance(self.encoder, Droppable):
            self.encoder.drop()

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """As the wrapped encoder does, on the CPU; only prompts not seen before reach it."""
        keys = [self._key(prompt) for prompt in prompts]
        batch = self._known(prompts)
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in batch
        }
        if missing or not keys:
            rows = self.encoder.encode(list(missing.values())).rows()
            for (key, prompt), row in zip(missing.items(), rows, strict=True):
                batch[key] = row.cpu()
                if self.store is not None:
                    self.store.put(prompt, row)
        for key in keys:
            self._rows[key] = batch[key]
            self._rows.move_to_end(key)
        while sum(row.nbytes for row in self._rows.values()) > self.max_bytes:
            self._rows.popitem(last=False)
        return TextEmbedding.from_rows([batch[key] for key in keys])

    def _known(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """What memory and disk hold of the prompts, by key."""
        known: dict[str, Tensor] = {}
        for prompt in prompts:
            key = self._key(prompt)
            row = self._rows.get(key)
            if row is None and self.store is not None and key not in known:
                row = self.store.get(prompt)
            if row is not None:
                known[key] = self._rows[key] = row
        return known

    def _key(self, prompt: str) -> str:
        return hashlib.sha256(f"{self.name}\0{prompt}".encode()).hexdigest()
