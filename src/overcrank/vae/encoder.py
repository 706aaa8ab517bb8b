"""Video -> moments of the latent.

Axes: B batch, C channels, T H W frames, height, width.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.vae.blocks import ResnetBlock, ResStack
from overcrank.vae.config import Block, VAEConfig
from overcrank.vae.conv import CausalConv3d
from overcrank.vae.ops import patchify, pixel_norm
from overcrank.vae.resample import ProjectDown, SpaceToDepthDownsample


class Encoder(nn.Module):
    """Always causal, whatever the decoder is."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        width = config.base_width
        self.conv_in = CausalConv3d(3 * config.patch_size**2, width, config.pixel_kernel)
        self.down_blocks = nn.ModuleList()
        for block in config.encoder_blocks:
            self.down_blocks.append(_down_block(block, width, config))
            width = block.width or width * block.multiplier
        self.conv_out = CausalConv3d(width, config.latent_channels + 1, config.latent_kernel)

    def forward(self, video_BCTHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] -> latent means, then one log-variance that all channels share."""
        x_BCTHW = self.conv_in(patchify(video_BCTHW, self.config.patch_size), causal=True)
        for block in self.down_blocks:
            if isinstance(block, ResStack | ResnetBlock | CausalConv3d):
                x_BCTHW = block(x_BCTHW, causal=True)
            else:
                x_BCTHW = block(x_BCTHW)
        if not self.config.linear_trunk:
            x_BCTHW = F.silu(pixel_norm(x_BCTHW))
        return self.conv_out(x_BCTHW, causal=True)


def _down_block(block: Block, width: int, config: VAEConfig) -> nn.Module:
    if block.kind == "res_x":
        return ResStack(width, block.layers, config)
    if block.kind == "res_x_y":
        return ResnetBlock(width, width * block.multiplier)
    if block.kind == "compress":
        return CausalConv3d(width, width, stride=block.stride)
    if block.kind == "compress_res":
        return SpaceToDepthDownsample(width, width * block.multiplier, block.stride)
    return ProjectDown(width, block.width, block.stride)
