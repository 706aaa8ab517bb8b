"""From a plan and its text to clean latents: every walk, and what lies between two of them.

Axes: B batch, always 1; N video tokens, C latent channels, T H W cells of the latent grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from overcrank import noise
from overcrank.conditioning import LatentState
from overcrank.flow import Guidance, VelocityFn, euler, guided, mix
from overcrank.flow.tone import adain
from overcrank.moment import Moment
from overcrank.plan import Plan
from overcrank.shapes import LATENT_CHANNELS
from overcrank.text import TextEmbedding
from overcrank.transformer import token_positions
from overcrank.walks import Walk
from overcrank.weights import Model

_UNPERTURBED = Guidance()
PAIRED = 1024
"""Up to so many tokens the text and the negative text are computed at once: two clips of 256 tokens
take two thirds of the time together, two of 1,024 five sixths (docs/log.md), and more memory."""


@dataclass(frozen=True, slots=True)
class Denoised:
    """Where the last walk ended."""

    state: LatentState
    tokens_BNC: Tensor

    @property
    def latent(self) -> Tensor:
        """The clip's own tokens, on the grid."""
        return self.state.latent(self.tokens_BNC)


@dataclass(frozen=True)
class Denoiser:
    """The networks of a model at work on one plan."""

    plan: Plan
    model: Model
    device: torch.device
    text: TextEmbedding
    negative: TextEmbedding
    network: Callable[..., Tensor]
    """The transformer of the model, or what calls it, with the same arguments."""
    student: Callable[..., Tensor] | None = None
    """Its few-step student likewise, where it has one."""

    def run(self) -> Denoised:
        """All walks, first to last."""
        resume = self.plan.request.resume
        steps, done = 0, None
        for walk in self.plan.walks:
            begin, steps = steps, steps + walk.steps
            if resume is None or resume.step <= steps:
                done = self._walk(walk, begin, None if done is None else done.latent)
        assert done is not None
        return done

    def _walk(self, walk: Walk, before: int, smaller_BCTHW: Tensor | None) -> Denoised:
        """Noise and conditions, schedule, guidance, sampler; `before` steps were taken already."""
        if smaller_BCTHW is not None:
            start_BCTHW = self._upscaled(walk, smaller_BCTHW)
        else:  # of a second pass that is gone on with, only the size matters
            start_BCTHW = gaussian(self.plan, walk, "second") if before else self._noise(walk)
        state = self._state(walk, start_BCTHW)
        for condition in walk.conditions:
            state = condition.apply(state, self.model.encoder)
        network = self.student if walk.student else self.network
        assert network is not None
        velocity = guided(
            self._velocity(network, self.text, state),
            self._velocity(network, self.negative, state),
            walk.guidance,
            both=self._both(network, state) if walk.size.latent.tokens <= PAIRED else None,
            perturb=lambda now: self._velocity(network, self.text, state, now),
        )
        resume, tokens_BNC, done = self.plan.request.resume, state.tokens_BNC, before
        if resume is not None and resume.step > before:
            tokens_BNC, done = resume.tokens_BNC.to(tokens_BNC), resume.step
        image_noise = self.plan.request.image_noise
        fresh = "second fresh" if before else "fresh"
        tokens_BNC = euler(
            velocity,
            tokens_BNC,
            walk.sigmas[done - before :],
            cap=state.cap_BN if walk.conditions else 1.0,
            before_step=lambda step, level, x: state.shaken(x, done + step, level, image_noise),
            fresh_noise=(
                (lambda step: state.fresh(fresh, done - before + step)) if walk.stochastic else None
            ),
            on_step=lambda step, x, data: self._tell(done + step, x, state.latent(data)),
        )
        return Denoised(state, tokens_BNC)

    def _noise(self, walk: Walk) -> Tensor:
        given_BCTHW = self.plan.request.latents
        return gaussian(self.plan, walk, "start") if given_BCTHW is None else given_BCTHW

    def _upscaled(self, walk: Walk, latent_BCTHW: Tensor) -> Tensor:
        """What a second walk begins with: the clip of the first, enlarged and made noisy again."""
        two, upsampler = self.plan.two, self.model.upsampler
        assert two is not None
        assert upsampler is not None
        larger_BCTHW = upsampler.upscale(latent_BCTHW, self.model.vae.per_channel_statistics)
        larger_BCTHW = adain(larger_BCTHW, latent_BCTHW, two.adain)
        fresh_BCTHW = gaussian(self.plan, walk, "second").to(larger_BCTHW)
        return mix(larger_BCTHW, fresh_BCTHW, float(walk.sigmas[0]))

    def _state(self, walk: Walk, start_BCTHW: Tensor) -> LatentState:
        causal = self.model.transformer.config.causal_positions
        return LatentState.free(
            start_BCTHW.to(self.device, torch.float32),
            token_positions(walk.size.latent, walk.frame_rate, causal=causal),
            frame_rate=walk.frame_rate,
            seed=self.plan.seed,
            causal=causal,
        )

    @staticmethod
    def _velocity(
        network: Callable[..., Tensor],
        text: TextEmbedding,
        state: LatentState,
        perturbed: Guidance = _UNPERTURBED,
    ) -> VelocityFn:
        """One clip is in `tokens`, or a copy of it for each text."""
        # Conditions hold for whole latent frames: one level for the tokens of each is enough.
        of_a_frame = state.size.height * state.size.width
        keep_BL = None if text.keep_BL.all() else text.keep_BL  # a mask takes longer

        def velocity(tokens: Tensor, sigma: Tensor) -> Tensor:
            v = network(
                tokens,
                sigma if sigma.ndim == 1 else sigma[:, ::of_a_frame],
                state.positions_BNX,
                text.embeds_BLD,
                keep_BL,
                stg_layers=perturbed.stg_layers,
                stg_mode=perturbed.stg_mode,
            )
            return v.float()

        return velocity

    def _both(
        self, network: Callable[..., Tensor], state: LatentState
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The velocities of the text and of the negative one, from one call of the network."""
        rows = [*self.text.rows(), *self.negative.rows()]
        velocity = self._velocity(network, TextEmbedding.from_rows(rows), state)

        def both(tokens_BNC: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            v_BNC = velocity(*(torch.cat([same, same]) for same in (tokens_BNC, sigma)))
            here_BNC, base_BNC = v_BNC.chunk(2)
            return here_BNC, base_BNC

        return both

    def _tell(self, step: int, tokens_BNC: Tensor, data_BCTHW: Tensor) -> None:
        request, total = self.plan.request, self.plan.steps
        if request.on_step is not None:
            request.on_step(step + 1, total)
        if request.on_moment is not None:
            request.on_moment(
                Moment(step=step + 1, total=total, tokens_BNC=tokens_BNC, data_BCTHW=data_BCTHW)
            )


def gaussian(plan: Plan, walk: Walk, purpose: str) -> Tensor:
    """Noise for the latents of a walk, (1, C, T, H, W)."""
    size = walk.size.latent
    cells = (LATENT_CHANNELS, size.height, size.width)
    noise_TCHW = noise.gaussian(plan.seed, purpose, cells, size.frames)
    return rearrange(noise_TCHW, "t c h w -> 1 c t h w")
