"""What files are that go with a model: LoRAs and latent upscalers, as plain data."""

import os
from pathlib import Path
from typing import Any

from overcrank.errors import ModelError
from overcrank.vae.upsampler import LatentUpsampler, load_upsampler
from overcrank.weights.files import FORMAT_VERSION
from overcrank.weights.lora import read_lora
from overcrank.weights.lora_names import split
from overcrank.weights.mapped import open_file
from overcrank.weights.releases import RELEASES

_WIDTHS = {2048: "2B", 4096: "13B"}


def describe_beside(source: str | Path) -> dict[str, Any] | None:
    """Describe a LoRA or an upscaler, as `describe` does a model; None: it is neither."""
    if not os.path.isfile(source):  # noqa: PTH113  unlike Path.is_file, False for any odd string
        return None
    path = Path(source)
    try:
        names = open_file(path).entries
    except ModelError:
        return None  # whoever opens it as a model says why
    if "initial_conv.weight" in names:
        found = _upscaler(path)
    elif any(split(name) is not None for name in names):
        found = _lora(path)
    else:
        return None
    kept = {"source": str(source), "format_version": FORMAT_VERSION, "components": {}}
    return {**kept, "missing": [], "remarks": [], **found}


def _upscaler(path: Path) -> dict[str, Any]:
    upsampler = load_upsampler(path)
    assert isinstance(upsampler, LatentUpsampler)
    config = upsampler.config
    enlarged = {(1, 2): "space", (2, 1): "time", (2, 2): "space and time"}[config.stride[:2]]
    names = [row.name for row in RELEASES.values() if row.two is not None]
    return {
        "format": "upscaler",
        "architecture": f"latent upscaler in {enlarged}, {config.mid_channels} channels wide",
        "config": config.to_dict(),
        "goes_with": [f"releases that have a second pass: {', '.join(names)}"],
    }


def _lora(path: Path) -> dict[str, Any]:
    lora = read_lora(path)
    ranks = " and ".join(map(str, lora.ranks))
    scale = _WIDTHS.get(lora.width or 0)
    goes = f"a {scale} checkpoint" if scale else "the model it was trained on"
    wide = "" if lora.width is None else f" for a transformer {lora.width} wide"
    return {
        "format": "lora",
        "architecture": f"LoRA of rank {ranks}{wide}, {len(lora.pairs)} layers",
        "layers": sorted(lora.pairs),
        "metadata": dict(lora.metadata),
        "goes_with": [goes],
        "remarks": [f"keys that are no part of a pair: {', '.join(lora.unread[:3])}"]
        if lora.unread
        else [],
    }
