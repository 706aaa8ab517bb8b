"""From a run's configuration to its objective, caches included."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from overcrank.data.latents import CacheSpec, LatentCache, make_cache
from overcrank.errors import RequestError
from overcrank.runtime import choose, precision
from overcrank.text import MiniLMEncoder
from overcrank.train.config import RunConfig
from overcrank.train.loop import Event, Objective, make_writable
from overcrank.train.transformer import TransformerObjective
from overcrank.train.vae import VAEObjective
from overcrank.train.workers import ALONE, Workers
from overcrank.transformer import PRESETS
from overcrank.weights.presets import find_model
from overcrank.weights.store import latent_hash, load_component


def build_objective(
    config: RunConfig,
    folder: Path,
    on_event: Callable[[Event], None],
    workers: Workers = ALONE,
) -> Objective:
    """What `config.kind` asks for; a transformer's latents are cached in `folder/latents` first."""
    make_writable(folder)
    torch.manual_seed(config.seed)
    if config.kind == "vae":
        return VAEObjective(config)
    assert config.vae is not None
    assert config.latents is not None
    latents = Path(config.latents.folder or folder / "latents")
    make_writable(latents)
    text = MiniLMEncoder()
    _check_text_width(config, text.width)
    source = Path(config.vae)
    vae = load_component(
        source if source.is_file() else find_model(config.vae) / "vae.safetensors", "vae"
    )
    spec = CacheSpec(
        size=config.latents.clip,
        clips=config.latents.clips,
        captions=config.latents.captions,
        seed=config.seed,
        latent_hash=latent_hash(vae),
        text=text.name,
    )
    hardware = choose("cpu", config.precision)
    hardware.place(vae)

    def encode(video_BCFHW: Tensor) -> Tensor:
        with precision(hardware):
            return vae.encode(video_BCFHW)

    def show(done: int, total: int) -> None:
        on_event({"latent_shards": done, "of": total})

    make_cache(latents, spec, encode, text, show, turn=(workers.rank, workers.count))
    workers.wait()
    return TransformerObjective(config, LatentCache(latents, spec), spec.latent_hash)


def _check_text_width(config: RunConfig, given: int) -> None:
    if config.start_from is None:
        source, needed = f"the preset {config.preset}", PRESETS[config.preset].text_width
    else:
        source = config.start_from
        needed = load_component(source, "transformer").config.text_width
    if needed != given:
        raise RequestError(
            f"{source} does not fit the text encoder: got a transformer for texts {needed} wide, "
            f"right is one for {given}"
        )
