"""The state of a run on the disk: all it needs to go on as if it had not stopped.

`state/step-000400` holds the tensors of `Learnt` as safetensors files and state.json, which says
what is there. torch's distributed checkpointing writes and reads them, so that any number of
processes goes on from what any other number left. A folder gets its name when it is whole and on
the disk, then the one before is removed: a run that is killed at any moment, or finds the disk
full, keeps its last state. Batch and noise of a step are functions of the seed and the step, so
the step is all there is to say of them.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overcrank.errors import ModelError, RunError
from overcrank.train.learnt import Learnt
from overcrank.train.workers import Workers

FORMAT_VERSION = 1
ABOUT = "state.json"
_FILE_BYTES = 2**30
"""Files are about as large: while one is written, as much memory is needed beside the tensors."""


def steps_in(folder: Path) -> int:
    """Steps that the run in `folder` has done; 0 if it has saved none."""
    place = _newest(folder)
    return 0 if place is None else _read_about(place)["step"]


def save_state(folder: Path, step: int, learnt: Learnt, workers: Workers) -> None:
    """Write the state after `step` steps, then remove the one before.

    All processes call it; if nothing is spread, the first one has all there is to write.
    Raises RunError if there is no room; the state before is as it was.
    """
    first = workers.rank == 0
    if not (first or learnt.spread):
        return
    before = _newest(folder)
    whole = folder / "state" / f"step-{step:06d}"
    partial = whole.with_suffix(".partial")
    try:
        if first:
            _remove_all_but(before, folder)
            partial.mkdir(parents=True)
        if learnt.spread:
            workers.wait()
        _write(partial, learnt)
        if first:
            about = {"format_version": FORMAT_VERSION, "step": step, "files": _digests(partial)}
            (partial / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
            _sync(*partial.iterdir(), partial)
            partial.rename(whole)
            _sync(whole.parent, folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = "nothing was saved before" if before is None else f"{before} is as it was"
        raise RunError(
            f"the state of step {step} cannot be saved in {folder}: got {error.strerror or error}, "
            f"and {kept}: make room there, then the same command goes on"
        ) from None
    if first:
        _remove_all_but(whole, folder)


def load_state(folder: Path, learnt: Learnt) -> None:
    """Take over the state in `folder`. Raises ModelError if it is damaged or does not fit."""
    from torch.distributed import checkpoint

    place = _newest(folder)
    assert place is not None, folder
    _check_files(place)
    reader = checkpoint.HuggingFaceStorageReader(str(place))
    known: dict[str, Any] = reader.read_metadata().state_dict_metadata
    stored = {
        name: torch.empty(each.size, dtype=each.properties.dtype, device="meta")
        for name, each in known.items()
    }
    learnt.make_room(stored)
    tensors = learnt.tensors()
    _check_fit(place, stored, tensors)
    with _one_process_is_meant():
        checkpoint.load(tensors, storage_reader=reader, no_dist=True)


def _write(place: Path, learnt: Learnt) -> None:
    """As safetensors files. Raises OSError."""
    from torch.distributed import checkpoint

    tensors = {name: tensor.detach().contiguous() for name, tensor in learnt.tensors().items()}
    writer = checkpoint.HuggingFaceStorageWriter(
        str(place), fqn_to_index_mapping=_in_files(tensors), save_distributed=True
    )
    try:
        with _one_process_is_meant():
            checkpoint.save(tensors, storage_writer=writer, no_dist=not learnt.spread)
    except checkpoint.CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise (first if isinstance(first, OSError) else error) from None


def _in_files(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Which file each tensor goes to, from 1."""
    files, number, filled = {}, 1, 0
    for name, tensor in tensors.items():
        if filled and filled + tensor.nbytes > _FILE_BYTES:
            number, filled = number + 1, 0
        files[name] = number
        filled += tensor.nbytes
    return files


@contextmanager
def _one_process_is_meant() -> Iterator[None]:
    """torch warns of what is asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _check_files(place: Path) -> None:
    """They are what was written."""
    written, found = _read_about(place)["files"], _digests(place)
    for name in sorted({*written, *found}):
        if written.get(name) != found.get(name):
            raise _damaged(place, f"another {name} than was written")


def _check_fit(place: Path, stored: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name in sorted({*stored, *tensors}):
        there, right = (
            tuple(found[name].shape) if name in found else "nothing" for found in (stored, tensors)
        )
        if there != right:
            raise ModelError(
                f"{place} holds another network: got {there} under {name}, right is {right}: give "
                "a new run folder, or the configuration that the run began with"
            )


def _newest(folder: Path) -> Path | None:
    """The state in a run's folder, if it holds one."""
    if (folder / "state.pt").exists():
        raise ModelError(
            f"{folder} holds a run of an earlier version: got state.pt, right is a folder state: "
            "give a new run folder; start_from takes over the weights that the run exported"
        )
    steps = {
        int(digits): path
        for path in (folder / "state").glob("step-*")
        if (digits := path.name.removeprefix("step-")).isdecimal()
    }
    return steps[max(steps)] if steps else None


def _remove_all_but(kept: Path | None, folder: Path) -> None:
    """Older states, and what a killed run left; a name that counts goes first."""
    for path in (folder / "state").glob("step-*"):
        if path != kept:
            doomed = path.with_suffix(".removed")
            path.rename(doomed)
            shutil.rmtree(doomed)


def _read_about(place: Path) -> dict[str, Any]:
    try:
        about = json.loads((place / ABOUT).read_text())
        step, version, files = about["step"], about["format_version"], about["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(place, f"a state.json that cannot be read ({error!r})") from None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{place} cannot be read by this version: got format {version}, right is "
            f"{FORMAT_VERSION}: use the version of overcrank that the run began with"
        )
    if not isinstance(step, int) or not isinstance(files, dict):
        raise _damaged(place, "a state.json without steps and files")
    return {"step": step, "files": files}


def _damaged(place: Path, what: str) -> ModelError:
    return ModelError(
        f"{place} is damaged: got {what}: delete {place.parent} to begin anew, or give another run "
        "folder"
    )


def _digests(place: Path) -> dict[str, str]:
    """sha256 of every file of tensors."""
    digests = {}
    for path in sorted(place.glob("*.safetensors")):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _sync(*paths: Path) -> None:
    """Wait until files, or the names in folders, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
