"""Embeddings on the disk, one file a prompt, named by the hash of what it depends on.

Axes: L text tokens, D width.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

DEFAULT_MAX_BYTES = 4 * 2**30


class EmbeddingStore:
    """A bounded folder of embeddings; those that were not used for longest go first.

    `identity` stands for the encoder: its weights, tokenizer and number format. Prompts are not
    stored, only their hash. What cannot be read or written is as if it were not there: a cache
    never makes a run fail.
    """

    def __init__(
        self, folder: str | Path, identity: str, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        self.folder = Path(folder)
        self.identity = identity
        self.max_bytes = max_bytes

    def __contains__(self, prompt: str) -> bool:
        return self.get(prompt) is not None

    def get(self, prompt: str) -> Tensor | None:
        """The embedding (L, D), float32, or None."""
        path = self._path(prompt)
        try:
            row: Tensor = load(path.read_bytes())["embeds"]
            os.utime(path)
        except (OSError, KeyError, ValueError, SafetensorError):
            return None
        return row.float() if row.ndim == 2 and row.is_floating_point() else None

    def put(self, prompt: str, row_LD: Tensor) -> None:
        """Keep an embedding; in half the space where its numbers come from bfloat16."""
        row_LD = row_LD.detach().cpu().contiguous()
        half = row_LD.bfloat16()
        row_LD = half if torch.equal(half.to(row_LD), row_LD) else row_LD
        path = self._path(prompt)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(save({"embeds": row_LD}))
            temporary.replace(path)
            self._shrink()
        except OSError:
            _remove(temporary)

    def _path(self, prompt: str) -> Path:
        digest = hashlib.sha256(f"{self.identity}\0{prompt}".encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def _shrink(self) -> None:
        files = [(path, path.stat()) for path in self.folder.glob("*.safetensors")]
        surplus = sum(stat.st_size for _, stat in files) - self.max_bytes
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if surplus <= 0:
                return
            _remove(path)
            surplus -= stat.st_size


def default_folder() -> Path:
    """Where embeddings are kept if nobody says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "overcrank" / "text"


def _remove(path: Path) -> None:
    with suppress(OSError):  # somebody else was faster, or it never came to be
        path.unlink()
