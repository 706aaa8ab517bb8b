"""From a run's configuration to its objective, caches included."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from overcrank.data.latents import CacheSpec, LatentCache, make_cache
from overcrank.errors import ModelError
from overcrank.runtime import choose, precision
from overcrank.shapes import ClipSize
from overcrank.text import MiniLMEncoder
from overcrank.train.config import RunConfig
from overcrank.train.loop import Event, Objective
from overcrank.train.transformer import TransformerObjective
from overcrank.train.vae import VAEObjective
from overcrank.weights.model import find_model
from overcrank.weights.store import latent_hash, load_component


def build_objective(
    config: RunConfig, folder: Path, on_event: Callable[[Event], None]
) -> Objective:
    """What `config.kind` asks for; a transformer's latents are cached in `folder/latents` first."""
    torch.manual_seed(config.seed)
    if config.kind == "vae":
        return VAEObjective(config)
    if config.vae is None or config.latents is None:
        raise ModelError(
            "a transformer's run needs an autoencoder and latents, got neither or one: "
            "set `vae` to a vae.safetensors file and fill in `latents`"
        )
    source = Path(config.vae)
    vae = load_component(
        source if source.is_file() else find_model(config.vae) / "vae.safetensors", "vae"
    )
    hash_of_latents = latent_hash(vae)
    spec = CacheSpec(
        size=ClipSize(config.latents.frames, config.latents.size, config.latents.size),
        clips=config.latents.clips,
        captions=config.latents.captions,
        seed=config.seed,
    )
    latents = Path(config.latents.folder or folder / "latents")
    hardware = choose("cpu", config.precision)
    hardware.place(vae)

    def encode(video_BCFHW: Tensor) -> Tensor:
        with precision(hardware):
            return vae.encode(video_BCFHW)

    def show(done: int, total: int) -> None:
        on_event({"latent_shards": done, "of": total})

    make_cache(latents, spec, encode, hash_of_latents, MiniLMEncoder(), show)
    return TransformerObjective(config, LatentCache(latents, hash_of_latents), hash_of_latents)
