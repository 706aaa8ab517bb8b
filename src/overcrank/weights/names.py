"""What the published formats call our tensors. Our own names are Lightricks' without a prefix."""

from collections.abc import Iterable, Mapping

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import VAEConfig
from overcrank.weights.store import Component

PREFIX: Mapping[Component, str] = {"transformer": "model.diffusion_model.", "vae": "vae."}
"""In a Lightricks single file."""

_PREFIXES: Mapping[Component, tuple[str, ...]] = {
    "transformer": (PREFIX["transformer"], "diffusion_model.", ""),
    "vae": (PREFIX["vae"], "first_stage_model.", ""),
}
_ROOTS: Mapping[Component, tuple[str, ...]] = {
    "transformer": (
        *("patchify_proj.", "adaln_single.", "caption_projection.", "transformer_blocks."),
        *("scale_shift_table", "proj_out."),
    ),
    "vae": ("encoder.", "decoder.", "per_channel_statistics."),
}
UNREAD = tuple(
    f"per_channel_statistics.{name}"
    for name in ("mean-of-stds", "mean-of-stds_over_std-of-means", "channel")
)
"""Of the published autoencoders; nothing is computed from them."""

_TRANSFORMER_RENAMES = (
    ("patchify_proj", "proj_in"),
    ("adaln_single", "time_embed"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)
_VAE_RENAMES = (
    (".res_blocks.", ".resnets."),
    (".conv_shortcut.", ".conv_shortcut.conv."),
    (".norm3.norm.", ".norm3."),
    ("decoder.last_time_embedder.", "decoder.time_embedder."),
    ("decoder.last_scale_shift_table", "decoder.scale_shift_table"),
    ("per_channel_statistics.mean-of-means", "latents_mean"),
    ("per_channel_statistics.std-of-means", "latents_std"),
)


def owner(name: str) -> tuple[Component, str] | None:
    """Which network a tensor of a single file belongs to, and what we call it there."""
    for component, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(tuple(prefix + root for root in _ROOTS[component])):
                return component, name.removeprefix(prefix)
    return None


def diffusers_names(config: VAEConfig | TransformerConfig, names: Iterable[str]) -> dict[str, str]:
    """Our name -> diffusers' name, for the tensors of one network."""
    if isinstance(config, TransformerConfig):
        return {name: _replaced(name, _TRANSFORMER_RENAMES) for name in names}
    blocks = {
        **{f"encoder.down_blocks.{n}.": f"encoder.{b}." for n, b in enumerate(_encoder(config))},
        **{f"decoder.up_blocks.{n}.": f"decoder.{b}." for n, b in enumerate(_decoder(config))},
    }
    return {name: _replaced(_moved(name, blocks), _VAE_RENAMES) for name in names}


def _moved(name: str, blocks: Mapping[str, str]) -> str:
    parts = name.split(".")
    block = ".".join(parts[:3]) + "."
    return blocks[block] + ".".join(parts[3:]) if block in blocks else name


def _replaced(name: str, renames: Iterable[tuple[str, str]]) -> str:
    for ours, theirs in renames:
        name = name.replace(ours, theirs)
    return name


def _encoder(config: VAEConfig) -> list[str]:
    """A level of diffusers is a stack, then what shrinks it, then what widens it."""
    names: list[str] = []
    level = -1
    for index, block in enumerate(config.encoder_blocks):
        if block.kind == "res_x":
            level += 1
            last = index == len(config.encoder_blocks) - 1
            names.append("mid_block" if last else f"down_blocks.{level}")
        elif block.kind in ("compress", "compress_res"):
            names.append(f"down_blocks.{level}.downsamplers.0")
        elif block.kind == "res_x_y":
            names.append(f"down_blocks.{level}.conv_out")
    return _distinct(names, len(config.encoder_blocks))


def _decoder(config: VAEConfig) -> list[str]:
    """Seen from the latent: a level is what narrows it, what enlarges it, then a stack."""
    names: list[str] = []
    level = 0
    for block in reversed(config.decoder_blocks):
        if block.kind == "res_x" and not names:
            names.append("mid_block")
        elif block.kind == "res_x":
            names.append(f"up_blocks.{level}")
            level += 1
        elif block.kind == "compress":
            names.append(f"up_blocks.{level}.upsamplers.0")
        elif block.kind == "res_x_y":
            names.append(f"up_blocks.{level}.conv_in")
    return _distinct(names, len(config.decoder_blocks))


def _distinct(names: list[str], count: int) -> list[str]:
    if len(names) != count or len(set(names)) != count or "mid_block" not in names:
        raise ModelError(
            "diffusers has no names for this autoencoder: got blocks in an order of their own: "
            "right are the block lists of LTX-Video 0.9.0, 0.9.1 or 0.9.5 and later"
        )
    return names
