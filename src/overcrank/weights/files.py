"""Files written in one step, and what a file is that cannot be read as safetensors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

FORMAT_VERSION = 1

_SIGNS = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it around a pickle"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file it stands for"),
)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Lend a temporary neighbour of `path` that replaces it when all went well.

    Raises OSError, also where safetensors has its own error for a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def why_unreadable(path: Path) -> str:
    """What `path` is, by its first bytes, given that it is no readable safetensors file."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        return f"not readable ({error.strerror})"
    if start[8:9] == b"{":
        return "a safetensors file that is cut short or damaged"
    signs = (what for sign, what in _SIGNS if start.startswith(sign))
    return next(signs, "not a safetensors file") if start else "empty"
