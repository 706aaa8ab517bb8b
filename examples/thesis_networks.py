"""The variants of `thesis.py`, and the networks that they are made of.

Axes: B clips, F frames, H W pixels, T latent frames, C channels, S tokens of a frame, N tokens of
a clip, D width, P pairs.
"""

from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from overcrank.train.config import DecoderShape
from overcrank.train.vae import to_video
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.transformer.attention import Attention
from overcrank.vae import PRESETS, VAE
from overcrank.vae.config import Block, VAEConfig
from overcrank.vae.ops import boxes_to_channels, patchify, repeat_first_frame
from overcrank.vae.resample import ProjectDown, ProjectUp

HANDED_OVER = 0.05
"""Where the sampler stops and the decoder takes over."""


@dataclass(frozen=True, slots=True)
class Variant:
    """`vae` names the autoencoder, others may have the same; `end` is where the sampler stops."""

    vae: str = "base"
    channels: int = 128
    merge: int = 1
    """Cells of height and width that become one token in front of the transformer."""
    noise: bool = False
    """Injected into the decoder's blocks."""
    loss: dict[str, float] = field(default_factory=dict)
    attention: str = "full"
    end: float = HANDED_OVER


VARIANTS = {
    "base": Variant(),
    "merged": Variant(vae="merged", channels=32, merge=2),
    "1:96": Variant(vae="1:96", channels=256),
    "1:48": Variant(vae="1:48", channels=512),
    "alternating": Variant(attention="alternating"),
    "both": Variant(attention="both"),
    "clean": Variant(vae="clean", loss={"max_sigma": 0.0}, end=0.0),
    "no-wavelet": Variant(vae="no-wavelet", loss={"wavelet": 0.0}),
    "gan": Variant(vae="gan", loss={"gan": 0.3}),
    "noise": Variant(vae="noise", noise=True),
}


def vae_config(channels: int, merge: int, *, noise: bool = False) -> VAEConfig:
    """Of the shipped family; where cells are merged later, the last projection leaves height and
    width alone."""
    strides = ((2, 2, 2), (2, 2, 2), (2, 2 // merge, 2 // merge))
    sides = []
    for layers in ((0, 1, 1, 1), (0, 2, 2, 1)):
        blocks = []
        for depth, stride, width in zip(
            layers, strides, (64, 128, max(192, channels)), strict=False
        ):
            project = Block(kind="project", stride=stride, width=width)
            blocks += [Block(kind="res_x", layers=depth), project]
        sides.append((*blocks, Block(kind="res_x", layers=layers[-1])))
    small = replace(PRESETS["pocket"], encoder_blocks=sides[0], decoder_blocks=sides[1])
    shape = replace(small, base_width=24, latent_channels=channels)
    return DecoderShape(noise=noise).of(shape)


@torch.no_grad()
def start_from_components(vae: VAE, frames_BFHWC: Tensor) -> None:
    """Each projection of the linear trunk becomes the principal components of what it is given,
    and its twin in the decoder the transpose; the latent's axes are turned at random."""
    x = patchify(to_video(frames_BFHWC), vae.config.patch_size)
    down = [block for block in vae.encoder.down_blocks if isinstance(block, ProjectDown)]
    up = [block for block in vae.decoder.up_blocks if isinstance(block, ProjectUp)][::-1]
    twins = [(vae.encoder.conv_in.conv, vae.decoder.conv_out.conv)]
    twins += [(a.conv, b.conv) for a, b in zip(down, up, strict=True)]
    for (forth, back), stride in zip(twins, [None, *(block.stride for block in down)], strict=True):
        if stride is not None:
            x = boxes_to_channels(repeat_first_frame(x, stride[0] - 1), stride)
        flat = x.movedim(1, 0).flatten(1)
        vectors = torch.linalg.eigh(flat @ flat.T).eigenvectors.flip(1)
        kept = torch.eye(forth.weight.shape[0], len(vectors)) @ vectors.T
        x = _twins(forth, back, kept, x)
    channels = vae.config.latent_channels
    turn = torch.nn.init.orthogonal_(torch.empty(channels, channels))
    kept = turn @ torch.eye(channels, x.shape[1])
    _twins(vae.encoder.conv_out.conv, vae.decoder.conv_in.conv, kept, x)


def _twins(forth: nn.Conv3d, back: nn.Conv3d, kept: Tensor, x_BCTHW: Tensor) -> Tensor:
    """Project forth and back, at a standard deviation of 1 in between; what comes forth."""
    y_BCTHW = torch.einsum("oc,bcthw->bothw", kept, x_BCTHW)
    scale = y_BCTHW.std()
    _centre(forth)[: len(kept)] = kept / scale
    _centre(back).copy_(kept.T * scale)
    return y_BCTHW / scale


def _centre(conv: nn.Conv3d) -> Tensor:
    """The middle of a kernel, (outputs, inputs)."""
    time, height, width = (size // 2 for size in conv.kernel_size)
    return conv.weight[:, :, time, height, width]


class AlongOneAxis(Attention):
    """Self-attention among the tokens of a frame ("space"), or of a place ("time")."""

    def __init__(self, width: int, heads: int, axis: str, frames: int) -> None:
        super().__init__(width, heads)
        self.axis, self.frames = axis, frames

    def forward(self, x_BND: Tensor, *, rotation_BNP2: Tensor, skip: None = None) -> Tensor:
        assert skip is None
        batch = len(x_BND)
        fold = (
            "b (t s) ... -> (b t) s ..." if self.axis == "space" else "b (t s) ... -> (b s) t ..."
        )
        x = rearrange(x_BND, fold, t=self.frames)
        rotation = rearrange(rotation_BNP2.expand(batch, -1, -1, -1), fold, t=self.frames)
        back = "(b t) s d -> b (t s) d" if self.axis == "space" else "(b s) t d -> b (t s) d"
        return rearrange(super().forward(x, rotation_BNP2=rotation), back, b=batch)


class SpaceThenTime(nn.Module):
    """Both, one after the other: two sets of weights."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        super().__init__()
        self.space = AlongOneAxis(width, heads, "space", frames)
        self.time = AlongOneAxis(width, heads, "time", frames)

    def forward(self, x_BND: Tensor, *, rotation_BNP2: Tensor, skip: None = None) -> Tensor:
        assert skip is None
        mixed_BND = self.space(x_BND, rotation_BNP2=rotation_BNP2)
        return mixed_BND + self.time(x_BND + mixed_BND, rotation_BNP2=rotation_BNP2)


def build_transformer(config: TransformerConfig, attention: str, frames: int) -> Transformer:
    """Attention "full", "alternating" between space and time, or "both" in each block."""
    network = Transformer(config)
    for index, block in enumerate(network.transformer_blocks):
        if attention == "alternating":
            axis = ("space", "time")[index % 2]
            block.attn1 = AlongOneAxis(config.width, config.heads, axis, frames)
        elif attention == "both":
            block.attn1 = SpaceThenTime(config.width, config.heads, frames)
    network.initialise()
    return network
