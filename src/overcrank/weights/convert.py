"""Open a checkpoint of any format, and write it in another."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from overcrank.errors import ModelError, RequestError
from overcrank.weights.card import CARD_FILE, TRANSFORMER_FILE, VAE_FILE, Card
from overcrank.weights.checkpoint import Checkpoint, Network
from overcrank.weights.diffusers import (
    CONFIG_FILE,
    INDEX_FILE,
    SHARD_BYTES,
    read_diffusers,
    write_diffusers,
)
from overcrank.weights.float8 import computable
from overcrank.weights.gguf import MAGIC, read_gguf
from overcrank.weights.hub import fetch, hub_id_of, local
from overcrank.weights.lightricks import read_lightricks, write_lightricks
from overcrank.weights.mapped import Entry, open_file
from overcrank.weights.own import read_own, write_own
from overcrank.weights.presets import find_model, preset_names
from overcrank.weights.store import some

Target = Literal["lightricks", "diffusers", "overcrank"]
TARGETS: tuple[Target, ...] = ("lightricks", "diffusers", "overcrank")
"""What can be written; GGUF can only be read."""

OnRead = Callable[[int, int], None]
"""Called with (bytes, of all bytes) after each tensor."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written, and what there is to say about it."""

    path: Path
    networks: tuple[str, ...]
    nbytes: int
    remarks: tuple[str, ...]


def open_checkpoint(
    source: str | Path, *, causal_positions: bool | None = None, progress: bool = False
) -> Checkpoint:
    """Open a preset, a file or folder of any format, or a hub id; no weights are read yet."""
    if str(source) in preset_names():
        return read_own(find_model(source))
    hub_id = hub_id_of(source)
    if hub_id is None:
        return _open(local(source), causal_positions)
    path = fetch(hub_id, progress=progress)
    found = replace(_open(path, causal_positions), hub=hub_id)
    if found.origin.source == path.name:  # nothing was recorded: it comes from there
        found = replace(found, origin=replace(found.origin, source=str(source)))
    return found


def convert(
    source: str | Path | Checkpoint,
    target: str | Path,
    to: Target,
    *,
    dtype: torch.dtype | None = None,
    card: Card | None = None,
    shard_bytes: int = SHARD_BYTES,
    on_read: OnRead | None = None,
) -> Conversion:
    """Write a checkpoint in another format, tensor by tensor; `dtype` None keeps every dtype.

    Nothing is overwritten, and what is not complete does not stay. Licence, origin and tensors
    that nothing reads come along; a text encoder stays where it is.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    target = Path(target)
    if to not in TARGETS:
        raise RequestError(f"to must be a format that can be written, got {to!r}: {TARGETS}")
    if target.is_symlink() or (target.exists() and not _is_empty_folder(target, to)):
        raise RequestError(
            f"{target} is there already: got a target that would be overwritten: name a new one"
        )
    remarks = list(checkpoint.remarks)
    if any(network.scales for network in checkpoint.networks) and dtype is None:
        remarks.append("weights in eight bits were multiplied out by their scales")
    if checkpoint.format == "gguf":
        remarks.append("quantised weights were dequantised")
    if checkpoint.text_encoder is not None:
        remarks.append(f"the text encoder stays where it is: {checkpoint.text_encoder}")
    if dtype is not None:
        checkpoint = _cast(checkpoint, dtype)
    if on_read is not None:
        checkpoint = _watched(checkpoint, to, on_read)
    writers: dict[Target, Callable[[Path], None]] = {
        "lightricks": lambda path: write_lightricks(path, checkpoint),
        "diffusers": lambda path: write_diffusers(path, checkpoint, shard_bytes=shard_bytes),
        "overcrank": lambda path: write_own(path, checkpoint, card),
    }
    try:
        with _folders_above(target):
            if to == "lightricks":  # one file, which comes to be in one step anyway
                writers[to](target)
            else:
                with _whole_folder(target) as folder:
                    writers[to](folder)
    except OSError as error:
        raise RequestError(
            f"{target} cannot be written: got {error.strerror or error}: name a place that can be "
            "written to"
        ) from error
    return Conversion(
        target,
        tuple(network.component for network in checkpoint.networks),
        sum(network.nbytes for network in checkpoint.networks),
        tuple(remarks),
    )


def _open(path: Path, causal_positions: bool | None) -> Checkpoint:
    if path.is_dir():
        if any((path / name).exists() for name in (INDEX_FILE, CONFIG_FILE)) or any(
            (path / part / CONFIG_FILE).exists() for part in ("vae", "transformer")
        ):
            return read_diffusers(path, causal_positions=causal_positions)
        if any((path / name).exists() for name in (CARD_FILE, VAE_FILE, TRANSFORMER_FILE)):
            return read_own(path)
        names = some(sorted(file.name for file in path.iterdir()))
        raise ModelError(
            f"{path} is not a model: {f'it holds {names}' if names else 'the folder is empty'}: "
            f"right is a folder with {CARD_FILE}, {VAE_FILE} and {TRANSFORMER_FILE}, one as "
            f"diffusers writes it, with {INDEX_FILE} or {CONFIG_FILE}, or a file"
        )
    if path.is_file() and _starts_with(path, MAGIC):
        return read_gguf(path, causal_positions=causal_positions)
    if {"format_version", "component"} <= set(open_file(path).metadata):
        return read_own(path)
    return read_lightricks(path, causal_positions=causal_positions)


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # the reader will say why


def _is_empty_folder(target: Path, to: Target) -> bool:
    return to != "lightricks" and target.is_dir() and not any(target.iterdir())


@contextmanager
def _folders_above(target: Path) -> Iterator[None]:
    """Make those that are missing; none of them stays where the target does not come to be."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """Lend a temporary neighbour of a folder that becomes the folder when all went well."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cast(checkpoint: Checkpoint, dtype: torch.dtype) -> Checkpoint:
    return _each(
        checkpoint,
        lambda network: replace(
            network, entries=computable(network.entries, network.scales, dtype), scales={}
        ),
    )


def _watched(checkpoint: Checkpoint, to: Target, on_read: OnRead) -> Checkpoint:
    """The same, which tells how many of all bytes were read."""
    passes = 2 if to == "overcrank" else 1  # it is hashed before it is written
    total = passes * sum(network.nbytes for network in checkpoint.networks)
    done = 0

    def told(entry: Entry) -> Entry:
        def load() -> Tensor:
            nonlocal done
            tensor = entry.load()
            done = min(done + entry.nbytes, total)
            on_read(done, total)
            return tensor

        return replace(entry, load=load)

    return _each(
        checkpoint,
        lambda network: replace(
            network, entries={name: told(entry) for name, entry in network.entries.items()}
        ),
    )


def _each(checkpoint: Checkpoint, change: Callable[[Network], Network]) -> Checkpoint:
    return replace(
        checkpoint,
        vae=checkpoint.vae and change(checkpoint.vae),
        transformer=checkpoint.transformer and change(checkpoint.transformer),
    )
