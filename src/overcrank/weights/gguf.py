"""GGUF files: a transformer alone, most of its matrices quantised. Needs the `gguf` package.

Numbers are dequantised by that package as they are read; the file does not embed a config.
"""

import math
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.weights.checkpoint import Checkpoint, Network
from overcrank.weights.lightricks import GUESSED, guess_causal
from overcrank.weights.mapped import Entry
from overcrank.weights.names import owner
from overcrank.weights.origin import Origin
from overcrank.weights.published import guess_transformer

if TYPE_CHECKING:
    from gguf import ReaderTensor

MAGIC = b"GGUF"
ARCHITECTURE = "ltxv"
_MOST_FIELDS, _MOST_TENSORS = 1_000, 20_000
_MOST_TEXT, _MOST_ELEMENTS = 1 << 20, 10_000
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _LIST = 8, 9


def read_gguf(path: str | Path, *, causal_positions: bool | None = None) -> Checkpoint:
    """Open a transformer in GGUF; its tensors come dequantised, float32 unless they are stored so.

    `causal_positions` stands for what the file does not say: true for 0.9.5 and later.
    """
    path = Path(path)
    _check_header(path)
    reader = _reader(path)
    architecture = _text(reader, "general.architecture")
    if architecture != ARCHITECTURE:
        raise ModelError(
            f"{path} holds another model: got general.architecture {architecture!r}: "
            f"right is {ARCHITECTURE!r}"
        )
    entries: dict[str, Entry] = {}
    for tensor in reader.tensors:
        found = owner(str(tensor.name))
        name = found[1] if found and found[0] == "transformer" else str(tensor.name)
        entries[name] = _entry(tensor)
    causal, sure = guess_causal(entries, None, causal_positions)
    config = guess_transformer(entries, causal_positions=causal)
    network = Network.of(path, "transformer", config, entries, certain=sure)
    remark = GUESSED.format(path=path, causal="causal" if causal else "not causal")
    return Checkpoint(
        path=path,
        format="gguf",
        transformer=network,
        origin=Origin.of_file(path, {}),
        remarks=() if sure else (remark,),
    )


def _reader(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(
            f"{path} is a GGUF file, and the package that reads it is not installed: "
            f"got {error}: install it with pip install gguf"
        ) from error
    try:
        return GGUFReader(path)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        raise _damaged(path, str(error).partition("\n")[0]) from error


def _entry(tensor: "ReaderTensor") -> Entry:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    kinds = {"F16": torch.float16, "BF16": torch.bfloat16}
    dtype = kinds.get(tensor.tensor_type.name, torch.float32)

    def load() -> Tensor:
        from gguf.quants import dequantize

        numbers = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        return numbers.reshape(shape).to(dtype)

    return Entry(shape, dtype, load)


def _text(reader: Any, key: str) -> str | None:
    found = reader.get_field(key)
    try:
        return None if found is None else str(found.contents())
    except (LookupError, TypeError, ValueError):
        return None


def _check_header(path: Path) -> None:
    """Walk the header with limits: the reader itself makes an object of every number it lists."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no regular file")
        with path.open("rb") as file:
            magic, version, tensors, count = _unpack(file, "<4sIQQ")
            if magic != MAGIC or version not in (2, 3):
                raise ValueError(f"magic {magic!r} and version {version}, not GGUF 2 or 3")
            if tensors > _MOST_TENSORS or count > _MOST_FIELDS:
                raise ValueError(f"{tensors:,} tensors and {count:,} fields are too many")
            for _ in range(count):
                _skip_text(file)
                _skip_value(file, *_unpack(file, "<I"))
            for _ in range(tensors):
                _skip_text(file)
                (axes,) = _unpack(file, "<I")
                if axes > 4:
                    raise ValueError(f"a tensor with {axes} axes")
                shape = _unpack(file, f"<{axes}Q")
                if math.prod(shape) > 1 << 40:
                    raise ValueError(f"a tensor of shape {shape}")
                _unpack(file, "<IQ")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == _TEXT:
        _skip_text(file)
    elif kind == _LIST:
        kind, count = _unpack(file, "<IQ")
        if count > _MOST_ELEMENTS:
            raise ValueError(f"a list of {count:,} values")
        for _ in range(count):
            if kind == _LIST:
                raise ValueError("a list of lists")
            _skip_value(file, kind)
    elif kind in _SIZES:
        _unpack(file, f"<{_SIZES[kind]}s")
    else:
        raise ValueError(f"a value of kind {kind}")


def _skip_text(file: BinaryIO) -> None:
    (length,) = _unpack(file, "<Q")
    if length > _MOST_TEXT:
        raise ValueError(f"a text of {length:,} bytes")
    _unpack(file, f"<{length}s")


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it ends within its header")
    return struct.unpack(layout, data)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} cannot be read as GGUF: {why}: right is a GGUF file of an LTX-Video "
        "transformer, complete"
    )
