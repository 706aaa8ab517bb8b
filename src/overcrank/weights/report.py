"""What is in a checkpoint of any format, as plain data."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from overcrank.weights.checkpoint import Checkpoint, Network
from overcrank.weights.convert import open_checkpoint
from overcrank.weights.files import FORMAT_VERSION
from overcrank.weights.fit import fit
from overcrank.weights.float8 import computable
from overcrank.weights.mapped import Entry

_PIECE = 1 << 22
"""Numbers that are looked at once."""


def describe_checkpoint(
    source: str | Path | Checkpoint, *, statistics: bool = True
) -> dict[str, Any]:
    """Describe a checkpoint of any format; everything in the answer can be written as JSON.

    `statistics` reads all weights, one tensor at a time; without them only headers are read.
    """
    found = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    finding = found.finding
    remarks = (*found.remarks, *(finding.remarks if finding else ()))
    description: dict[str, Any] = {
        "source": str(found.path),
        "format": found.format,
        "format_version": FORMAT_VERSION,
        "architecture": _architecture(found),
        "origin": {
            name: value for name, value in found.origin.to_dict().items() if name != "metadata"
        },
        "metadata": dict(found.origin.metadata),
        "components": {
            each.component: _network(each, statistics=statistics) for each in found.networks
        },
        "missing": _missing(found),
        "remarks": list(remarks),
    }
    if finding is not None:
        release = finding.release
        description |= {
            "release": release.name,
            "alternatives": list(finding.alternatives),
            "trained_range": {
                "pixels": release.trained.pixels,
                "frames": release.trained.frames,
                "frame_rates": list(release.trained.frame_rates),
            },
            "goes_with": _goes_with(found),
        }
    if found.transformer is not None and found.vae is not None:
        description["mismatch"] = fit(found, found).refusal
    return description


def _architecture(found: Checkpoint) -> str:
    if found.finding is None:
        return "of our small family"
    size = _count(found.transformer.entries.values()) if found.transformer else 0
    parts = [f"transformer with {size / 1e9:.2f} billion parameters"] if size else []
    if found.vae is not None:
        parts.append(f"autoencoder of {found.finding.release.vae}")
    return "LTX-Video: " + ", ".join(parts)


def _network(network: Network, *, statistics: bool) -> dict[str, Any]:
    dtypes: dict[str, int] = {}
    groups: dict[str, list[Entry]] = {}
    for name, entry in computable(network.entries, network.scales, None).items():
        groups.setdefault(group_of(name), []).append(entry)
        dtype = str(network.entries[name].dtype).removeprefix("torch.")
        dtypes[dtype] = dtypes.get(dtype, 0) + entry.count
    return {
        "config": network.config.to_dict(),
        "parameters": sum(dtypes.values()),
        "bytes": network.nbytes,
        "dtypes": dtypes,
        "groups": {
            name: _statistics(entries) if statistics else {"parameters": _count(entries)}
            for name, entries in sorted(groups.items())
        },
    }


def _missing(found: Checkpoint) -> list[str]:
    there = {network.component for network in found.networks}
    missing = [f"no {name}" for name in ("vae", "transformer") if name not in there]
    if found.format != "overcrank" and found.text_encoder is None:
        missing.append("no text encoder: give T5-XXL, or prompt embeddings")
    return missing


def _goes_with(found: Checkpoint) -> list[str]:
    assert found.finding is not None
    release = found.finding.release
    wanted = []
    if found.vae is None:
        wanted.append(f"an autoencoder of the layout of {release.vae}, from the same release")
    if found.transformer is None:
        wanted.append(f"a transformer of {release.vae}{' or later' * (release.vae == '0.9.5')}")
    return [*wanted, f"the text encoder T5-XXL, prompts of {release.text_tokens} tokens"]


def group_of(name: str) -> str:
    """`transformer_blocks.3.attn1.to_q.weight` belongs to `transformer_blocks.3`."""
    parts = name.split(".")
    for count, part in enumerate(parts, 1):
        if part.isdigit():
            return ".".join(parts[:count])
    return ".".join(parts[:-1][:2]) or name


def _count(entries: Iterable[Entry]) -> int:
    return sum(entry.count for entry in entries)


def _statistics(entries: list[Entry]) -> dict[str, float | int]:
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for piece in _pieces(entries):
        low, high = min(low, piece.min().item()), max(high, piece.max().item())
        total += piece.sum().item()
        squares += piece.square().sum().item()
    count = _count(entries)
    mean = total / max(count, 1)
    return {
        "parameters": count,
        "min": low,
        "max": high,
        "std": math.sqrt(max(squares / max(count, 1) - mean**2, 0.0)),
    }


def _pieces(entries: Iterable[Entry]) -> Iterator[Tensor]:
    for entry in entries:
        if entry.count:
            for piece in entry.load().reshape(-1).split(_PIECE):
                yield piece.double()
