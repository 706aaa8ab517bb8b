"""From a run's configuration to its objective, caches included."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from overcrank.data.pixels import OriginalSource, Source, ToySource
from overcrank.data.world import World
from overcrank.errors import RequestError
from overcrank.runtime import Hardware, precision
from overcrank.shapes import ClipSize
from overcrank.text import SmallEncoder, T5Encoder, TextEncoder
from overcrank.toybox.figure_pack import FigurePack, shipped_pack
from overcrank.train.caches import CacheMakers, Tell, make_caches, originals, prepared_originals
from overcrank.train.checks import check_networks, crops, with_files
from overcrank.train.config import RunConfig, Scenes
from overcrank.train.distil import DistilObjective
from overcrank.train.joint import JointObjective
from overcrank.train.record import Event, Objective, make_writable
from overcrank.train.rehearse import Architecture
from overcrank.train.samples import Sampled, Sampler
from overcrank.train.transformer import TransformerObjective, start_transformer
from overcrank.train.vae import HELD_OUT, VAEObjective, to_video
from overcrank.train.workers import ALONE, Workers
from overcrank.weights import load_network, open_checkpoint
from overcrank.weights.fit import fit
from overcrank.weights.own import own_file
from overcrank.weights.store import latent_hash, read_metadata


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
    given, config = config, with_files(config)
    architecture = check_networks(given)
    objective = _build(config, architecture, folder, on_event, hardware, workers, processes)
    if config.samples is None:
        return objective
    text = partial(_text_encoder, config, hardware)
    return Sampled(objective, Sampler(config, hardware, on_event, text))


def _text_encoder(config: RunConfig, hardware: Hardware) -> TextEncoder:
    if config.text == SmallEncoder.name:
        return SmallEncoder()
    return T5Encoder(config.text, device=hardware.device, dtype=hardware.dtype)


def _build(
    config: RunConfig,
    architecture: Architecture,
    folder: Path,
    on_event: Callable[[Event], None],
    hardware: Hardware,
    workers: Workers,
    processes: int,
) -> Objective:
    torch.manual_seed(config.seed)
    world = build_world(config.scenes)
    if config.kind == "vae":
        return _autoencoder(config, world, hardware, on_event)
    if config.kind == "joint":
        return _joint(config, architecture, world, hardware, on_event)
    assert config.vae is not None
    shown = originals(config, world, on_event)  # refused before large files are read
    text = _text_encoder(config, hardware)
    _check_text_width(config, architecture, text)
    vae = load_network(config.vae, "vae")
    made_by = latent_hash(vae)
    _check_frozen(config, made_by)
    make_writable(folder)
    hardware.place(vae)

    def encode(frames_BFHW3: Tensor) -> Tensor:
        with precision(hardware):
            return vae.encode(to_video(frames_BFHW3.to(hardware.device)))

    makers = CacheMakers(encode, text, made_by, processes, hardware.device.type == "cpu")
    caches = make_caches(config, folder, shown, makers, on_event, workers)
    kind = TransformerObjective if config.kind == "transformer" else DistilObjective
    return kind(config, caches, made_by, hardware)


def _check_frozen(config: RunConfig, made_by: str) -> None:
    """A network that stays as it is can only be used with the latents that it knows."""
    if config.start_from is None or not (config.lora or config.kind == "distil"):
        return
    found = open_checkpoint(config.start_from)
    if found.format != "overcrank":
        assert config.vae is not None
        refusal = fit(found, open_checkpoint(config.vae)).refusal
        if refusal is not None:
            raise RequestError(refusal)
        return
    knows = read_metadata(own_file(found, "transformer")).get("latent_hash")
    if knows is not None and knows != made_by:
        raise RequestError(
            f"the network of start_from stays as it is and knows other latents: got {config.vae} "
            f"(latent_hash {made_by[:16]}...), right is the autoencoder it was trained on "
            f"({knows[:16]}...)"
        )


def _autoencoder(
    config: RunConfig, world: World, hardware: Hardware, tell: Tell, scenes: ClipSize = HELD_OUT
) -> VAEObjective:
    """Judged by `scenes`, or by clips of the largest stage."""
    if config.clips is None:
        return VAEObjective(config, hardware, world, scenes, tell=tell)
    largest = max(config.stages, key=lambda stage: stage.pixels).clip
    return VAEObjective(config, hardware, world, largest, crops(config), tell)


def _joint(
    config: RunConfig, architecture: Architecture, world: World, hardware: Hardware, tell: Tell
) -> JointObjective:
    source: Source = ToySource(world)
    if config.clips is not None:
        sizes = list(dict.fromkeys(stage.clip for stage in config.stages))
        source = OriginalSource(prepared_originals(config, sizes, tell))
    text = SmallEncoder()
    _check_text_width(config, architecture, text)
    pixels = _autoencoder(config, world, hardware, tell, config.stages[-1].clip)
    transformer = start_transformer(config, hardware)
    return JointObjective(config, pixels, transformer, text, hardware, source)


def build_world(scenes: Scenes) -> World:
    """What the clips of a run show."""
    pack = shipped_pack() if scenes.pack is None else FigurePack.load(scenes.pack)
    return World(pack, scenes.figures, scenes.stories, scenes.pairs)


def _check_text_width(config: RunConfig, architecture: Architecture, text: TextEncoder) -> None:
    assert architecture.transformer is not None
    needed = architecture.transformer.text_width
    if needed != text.width:
        source = config.start_from or f"the preset {config.row}"
        raise RequestError(
            f"{source} does not fit the text encoder {text.name}: got a transformer for texts "
            f"{needed} wide, right is one for {text.width}, or another encoder: text: T5, a folder "
            "or hub id"
        )
