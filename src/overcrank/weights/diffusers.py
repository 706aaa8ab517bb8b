"""A folder as diffusers writes it: one sub-folder a network, sharded or not."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import VAEConfig
from overcrank.weights import diffusers_config
from overcrank.weights.checkpoint import Checkpoint, Config, Network
from overcrank.weights.files import write_atomically
from overcrank.weights.float8 import split_scales
from overcrank.weights.lightricks import GUESSED, embedded_config, guess_causal, is_late
from overcrank.weights.mapped import Entries, Entry, open_file, read_json, write_file
from overcrank.weights.names import diffusers_names
from overcrank.weights.origin import Origin
from overcrank.weights.published import read_transformer
from overcrank.weights.store import Component, build_on_meta, some

INDEX_FILE = "model_index.json"
CONFIG_FILE = "config.json"
STEM = "diffusion_pytorch_model"
UNREAD_FILE = "unread.safetensors"
"""Tensors that no network reads, so that a single file comes back complete."""
SHARD_BYTES = 10_000_000_000
"""As diffusers' own default."""

_CLASSES: Mapping[str, Component] = {
    diffusers_config.TRANSFORMER_CLASS: "transformer",
    diffusers_config.VAE_CLASS: "vae",
}
_EARLY, _LATE = "LTXPipeline", "LTXConditionPipeline"
_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
}


def read_diffusers(path: str | Path, *, causal_positions: bool | None = None) -> Checkpoint:
    """Open a pipeline's folder, or the folder of one network.

    diffusers does not store whether positions are causal: our own note of the origin says it,
    then the layout of the autoencoder, then the class of the pipeline.
    """
    folder = Path(path)
    origin = Origin.of_folder(folder)
    found = _component_folders(folder)
    vae = transformer = None
    remarks: tuple[str, ...] = ()
    if "vae" in found:
        values = _config(found["vae"], "vae")
        try:
            vae = _network(found["vae"], "vae", diffusers_config.read_vae(values))
        except ModelError as error:
            raise _named(found["vae"], error) from error
    if "transformer" in found:
        where = found["transformer"]
        stored = _stored(where)
        causal, sure = _causal(folder, origin, stored, vae, causal_positions)
        try:
            config = diffusers_config.read_transformer(
                _config(where, "transformer"), causal_positions=causal
            )
            config = _with_positions(config, origin)
            transformer = _network(where, "transformer", config, stored, certain=sure)
        except ModelError as error:
            raise _named(where, error) from error
        if not sure:
            remarks = (GUESSED.format(path=folder, causal="causal" if causal else "not causal"),)
    encoder = folder / "text_encoder"
    return Checkpoint(
        path=folder,
        format="diffusers",
        transformer=transformer,
        vae=vae,
        origin=replace(origin, diffusers=_settings(folder) or origin.diffusers),
        unread=read_unread(folder),
        remarks=remarks,
        text_encoder=encoder if (encoder / CONFIG_FILE).is_file() else None,
    )


def write_diffusers(
    path: str | Path, checkpoint: Checkpoint, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a folder that diffusers opens; it has no text encoder, which diffusers can be given."""
    folder = Path(path)
    plans = [(network, _plan(network)) for network in checkpoint.networks]  # refuses first
    for network, (config, entries) in plans:
        where = folder / network.component
        where.mkdir(parents=True, exist_ok=True)
        _write_json(where / CONFIG_FILE, config)
        _write_shards(where, entries, shard_bytes)
    settings = checkpoint.origin.diffusers
    late = is_late(checkpoint)
    index = settings.get("model_index") or {
        "_class_name": _LATE if late else _EARLY,
        "_diffusers_version": "0.35.0",
    }
    libraries: dict[str, list[Any]] = {
        "scheduler": ["diffusers", _SCHEDULER["_class_name"]],
        "text_encoder": [None, None],
        "tokenizer": [None, None],
        "transformer": ["diffusers", diffusers_config.TRANSFORMER_CLASS],
        "vae": ["diffusers", diffusers_config.VAE_CLASS],
    }
    there = {network.component for network in checkpoint.networks}
    libraries |= {name: [None, None] for name in _CLASSES.values() if name not in there}
    _write_json(folder / INDEX_FILE, {**index, **libraries})
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = settings.get("scheduler") or _scheduler(checkpoint)
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_unread(folder, checkpoint.unread)
    kept = dict(checkpoint.origin.metadata)
    if "config" not in kept and _is_published(checkpoint):
        kept["config"] = json.dumps(embedded_config(checkpoint))  # it says what diffusers does not
    replace(checkpoint.origin, metadata=kept).write(folder)


def read_unread(folder: Path) -> Entries:
    """Tensors that were carried along unread."""
    path = folder / UNREAD_FILE
    return open_file(path).entries if path.exists() else {}


def write_unread(folder: Path, entries: Entries) -> None:
    """Carry along tensors that nothing reads."""
    if entries:
        write_file(folder / UNREAD_FILE, entries, {"format": "pt"})


def _component_folders(folder: Path) -> dict[Component, Path]:
    names: tuple[Component, ...] = ("vae", "transformer")
    found = {name: folder / name for name in names if (folder / name / CONFIG_FILE).is_file()}
    if found:
        return found
    if (folder / CONFIG_FILE).is_file():
        named = read_json(folder / CONFIG_FILE).get("_class_name")
        if isinstance(named, str) and named in _CLASSES:
            return {_CLASSES[named]: folder}
    raise ModelError(
        f"{folder} is no folder of diffusers with LTX-Video: got no vae/{CONFIG_FILE} and no "
        f"transformer/{CONFIG_FILE}: right is a folder that has them, or one of them"
    )


def _config(folder: Path, component: Component) -> dict[str, Any]:
    values = read_json(folder / CONFIG_FILE)
    named = values.get("_class_name")
    if not isinstance(named, str) or _CLASSES.get(named) != component:
        right = next(name for name, each in _CLASSES.items() if each == component)
        raise ModelError(
            f"{folder / CONFIG_FILE} describes another network: got _class_name {named!r}: "
            f"right is {right}"
        )
    return values


def _stored(folder: Path) -> dict[str, Entry]:
    """The tensors of one network, by diffusers' names."""
    index = folder / f"{STEM}.safetensors.index.json"
    if index.exists():
        return _shards(folder, index)
    files = sorted(folder.glob(f"{STEM}*.safetensors"))
    plain = folder / f"{STEM}.safetensors"
    if plain not in files and len(files) != 1:
        names = some(sorted(each.name for each in folder.iterdir())) or "none"
        raise ModelError(
            f"{folder} holds no weights: got the files {names}: right is {plain.name}, or shards "
            f"with {index.name}; pickled weights (.bin) are never opened"
        )
    return dict(open_file(plain if plain in files else files[0]).entries)


def _shards(folder: Path, index: Path) -> dict[str, Entry]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(_is_shard(name) for name in places.values()):
        raise ModelError(
            f"{index} names no shards: got {str(places)[:80]}: right is a weight_map from tensors "
            f"to files of this folder, {STEM}-00001-of-00002.safetensors and so on"
        )
    files = {name: open_file(folder / name).entries for name in sorted(set(places.values()))}
    entries = {name: entry for file in files.values() for name, entry in file.items()}
    lost = [name for name, file in places.items() if name not in files[file]]
    if lost or len(entries) != len(places):
        strays = lost or [name for name in entries if name not in places]
        raise ModelError(
            f"{index} does not fit its shards: got {some(strays)} in one but not the other: "
            "download the folder again"
        )
    return entries


def _is_shard(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def _network(
    folder: Path,
    component: Component,
    config: Config,
    stored: Mapping[str, Entry] | None = None,
    *,
    certain: bool = True,
) -> Network:
    weights, scales = split_scales(_stored(folder) if stored is None else stored)
    expected = build_on_meta(folder, component, config.to_dict()).state_dict()
    ours = {theirs: name for name, theirs in diffusers_names(config, expected).items()}
    return Network.of(
        folder,
        component,
        config,
        {ours.get(name, name): entry for name, entry in weights.items()},
        scales={ours.get(name, name): entry for name, entry in scales.items()},
        certain=certain,
    )


def _causal(
    folder: Path, origin: Origin, stored: Entries, vae: Network | None, asked: bool | None
) -> tuple[bool, bool]:
    told = _published_transformer(origin)
    if asked is None and told is not None:
        return told.causal_positions, True
    causal, sure = guess_causal(stored, vae, asked)
    if not sure and (folder / INDEX_FILE).is_file():
        return read_json(folder / INDEX_FILE).get("_class_name") == _LATE, True
    return causal, sure


def _with_positions(config: TransformerConfig, origin: Origin) -> TransformerConfig:
    """What else the embedded JSON says of positions and diffusers does not store."""
    told = _published_transformer(origin)
    if told is None:
        return config
    return replace(config, rope_theta=told.rope_theta, max_position=told.max_position)


def _published_transformer(origin: Origin) -> TransformerConfig | None:
    values = Checkpoint(path=Path(), format="diffusers", origin=origin).published
    told = values.get("transformer")
    return read_transformer(told) if isinstance(told, dict) else None


def _settings(folder: Path) -> dict[str, Any]:
    paths = {
        "model_index": folder / INDEX_FILE,
        "scheduler": folder / "scheduler" / "scheduler_config.json",
    }
    return {name: read_json(path) for name, path in paths.items() if path.is_file()}


def _plan(network: Network) -> tuple[dict[str, Any], dict[str, Entry]]:
    """config.json of a network, and its tensors by diffusers' names."""
    config = (
        diffusers_config.write_vae(network.config)
        if isinstance(network.config, VAEConfig)
        else diffusers_config.write_transformer(network.config)
    )
    entries = network.cast(None)
    names = diffusers_names(network.config, entries)
    return config, {names[name]: entry for name, entry in entries.items()}


def _write_shards(folder: Path, entries: Entries, shard_bytes: int) -> None:
    shards: list[dict[str, Entry]] = [{}]
    size = 0
    for name, entry in entries.items():
        if shards[-1] and size + entry.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = entry
        size += entry.nbytes
    if len(shards) == 1:
        write_file(folder / f"{STEM}.safetensors", entries, {"format": "pt"})
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"{STEM}-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / file, shard, {"format": "pt"})
        places |= dict.fromkeys(shard, file)
    total = sum(entry.nbytes for entry in entries.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write_json(folder / f"{STEM}.safetensors.index.json", index)


def _scheduler(checkpoint: Checkpoint) -> dict[str, Any]:
    shifted = embedded_config(checkpoint)["scheduler"].get("shifting") == "SD3"
    terminal = 0.1 if shifted else None
    return {**_SCHEDULER, "use_dynamic_shifting": shifted, "shift_terminal": terminal}


def _is_published(checkpoint: Checkpoint) -> bool:
    """Whether Lightricks' JSON can describe it."""
    try:
        embedded_config(checkpoint)
    except ModelError:
        return False
    return True


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _named(folder: Path, error: ModelError) -> ModelError:
    return error if str(folder) in str(error) else ModelError(f"{folder}: {error}")
