"""A request with every gap filled: exactly what will be done, and the recipe that says so."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from overcrank import __version__
from overcrank.conditioning import Clip, Image, Reference
from overcrank.errors import RequestError, SizeError
from overcrank.flow import Guidance, GuidanceByLevel, Schedule
from overcrank.request import Request, check_size
from overcrank.runtime import Hardware
from overcrank.shapes import LATENT_CHANNELS, ClipSize
from overcrank.text.t5_files import OFFICIAL
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
    schedule: Schedule
    stochastic: bool
    """Whether the sampler puts fresh noise back after each step."""
    guidance: Guidance | GuidanceByLevel
    conditions: tuple[Image | Clip | Reference, ...]
    stop: float
    """The level at which the sampler stops."""
    decode_noise: float
    """The level of the latents that the decoder gets."""
    decode_sigma: float | None
    """The level it is told; None for a decoder that does not denoise."""
    remarks: tuple[str, ...]
    """In what the clip lies outside of what the model was made for."""

    @classmethod
    def make(cls, request: Request, model: Model) -> "Plan":
        """Fill the gaps with the model's own recommendations; refuse what the model cannot do."""
        advice, walk = model.advice, model.advice.walk
        size = check_size(
            request.num_frames or advice.size.frames,
            request.height or advice.size.height,
            request.width or advice.size.width,
        )
        rate = float(request.frame_rate or advice.frame_rate)
        sigma = advice.decode_sigma if request.decode_sigma is None else request.decode_sigma
        if not model.vae.config.denoises:
            _check_decoder(request, model)
        if sigma is None or not model.vae.config.denoises:
            sigma = 0.0
        noise = advice.decode_noise if request.decode_noise is None else request.decode_noise
        guidance = walk.guidance if request.guidance is None else request.guidance
        _check_conditions(request, model)
        outside = () if advice.trained is None else advice.trained.remarks(size, rate)
        negative = request.negative_prompt
        plan = cls(
            request=request,
            negative_prompt=advice.negative_prompt if negative is None else negative,
            size=size,
            frame_rate=rate,
            steps=len(request.sigmas or ()) or request.num_inference_steps or walk.steps,
            schedule=walk.schedule,
            stochastic=walk.stochastic,
            guidance=guidance
            if isinstance(guidance, Guidance | GuidanceByLevel)
            else Guidance(scale=float(guidance)),
            conditions=tuple(
                given.opened(size, crf=advice.crf) for given in request.all_conditions()
            ),
            stop=sigma if noise is None else 0.0,
            decode_noise=sigma if noise is None else noise,
            decode_sigma=sigma if model.vae.config.denoises else None,
            remarks=(*model.remarks, *outside),
        )
        _check_text(plan, model)
        _check_layers(plan.guidance, model)
        _check_latents(plan)
        _check_levels(plan)
        return plan

    @property
    def texts(self) -> list[str]:
        """What the text encoder will have to read."""
        request, texts = self.request, []
        if isinstance(request.prompt, str):
            texts.append(request.prompt)
        if self.guidance.uses_negative and request.negative_prompt_embeds is None:
            texts.append(self.negative_prompt)
        return texts

    def sigmas(self) -> Tensor:
        """The levels the sampler visits, steps + 1 of them."""
        if self.request.sigmas is not None:
            return torch.tensor([*self.request.sigmas, self.stop])
        return self.schedule.sigmas(self.steps, tokens=self.size.latent.tokens, end=self.stop)

    def recipe(self, model: Model, hardware: Hardware) -> dict[str, object]:
        """Plain values that make the same clip again, on the same kind of machine."""
        request, size = self.request, self.size
        return {
            "overcrank": __version__,
            "model": model.name,
            "release": None if model.release is None else model.release.name,
            "hashes": dict(model.hashes),
            "allow_mismatch": model.mismatch_allowed,
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
            "image_noise": request.image_noise,
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
            f"{model.name} has no text encoder, got a prompt: give prompt_embeds instead, or name "
            f"one (text_encoder=, --text-encoder), such as {OFFICIAL}"
        )
    if plan.guidance.uses_negative and request.negative_prompt_embeds is None:
        scale = max(entry.scale for entry in plan.guidance.entries)
        raise RequestError(
            f"{model.name} has no text encoder for the negative prompt that guidance needs, got "
            f"guidance {scale:g}: give negative_prompt_embeds, or guidance 1"
        )


def _check_layers(guidance: Guidance | GuidanceByLevel, model: Model) -> None:
    layers = model.transformer.config.layers
    for entry in guidance.entries:
        if not set(entry.stg_layers) <= set(range(layers)):
            raise RequestError(
                f"guidance.stg_layers are layers of {model.name}, got {entry.stg_layers}: "
                f"choose from 0 to {layers - 1}"
            )


def _check_conditions(request: Request, model: Model) -> None:
    for condition in request.all_conditions():
        if isinstance(condition, Reference):
            if not model.fuser.in_context:
                raise RequestError(
                    f"{model.name} does not know what to do with a reference video, got one: "
                    "add an IC-LoRA that was trained for it, or leave it out"
                )
        elif condition.at > 0 and not model.advice.keyframes:
            raise RequestError(
                f"{model.name} was trained with conditions at frame 0 only, got "
                f"at={condition.at}: try at=0, or a published model of 0.9.5 or later"
            )


def _check_levels(plan: Plan) -> None:
    given = plan.request.sigmas
    if given is None:
        plan.sigmas()  # which refuses numbers of steps that the schedule does not have
        return
    plan.schedule.check(tuple(given))
    if given[-1] <= plan.stop:
        raise RequestError(
            f"the last of sigmas must be above decode_sigma, got {given[-1]} and "
            f"{plan.stop}: leave it out, or lower decode_sigma"
        )


def _check_latents(plan: Plan) -> None:
    given, latent = plan.request.latents, plan.size.latent
    right = (1, LATENT_CHANNELS, latent.frames, latent.height, latent.width)
    if given is not None and tuple(given.shape) != right:
        raise SizeError(
            f"latents must have the size of the clip, got {tuple(given.shape)}: "
            f"give {right}, or ask for another size"
        )
