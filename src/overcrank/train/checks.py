"""What a run is refused for before any work: files that are not there, layers, sizes of clips."""

from collections.abc import Iterator
from pathlib import Path

import torch

from overcrank.data.fitting import ClipCrops, Fit
from overcrank.data.prepared import Prepared
from overcrank.errors import RequestError
from overcrank.media import read_image
from overcrank.text import SmallEncoder
from overcrank.train.caches import prepared_originals
from overcrank.train.config import RunConfig
from overcrank.train.lora import targeted
from overcrank.train.rehearse import Architecture
from overcrank.transformer import Transformer
from overcrank.weights import open_checkpoint
from overcrank.weights.hub import hub_id_of
from overcrank.weights.presets import find_model, preset_names
from overcrank.weights.store import Component

Missing = tuple[str, str, str]
"""A key, what was given for it, and what would be right."""


def with_files(config: RunConfig) -> RunConfig:
    """The same run with models that are given by name as their files; all files are there."""
    lacking = list(missing(config))
    if len(lacking) == 1:
        [(key, given, right)] = lacking
        raise RequestError(f"{key} is not there: got {given}: {right}")
    if lacking:
        got = ", ".join(f"{key} {given}" for key, given, _ in lacking)
        rights = "; ".join(f"{key}: {right}" for key, _, right in lacking)
        raise RequestError(f"{len(lacking)} files are not there: got {got}: {rights}")
    if config.samples is not None and config.samples.image is not None:
        read_image(config.samples.image)
    files = {key: _file(given, component) for key, given, component in _networks(config)}
    if config.kind == "joint" and config.start_from is not None:
        open_checkpoint(config.start_from).network("vae")
        named = config.start_from in preset_names()
        files["start_from"] = str(find_model(config.start_from)) if named else config.start_from
    return config.model_copy(update=files)


def missing(config: RunConfig) -> Iterator[Missing]:
    """Every file and folder that the run names and that is not there; hub ids are not looked at."""
    for key, given, component in _networks(config):
        named = given in preset_names() or given.startswith("hf://")
        if not named and not Path(given).exists():
            right = (
                f"give the file or folder of a {component}, published or exported by a run "
                f"(`overcrank train pocket-{component}`), the name of a shipped model "
                f"(--set {key}=pocket) or a hub id (hf://OWNER/NAME)"
            )
            yield key, given, right
    text, clips, pack = config.text, config.clips, config.scenes.pack
    own = text == SmallEncoder.name
    if not own and not Path(text).exists() and hub_id_of(text) is None:
        right = "its folder, its .safetensors or .gguf file, or a hub id"
        yield "text", text, f"give {SmallEncoder.name}, or a T5: {right}"
    if clips is not None and not Path(clips.folder).is_dir():
        folder = clips.folder
        yield "clips.folder", folder, f"run `overcrank prepare VIDEOS {folder}` first"
    if pack is not None and not Path(pack).is_file():
        yield "scenes.pack", pack, "build one as docs/figures.md says, or leave it out"
    if config.film is not None and not Path(config.film.file).is_file():
        yield "film.file", config.film.file, "build one as docs/film.md says, or run without"
    image = None if config.samples is None else config.samples.image
    if image is not None and not Path(image).is_file():
        yield "samples.image", image, "give a picture, such as a PNG file, or leave it out"


def _networks(config: RunConfig) -> Iterator[tuple[str, str, Component]]:
    """The files of weights that a run names."""
    if config.vae is not None:
        yield "vae", config.vae, "vae"
    if config.start_from is not None:
        yield "start_from", config.start_from, "vae" if config.kind == "vae" else "transformer"


def _file(given: str, component: Component) -> str:
    if given in preset_names():
        return str(find_model(given) / f"{component}.safetensors")
    open_checkpoint(given).network(component)
    return given


def check_networks(config: RunConfig) -> Architecture:
    """What will be built; refused if the preset is another one, or has no such layers."""
    architecture = Architecture.of(config, fetch=True)
    if config.lora is not None:
        assert architecture.transformer is not None
        with torch.device("meta"):
            targeted(Transformer(architecture.transformer), config.lora.targets)
    return architecture


def check_clips(config: RunConfig) -> None:
    """Refuse prepared clips that a run cannot use; a folder that is not there yet is not read."""
    if config.clips is None or not Path(config.clips.folder).is_dir():
        return
    if config.kind == "vae":
        crops(config)
    else:
        shown = config.stages if config.kind == "joint" else config.latents
        sizes = list(dict.fromkeys(each.clip for each in shown))
        prepared_originals(config, sizes, lambda _event: None)


def crops(config: RunConfig) -> ClipCrops:
    """What an autoencoder sees of prepared clips."""
    assert config.clips is not None
    sizes = dict.fromkeys(stage.clip for stage in config.stages)
    fit = Fit(config.clips.enlarge, config.clips.jitter)
    return ClipCrops(Prepared(config.clips.folder), sizes, fit, config.clips.share)
