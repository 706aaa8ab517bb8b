"""From a run's configuration to its objective, caches included."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from overcrank.data.fitting import ClipCrops, Fit
from overcrank.data.pixels import OriginalSource, Source, ToySource
from overcrank.data.prepared import Prepared
from overcrank.data.world import World
from overcrank.errors import RequestError
from overcrank.media import read_image
from overcrank.runtime import Hardware, precision
from overcrank.shapes import ClipSize
from overcrank.text import MiniLMEncoder, T5Encoder, TextEncoder
from overcrank.toybox.figure_pack import FigurePack
from overcrank.train.caches import CacheMakers, Tell, make_caches, originals, prepared_originals
from overcrank.train.config import RunConfig, Scenes
from overcrank.train.distil import DistilObjective
from overcrank.train.joint import JointObjective
from overcrank.train.record import Event, Objective, make_writable
from overcrank.train.samples import Sampled, Sampler
from overcrank.train.transformer import TransformerObjective, start_transformer
from overcrank.train.vae import HELD_OUT, VAEObjective, to_video
from overcrank.train.workers import ALONE, Workers
from overcrank.transformer import PRESETS, TransformerConfig
from overcrank.weights import load_network, open_checkpoint
from overcrank.weights.mapped import open_file
from overcrank.weights.presets import find_model, preset_names
from overcrank.weights.store import Component, latent_hash


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
    config = with_files(config)
    objective = _build(config, folder, on_event, hardware, workers, processes)
    if config.samples is None:
        return objective
    text = partial(_text_encoder, config, hardware)
    return Sampled(objective, Sampler(config, hardware, on_event, text))


def _text_encoder(config: RunConfig, hardware: Hardware) -> TextEncoder:
    if config.text is None:
        return MiniLMEncoder()
    return T5Encoder(config.text, device=hardware.device, dtype=hardware.dtype)


def _build(
    config: RunConfig,
    folder: Path,
    on_event: Callable[[Event], None],
    hardware: Hardware,
    workers: Workers,
    processes: int,
) -> Objective:
    torch.manual_seed(config.seed)
    world = build_world(config.scenes)
    if config.kind == "vae":
        return _autoencoder(config, world, hardware)
    if config.kind == "joint":
        return _joint(config, world, hardware, on_event)
    assert config.vae is not None
    text = _text_encoder(config, hardware)
    _check_text_width(config, text)
    shown = originals(config, world, on_event)  # refused before anything is written
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
    path = Path(config.start_from)
    knows = open_file(path).metadata.get("latent_hash") if path.suffix == ".safetensors" else None
    if knows is not None and knows != made_by:
        raise RequestError(
            f"the network of start_from stays as it is and knows other latents: got {config.vae} "
            f"(latent_hash {made_by[:16]}...), right is the autoencoder it was trained on "
            f"({knows[:16]}...)"
        )


def _autoencoder(
    config: RunConfig, world: World, hardware: Hardware, scenes: ClipSize = HELD_OUT
) -> VAEObjective:
    """Judged by `scenes`, or by clips of the largest stage."""
    if config.clips is None:
        return VAEObjective(config, hardware, world, scenes)
    sizes = {stage.clip: stage.pixels for stage in config.stages}
    fit = Fit(config.clips.enlarge, config.clips.jitter)
    clips = ClipCrops(Prepared(config.clips.folder), sizes, fit, config.clips.share)
    return VAEObjective(config, hardware, world, max(sizes, key=sizes.__getitem__), clips)


def _joint(config: RunConfig, world: World, hardware: Hardware, tell: Tell) -> JointObjective:
    text = MiniLMEncoder()
    _check_text_width(config, text)
    source: Source = ToySource(world)
    if config.clips is not None:
        sizes = list(dict.fromkeys(stage.clip for stage in config.stages))
        source = OriginalSource(prepared_originals(config, sizes, tell))
    pixels = _autoencoder(config, world, hardware, config.stages[-1].clip)
    transformer = start_transformer(config, hardware)
    return JointObjective(config, pixels, transformer, text, hardware, source)


def with_files(config: RunConfig) -> RunConfig:
    """The same run with models that are given by name as their files; all files are there."""
    film = config.film.file if config.film else None
    for key, given in (("scenes.pack", config.scenes.pack), ("film.file", film)):
        if given is not None and not Path(given).is_file():
            guide = "figures" if key == "scenes.pack" else "film"
            raise RequestError(
                f"{key} is not there: got {given}: build one as docs/{guide}.md says, or run "
                "without"
            )
    if config.samples is not None and config.samples.image is not None:
        read_image(config.samples.image)
    trained: Component = "vae" if config.kind == "vae" else "transformer"
    files = {
        "vae": _weights("vae", config.vae, "vae"),
        "start_from": _weights("start_from", config.start_from, trained),
    }
    if config.kind == "joint" and config.start_from is not None:
        _weights("start_from", config.start_from, "vae")
        named = config.start_from in preset_names()
        files["start_from"] = str(find_model(config.start_from)) if named else config.start_from
    return config.model_copy(update=files)


def _weights(key: str, given: str | None, component: Component) -> str | None:
    if given is None:
        return None
    if given in preset_names():
        return str(find_model(given) / f"{component}.safetensors")
    if not given.startswith("hf://") and not Path(given).exists():
        raise RequestError(
            f"{key} is not there: got {given}: give the file or folder of a {component}, published "
            f"or exported by a run (`overcrank train pocket-{component}`), the name of a shipped "
            f"model (--set {key}=pocket) or a hub id (hf://OWNER/NAME)"
        )
    open_checkpoint(given).network(component)
    return given


def build_world(scenes: Scenes) -> World:
    """What the clips of a run show."""
    pack = None if scenes.pack is None else FigurePack.load(scenes.pack)
    return World(pack=pack, figures=scenes.figures)


def _check_text_width(config: RunConfig, text: TextEncoder) -> None:
    if config.start_from is None:
        source, needed = f"the preset {config.preset}", PRESETS[config.preset].text_width
    else:
        source = config.start_from
        there = open_checkpoint(source).network("transformer").config
        assert isinstance(there, TransformerConfig)
        needed = there.text_width
    if needed != text.width:
        raise RequestError(
            f"{source} does not fit the text encoder {text.name}: got a transformer for texts "
            f"{needed} wide, right is one for {text.width}, or another encoder: text: T5, a folder "
            "or hub id"
        )
