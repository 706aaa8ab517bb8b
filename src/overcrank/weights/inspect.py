"""What is in a model folder or weight file, as plain data."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

from overcrank.errors import ModelError
from overcrank.text.minilm import find_folder
from overcrank.weights.card import CARD_FILE, TRANSFORMER_FILE, VAE_FILE, Card
from overcrank.weights.files import FORMAT_VERSION
from overcrank.weights.presets import find_model, preset_names
from overcrank.weights.report import group_of
from overcrank.weights.store import Component, load_component, read_metadata

FILES: dict[Component, str] = {"vae": VAE_FILE, "transformer": TRANSFORMER_FILE}


def describe(source: str | Path) -> dict[str, Any]:
    """Describe a preset, a model folder (also an incomplete one) or one of our weight files.

    Everything in the answer can be written as JSON; `missing` says in words what is not there.
    """
    is_file = os.path.isfile(source)  # noqa: PTH113  unlike Path.is_file, False for any odd string
    if is_file and str(source) not in preset_names():
        path = Path(source)
        component = cast(Component, read_metadata(path)["component"])
        return {
            "source": str(source),
            "format_version": FORMAT_VERSION,
            "components": {component: _describe_component(path, component)},
            "missing": [],
        }
    folder = find_model(source)
    present = {part: folder / name for part, name in FILES.items() if (folder / name).is_file()}
    if not present and not (folder / CARD_FILE).is_file():
        Card.read(folder)  # raises: names what a model folder holds
    description: dict[str, Any] = {"source": str(source), "format_version": FORMAT_VERSION}
    missing = [name for part, name in FILES.items() if part not in present]
    if (folder / CARD_FILE).is_file():
        card = Card.read(folder)
        description |= asdict(card)
        missing += _missing_encoder(card)
    else:
        missing.append(CARD_FILE)
    components = {part: _describe_component(path, part) for part, path in present.items()}
    return {**description, "components": components, "missing": missing}


def _describe_component(path: Path, component: Component) -> dict[str, Any]:
    load_component(path, component)  # refuses what is damaged
    metadata, tensors = read_metadata(path), load_file(path)
    groups: dict[str, list[torch.Tensor]] = {}
    dtypes: dict[str, int] = {}
    for name, tensor in tensors.items():
        groups.setdefault(group_of(name), []).append(tensor.float().flatten())
        dtype = str(tensor.dtype).removeprefix("torch.")
        dtypes[dtype] = dtypes.get(dtype, 0) + tensor.numel()
    return {
        **{key: metadata[key] for key in ("content_hash", "latent_hash") if key in metadata},
        "config": json.loads(metadata["config"]),
        "parameters": sum(dtypes.values()),
        "bytes": path.stat().st_size,
        "dtypes": dtypes,
        "groups": {name: _statistics(torch.cat(parts)) for name, parts in sorted(groups.items())},
    }


def _statistics(numbers: torch.Tensor) -> dict[str, float | int]:
    return {
        "parameters": numbers.numel(),
        "min": numbers.min().item(),
        "max": numbers.max().item(),
        "std": numbers.std(correction=0).item(),
    }


def _missing_encoder(card: Card) -> list[str]:
    if card.text_encoder != "minilm-l6":
        return []
    try:
        find_folder()
    except ModelError as error:
        return [str(error)]
    return []
