"""Safetensors files tensor by tensor: mapped when they are read, streamed when they are written.

A tensor owns the mapping of its own pages. Kept as it is, it costs the pages that are touched;
cast and dropped, it gives them back at once.
"""

import json
import math
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.weights.files import why_unreadable, write_atomically

MAX_HEADER = 16 << 20
"""Bytes. The largest published header has a hundredth of it; a hostile one costs memory."""
MAX_JSON = 16 << 20
"""Bytes of a JSON file."""

DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that is read when it is asked for."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, where it is stored in its own dtype."""
        return self.count * self.dtype.itemsize

    def to(self, dtype: torch.dtype) -> "Entry":
        """The same numbers, cast as they are read."""
        if dtype == self.dtype:
            return self
        return Entry(self.shape, dtype, lambda: self.load().to(dtype))


Entries = Mapping[str, Entry]


@dataclass(frozen=True)
class Tensors(Mapping[str, Tensor]):
    """Entries as a mapping to tensors, each of which lives as long as its user holds it."""

    entries: Entries

    def __getitem__(self, name: str) -> Tensor:
        return self.entries[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class TensorFile:
    """The header of a safetensors file, checked, and its tensors, not read yet."""

    metadata: Mapping[str, str]
    entries: Entries


def open_file(path: str | Path) -> TensorFile:
    """Read and check the header only. Refuses whatever is no safetensors file by what it is."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
            raise unreadable(path)
        length = _header_length(path)
        with safe_open(path, framework="pt") as checked:  # offsets, sizes and overlaps
            metadata: dict[str, str] = checked.metadata() or {}
        with path.open("rb") as file:
            header = json.loads(file.read(8 + length)[8:])
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise unreadable(path) from error
    header.pop("__metadata__", None)
    return TensorFile(
        metadata, {name: _entry(path, name, 8 + length, each) for name, each in header.items()}
    )


def write_file(path: Path, entries: Entries, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file in one step, holding one tensor in memory at a time."""
    # Wide numbers first keeps every tensor aligned.
    names = sorted(entries, key=lambda name: (-entries[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in names:
        entry = entries[name]
        header[name] = {
            "dtype": DTYPE_NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, offset := offset + entry.nbytes],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                tensor = entries[name].load().detach().cpu().contiguous()
                assert (tuple(tensor.shape), tensor.dtype) == (
                    entries[name].shape,
                    entries[name].dtype,
                ), name
                file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written: {error.strerror or error}: give a folder that can be "
            "written to, with room for the weights"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has {path.stat().st_size} bytes, allowed are {MAX_JSON}")
        return json_object(path.read_text(encoding="utf-8"), path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}: it must be a JSON object") from error


def json_object(text: str, where: str | Path) -> dict[str, Any]:
    """Parse one JSON object; whatever else is refused, naming `where` it stands."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} cannot be read: {error}: it must be a JSON object") from error
    if not isinstance(values, dict):
        raise ModelError(
            f"{where} must be a JSON object, got {type(values).__name__}: give {{...}}"
        )
    return values


def unreadable(path: Path) -> ModelError:
    """The error for a file that is no readable safetensors file."""
    if not os.path.lexists(path):
        return ModelError(
            f"{path} cannot be used as weights: got no such file: copy or download it again, or "
            "name another"
        )
    what = "a pipe or device" if _would_wait(path) else why_unreadable(path)
    return ModelError(
        f"{path} cannot be used as weights: it is {what}: right is a .safetensors file; pickled "
        "weights (.pt, .ckpt, .bin) are never opened"
    )


def _would_wait(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _header_length(path: Path) -> int:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > path.stat().st_size - 8:
        raise ValueError("the header is longer than the file")
    if length > MAX_HEADER:
        raise ModelError(
            f"{path} cannot be used as weights: its header claims {length:,} bytes: "
            f"right is a safetensors file with a header of at most {MAX_HEADER:,}"
        )
    return length


def _entry(path: Path, name: str, start: int, values: Mapping[str, Any]) -> Entry:
    dtype = _DTYPES.get(values["dtype"])
    if dtype is None:
        raise ModelError(
            f"{path} cannot be used as weights: {name} is stored as {values['dtype']}: "
            f"right is one of {', '.join(_DTYPES)}"
        )
    first, last = values["data_offsets"]
    shape = tuple(values["shape"])
    return Entry(shape, dtype, partial(_map, path, dtype, shape, start + first, start + last))


def _map(path: Path, dtype: torch.dtype, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    """The tensor on its pages of the file; writing to it does not change the file."""
    if start == stop:
        return torch.empty(shape, dtype=dtype)
    page = start - start % mmap.ALLOCATIONGRANULARITY
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), stop - page, access=mmap.ACCESS_COPY, offset=page)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} changed while it was read, got {error}: leave it as it is and load it again"
        ) from error
    numbers = torch.frombuffer(pages, dtype=torch.uint8, offset=start - page)
    if numbers.data_ptr() % dtype.itemsize:
        numbers = numbers.clone()
    return numbers.view(dtype).view(shape)
