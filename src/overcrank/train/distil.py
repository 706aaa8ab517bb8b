"""What trains a student that needs few steps and no guidance: distribution matching.

The student walks from noise to data in the steps that it will be used with, and its answer x is
noised again to a random level. There two networks say which data they would see: the teacher,
guided, and the shadow, which is trained all along on the student's own clips. Where they differ,
the student's clips are likelier or rarer than the teacher's, and x moves down that difference:

    dx = (shadow(x_s) - teacher(x_s)) / mean |x - teacher(x_s)|

Sources: Yin et al., "DMD2", arXiv:2405.14867 (the student's own walk in training, more steps for
the shadow); Huang et al., "Self Forcing", arXiv:2506.08009 (gradient through one step of it).

Axes: B batch, N video tokens, C latent channels.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch
from overcrank.data.latents import LatentCache
from overcrank.flow import Schedule, data_from, mix, shifted_logit_normal, velocity
from overcrank.runtime import Hardware
from overcrank.shapes import ClipSize
from overcrank.train.compiled import compile_stages
from overcrank.train.config import RunConfig
from overcrank.train.given import Given, Tokens
from overcrank.train.transformer import latent_batches, made_with
from overcrank.transformer import Transformer
from overcrank.weights import load_network, save_component


class DistilObjective:
    """Trains a student and its shadow; both begin as copies of the teacher."""

    def __init__(
        self,
        config: RunConfig,
        caches: Mapping[ClipSize, LatentCache],
        latent_hash: str,
        hardware: Hardware,
    ) -> None:
        assert config.start_from is not None
        self.config, self.caches, self.latent_hash = config, caches, latent_hash
        teacher, student, shadow = (
            load_network(config.start_from, "transformer") for _ in range(3)
        )
        self.teacher = teacher.requires_grad_(False)
        self.module = nn.ModuleDict({"student": student, "shadow": shadow})
        for network in (self.teacher, self.module):
            hardware.place(network)
        self.module.train()
        for network in (teacher, student, shadow) if config.compile else ():
            compile_stages(network)
        levels = tuple(config.distil.levels)
        schedule = Schedule(kind="shifted", levels=levels)
        self.sigmas = schedule.sigmas(len(levels), tokens=1, end=config.distil.end).tolist()
        self.empty_LD = next(iter(caches.values())).empty_LD.to(hardware.device)

    def data(self) -> Dataset[Batch]:
        """Batch number `step`: texts and what is given; its clips are not learnt from."""
        return latent_batches(self.config, self.caches)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the shadow, and at one step in `every` of the student too."""
        student, shadow = self.module["student"], self.module["shadow"]
        given = Given.draw(batch, self.config.conditions, generator)
        tokens = Tokens.of(batch, given, causal=self.teacher.config.causal_positions)
        every, last = (
            int(torch.randint(count, (1,), generator=generator, device=generator.device))
            for count in (self.config.distil.every, len(self.sigmas) - 1)
        )
        learns = every == 0
        made_BNC = self._walk(student, batch, tokens, last, generator, learns=learns)
        loss = self._shadow_loss(shadow, batch, tokens, made_BNC.detach(), generator)
        numbers = {"shadow": loss.detach()}
        if learns:
            matched, numbers["gap"] = self.matching(shadow, batch, tokens, made_BNC, generator)
            loss = loss + matched
        return loss, numbers

    def _walk(
        self,
        student: nn.Module,
        batch: Batch,
        tokens: Tokens,
        last: int,
        generator: torch.Generator,
        *,
        learns: bool,
    ) -> Tensor:
        """The student's data after step `last` of its walk, with a gradient through that step."""
        data_BNC = noise_BNC = _noise(tokens, generator)
        for step, level in enumerate(self.sigmas[: last + 1]):
            # What is given is data and noise alike, and stays.
            at_BNC = mix(data_BNC, noise_BNC if step == 0 else _noise(tokens, generator), level)
            with torch.set_grad_enabled(learns and step == last):
                data_BNC = _data(student, batch, tokens, at_BNC, _all(tokens, level))
        return data_BNC

    def _shadow_loss(
        self,
        shadow: nn.Module,
        batch: Batch,
        tokens: Tokens,
        made_BNC: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Rectified flow on the student's clips."""
        sigma_B, noise_BNC = _level(tokens, generator), _noise(tokens, generator)
        sigma_BN = tokens.levels(sigma_B)
        at_BNC = mix(made_BNC, noise_BNC, sigma_BN[..., None])
        clocks = tokens.clocks(sigma_BN)
        v_BNC = shadow(at_BNC, clocks, tokens.positions_BNX, batch.text_BLD, batch.keep_BL)
        error_BN = (v_BNC.float() - velocity(made_BNC, noise_BNC)).square().mean(-1)
        return _mean_of_free(error_BN, tokens)

    def matching(
        self,
        shadow: nn.Module,
        batch: Batch,
        tokens: Tokens,
        made_BNC: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """A loss whose gradient is `dx`, and how far the teacher is from what was made."""
        with torch.no_grad():
            sigma_B, noise_BNC = _level(tokens, generator), _noise(tokens, generator)
            sigma_BN = tokens.levels(sigma_B)
            at_BNC = mix(made_BNC, noise_BNC, sigma_BN[..., None])
            real_BNC = self._guided(batch, tokens, at_BNC, sigma_BN)
            fake_BNC = _data(shadow, batch, tokens, at_BNC, sigma_BN)
            away_BN = (made_BNC - real_BNC).abs().mean(-1) * tokens.free_BN
            gap_B = away_BN.sum(1) / tokens.free_BN.sum(1)
            aim_BNC = made_BNC - (fake_BNC - real_BNC) / gap_B.clamp(min=1e-3)[:, None, None]
        error_BN = 0.5 * (made_BNC - aim_BNC).square().mean(-1)
        return _mean_of_free(error_BN, tokens), gap_B.mean()

    def _guided(self, batch: Batch, tokens: Tokens, at_BNC: Tensor, sigma_BN: Tensor) -> Tensor:
        """The teacher's data with classifier-free guidance."""
        empty_BLD = self.empty_LD.expand(len(at_BNC), -1, -1)
        blank = replace(batch, text_BLD=empty_BLD, keep_BL=torch.ones_like(empty_BLD[..., 0]) > 0)
        with_text = _data(self.teacher, batch, tokens, at_BNC, sigma_BN)
        without = _data(self.teacher, blank, tokens, at_BNC, sigma_BN)
        return without + self.config.distil.guidance * (with_text - without)

    def evaluate(self, _module: nn.Module, _folder: Path, _step: int) -> dict[str, float]:
        """Nothing: how good a student is, `overcrank eval` says."""
        return {}

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write the student as `transformer.safetensors`."""
        assert isinstance(module, nn.ModuleDict)
        student = module["student"]
        assert isinstance(student, Transformer)
        extra = made_with(self.latent_hash, self.caches)
        save_component(folder / "transformer.safetensors", "transformer", student, extra=extra)


def _data(
    network: nn.Module, batch: Batch, tokens: Tokens, at_BNC: Tensor, sigma_BN: Tensor
) -> Tensor:
    """The clean tokens that a network sees in noisy ones; what is given stays as it is."""
    clocks = tokens.clocks(sigma_BN)
    v_BNC = network(at_BNC, clocks, tokens.positions_BNX, batch.text_BLD, batch.keep_BL)
    seen_BNC = data_from(at_BNC, v_BNC.float(), sigma_BN[..., None])
    return torch.where(tokens.free_BN[..., None], seen_BNC, tokens.clean_BNC)


def _noise(tokens: Tokens, generator: torch.Generator) -> Tensor:
    """Noise where a token is free, its value where it is given."""
    shape = tokens.clean_BNC.shape
    noise_BNC = torch.randn(shape, generator=generator, device=generator.device)
    return torch.where(tokens.free_BN[..., None], noise_BNC, tokens.clean_BNC)


def _all(tokens: Tokens, level: float) -> Tensor:
    """One level for all tokens that are free, (B, N)."""
    return tokens.free_BN * level


def _level(tokens: Tokens, generator: torch.Generator) -> Tensor:
    samples, count = tokens.free_BN.shape
    return shifted_logit_normal(samples, tokens=count, generator=generator).clamp(0.02, 0.98)


def _mean_of_free(error_BN: Tensor, tokens: Tokens) -> Tensor:
    return (error_BN * tokens.free_BN).sum() / tokens.free_BN.sum()
