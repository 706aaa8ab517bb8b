"""A request with every gap filled: exactly what will be done, and the recipe that says so."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from overcrank import __version__
from overcrank.errors import RequestError, SizeError
from overcrank.flow import Guidance, GuidanceByLevel
from overcrank.request import Request, check_size
from overcrank.runtime import Hardware
from overcrank.shapes import LATENT_CHANNELS, ClipSize
from overcrank.walks import Walk, decide, passes_of
from overcrank.weights import Model
from overcrank.weights.opening import NO_TEXT_ENCODER
from overcrank.weights.releases import TwoPasses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One clip, decided."""

    request: Request
    """For the prompt, tensors and callbacks."""
    negative_prompt: str
    size: ClipSize
    """Of the frames; those of the walks are scaled to it."""
    frame_rate: float
    walks: tuple[Walk, ...]
    two: TwoPasses | None
    """How the second walk goes on from the first; None: there is one."""
    stop: float
    """The level at which the last walk ends."""
    decode_noise: float
    """The level of the latents that the decoder gets."""
    decode_sigma: float | None
    """The level it is told; None for a decoder that does not denoise."""
    remarks: tuple[str, ...]
    """What was assumed of the model, and in what the clip lies outside of what it was made for."""
    enhanced: Mapping[str, object] = field(default_factory=dict)
    """How a language model made the prompt, if it did."""

    @classmethod
    def make(cls, request: Request, model: Model) -> "Plan":
        """Fill the gaps with the model's own recommendations; refuse what the model cannot do."""
        advice = model.advice
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
        stop = sigma if noise is None else 0.0
        outside = () if advice.trained is None else advice.trained.remarks(size, rate)
        fused = (remark for each in model.fuser.reports for remark in each.remarks)
        negative = request.negative_prompt
        plan = cls(
            request=request,
            negative_prompt=advice.negative_prompt if negative is None else negative,
            size=size,
            frame_rate=rate,
            walks=decide(request, model, size, rate, stop),
            two=passes_of(request, model, size),
            stop=stop,
            decode_noise=sigma if noise is None else noise,
            decode_sigma=sigma if model.vae.config.denoises else None,
            remarks=(*model.remarks, *fused, *outside),
        )
        _check_text(plan, model)
        for walk in plan.walks:
            _check_layers(walk.guidance, model)
        _check_latents(plan)
        _check_resume(plan)
        return plan

    @property
    def seed(self) -> int:
        """Of this one clip."""
        assert isinstance(self.request.seed, int), self.request.seed
        return self.request.seed

    @property
    def steps(self) -> int:
        """Of all walks."""
        return sum(walk.steps for walk in self.walks)

    @property
    def uses_negative(self) -> bool:
        """Whether the negative prompt matters in any walk."""
        return any(walk.guidance.uses_negative for walk in self.walks)

    @property
    def texts(self) -> list[str]:
        """What the text encoder will have to read."""
        request, texts = self.request, []
        if isinstance(request.prompt, str):
            texts.append(request.prompt)
        if self.uses_negative and request.negative_prompt_embeds is None:
            texts.append(self.negative_prompt)
        return texts

    def recipe(self, model: Model, hardware: Hardware) -> dict[str, object]:
        """Plain values that make the same clip again, on the same kind of machine."""
        request, size, first = self.request, self.size, self.walks[0]
        return {
            "overcrank": __version__,
            "model": model.name,
            "release": None if model.release is None else model.release.name,
            "hashes": dict(model.hashes),
            "allow_mismatch": model.mismatch_allowed,
            "device": hardware.device.type,
            "dtype": str(hardware.dtype).removeprefix("torch."),
            "loras": [
                {"name": each.name, "weight": each.weight, "layers": len(each.matched)}
                for each in model.fuser.reports
            ],
            "in_context": model.fuser.in_context,
            "enhanced": dict(self.enhanced),
            "prompt": request.prompt,
            "negative_prompt": self.negative_prompt,
            "width": size.width,
            "height": size.height,
            "num_frames": size.frames,
            "frame_rate": self.frame_rate,
            "num_inference_steps": first.asked,
            "sigmas": None if request.sigmas is None else list(request.sigmas),
            "guidance": asdict(first.guidance),
            "passes": [] if self.two is None else [walk.recipe() for walk in self.walks],
            "seed": self.seed,
            "conditions": [condition.describe() for condition in first.conditions],
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
        raise RequestError(NO_TEXT_ENCODER.format(name=model.name))
    if plan.uses_negative and request.negative_prompt_embeds is None:
        scale = max(entry.scale for walk in plan.walks for entry in walk.guidance.entries)
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


def _check_latents(plan: Plan) -> None:
    given, latent = plan.request.latents, plan.walks[0].size.latent
    right = (1, LATENT_CHANNELS, latent.frames, latent.height, latent.width)
    if given is not None and tuple(given.shape) != right:
        raise SizeError(
            f"latents must have the size of the clip, got {tuple(given.shape)}: "
            f"give {right}, or ask for another size"
        )


def _check_resume(plan: Plan) -> None:
    moment = plan.request.resume
    if moment is None:
        return
    walks = plan.walks
    size = walks[-1 if moment.step > plan.steps - walks[-1].steps else 0].size.latent
    right = (1, LATENT_CHANNELS, size.frames, size.height, size.width)
    fits = tuple(moment.data_BCTHW.shape) == right and moment.tokens_BNC.shape[1] >= size.tokens
    if moment.total != plan.steps or not 1 <= moment.step <= plan.steps or not fits:
        raise RequestError(
            f"a clip goes on from a moment of its own, got step {moment.step} of {moment.total} "
            f"with latents {tuple(moment.data_BCTHW.shape)} for {plan.steps} steps with {right}: "
            "ask for the clip that the moment was taken from"
        )
