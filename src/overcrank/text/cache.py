"""A bounded memory of prompts that were already encoded.

Axes: L text tokens, D width.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from overcrank.text.encoder import TextEmbedding, TextEncoder

DEFAULT_MAX_BYTES = 256 * 2**20


class CachedEncoder:
    """Wraps any encoder and encodes each prompt once; least recently used prompts go first.

    Bounded by bytes, since one T5-XXL prompt takes up to 4 MiB and a MiniLM one at most 192 KiB.
    """

    def __init__(self, encoder: TextEncoder, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.encoder = encoder
        self.name = encoder.name
        self.width = encoder.width
        self.max_bytes = max_bytes
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """As the wrapped encoder does; only prompts not seen before reach it."""
        keys = [self._key(prompt) for prompt in prompts]
        batch = {key: self._rows[key] for key in keys if key in self._rows}
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in batch
        }
        if missing or not keys:
            rows = self.encoder.encode(list(missing.values())).rows()
            batch |= dict(zip(missing, rows, strict=True))
        for key in keys:
            self._rows[key] = batch[key]
            self._rows.move_to_end(key)
        while sum(row.nbytes for row in self._rows.values()) > self.max_bytes:
            self._rows.popitem(last=False)
        return TextEmbedding.from_rows([batch[key] for key in keys])

    def _key(self, prompt: str) -> str:
        return hashlib.sha256(f"{self.name}\0{prompt}".encode()).hexdigest()
