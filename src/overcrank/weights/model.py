"""A whole model: a folder with model.json, vae.safetensors and transformer.safetensors."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path

import torch

from overcrank.errors import ModelError
from overcrank.text import (
    CachedEncoder,
    EmbeddingStore,
    MiniLMEncoder,
    T5Encoder,
    TextEncoder,
    default_folder,
)
from overcrank.text.t5_files import OFFICIAL
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.weights.advice import Advice
from overcrank.weights.card import CARD_FILE, Card, Defaults
from overcrank.weights.releases import Release
from overcrank.weights.store import latent_hash, load_component, read_metadata, save_component

VAE_FILE = "vae.safetensors"
TRANSFORMER_FILE = "transformer.safetensors"


@dataclass(frozen=True)
class Model:
    """Networks in float32 on the CPU, and what the model recommends."""

    name: str
    vae: VAE
    transformer: Transformer
    defaults: Defaults
    open_text_encoder: Callable[[], TextEncoder] | None = None
    """Loads the encoder the transformer was trained with; None takes embeddings only."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Content hashes of the networks as they were loaded, by component."""
    release: Release | None = None
    """The published release it is run as, which then counts instead of `defaults`; None: ours."""
    in_context: bool = False
    """Whether an IC-LoRA is fused: only then does it know what a reference video is for."""

    @cached_property
    def advice(self) -> Advice:
        """What it recommends."""
        if self.release is None:
            return Advice.of_ours(self.defaults)
        return Advice.of_release(self.release)

    @cached_property
    def text_encoder(self) -> CachedEncoder | None:
        """The text encoder, loaded at first use; it remembers the prompts it has seen."""
        if self.open_text_encoder is None:
            return None
        encoder, needed = self.open_text_encoder(), self.transformer.config.text_width
        if encoder.width != needed:
            raise ModelError(
                f"the text encoder does not fit {self.name}: got {encoder.name}, {encoder.width} "
                f"wide, right is one that is {needed} wide"
            )
        store = None
        if isinstance(encoder, T5Encoder):  # so slow that its work is kept on the disk
            store = EmbeddingStore(default_folder(), encoder.identity)
        return CachedEncoder(encoder, store=store)


def open_model(source: str | Path) -> Model:
    """Open a preset by its name, or a folder in our format."""
    folder = find_model(source)
    card = Card.read(folder)
    vae_hash = read_metadata(folder / VAE_FILE, "vae")["content_hash"]
    stored = read_metadata(folder / TRANSFORMER_FILE, "transformer")
    vae = load_component(folder / VAE_FILE, "vae")
    latents, trained_on = latent_hash(vae), stored.get("latent_hash", "none named")
    if trained_on != latents:
        raise ModelError(
            f"the networks in {folder} do not belong together: got a VAE with latent hash "
            f"{latents[:16]}..., right is the one the transformer was trained on, "
            f"latent_hash {trained_on[:16]}..."
        )
    return Model(
        card.name,
        vae,
        load_component(folder / TRANSFORMER_FILE, "transformer"),
        card.defaults,
        _encoder_opener(card, folder),
        {"vae": vae_hash, "transformer": stored["content_hash"]},
    )


def save_model(
    folder: str | Path,
    card: Card,
    vae: VAE,
    transformer: Transformer,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a model folder; the transformer is tied to the VAE by the hash of its latents."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained_on = {"latent_hash": latent_hash(vae)}
    save_component(folder / VAE_FILE, "vae", vae, dtype=dtype)
    save_component(
        folder / TRANSFORMER_FILE, "transformer", transformer, dtype=dtype, extra=trained_on
    )
    card.write(folder)


def preset_names() -> list[str]:
    """Names of the models that ship inside the package."""
    folder = _presets_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def find_model(source: str | Path) -> Path:
    """The folder of a preset, or `source` itself where it is a folder."""
    presets = preset_names()
    if str(source) in presets:
        return _presets_folder() / str(source)
    if os.path.isdir(source):  # noqa: PTH112  unlike Path.is_dir, False for any odd string
        return Path(source)
    is_file = os.path.isfile(source)  # noqa: PTH113
    raise ModelError(
        f"{'a single file cannot be opened as a model' if is_file else 'there is no such model'}: "
        f"got {str(source)!r}: right is a preset ({', '.join(presets) or 'none is installed'}) or "
        f"a folder with {CARD_FILE}, {VAE_FILE} and {TRANSFORMER_FILE}; single files and hub ids "
        "are not supported yet"
    )


def _presets_folder() -> Path:
    return Path(str(files("overcrank"))) / "presets"


def _encoder_opener(card: Card, folder: Path) -> Callable[[], TextEncoder] | None:
    match card.text_encoder:
        case "minilm-l6":
            return MiniLMEncoder
        case "t5":
            beside = (folder / "text_encoder").is_dir()
            return partial(T5Encoder, folder if beside else OFFICIAL)
        case _:
            return None
