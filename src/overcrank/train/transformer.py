"""What trains the transformer: rectified flow on latents, text and first frames in one batch.

    x_s = (1 - s) z + s noise,   loss = mean of w |v(x_s, s, text) - (noise - z)|^2

The level s is drawn from a logit-normal shifted by the number of tokens. With some probability
the first latent frame is given clean, at level 0 and outside the loss (image-to-video), and the
text is left out (for classifier-free guidance). The weight w of a token grows with the part of
its pixels where an actor is seen. Sources: LTX-Video, arXiv:2501.00103, section
2.3; Ho & Salimans, arXiv:2207.12598.
"""

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch, LatentBatches, collate
from overcrank.data.latents import LatentCache
from overcrank.flow import mix, shifted_logit_normal, velocity
from overcrank.shapes import LatentSize
from overcrank.train.config import RunConfig
from overcrank.transformer import PRESETS, Transformer, token_positions
from overcrank.weights.store import load_component, save_component

HELD_OUT = 64
"""The first clips of the cache are never trained on."""
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class TransformerObjective:
    """Trains a `Transformer` on cached latents."""

    def __init__(self, config: RunConfig, cache: LatentCache, latent_hash: str) -> None:
        self.config, self.cache, self.latent_hash = config, cache, latent_hash
        if config.start_from is None:
            self.module = Transformer(PRESETS[config.preset])
            self.module.initialise()
        else:
            self.module = load_component(config.start_from, "transformer")

    def data(self) -> Dataset[Batch]:
        """Batch number `step`."""
        return LatentBatches(
            lambda _step: self.cache,
            self._shape,
            steps=self.config.steps,
            seed=self.config.seed,
            drop_text=self.config.conditions.drop_text,
            held_out=HELD_OUT,
        )

    def _shape(self, step: int) -> tuple[int, int]:
        stage = self.config.stage(step)
        return stage.batch, stage.clip.latent.frames

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and what is worth logging."""
        samples, tokens = len(batch.latent_BCTHW), batch.latent_BCTHW[0, 0].numel()
        sigma_B = shifted_logit_normal(samples, tokens=tokens, generator=generator)
        share = self.config.conditions.first_frame
        given_B = torch.rand(samples, generator=generator) < share
        extra = self.config.actor_weight
        loss_B = flow_loss(self.module, batch, sigma_B, given_B, generator, extra)
        return loss_B.mean(), {"low": _mean(loss_B[sigma_B < 0.5]), "given": _mean(loss_B[given_B])}

    @torch.no_grad()
    def evaluate(self, module: nn.Module, _folder: Path, step: int) -> dict[str, float]:
        """Loss on clips never trained on, with fixed noise, for each of some noise levels."""
        assert isinstance(module, Transformer)
        frames = self._shape(step - 1)[1]
        batch = collate(self.cache, range(HELD_OUT), frames, [0] * HELD_OUT, [False] * HELD_OUT)
        losses = {}
        for level in LEVELS:
            generator = torch.Generator().manual_seed(0)
            sigma_B, given_B = torch.full((HELD_OUT,), level), torch.zeros(HELD_OUT) > 0
            loss_B = flow_loss(module, batch, sigma_B, given_B, generator)
            losses[f"held_out_{level}"] = loss_B.mean().item()
        return losses

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write `transformer.safetensors`."""
        assert isinstance(module, Transformer)
        extra = {"latent_hash": self.latent_hash}
        save_component(folder / "transformer.safetensors", "transformer", module, extra=extra)


def flow_loss(
    module: Transformer,
    batch: Batch,
    sigma_B: Tensor,
    given_B: Tensor,
    generator: torch.Generator,
    actor_weight: float = 0.0,
) -> Tensor:
    """Squared error of the velocity per sample; `given_B` samples know their first frame.

    A token full of actors weighs 1 + `actor_weight`, an empty one 1.
    """
    size = LatentSize(*batch.latent_BCTHW.shape[2:])
    clean_BNC = rearrange(batch.latent_BCTHW, "b c t h w -> b (t h w) c")
    noise_BNC = torch.randn(clean_BNC.shape, generator=generator)
    first_N = torch.arange(size.tokens) < size.height * size.width
    pinned_BN = given_B[:, None] & first_N
    sigma_BN = torch.where(pinned_BN, 0.0, sigma_B[:, None])
    unit_N3 = token_positions(size, 1.0, causal=module.config.causal_positions)
    positions_BN3 = unit_N3.repeat(len(clean_BNC), 1, 1)
    positions_BN3[..., 0] /= batch.frame_rate_B[:, None]
    predicted_BNC = module(
        mix(clean_BNC, noise_BNC, sigma_BN[..., None]),
        sigma_BN,
        positions_BN3,
        batch.text_BLD,
        batch.keep_BL,
    )
    error_BN = (predicted_BNC.float() - velocity(clean_BNC, noise_BNC)).square().mean(-1)
    weight_BN = (~pinned_BN) * (1 + actor_weight * batch.actors_BTHW.flatten(1))
    return (error_BN * weight_BN).sum(1) / weight_BN.sum(1)


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else float("nan")
