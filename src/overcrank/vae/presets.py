"""The autoencoders that can be built by name: rows of one table.

Source of the published block lists: the configurations embedded in Lightricks' checkpoints.
"""

from overcrank.vae.config import Block, Kind, VAEConfig

SPACE, TIME, ALL = (1, 2, 2), (2, 1, 1), (2, 2, 2)


def _res(layers: int, *, noise: bool = False) -> Block:
    return Block(kind="res_x", layers=layers, noise=noise)


def _scale(kind: Kind, stride: tuple[int, int, int], multiplier: int = 1) -> Block:
    return Block(kind=kind, stride=stride, multiplier=multiplier, residual=multiplier > 1)


def _project(width: int) -> Block:
    return Block(kind="project", stride=ALL, width=width)


_GROW = Block(kind="res_x_y", multiplier=2)
_STRIDED = _scale("compress", ALL)
_LTXV_090 = (
    *(_res(4), _STRIDED, _GROW, _res(3), _STRIDED, _GROW, _res(3)),
    *(_STRIDED, _res(3), _res(4)),
)
_UP = _scale("compress", ALL, 2)
_LTXV_091_DECODER = (
    *(_res(5, noise=True), _UP, _res(6, noise=True), _UP, _res(7, noise=True), _UP, _res(8)),
)
_LTXV_095_ENCODER = (
    *(_res(4), _scale("compress_res", SPACE, 2), _res(6), _scale("compress_res", TIME, 2)),
    *(_res(6), _scale("compress_res", ALL, 2), _res(2), _scale("compress_res", ALL, 2), _res(2)),
)
_LTXV_095_DECODER = (_res(5), _UP, _res(5), _UP, _res(5), _UP, _res(5))


_Widths = tuple[int, int, int]


def _small(base: int, widths: tuple[_Widths, _Widths], depths: tuple[str, str]) -> VAEConfig:
    """Our causal family: orthogonal projections, factorised blocks; of encoder and decoder."""
    encoder, decoder = (
        [
            block
            for n, width in zip(depth, (*wide, 0), strict=True)
            for block in (_res(int(n)), *([_project(width)] if width else []))
        ]
        for wide, depth in zip(widths, depths, strict=True)
    )
    return VAEConfig(
        encoder_blocks=tuple(encoder),
        decoder_blocks=tuple(decoder),
        base_width=base,
        causal_decoder=True,
        denoises=True,
        factorised=True,
        linear_trunk=True,
        sigma_hidden=64,
    )


PRESETS: dict[str, VAEConfig] = {
    "nano": _small(8, ((8, 8, 16), (8, 8, 16)), ("1111", "1111")),
    "pocket": _small(48, ((128, 192, 256), (128, 128, 128)), ("0221", "1200")),
    "ltxv-0.9.0": VAEConfig(
        encoder_blocks=_LTXV_090,
        decoder_blocks=_LTXV_090,
        base_width=128,
        causal_decoder=False,
        denoises=False,
    ),
    "ltxv-0.9.1": VAEConfig(
        encoder_blocks=_LTXV_090,
        decoder_blocks=_LTXV_091_DECODER,
        base_width=128,
        causal_decoder=False,
        denoises=True,
    ),
    "ltxv-0.9.5": VAEConfig(
        encoder_blocks=_LTXV_095_ENCODER,
        decoder_blocks=_LTXV_095_DECODER,
        base_width=128,
        causal_decoder=False,
        denoises=True,
    ),
}
