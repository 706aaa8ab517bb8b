"""Latent -> video; the last denoising step where the decoder was trained for it.

Axes: B batch, C channels, T H W frames, height, width.
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1 (denoising decoder).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.vae.blocks import ResnetBlock, ResStack, SigmaEmbedder
from overcrank.vae.config import Block, VAEConfig
from overcrank.vae.conv import CausalConv3d, Memory
from overcrank.vae.ops import pixel_norm, unpatchify
from overcrank.vae.resample import DepthToSpaceUpsample, ProjectUp


class Decoder(nn.Module):
    """Built from the latent side: the block list in reverse."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.base_width]
        for block in config.decoder_blocks:
            widths.append(block.width or widths[-1] * block.multiplier)
        self.conv_in = CausalConv3d(config.latent_channels, widths[-1], config.latent_kernel)
        self.up_blocks = nn.ModuleList(
            _up_block(block, widths[n + 1], widths[n], config)
            for n, block in reversed(list(enumerate(config.decoder_blocks)))
        )
        self.conv_out = CausalConv3d(
            config.base_width, 3 * config.patch_size**2, config.pixel_kernel
        )
        if config.denoises:
            self.timestep_scale_multiplier = nn.Parameter(torch.tensor(1000.0), requires_grad=False)
        if config.denoises and not config.linear_trunk:
            self.last_time_embedder = SigmaEmbedder(2 * config.base_width, None)
            self.last_scale_shift_table = nn.Parameter(torch.empty(2, config.base_width))
            nn.init.kaiming_uniform_(self.last_scale_shift_table, nonlinearity="linear")

    def forward(
        self,
        latent_BCTHW: Tensor,
        sigma_B: Tensor | None = None,
        *,
        memory: Memory | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Un-normalised latents with noise level `sigma_B` in [0, 1] -> pixels, about [-1, 1].

        With a `memory` (causal decoders only) the latents continue those of the call before.
        """
        causal = self.config.causal_decoder
        assert memory is None or causal, "only a causal decoder can stream"
        scaled_B = None
        if self.config.denoises:
            assert sigma_B is not None, "a denoising decoder needs the noise level"
            scaled_B = sigma_B * self.timestep_scale_multiplier
        x_BCTHW = self.conv_in(latent_BCTHW, causal=causal, memory=memory)
        for block in self.up_blocks:
            if isinstance(block, ResStack):
                x_BCTHW = block(
                    x_BCTHW, causal=causal, scaled_B=scaled_B, memory=memory, generator=generator
                )
            else:
                x_BCTHW = block(x_BCTHW, causal=causal, memory=memory)
        if not self.config.linear_trunk:
            x_BCTHW = F.silu(self._last_modulation(pixel_norm(x_BCTHW), scaled_B))
        x_BCTHW = self.conv_out(x_BCTHW, causal=causal, memory=memory)
        return unpatchify(x_BCTHW, self.config.patch_size)

    def _last_modulation(self, x_BCTHW: Tensor, scaled_B: Tensor | None) -> Tensor:
        if scaled_B is None:
            return x_BCTHW
        embedding = self.last_time_embedder(scaled_B).unflatten(1, (2, -1))
        shift, scale = (self.last_scale_shift_table + embedding)[..., None, None, None].unbind(1)
        return x_BCTHW * (1 + scale) + shift


def _up_block(block: Block, inputs: int, outputs: int, config: VAEConfig) -> nn.Module:
    if block.kind == "res_x":
        return ResStack(inputs, block.layers, config, ada=config.denoises, noise=block.noise)
    if block.kind == "res_x_y":
        return ResnetBlock(inputs, outputs)
    if block.kind == "compress":
        return DepthToSpaceUpsample(inputs, outputs, block.stride, residual=block.residual)
    assert block.kind == "project", f"a decoder has no block {block.kind}"
    return ProjectUp(inputs, outputs, block.stride)
