"""Our own folder, read and written tensor by tensor: any dtypes, any size."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from overcrank.errors import ModelError
from overcrank.flow import Guidance
from overcrank.transformer import TransformerConfig
from overcrank.vae import VAEConfig
from overcrank.weights.card import (
    CARD_FILE,
    STUDENT_FILE,
    TRANSFORMER_FILE,
    UPSAMPLER_FILE,
    VAE_FILE,
    Card,
    Defaults,
)
from overcrank.weights.checkpoint import Checkpoint, Config, Network
from overcrank.weights.diffusers import read_unread, write_unread
from overcrank.weights.float8 import split_scales
from overcrank.weights.mapped import Tensors, json_object, open_file, read_json, write_file
from overcrank.weights.origin import Origin
from overcrank.weights.store import Component, own_metadata, read_metadata

FILES: dict[Component, str] = {"vae": VAE_FILE, "transformer": TRANSFORMER_FILE}
"""Names of the weight files in a folder."""


def own_file(found: Checkpoint, component: Component) -> Path:
    """Where the weights of a network of a checkpoint in our format lie."""
    return found.path / FILES[component] if found.path.is_dir() else found.path


def read_own(path: str | Path) -> Checkpoint:
    """Open a folder in our format, also an incomplete one, or one of its weight files."""
    path = Path(path)
    if path.is_file():
        network = _read_network(path, cast(Component, read_metadata(path)["component"]))
        return _checkpoint(path, {network.component: network}, Origin(source=path.name))
    found = {
        component: _read_network(path / name, component)
        for component, name in FILES.items()
        if (path / name).exists()
    }
    if not found:
        Card.read(path)  # names what a model folder holds
        raise ModelError(
            f"{path} holds no weights: got {CARD_FILE} alone: right is a folder with "
            f"{' and '.join(FILES.values())}"
        )
    origin = Origin.of_folder(path)
    if (path / CARD_FILE).exists():
        Card.read(path)  # refuses what is damaged
        origin = replace(origin, card=read_json(path / CARD_FILE))
    checkpoint = _checkpoint(path, found, origin)
    encoder = path / "text_encoder"
    return replace(
        checkpoint,
        unread=read_unread(path),
        text_encoder=encoder if encoder.is_dir() else None,
    )


def write_own(path: str | Path, checkpoint: Checkpoint, card: Card | None = None) -> None:
    """Write a folder in our format, in the dtypes that the tensors have.

    `card` None takes the one that the weights came with, or what their release recommends.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    trained_on = {}
    for network in checkpoint.networks:
        entries = network.cast(None)
        dtypes = sorted({str(each.dtype).removeprefix("torch.") for each in entries.values()})
        tensors = Tensors(entries)
        metadata = own_metadata(
            network.component,
            network.config.to_dict(),
            tensors,
            f"stored as {', '.join(dtypes)}, converted from {checkpoint.format}",
        )
        if network.component == "vae":
            trained_on = {"latent_hash": metadata["latent_hash"]}
        else:
            metadata |= trained_on
        write_file(folder / FILES[network.component], entries, metadata)
    card = card or _card(checkpoint)
    beside = [name for name in (UPSAMPLER_FILE, STUDENT_FILE) if (checkpoint.path / name).is_file()]
    for name in beside:
        shutil.copyfile(checkpoint.path / name, folder / name)
    defaults = card.defaults
    if UPSAMPLER_FILE not in beside:  # one pass is left
        defaults = replace(defaults, second=())
    if STUDENT_FILE not in beside:
        defaults = replace(defaults, student=())
    card = replace(card, defaults=defaults)
    card.write(folder)
    write_unread(folder, checkpoint.unread)
    replace(checkpoint.origin, card={}).write(folder)


def recommended(checkpoint: Checkpoint) -> Defaults:
    """What its release recommends, as far as the card of one pass can say it."""
    if checkpoint.finding is None:
        raise ModelError(
            f"{checkpoint.path} does not say how it is run: got networks that were never "
            "published and no card: give a card"
        )
    release = checkpoint.finding.release
    guidance = release.one.guidance
    return Defaults(
        frames=release.size.frames,
        height=release.size.height,
        width=release.size.width,
        frame_rate=release.frame_rate,
        steps=release.one.steps,
        guidance=guidance.scale if isinstance(guidance, Guidance) else 3.0,
        decode_sigma=release.decode_sigma,
        negative_prompt=release.negative_prompt,
    )


def _card(checkpoint: Checkpoint) -> Card:
    if checkpoint.origin.card:
        return _carried_card(checkpoint.origin.card, checkpoint.path)
    return Card(
        name=checkpoint.name,
        text_encoder="t5",
        defaults=recommended(checkpoint),
    )


def _carried_card(values: Mapping[str, Any], path: Path) -> Card:
    """The card that a conversion to another format took along."""
    try:
        return Card(
            name=values["name"],
            text_encoder=values["text_encoder"],
            defaults=Defaults.of(values["defaults"]),
        )
    except (LookupError, TypeError) as error:
        raise ModelError(
            f"the card that came with {path} is damaged: got {error}: right is the content of a "
            f"{CARD_FILE}"
        ) from error


def _read_network(path: Path, component: Component) -> Network:
    metadata = read_metadata(path, component)
    config = json_object(metadata["config"], f"config in {path}")
    try:
        known: Config = (
            VAEConfig.from_dict(config)
            if component == "vae"
            else TransformerConfig.from_dict(config)
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} describes no {component} that can be built: {error}: right is the config of "
            "this version of overcrank"
        ) from error
    entries, scales = split_scales(open_file(path).entries)
    return Network.of(path, component, known, entries, scales=scales)


def _checkpoint(path: Path, found: dict[Component, Network], origin: Origin) -> Checkpoint:
    return Checkpoint(
        path=path,
        format="overcrank",
        transformer=found.get("transformer"),
        vae=found.get("vae"),
        origin=origin,
    )
