"""A published release with random weights: its real size and layout, for tests of everything else.

Weights keep the size of what passes through them, so that outputs are as large as inputs.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from overcrank.errors import RequestError
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import TransformerConfig
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAEConfig
from overcrank.weights.checkpoint import Checkpoint, Config, Network
from overcrank.weights.lightricks import LINEAR_QUADRATIC, SHIFTED
from overcrank.weights.mapped import Entry
from overcrank.weights.origin import Origin
from overcrank.weights.published import write_transformer, write_vae
from overcrank.weights.recognise import RELEASE_KEY
from overcrank.weights.releases import ALLOWED, RELEASES, Release
from overcrank.weights.store import Component, build_on_meta


def random_release(name: str, *, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Checkpoint:
    """A release by its name, or by the beginning of one; numbers are made as they are read."""
    release = _release(name)
    return random_checkpoint(
        TRANSFORMERS[release.transformer_preset],
        VAES[release.vae_preset],
        release=release,
        seed=seed,
        dtype=dtype,
    )


def reduced_release(
    name: str, *, seed: int = 0, width: int = 8, dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """All kinds of blocks that a release has, but few and narrow: compared in a moment."""
    release = _release(name)
    large = release.scale == "13b"
    transformer = replace(
        TRANSFORMERS[release.transformer_preset],
        layers=3 if large else 2,
        heads=4 if large else 2,
        head_width=16 if large else 12,
        text_width=24,
    )
    vae = replace(VAES[release.vae_preset], base_width=width)
    return random_checkpoint(transformer, vae, release=release, seed=seed, dtype=dtype)


def random_checkpoint(
    transformer: TransformerConfig,
    vae: VAEConfig,
    *,
    release: Release,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
) -> Checkpoint:
    """Random networks of any width with the metadata of a release."""
    config = {
        "transformer": write_transformer(transformer),
        "vae": write_vae(vae),
        "scheduler": SHIFTED if release.one.schedule.kind == "shifted" else LINEAR_QUADRATIC,
        **({"allowed_inference_steps": list(ALLOWED)} if release.lists_levels else {}),
    }
    metadata = {
        "config": json.dumps(config),
        RELEASE_KEY: release.name,
        "description": "random weights, made by overcrank: no trained model",
    }
    source = f"random-{release.name}"
    return Checkpoint(
        path=Path(source),
        format="lightricks",
        transformer=_network("transformer", transformer, seed, dtype),
        vae=_network("vae", vae, seed, dtype),
        origin=Origin(source=source, metadata=metadata),
    )


@torch.no_grad()
def fill_randomly(module: nn.Module, seed: int = 0) -> None:
    """Random weights of the same kind for any network."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(_entry(name, tuple(tensor.shape), seed, tensor.dtype).load())


def _release(name: str) -> Release:
    found = [row for row in RELEASES.values() if row.name.startswith(name)]
    if name not in RELEASES and len(found) != 1:
        raise RequestError(
            f"there is no such release: got {name!r}: right is one of {', '.join(RELEASES)}, or "
            "the beginning of a single one"
        )
    return RELEASES.get(name, found[0])


def _network(component: Component, config: Config, seed: int, dtype: torch.dtype) -> Network:
    shapes = build_on_meta("this release", component, config.to_dict()).state_dict()
    entries = {
        name: _entry(name, tuple(tensor.shape), seed, dtype) for name, tensor in shapes.items()
    }
    return Network(component=component, config=config, entries=entries)


def _entry(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Entry:
    def load() -> Tensor:
        if name.endswith("timestep_scale_multiplier"):
            return torch.tensor(1000.0).to(dtype)
        own_seed = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(own_seed[:7], "little"))
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("norm.weight", "std-of-means")):
            return (1 + 0.1 * noise).to(dtype)
        if name.endswith("weight"):
            return (noise / noise[0].numel() ** 0.5).to(dtype)
        return (0.3 * noise).to(dtype)

    return Entry(shape, dtype, load)
