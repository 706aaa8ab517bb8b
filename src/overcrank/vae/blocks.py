"""Residual blocks of the autoencoder.

Axes: B batch, C channels, T H W frames, height, width. Parameter names are those of the
published checkpoints, so that their tensors load without renaming.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.vae.config import VAEConfig
from overcrank.vae.conv import CausalConv3d, Memory
from overcrank.vae.ops import pixel_norm


class SigmaEmbedder(nn.Module):
    """Noise level -> a vector of `width`: 256 sines and cosines, then two linear layers.

    Source: Ho et al., arXiv:2006.11239; Vaswani et al., arXiv:1706.03762, section 3.5.
    """

    def __init__(self, width: int, hidden: int | None) -> None:
        super().__init__()
        self.timestep_embedder = nn.ModuleDict(
            {
                "linear_1": nn.Linear(256, hidden or width),
                "linear_2": nn.Linear(hidden or width, width),
            }
        )

    def forward(self, scaled_B: Tensor) -> Tensor:
        frequency = torch.exp(
            torch.arange(128, device=scaled_B.device, dtype=torch.float32)
            * (-math.log(10000.0) / 128)
        )
        angle = scaled_B[:, None].float() * frequency
        wave = torch.cat([angle.cos(), angle.sin()], dim=1)
        first, second = self.timestep_embedder["linear_1"], self.timestep_embedder["linear_2"]
        return second(F.silu(first(wave.to(next(self.parameters()).dtype))))


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of a video tensor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.norm(x_BCTHW.movedim(1, -1)).movedim(-1, 1)


class ResnetBlock(nn.Module):
    """Two convolutions beside an identity; a 1 x 1 x 1 shortcut where the width changes."""

    def __init__(
        self, inputs: int, outputs: int, *, ada: bool = False, noise: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = CausalConv3d(inputs, outputs)
        self.conv2 = CausalConv3d(outputs, outputs)
        self.changes_width = inputs != outputs
        if self.changes_width:
            self.norm3 = ChannelLayerNorm(inputs)
            self.conv_shortcut = nn.Conv3d(inputs, outputs, 1)
        if ada:
            self.scale_shift_table = nn.Parameter(torch.empty(4, inputs))
            nn.init.kaiming_uniform_(self.scale_shift_table, nonlinearity="linear")
        if noise:
            self.per_channel_scale1 = nn.Parameter(torch.zeros(outputs, 1, 1))
            self.per_channel_scale2 = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.ada, self.noise = ada, noise

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        causal: bool,
        embedding_BC: Tensor | None = None,
        memory: Memory | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`embedding_BC` holds four modulation vectors; `generator` draws the injected noise."""
        shift1, scale1, shift2, scale2 = self._modulation(embedding_BC)
        if self.noise:
            noise1, noise2 = _noise_maps(self, x_BCTHW, memory, generator)
        h_BCTHW = F.silu(_modulate(pixel_norm(x_BCTHW), shift1, scale1))
        h_BCTHW = self.conv1(h_BCTHW, causal=causal, memory=memory)
        if self.noise:
            h_BCTHW = h_BCTHW + noise1 * self.per_channel_scale1[:, None]
        h_BCTHW = F.silu(_modulate(pixel_norm(h_BCTHW), shift2, scale2))
        h_BCTHW = self.conv2(h_BCTHW, causal=causal, memory=memory)
        if self.noise:
            h_BCTHW = h_BCTHW + noise2 * self.per_channel_scale2[:, None]
        if self.changes_width:
            x_BCTHW = self.conv_shortcut(self.norm3(x_BCTHW))
        return x_BCTHW + h_BCTHW

    def _modulation(self, embedding_BC: Tensor | None) -> tuple[Tensor | None, ...]:
        if not self.ada or embedding_BC is None:
            return None, None, None, None
        table = self.scale_shift_table[..., None, None, None]
        return (table + embedding_BC.unflatten(1, (4, -1))[..., None, None, None]).unbind(1)


class FactorisedBlock(nn.Module):
    """A spatial, then a causal temporal convolution beside an identity: the small family's block.

    One norm and one modulation, since on a CPU such passes cost as much as the convolutions.
    """

    def __init__(self, width: int, *, ada: bool, noise: bool = False) -> None:
        super().__init__()
        self.conv1 = CausalConv3d(width, width, (1, 3, 3))
        self.conv2 = CausalConv3d(width, width, (3, 1, 1))
        if ada:
            self.scale_shift_table = nn.Parameter(torch.zeros(2, width))
        if noise:
            self.per_channel_scale1 = nn.Parameter(torch.zeros(width, 1, 1))
            self.per_channel_scale2 = nn.Parameter(torch.zeros(width, 1, 1))
        self.noise = noise

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        causal: bool,
        embedding_BC: Tensor | None = None,
        memory: Memory | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`embedding_BC` holds a shift and a scale; `generator` draws the injected noise."""
        h_BCTHW = pixel_norm(x_BCTHW)
        if embedding_BC is not None:
            table = self.scale_shift_table[..., None, None, None]
            embedding = embedding_BC.unflatten(1, (2, -1))[..., None, None, None]
            shift, scale = (table + embedding).unbind(1)
            h_BCTHW = _modulate(h_BCTHW, shift.to(h_BCTHW.dtype), scale.to(h_BCTHW.dtype))
        h_BCTHW = self.conv1(h_BCTHW, causal=causal, memory=memory)
        if self.noise:
            noise1, noise2 = _noise_maps(self, x_BCTHW, memory, generator)
            h_BCTHW = h_BCTHW + noise1 * self.per_channel_scale1[:, None]
            x_BCTHW = x_BCTHW + noise2 * self.per_channel_scale2[:, None]
        h_BCTHW = F.silu(h_BCTHW, inplace=not torch.is_grad_enabled())
        return x_BCTHW + self.conv2(h_BCTHW, causal=causal, memory=memory)


class ResStack(nn.Module):
    """`res_x`: residual blocks of one width that share one embedding of the noise level."""

    def __init__(
        self, width: int, layers: int, config: VAEConfig, *, ada: bool = False, noise: bool = False
    ) -> None:
        super().__init__()
        self.ada = ada and layers > 0
        if self.ada:
            vectors = 2 if config.factorised else 4
            self.time_embedder = SigmaEmbedder(vectors * width, config.sigma_hidden)
        self.res_blocks = nn.ModuleList(
            FactorisedBlock(width, ada=ada, noise=noise)
            if config.factorised
            else ResnetBlock(width, width, ada=ada, noise=noise)
            for _ in range(layers)
        )

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        causal: bool,
        scaled_B: Tensor | None = None,
        memory: Memory | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`scaled_B` is the noise level times 1000, one value a sample."""
        embedding_BC = None
        if self.ada:
            assert scaled_B is not None, "a denoising decoder needs the noise level"
            embedding_BC = self.time_embedder(scaled_B)
        for block in self.res_blocks:
            x_BCTHW = block(
                x_BCTHW,
                causal=causal,
                embedding_BC=embedding_BC,
                memory=memory,
                generator=generator,
            )
        return x_BCTHW


def _modulate(x_BCTHW: Tensor, shift: Tensor | None, scale: Tensor | None) -> Tensor:
    if shift is None or scale is None:
        return x_BCTHW
    return torch.addcmul(shift, x_BCTHW, 1 + scale)


def _noise_maps(
    block: nn.Module, like_BCTHW: Tensor, memory: Memory | None, generator: torch.Generator | None
) -> Tensor:
    """Two random pictures (2, H, W), each for all frames, channels and samples (as upstream).

    A stream keeps those of its first chunk.
    """
    seen = None if memory is None else memory.get(block)
    if seen is None:
        device = None if generator is None else generator.device
        size = like_BCTHW.shape[-2:]
        drawn = [
            torch.randn(size, generator=generator, dtype=torch.float32, device=device)
            for _ in range(2)
        ]
        seen = torch.stack(drawn).to(like_BCTHW)
    if memory is not None:
        memory[block] = seen
    return seen
