"""The JSON that Lightricks embeds in its files <-> our configs, field by field.

A field whose value would change what is computed is refused by name unless we compute just that.
Fields that nobody reads (leftovers of the network it was derived from) are passed over.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import PRESETS, Block, VAEConfig
from overcrank.weights.mapped import Entries

_TRANSFORMER_FIXED: Mapping[str, tuple[Any, ...]] = {
    "_class_name": ("Transformer3DModel",),
    "activation_fn": ("gelu-approximate",),
    "adaptive_norm": ("single_scale_shift",),
    "attention_bias": (True,),
    "attention_type": ("default",),
    "double_self_attention": (False,),
    "only_cross_attention": (False,),
    "norm_elementwise_affine": (False,),
    "norm_eps": (1e-6,),
    "positional_embedding_type": ("rope",),
    "qk_norm": ("rms_norm",),
    "standardization_norm": ("rms_norm",),
    "timestep_scale_multiplier": (1000,),
    "upcast_attention": (False,),
    # Of the later systems; other numbers would come out.
    "apply_gated_attention": (False, None),
    "cross_attention_adaln": (False, None),
    "rope_type": ("interleaved", None),
    "use_middle_indices_grid": (False, None),
}
_VAE_FIXED: Mapping[str, tuple[Any, ...]] = {
    "_class_name": ("CausalVideoAutoencoder",),
    "dims": (3,),
    "in_channels": (3,),
    "out_channels": (3,),
    "latent_log_var": ("uniform",),
    "norm_layer": ("pixel_norm",),
    "normalize_latent_channels": (False,),
    "scaling_factor": (1.0,),
    "spatial_padding_mode": ("zeros",),
    "use_quant_conv": (False,),
}
_STRIDES: Mapping[str, tuple[int, int, int]] = {
    "compress_time": (2, 1, 1),
    "compress_space": (1, 2, 2),
    "compress_all": (2, 2, 2),
}
_DEFAULT_MULTIPLIER = 2


def read_transformer(values: Mapping[str, Any]) -> TransformerConfig:
    """The embedded JSON of a transformer."""
    _check_fixed("transformer", values, _TRANSFORMER_FIXED)
    sizes = ("num_layers", "num_attention_heads", "attention_head_dim", "caption_channels")
    _check_present("transformer", values, *sizes, "in_channels")
    layers, heads, head_width, text_width = (values[name] for name in sizes)
    max_position = values.get("positional_embedding_max_pos", [20, 2048, 2048])
    if not isinstance(max_position, list):
        raise _refusal("transformer", "positional_embedding_max_pos", max_position, "three numbers")
    config = TransformerConfig(
        layers=layers,
        heads=heads,
        head_width=head_width,
        text_width=text_width,
        latent_channels=values["in_channels"],
        causal_positions=values.get("causal_temporal_positioning", False),
        rope_theta=values.get("positional_embedding_theta", 10000.0),
        max_position=tuple(max_position),
    )
    for name, right in (
        ("cross_attention_dim", config.width),
        ("out_channels", config.latent_channels),
    ):
        if values.get(name, right) != right:
            raise _refusal("transformer", name, values[name], repr(right))
    return config


def write_transformer(config: TransformerConfig) -> dict[str, Any]:
    """Inverse of `read_transformer`."""
    if config.activation != "gelu" or config.ff_multiple != 4:
        raise ModelError(
            "Lightricks' format has no such transformer, got "
            f"activation {config.activation}, ff_multiple {config.ff_multiple}: right are gelu "
            "and 4; our small models have our own format only (--to overcrank)"
        )
    fixed = {
        name: allowed[0] for name, allowed in _TRANSFORMER_FIXED.items() if None not in allowed
    }
    return {
        **fixed,
        "num_layers": config.layers,
        "num_attention_heads": config.heads,
        "attention_head_dim": config.head_width,
        "cross_attention_dim": config.width,
        "caption_channels": config.text_width,
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "num_embeds_ada_norm": 1000,
        "positional_embedding_theta": config.rope_theta,
        "positional_embedding_max_pos": list(config.max_position),
        "causal_temporal_positioning": config.causal_positions,
    }


def read_vae(values: Mapping[str, Any]) -> VAEConfig:
    """The embedded JSON of an autoencoder."""
    _check_fixed("vae", values, _VAE_FIXED)
    # Absent means a quantising convolution upstream, and patches of one pixel.
    _check_present("vae", values, "latent_channels", "patch_size", "use_quant_conv")
    shared = values.get("blocks")
    sides = [values.get(f"{side}_blocks", shared) for side in ("encoder", "decoder")]
    if not all(isinstance(side, list) for side in sides):
        raise _refusal("vae", "blocks", shared, "a list, or encoder_blocks and decoder_blocks")
    width, other = (values.get(f"{side}_base_channels", 128) for side in ("encoder", "decoder"))
    if width != other:
        raise _refusal("vae", "decoder_base_channels", other, f"that of the encoder, {width!r}")
    return VAEConfig(
        encoder_blocks=tuple(_read_block(entry, encoder=True) for entry in sides[0]),
        decoder_blocks=tuple(_read_block(entry, encoder=False) for entry in sides[1]),
        base_width=width,
        causal_decoder=values.get("causal_decoder", False),
        denoises=values.get("timestep_conditioning", False),
        patch_size=values["patch_size"],
        latent_channels=values["latent_channels"],
    )


def write_vae(config: VAEConfig) -> dict[str, Any]:
    """Inverse of `read_vae`."""
    if config.factorised or config.linear_trunk or config.sigma_hidden is not None:
        raise ModelError(
            "Lightricks' format has no such autoencoder, got one of our small family: right are "
            "those of LTX-Video; the small ones have our own format only (--to overcrank)"
        )
    encoder = [_write_block(block, encoder=True) for block in config.encoder_blocks]
    decoder = [_write_block(block, encoder=False) for block in config.decoder_blocks]
    lists = (
        {"blocks": encoder}
        if encoder == decoder
        else {"encoder_blocks": encoder, "decoder_blocks": decoder}
    )
    fixed = {name: allowed[0] for name, allowed in _VAE_FIXED.items()}
    widths = {f"{side}_base_channels": config.base_width for side in ("encoder", "decoder")}
    return {
        **fixed,
        **lists,
        **(widths if config.base_width != 128 else {}),
        "latent_channels": config.latent_channels,
        "patch_size": config.patch_size,
        "causal_decoder": config.causal_decoder,
        "timestep_conditioning": config.denoises,
    }


def _read_block(entry: Any, *, encoder: bool) -> Block:
    match entry:
        case [str(name), int(layers)]:
            options: dict[str, Any] = {"num_layers": layers} if name == "res_x" else {}
        case [str(name), dict(options)]:
            options = dict(options)
        case _:
            raise _refusal("vae", "a block", entry, "[name, number] or [name, {options}]")
    base = name.removesuffix("_res")
    block: Block | None = None
    if name == "res_x" and "num_layers" in options:
        noise = options.pop("inject_noise", False)
        if not (encoder and noise):
            block = Block(kind="res_x", layers=options.pop("num_layers"), noise=noise)
    elif name == "res_x_y":
        block = Block(kind="res_x_y", multiplier=options.pop("multiplier", _DEFAULT_MULTIPLIER))
    elif base in _STRIDES and encoder:
        if base == name:
            block = Block(kind="compress", stride=_STRIDES[base])
        else:
            factor = options.pop("multiplier", _DEFAULT_MULTIPLIER)
            block = Block(
                kind="compress_res", stride=_STRIDES[base], multiplier=factor, residual=factor > 1
            )
    elif name == "compress_all":
        factor, residual = options.pop("multiplier", 1), options.pop("residual", False)
        block = Block(kind="compress", stride=_STRIDES[name], multiplier=factor, residual=residual)
    elif name in _STRIDES:
        block = Block(kind="compress", stride=_STRIDES[name])
    if block is None or options:
        raise _refusal(
            "vae",
            f"a block of the {'encoder' if encoder else 'decoder'}",
            entry,
            "one of the published blocks with their published options",
        )
    return block


def _write_block(block: Block, *, encoder: bool) -> list[Any]:
    if block.kind == "res_x":
        noise = {"inject_noise": True} if block.noise else {}
        return ["res_x", {"num_layers": block.layers, **noise}]
    if block.kind == "res_x_y":
        return ["res_x_y", {"multiplier": block.multiplier}]
    names = {stride: name for name, stride in _STRIDES.items()}
    if block.kind == "compress_res" and encoder:
        return [f"{names[block.stride]}_res", {"multiplier": block.multiplier}]
    if block.kind != "compress" or block.stride not in names:
        raise ModelError(
            f"Lightricks' format has no block {block.kind} with stride {block.stride}: right are "
            "the blocks of LTX-Video"
        )
    options = {"multiplier": block.multiplier, "residual": block.residual}
    return [names[block.stride], {} if encoder or options["multiplier"] == 1 else options]


def guess_transformer(entries: Entries, *, causal_positions: bool) -> TransformerConfig:
    """A config from the shapes alone: every published transformer has 32 heads."""
    try:
        width, latent_channels = entries["patchify_proj.weight"].shape
        text_width = entries["caption_projection.linear_1.weight"].shape[1]
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(
            f"this is no transformer of LTX-Video: got no matrix named {error}: right is a file "
            "with the published names, or one that embeds its config"
        ) from error
    layers = {name.split(".")[1] for name in entries if name.startswith("transformer_blocks.")}
    return TransformerConfig(
        layers=len(layers),
        heads=32,
        head_width=width // 32,
        text_width=text_width,
        latent_channels=latent_channels,
        causal_positions=causal_positions,
    )


def guess_vae(entries: Entries) -> VAEConfig:
    """A config from the shapes alone: one of the three published layouts, at any width."""
    try:
        width = entries["encoder.conv_in.conv.weight"].shape[0]
        deepest = entries["encoder.conv_out.conv.weight"].shape[1]
        latent_channels = entries["decoder.conv_in.conv.weight"].shape[1]
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"this is no autoencoder of LTX-Video: got no tensor named {error}: right is a file "
            "with the published names, or one that embeds its config"
        ) from error
    denoises = any(name.startswith("decoder.last_time_embedder.") for name in entries)
    early = "ltxv-0.9.1" if denoises else "ltxv-0.9.0"
    preset = PRESETS["ltxv-0.9.5" if deepest == 16 * width else early]
    return replace(preset, base_width=width, latent_channels=latent_channels)


def _check_fixed(
    what: str, values: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]]
) -> None:
    for name, allowed in fixed.items():
        if name in values and values[name] not in allowed:
            right = " or ".join(repr(value) for value in allowed)
            raise _refusal(what, name, values[name], right)


def _check_present(what: str, values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name not in values:
            raise _refusal(what, name, "none", "that it is stated")


def _refusal(what: str, field: str, got: Any, right: str) -> ModelError:
    return ModelError(
        f"the {what} that this file describes cannot be built: {field} is {str(got)[:80]}: "
        f"right is {right}"
    )
