"""From a run's configuration to its objective, caches included."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.world import World
from overcrank.errors import RequestError
from overcrank.runtime import Hardware, precision
from overcrank.text import MiniLMEncoder
from overcrank.toybox.figure_pack import FigurePack
from overcrank.train.config import RunConfig, Scenes
from overcrank.train.distil import DistilObjective
from overcrank.train.loop import Event, Objective, make_writable
from overcrank.train.transformer import TransformerObjective
from overcrank.train.vae import VAEObjective, to_video
from overcrank.train.workers import ALONE, Workers
from overcrank.transformer import PRESETS
from overcrank.weights.presets import find_model
from overcrank.weights.store import latent_hash, load_component


def build_objective(
    config: RunConfig,
    folder: Path,
    on_event: Callable[[Event], None],
    hardware: Hardware,
    workers: Workers = ALONE,
    processes: int = 1,
) -> Objective:
    """What `config.kind` asks for; latents are cached in `folder/latents` first.

    `processes` render clips beside this one.
    """
    make_writable(folder)
    torch.manual_seed(config.seed)
    world = build_world(config.scenes)
    if config.kind == "vae":
        return VAEObjective(config, hardware, world)
    assert config.vae is not None
    text = MiniLMEncoder()
    _check_text_width(config, text.width)
    source = Path(config.vae)
    vae = load_component(
        source if source.is_file() else find_model(config.vae) / "vae.safetensors", "vae"
    )
    made_by = latent_hash(vae)
    hardware.place(vae)

    def encode(frames_BFHW3: Tensor) -> Tensor:
        with precision(hardware):
            return vae.encode(to_video(frames_BFHW3.to(hardware.device)))

    def show(done: int, total: int) -> None:
        on_event({"latent_shards": done, "of": total})

    caches = {}
    for latents in config.latents:
        place = Path(latents.folder or folder / "latents" / str(latents.size))
        make_writable(place)
        spec = CacheSpec(
            size=latents.clip,
            clips=latents.clips,
            first=latents.first,
            captions=latents.captions,
            seed=config.seed,
            latent_hash=made_by,
            text=text.name,
            world=world.name,
        )
        turn = (workers.rank, workers.count)
        at_once = 1 if hardware.device.type == "cpu" else max(1, 2**25 // latents.pixels)
        make_cache(place, spec, Makers(world, encode, text, processes, at_once), show, turn)
        workers.wait()
        caches[latents.size] = LatentCache(place, spec)
    kind = TransformerObjective if config.kind == "transformer" else DistilObjective
    return kind(config, caches, made_by, hardware)


def build_world(scenes: Scenes) -> World:
    """What the clips of a run show."""
    pack = None if scenes.pack is None else FigurePack.load(scenes.pack)
    return World(pack=pack, figures=scenes.figures)


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
