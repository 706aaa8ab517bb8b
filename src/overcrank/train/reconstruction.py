"""How far a decoder's output is from the video.

    l1 |w e| + mse w e^2 + wavelet |W(w e)| + perceptual d(y, x),   e = y - x

where W is the space-time Haar transform, w is greater where an actor is seen (a sixth of the area
that holds most of what one looks at), and d is the perceptual distance of some of the frames.
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.

Axes: B batch, C colours, F H W frames, height, width of a video, K frames that are picked.
"""

import torch
from torch import Tensor

from overcrank.metrics import haar3d, load_features, perceptual_distance
from overcrank.runtime import Hardware
from overcrank.train.config import RunConfig
from overcrank.vae.ops import repeat_first_frame

PICKED = 2
"""Frames of a clip, drawn anew at every step, that the feature network sees."""


class Reconstruction:
    """The loss of an output, with the weights of a run."""

    def __init__(self, config: RunConfig, hardware: Hardware) -> None:
        self.weights, self.actor_weight = config.loss, config.actor_weight
        self.features = None
        if self.weights.perceptual:
            self.features = load_features(self.weights.features).to(hardware.device)

    def __call__(
        self,
        output_BCFHW: Tensor,
        video_BCFHW: Tensor,
        actors_BFHW: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts to log."""
        weights = self.weights
        error = output_BCFHW - video_BCFHW
        weighed = error * (1 + self.actor_weight * actors_BFHW[:, None])
        l1, mse = weighed.abs().mean(), (error * weighed).mean()
        loss, numbers = weights.l1 * l1 + weights.mse * mse, {"l1": l1.detach()}
        if weights.wavelet:
            wavelet = haar3d(repeat_first_frame(weighed, 1)).abs().mean()
            loss = loss + weights.wavelet * wavelet
            numbers["wavelet"] = wavelet.detach()
        if self.features is not None:
            samples, _, frames = video_BCFHW.shape[:3]
            pick_BK = torch.randint(
                frames, (samples, PICKED), generator=generator, device=generator.device
            )
            distance_N = perceptual_distance(
                self.features, _frames(output_BCFHW, pick_BK), _frames(video_BCFHW, pick_BK)
            )
            loss = loss + weights.perceptual * distance_N.mean()
            numbers["perceptual"] = distance_N.mean().detach()
        return loss, numbers


def _frames(video_BCFHW: Tensor, pick_BK: Tensor) -> Tensor:
    """The frames of each clip that are picked, (B K, C, H, W)."""
    rows_B1 = torch.arange(len(video_BCFHW), device=video_BCFHW.device)[:, None]
    return video_BCFHW.movedim(2, 1)[rows_B1, pick_BK].flatten(0, 1)
