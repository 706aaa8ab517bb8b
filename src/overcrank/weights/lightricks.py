"""Lightricks' single file: all networks in one safetensors file, their configs in its metadata."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import VAEConfig
from overcrank.weights.checkpoint import Checkpoint, Network
from overcrank.weights.float8 import MARKER, split_scales
from overcrank.weights.mapped import Entries, Entry, json_object, open_file, write_file
from overcrank.weights.names import PREFIX, UNREAD, owner
from overcrank.weights.origin import ORIGIN_KEY, Origin
from overcrank.weights.published import (
    guess_transformer,
    guess_vae,
    read_transformer,
    read_vae,
    write_transformer,
    write_vae,
)
from overcrank.weights.store import Component, some

RECTIFIED_FLOW = {
    "_class_name": "RectifiedFlowScheduler",
    "num_train_timesteps": 1000,
    "base_resolution": None,
}
SHIFTED = {**RECTIFIED_FLOW, "shifting": "SD3", "target_shift_terminal": 0.1}
"""The schedule of 0.9.0 and 0.9.1, as Lightricks writes it."""
LINEAR_QUADRATIC = {**RECTIFIED_FLOW, "shifting": None, "sampler": "LinearQuadratic"}
"""The schedule of 0.9.5 and later."""

GUESSED = (
    "{path} does not embed its config, which was read from the shapes of its tensors: whether its "
    "positions are causal (0.9.5 and later) leaves no trace there, so they are taken as {causal}"
)


def read_lightricks(path: str | Path, *, causal_positions: bool | None = None) -> Checkpoint:
    """Open a single file, or one with only a transformer or only an autoencoder.

    `causal_positions` stands for what a file without metadata does not say; None takes the
    autoencoder in the file as evidence, then the number of blocks.
    """
    path = Path(path)
    file = open_file(path)
    origin = Origin.of_file(path, file.metadata)
    text = origin.metadata.get("config")
    embedded = None if text is None else json_object(text, f"config in the metadata of {path}")
    groups, unread = _groups(path, file.entries)
    vae = transformer = None
    remarks: tuple[str, ...] = ()
    if "vae" in groups:
        config, entries = _config(path, "vae", embedded), groups["vae"]
        assert config is None or isinstance(config, VAEConfig)
        vae = _network(path, "vae", config or guess_vae(entries), entries, config is not None)
    if "transformer" in groups:
        config, entries = _config(path, "transformer", embedded), groups["transformer"]
        if config is None:
            guess, sure = guess_causal(entries, vae, causal_positions)
            config = guess_transformer(entries, causal_positions=guess)
            if not sure:
                remarks = (GUESSED.format(path=path, causal="causal" if guess else "not causal"),)
            transformer = _network(path, "transformer", config, entries, sure)
        else:
            transformer = _network(path, "transformer", config, entries, True)
    return Checkpoint(
        path=path,
        format="lightricks",
        transformer=transformer,
        vae=vae,
        origin=origin,
        unread=unread,
        remarks=remarks,
    )


def write_lightricks(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write the networks of a checkpoint as one file, in the dtypes they have."""
    path = Path(path)
    entries: dict[str, Entry] = dict(checkpoint.unread)
    for network in checkpoint.networks:
        prefix = PREFIX[network.component]
        entries |= {prefix + name: entry for name, entry in network.cast(None).items()}
    origin = checkpoint.origin
    config = json.dumps(embedded_config(checkpoint))
    unchanged = json.loads(config) == checkpoint.published
    told = replace(origin, metadata={}).to_dict()
    metadata = {
        **origin.metadata,
        "config": origin.metadata["config"] if unchanged else config,
        ORIGIN_KEY: json.dumps(told),
    }
    write_file(path, entries, metadata)
    origin.write_licence(path.with_name(f"{path.stem}.license.txt"))


def embedded_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The JSON for the metadata: what was published, where it still describes the networks."""
    config = dict(checkpoint.published)
    for network in checkpoint.networks:
        component, ours = network.component, network.config
        if component not in config or _read(component, config[component]) != ours:
            config[component] = (
                write_vae(ours) if isinstance(ours, VAEConfig) else write_transformer(ours)
            )
    config.setdefault("scheduler", LINEAR_QUADRATIC if is_late(checkpoint) else SHIFTED)
    return config


def is_late(checkpoint: Checkpoint) -> bool:
    """Whether the networks are those of 0.9.5 and later."""
    if checkpoint.transformer is not None:
        config = checkpoint.transformer.config
        return isinstance(config, TransformerConfig) and config.causal_positions
    return checkpoint.vae is not None and has_late_encoder(checkpoint.vae)


def has_late_encoder(vae: Network) -> bool:
    """Whether an autoencoder has the layout of 0.9.5 and later."""
    config = vae.config
    return isinstance(config, VAEConfig) and any(
        block.kind == "compress_res" for block in config.encoder_blocks
    )


def guess_causal(entries: Entries, vae: Network | None, stated: bool | None) -> tuple[bool, bool]:
    """Whether positions are causal, and whether that is certain rather than assumed."""
    if stated is not None:
        return stated, True
    if vae is not None:
        return has_late_encoder(vae), True
    blocks = {name.split(".")[1] for name in entries if name.startswith("transformer_blocks.")}
    return (True, True) if len(blocks) == 48 else (False, False)  # 13B came after 0.9.5


def _groups(
    path: Path, entries: Entries
) -> tuple[dict[Component, dict[str, Entry]], dict[str, Entry]]:
    """Tensors by network and our name; and those that nothing is computed from."""
    groups: dict[Component, dict[str, Entry]] = {}
    unread: dict[str, Entry] = {}
    strays: list[str] = []
    for name, entry in entries.items():
        found = owner(name)
        if found is None:
            if not name.endswith(MARKER):
                strays.append(name)
        elif found[1] in UNREAD:
            unread[PREFIX["vae"] + found[1]] = entry
        elif found[1] in groups.setdefault(found[0], {}):
            raise ModelError(
                f"{path} has two tensors for one place, got {name} twice under different "
                "prefixes: right is one of them"
            )
        else:
            groups[found[0]][found[1]] = entry
    if strays or not groups:
        raise ModelError(
            f"{path} is no LTX-Video checkpoint: got tensors that no network has, "
            f"{some(strays) or 'none at all'}: right are names as in Lightricks' files, "
            f"{PREFIX['transformer']}... and {PREFIX['vae']}..."
        )
    return groups, unread


def _network(
    path: Path,
    component: Component,
    config: VAEConfig | TransformerConfig,
    entries: Entries,
    certain: bool,
) -> Network:
    weights, scales = split_scales(entries)
    return Network.of(path, component, config, weights, scales=scales, certain=certain)


def _config(
    path: Path, component: Component, embedded: dict[str, Any] | None
) -> VAEConfig | TransformerConfig | None:
    if embedded is None:
        return None
    try:
        return _read(component, embedded.get(component))
    except ModelError as error:
        raise ModelError(f"{path} cannot be opened: {error}") from error


def _read(component: Component, values: Any) -> VAEConfig | TransformerConfig:
    if not isinstance(values, dict):
        raise ModelError(
            f"its config does not describe the {component} it holds, got {str(values)[:80]}: "
            "right is an object"
        )
    return read_vae(values) if component == "vae" else read_transformer(values)
