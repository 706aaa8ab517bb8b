"""A whole model, and the folder it is saved in: model.json and a file for each network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from overcrank.errors import ModelError
from overcrank.text import (
    CachedEncoder,
    EmbeddingStore,
    T5Encoder,
    TextEncoder,
    default_folder,
)
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.vae.linear_upsampler import LinearUpsampler
from overcrank.vae.remembered import RememberingEncoder
from overcrank.vae.upsampler import Upsampler, save_upsampler
from overcrank.weights.advice import Advice
from overcrank.weights.card import (
    STUDENT_FILE,
    TRANSFORMER_FILE,
    UPSAMPLER_FILE,
    VAE_FILE,
    Card,
    Defaults,
)
from overcrank.weights.lora import Fuser
from overcrank.weights.releases import Release
from overcrank.weights.store import latent_hash, save_component


@dataclass(frozen=True)
class Model:
    """Networks on the CPU, and what the model recommends."""

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
    upsampler: Upsampler | None = None
    """With one, clips are made in two passes."""
    student: Transformer | None = None
    """Of the transformer: it needs few steps and no guidance."""
    remarks: tuple[str, ...] = ()
    """What was assumed of its files, in words."""
    mismatch_allowed: bool = False
    """Whether files that do not belong together were let pass."""

    @property
    def advice(self) -> Advice:
        """What it recommends."""
        return Advice.of(self.release, self.defaults)

    @cached_property
    def fuser(self) -> Fuser:
        """The LoRAs that are fused into its transformer."""
        return Fuser(self.transformer)

    @cached_property
    def encoder(self) -> RememberingEncoder:
        """Its autoencoder for what requests give; it remembers the pictures it has seen."""
        return RememberingEncoder(self.vae)

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


def save_model(
    folder: str | Path,
    card: Card,
    vae: VAE,
    transformer: Transformer,
    *,
    upsampler: LinearUpsampler | None = None,
    student: Transformer | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a model folder; the transformer is tied to the VAE by the hash of its latents.

    With an `upsampler` and levels of a second pass on its card, it makes clips in two passes. With
    a `student` and its levels there, transformers are stored in eight bits.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trained_on = {"latent_hash": latent_hash(vae)}
    save_component(folder / VAE_FILE, "vae", vae, dtype=dtype)
    networks = {TRANSFORMER_FILE: transformer}
    if student is not None:
        networks[STUDENT_FILE], dtype = student, torch.int8
    for name, network in networks.items():
        save_component(folder / name, "transformer", network, dtype=dtype, extra=trained_on)
    if upsampler is not None:
        save_upsampler(folder / UPSAMPLER_FILE, upsampler)
    card.write(folder)
