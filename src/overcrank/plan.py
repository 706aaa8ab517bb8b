"""A request with every gap filled: exactly what will be done, and the recipe that says so."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from overcrank import __version__
from overcrank.conditioning import Clip, Image
from overcrank.errors import RequestError, SizeError
from overcrank.flow import Guidance, shifted
from overcrank.request import Request, check_size
from overcrank.runtime import Hardware
from overcrank.shapes import LATENT_CHANNELS, ClipSize
from overcrank.weights import Model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One clip, decided."""

    request: Request
    """For the prompt, tensors and callbacks."""
    negative_prompt: str
    size: ClipSize
    frame_rate: float
    steps: int
    guidance: Guidance
    conditions: tuple[Image | Clip, ...]
    stop: float
    """The level at which the sampler stops."""
    decode_noise: float
    """The level of the latents that the decoder gets."""
    decode_sigma: float | None
    """The level it is told; None for a decoder that does not denoise."""

    @classmethod
    def make(cls, request: Request, model: Model) -> "Plan":
        """Fill the gaps with the model's own recommendations; refuse what the model cannot do."""
        defaults = model.defaults
        size = check_size(
            request.num_frames or defaults.frames,
            request.height or defaults.height,
            request.width or defaults.width,
        )
        sigma = defaults.decode_sigma if request.decode_sigma is None else request.decode_sigma
        if not model.vae.config.denoises:
            _check_decoder(request, model)
        if sigma is None or not model.vae.config.denoises:
            sigma = 0.0
        guidance = defaults.guidance if request.guidance is None else request.guidance
        negative = request.negative_prompt
        plan = cls(
            request=request,
            negative_prompt=defaults.negative_prompt if negative is None else negative,
            size=size,
            frame_rate=float(request.frame_rate or defaults.frame_rate),
            steps=len(request.sigmas or ()) or request.num_inference_steps or defaults.steps,
            guidance=guidance
            if isinstance(guidance, Guidance)
            else Guidance(scale=float(guidance)),
            conditions=tuple(given.opened(size) for given in request.all_conditions()),
            stop=sigma if request.decode_noise is None else 0.0,
            decode_noise=sigma if request.decode_noise is None else request.decode_noise,
            decode_sigma=sigma if model.vae.config.denoises else None,
        )
        _check_text(plan, model)
        _check_layers(plan.guidance, model)
        _check_latents(plan)
        if request.sigmas is not None and request.sigmas[-1] <= plan.stop:
            raise RequestError(
                f"the last of sigmas must be above decode_sigma, got {request.sigmas[-1]} and "
                f"{plan.stop}: leave it out, or lower decode_sigma"
            )
        return plan

    def sigmas(self) -> Tensor:
        """The levels the sampler visits, steps + 1 of them."""
        if self.request.sigmas is not None:
            return torch.tensor([*self.request.sigmas, self.stop])
        return shifted(self.steps, tokens=self.size.latent.tokens, end=self.stop)

    def recipe(self, model: Model, hardware: Hardware) -> dict[str, object]:
        """Plain values that make the same clip again, on the same kind of machine."""
        request, size = self.request, self.size
        return {
            "overcrank": __version__,
            "model": model.name,
            "hashes": dict(model.hashes),
            "device": hardware.device.type,
            "dtype": str(hardware.dtype).removeprefix("torch."),
            "prompt": request.prompt,
            "negative_prompt": self.negative_prompt,
            "width": size.width,
            "height": size.height,
            "num_frames": size.frames,
            "frame_rate": self.frame_rate,
            "num_inference_steps": self.steps,
            "sigmas": None if request.sigmas is None else list(request.sigmas),
            "guidance": asdict(self.guidance),
            "seed": request.seed,
            "conditions": [condition.describe() for condition in self.conditions],
            "decode_sigma": self.decode_sigma,
            "decode_noise": request.decode_noise,
        }


def _check_decoder(request: Request, model: Model) -> None:
    for name in ("decode_sigma", "decode_noise"):
        if getattr(request, name):
            raise RequestError(
                f"the decoder of {model.name} takes clean latents, got "
                f"{name}={getattr(request, name)}: leave it out"
            )


def _check_text(plan: Plan, model: Model) -> None:
    request, width = plan.request, model.transformer.config.text_width
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        embeds = getattr(request, name)
        if embeds is not None and embeds.shape[2] != width:
            raise RequestError(
                f"{name} must be as wide as {model.name} reads them, got {embeds.shape[2]}: "
                f"encode the prompt with its own text encoder, width {width}"
            )
    if model.open_text_encoder is not None:
        return
    if request.prompt_embeds is None:
        raise RequestError(
            f"{model.name} has no text encoder, got a prompt: give prompt_embeds instead"
        )
    if plan.guidance.scale != 1 and request.negative_prompt_embeds is None:
        raise RequestError(
            f"{model.name} has no text encoder for the negative prompt that guidance needs, got "
            f"guidance {plan.guidance.scale:g}: give negative_prompt_embeds, or guidance 1"
        )


def _check_layers(guidance: Guidance, model: Model) -> None:
    layers = model.transformer.config.layers
    if not set(guidance.stg_layers) <= set(range(layers)):
        raise RequestError(
            f"guidance.stg_layers are layers of {model.name}, got {guidance.stg_layers}: "
            f"choose from 0 to {layers - 1}"
        )


def _check_latents(plan: Plan) -> None:
    given, latent = plan.request.latents, plan.size.latent
    right = (1, LATENT_CHANNELS, latent.frames, latent.height, latent.width)
    if given is not None and tuple(given.shape) != right:
        raise SizeError(
            f"latents must have the size of the clip, got {tuple(given.shape)}: "
            f"give {right}, or ask for another size"
        )
