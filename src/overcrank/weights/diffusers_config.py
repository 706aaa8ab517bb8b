"""The config.json files of diffusers <-> our configs, field by field.

Source: the constructors of diffusers' AutoencoderKLLTXVideo and LTXVideoTransformer3DModel.
"""

import math
from collections.abc import Mapping
from typing import Any

from overcrank.errors import ModelError
from overcrank.transformer import TransformerConfig
from overcrank.vae import Block, VAEConfig

TRANSFORMER_CLASS = "LTXVideoTransformer3DModel"
VAE_CLASS = "AutoencoderKLLTXVideo"

_TRANSFORMER_FIXED: Mapping[str, Any] = {
    "_class_name": TRANSFORMER_CLASS,
    "patch_size": 1,
    "patch_size_t": 1,
    "activation_fn": "gelu-approximate",
    "qk_norm": "rms_norm_across_heads",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "attention_bias": True,
    "attention_out_bias": True,
}
_VAE_FIXED: Mapping[str, Any] = {
    "_class_name": VAE_CLASS,
    "in_channels": 3,
    "out_channels": 3,
    "patch_size_t": 1,
    "resnet_norm_eps": 1e-6,
    "scaling_factor": 1.0,
    "encoder_causal": True,
}
_VAE_DEFAULTS: Mapping[str, Any] = {
    "latent_channels": 128,
    "patch_size": 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": [4, 3, 3, 3, 4],
    "spatio_temporal_scaling": [True, True, True, False],
    "downsample_type": ["conv"] * 4,
    "decoder_block_out_channels": [128, 256, 512, 512],
    "decoder_layers_per_block": [4, 3, 3, 3, 4],
    "decoder_spatio_temporal_scaling": [True, True, True, False],
    "decoder_inject_noise": [False] * 5,
    "upsample_residual": [False] * 4,
    "upsample_factor": [1] * 4,
    "timestep_conditioning": False,
    "decoder_causal": False,
}
_ALL = (2, 2, 2)
_STRIDES = {"spatial": (1, 2, 2), "temporal": (2, 1, 1), "spatiotemporal": _ALL}
_OLD_BLOCK, _NEW_BLOCK = "LTXVideoDownBlock3D", "LTXVideo095DownBlock3D"
_PASSED_OVER = {"spatial_compression_ratio", "temporal_compression_ratio", "down_block_types"}


def read_transformer(values: Mapping[str, Any], *, causal_positions: bool) -> TransformerConfig:
    """config.json of a transformer; diffusers does not store how positions are counted."""
    sizes: dict[str, int] = {
        "in_channels": 128,
        "num_attention_heads": 32,
        "attention_head_dim": 64,
        "num_layers": 28,
        "caption_channels": 4096,
    }
    _check(
        "transformer", values, _TRANSFORMER_FIXED, {*sizes, "out_channels", "cross_attention_dim"}
    )
    channels, heads, head_width, layers, text_width = (
        values.get(name, default) for name, default in sizes.items()
    )
    config = TransformerConfig(
        layers=layers,
        heads=heads,
        head_width=head_width,
        text_width=text_width,
        latent_channels=channels,
        causal_positions=causal_positions,
    )
    for name, default, right in (
        ("cross_attention_dim", 2048, config.width),
        ("out_channels", 128, config.latent_channels),
    ):
        if values.get(name, default) != right:
            raise _refusal("transformer", name, values.get(name, default), right)
    return config


def write_transformer(config: TransformerConfig) -> dict[str, Any]:
    """Inverse of `read_transformer`."""
    ours = (config.activation, config.ff_multiple, config.rope_theta, config.max_position)
    right = ("gelu", 4, 10000.0, (20.0, 2048.0, 2048.0))
    if ours != right:
        raise ModelError(
            f"diffusers has no such transformer: got activation, ff_multiple, rope_theta and "
            f"max_position {ours}: right are {right}"
        )
    return {
        **_TRANSFORMER_FIXED,
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "num_attention_heads": config.heads,
        "attention_head_dim": config.head_width,
        "cross_attention_dim": config.width,
        "num_layers": config.layers,
        "caption_channels": config.text_width,
    }


def read_vae(values: Mapping[str, Any]) -> VAEConfig:
    """config.json of an autoencoder."""
    _check("vae", values, _VAE_FIXED, {*_VAE_DEFAULTS, *_PASSED_OVER})
    given = {name: values.get(name, default) for name, default in _VAE_DEFAULTS.items()}
    try:
        base_width, decoder_blocks = _read_decoder(given)
        if base_width != given["block_out_channels"][0]:
            raise ValueError("encoder and decoder differ in width next to the pixels")
        return VAEConfig(
            encoder_blocks=_read_encoder(given),
            decoder_blocks=decoder_blocks,
            base_width=base_width,
            causal_decoder=given["decoder_causal"],
            denoises=given["timestep_conditioning"],
            patch_size=given["patch_size"],
            latent_channels=given["latent_channels"],
        )
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(
            f"the lists of the vae do not fit together: {error}: right are lists as diffusers "
            "writes them for LTX-Video, one entry a level"
        ) from error


def write_vae(config: VAEConfig) -> dict[str, Any]:
    """Inverse of `read_vae`."""
    if config.factorised or config.linear_trunk or config.sigma_hidden is not None:
        raise ModelError(
            "diffusers has no such autoencoder, got one of our small family: right are those of "
            "LTX-Video; the small ones have our own format only (--to overcrank)"
        )
    values = {
        **_VAE_FIXED,
        **_write_encoder(config),
        **_write_decoder(config),
        "latent_channels": config.latent_channels,
        "patch_size": config.patch_size,
        "timestep_conditioning": config.denoises,
        "decoder_causal": config.causal_decoder,
        "spatial_compression_ratio": _scale(config, 1) * config.patch_size,
        "temporal_compression_ratio": _scale(config, 0),
    }
    if read_vae(values) != config:
        raise ModelError(
            "diffusers cannot describe this autoencoder: got block lists of their own: right are "
            "those of LTX-Video 0.9.0, 0.9.1 or 0.9.5 and later, at any width"
        )
    return values


def _read_encoder(given: Mapping[str, Any]) -> tuple[Block, ...]:
    widths, layers = given["block_out_channels"], given["layers_per_block"]
    scaling, kinds = given["spatio_temporal_scaling"], given["downsample_type"]
    late = "conv" not in kinds
    blocks: list[Block] = []
    for level in range(len(scaling)):
        blocks.append(Block(kind="res_x", layers=layers[level]))
        if late:
            factor = _ratio(widths[level + 1], widths[level])
            blocks.append(
                Block(
                    kind="compress_res",
                    stride=_STRIDES[kinds[level]],
                    multiplier=factor,
                    residual=factor > 1,
                )
            )
            continue
        if scaling[level]:
            blocks.append(Block(kind="compress", stride=_ALL))
        if level + 1 < len(widths) and widths[level + 1] != widths[level]:
            blocks.append(
                Block(kind="res_x_y", multiplier=_ratio(widths[level + 1], widths[level]))
            )
    return (*blocks, Block(kind="res_x", layers=layers[-1]))


def _read_decoder(given: Mapping[str, Any]) -> tuple[int, tuple[Block, ...]]:
    """Width next to the pixels, and blocks from the pixels on."""
    widths, layers = given["decoder_block_out_channels"], given["decoder_layers_per_block"]
    scaling, noise = given["decoder_spatio_temporal_scaling"], given["decoder_inject_noise"]
    factors, residual = given["upsample_factor"], given["upsample_residual"]
    blocks: list[Block] = []
    for level in range(len(scaling)):
        blocks.append(Block(kind="res_x", layers=layers[level], noise=noise[level]))
        if scaling[level]:
            blocks.append(
                Block(
                    kind="compress",
                    stride=_ALL,
                    multiplier=factors[level],
                    residual=residual[level],
                )
            )
        grows = level + 1 < len(widths) and widths[level + 1] != widths[level]
        if factors[level] == 1 and grows:
            blocks.append(
                Block(kind="res_x_y", multiplier=_ratio(widths[level + 1], widths[level]))
            )
    return widths[0] // factors[0], (
        *blocks,
        Block(kind="res_x", layers=layers[-1], noise=noise[-1]),
    )


def _write_encoder(config: VAEConfig) -> dict[str, Any]:
    *levels, mid = _levels(config.encoder_blocks)
    late = any(block.kind == "compress_res" for level in levels for block in level)
    names = {stride: name for name, stride in _STRIDES.items()}
    widths = [config.base_width]
    for level in levels:
        widths.append(widths[-1] * math.prod(block.multiplier for block in level))
    return {
        "block_out_channels": widths if late else widths[: len(levels)],
        "layers_per_block": [level[0].layers for level in (*levels, mid)],
        "spatio_temporal_scaling": [_compression(level) is not None for level in levels],
        "downsample_type": [
            names.get(block.stride, "") if late and (block := _compression(level)) else "conv"
            for level in levels
        ],
        "down_block_types": [_NEW_BLOCK if late else _OLD_BLOCK] * len(levels),
    }


def _write_decoder(config: VAEConfig) -> dict[str, Any]:
    *levels, mid = _levels(config.decoder_blocks)
    shrinking = [_compression(level) for level in levels]
    factors = [block.multiplier if block else 1 for block in shrinking]
    widths = [config.base_width * factors[0]]
    for level, after in zip(levels, [*factors[1:], 1], strict=True):
        grown = math.prod(block.multiplier for block in level if block.kind == "res_x_y")
        widths.append(widths[-1] * grown * after)
    return {
        "decoder_block_out_channels": widths[: len(levels)],
        "decoder_layers_per_block": [level[0].layers for level in (*levels, mid)],
        "decoder_spatio_temporal_scaling": [block is not None for block in shrinking],
        "decoder_inject_noise": [level[0].noise for level in (*levels, mid)],
        "upsample_factor": factors,
        "upsample_residual": [block is not None and block.residual for block in shrinking],
    }


def _levels(blocks: tuple[Block, ...]) -> list[list[Block]]:
    """A level begins with its stack."""
    levels: list[list[Block]] = []
    for block in blocks:
        if block.kind == "res_x":
            levels.append([block])
        elif levels:
            levels[-1].append(block)
    if len(levels) < 2 or sum(map(len, levels)) != len(blocks):
        raise ModelError(
            f"diffusers cannot describe {len(blocks)} blocks in {len(levels)} levels: right is a "
            "list that begins and ends with res_x, as in LTX-Video"
        )
    return levels


def _compression(level: list[Block]) -> Block | None:
    return next((block for block in level if block.kind.startswith("compress")), None)


def _scale(config: VAEConfig, axis: int) -> int:
    return math.prod(block.stride[axis] for block in config.encoder_blocks)


def _ratio(wide: int, narrow: int) -> int:
    if wide % narrow:
        raise ValueError(f"{wide} is no multiple of {narrow}")
    return wide // narrow


def _check(what: str, values: Mapping[str, Any], fixed: Mapping[str, Any], known: set[str]) -> None:
    for name, value in values.items():
        if name in fixed and value != fixed[name]:
            raise _refusal(what, name, value, fixed[name])
        if name not in fixed and name not in known and not name.startswith("_"):
            raise _refusal(what, name, value, "that this field is absent")


def _refusal(what: str, name: str, got: Any, right: Any) -> ModelError:
    return ModelError(
        f"the {what} that this folder describes cannot be built: {name} is {str(got)[:80]}: "
        f"right is {right}"
    )
