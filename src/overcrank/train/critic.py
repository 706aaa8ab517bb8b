"""The critic of a reconstruction GAN: it sees the original and the reconstruction together.

Both are laid on top of each other, and the critic says of every patch which one is the original;
the autoencoder learns to mislead it. To compare is easier than to know what is real. Source:
HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1 (the architecture is ours).

There the order is random; here a pair is seen in both orders, and the answer is the difference, so
that turning the pair turns the answer: a critic that has to learn this needs far more steps to
tell anything (docs/log.md). What it says counts as much as it knows: the gradient of a critic that
cannot tell is noise.

Axes: B batch, C colours, F H W frames, height, width of a video, T h w of the critic's patches.
"""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from overcrank.vae.ops import pixel_norm

STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
LARGEST_SCALE = 1e4


class Critic(nn.Module):
    """Videos (B, 3, F, H, W) -> how surely the first is the original, (B, 1, T, h, w).

    `width` channels at half of the resolution, twice and four times as many below. A patch is
    31 x 31 pixels of 17 frames; they lie 8 pixels and 4 frames apart.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [6, *(width << level for level in range(len(STRIDES)))]
        self.layers = nn.ModuleList(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1)
            for inputs, outputs, stride in zip(widths, widths[1:], STRIDES, strict=False)
        )
        self.last = nn.Conv3d(widths[-1], 1, 3, padding=1, bias=False)

    def forward(self, one_BCFHW: Tensor, other_BCFHW: Tensor) -> Tensor:
        x_BCFHW = torch.cat(
            [
                torch.cat([one_BCFHW, other_BCFHW], dim=1),
                torch.cat([other_BCFHW, one_BCFHW], dim=1),
            ]
        )
        for layer in self.layers:
            x_BCFHW = F.leaky_relu(pixel_norm(layer(x_BCFHW)), 0.2)
        straight, turned = self.last(x_BCFHW).float().chunk(2)
        return straight - turned


def game(critic: Critic, output_BCFHW: Tensor, video_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """What the autoencoder loses and what the critic loses, each with a gradient for its own.

    Both are log 2 where the critic cannot tell.
    """
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    misled = functional_call(critic, fixed, (video_BCFHW, output_BCFHW))
    judged = critic(video_BCFHW, output_BCFHW.detach())
    return F.softplus(misled).mean(), F.softplus(-judged).mean()


def knowledge(judged: Tensor) -> Tensor:
    """How well a critic tells, by what it loses: 0 at chance, 1 where it is never wrong."""
    return (1 - judged.detach() / math.log(2)).clamp(min=0)


def balance(one: Tensor, other: Tensor, last: Tensor) -> Tensor:
    """The factor that makes the gradient of `other` on the last weights as long as that of `one`.

    Source: Esser et al., "VQGAN", arXiv:2012.09841, equation 7.
    """
    lengths = [
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (one, other)
    ]
    return (lengths[0] / (lengths[1] + 1e-6)).clamp(max=LARGEST_SCALE).detach()
