"""What is in a model folder or weight file of any format, as plain data."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from overcrank.weights.beside import describe_beside
from overcrank.weights.card import CARD_FILE, STUDENT_FILE, UPSAMPLER_FILE, Card
from overcrank.weights.checkpoint import Checkpoint
from overcrank.weights.convert import open_checkpoint
from overcrank.weights.own import FILES, own_file
from overcrank.weights.report import describe_checkpoint
from overcrank.weights.store import load_component, read_metadata


def describe(
    source: str | Path, *, statistics: bool = True, progress: bool = False
) -> dict[str, Any]:
    """Describe a preset, a file or folder of any format, a hub id, a LoRA or an upscaler.

    A folder may be incomplete: `missing` says in words what is not there. Everything in the answer
    can be written as JSON. What we wrote ourselves is refused if it is damaged. `statistics` reads
    all weights.
    """
    beside = describe_beside(source)
    if beside is not None:
        return beside
    found = open_checkpoint(source, progress=progress)
    description = {
        **describe_checkpoint(found, statistics=statistics),
        "source": str(source),
    }
    if found.format != "overcrank":
        return description
    hashes = ("content_hash", "latent_hash")
    for network in found.networks:
        path = own_file(found, network.component)
        if statistics:
            load_component(path, network.component, dtype=None)  # refuses what is damaged
        metadata = read_metadata(path)
        told = {key: metadata[key] for key in hashes if key in metadata}
        description["components"][network.component] |= told
    return {**description, **_of_folder(found)} if found.path.is_dir() else description


def _of_folder(found: Checkpoint) -> dict[str, Any]:
    """The card of a folder of ours, and what the folder lacks."""
    there = {network.component for network in found.networks}
    missing = [file for component, file in FILES.items() if component not in there]
    if not (found.path / CARD_FILE).is_file():
        return {"missing": [*missing, CARD_FILE]}
    card = Card.read(found.path)
    beside = ((UPSAMPLER_FILE, card.defaults.second), (STUDENT_FILE, card.defaults.student))
    missing += [name for name, levels in beside if levels and not (found.path / name).is_file()]
    return {**asdict(card), "missing": missing}
