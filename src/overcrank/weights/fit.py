"""Do these networks belong together? Proven mismatches are refused, unproven ones are told."""

from dataclasses import dataclass

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import VAEConfig
from overcrank.weights.checkpoint import Checkpoint
from overcrank.weights.lightricks import has_late_encoder
from overcrank.weights.published import read_vae

_LATE = "an autoencoder of 0.9.5 or later (best from the same file as the transformer)"
_EARLY = "an autoencoder of 0.9.0 or 0.9.1 (best from the same file as the transformer)"


@dataclass(frozen=True, slots=True)
class Fit:
    """What is known of a pair."""

    refusal: str | None
    """The sentence that proves the mismatch and says what would fit; None: nothing is proven."""
    warnings: tuple[str, ...] = ()


def fit(transformer: Checkpoint, vae: Checkpoint) -> Fit:
    """Compare what the files say of themselves and of each other; no weights are read."""
    denoiser, coder = transformer.transformer, vae.vae
    if denoiser is None or coder is None:
        raise ModelError(
            f"a pair has a transformer and an autoencoder: got {transformer.path} and {vae.path}: "
            "name a file with a transformer first, one with an autoencoder second"
        )
    assert isinstance(denoiser.config, TransformerConfig)
    assert isinstance(coder.config, VAEConfig)
    got = f"the transformer in {transformer.path} and the autoencoder in {vae.path}"
    channels, theirs = denoiser.config.latent_channels, coder.config.latent_channels
    if channels != theirs:
        return Fit(
            f"{got} do not fit: got latents of {channels} and of {theirs} channels: right is an "
            f"autoencoder with {channels}"
        )
    told = transformer.published.get("vae")
    named = read_vae(told) if isinstance(told, dict) else None
    if named is not None and named != coder.config:
        return Fit(
            f"{got} are of different releases: got another autoencoder than the one whose config "
            f"the transformer's file embeds: right is {_described(named)}"
        )
    if denoiser.certain and transformer.finding and vae.finding:
        causal = denoiser.config.causal_positions
        if causal != has_late_encoder(coder):
            return Fit(
                f"{got} are of different releases: got positions that are "
                f"{'causal' if causal else 'not causal'}: right is {_LATE if causal else _EARLY}"
            )
    if transformer.path == vae.path or named is not None:
        return Fit(None)
    unproven = (
        f"nothing in {transformer.path} or {vae.path} says whether they were trained together: "
        "colours and detail tell"
    )
    return Fit(None, (unproven,))


def check_fit(
    transformer: Checkpoint, vae: Checkpoint, *, allow_mismatch: bool = False
) -> tuple[str, ...]:
    """The warnings of a pair; a proven mismatch is refused, or with `allow_mismatch` warned of."""
    found = fit(transformer, vae)
    if found.refusal is None:
        return found.warnings
    if not allow_mismatch:
        raise ModelError(f"{found.refusal}; allow_mismatch=True (--allow-mismatch) only warns")
    return (found.refusal, *found.warnings)


def _described(config: VAEConfig) -> str:
    if any(block.kind == "compress_res" for block in config.encoder_blocks):
        return "an autoencoder of 0.9.5 or later"
    return f"the autoencoder of {'0.9.1' if config.denoises else '0.9.0'}"
