"""The ways from noise to latents that a clip takes: one, or a small clip first and then a large."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from overcrank.conditioning import Clip, Image, Reference
from overcrank.errors import RequestError, SizeError
from overcrank.flow import Guidance, GuidanceByLevel
from overcrank.request import Request, check_size
from overcrank.shapes import PIXELS_PER_CELL, ClipSize, LatentSize
from overcrank.weights import Model
from overcrank.weights.releases import Pass, TwoPasses

Condition = Image | Clip | Reference


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walk:
    """One way down the noise levels, decided."""

    size: ClipSize
    frame_rate: float
    sigmas: Tensor
    """The levels the sampler visits, steps + 1 of them; a second walk begins below 1."""
    asked: int
    """Steps as they are asked for: schedules may skip some of them."""
    guidance: Guidance | GuidanceByLevel
    stochastic: bool
    """Whether the sampler puts fresh noise back after each step."""
    conditions: tuple[Condition, ...]
    student: bool = False
    """Whether the model's few-step student takes it."""

    @property
    def steps(self) -> int:
        """How many it takes."""
        return len(self.sigmas) - 1

    def recipe(self) -> dict[str, object]:
        """Plain values, for the recipe of a clip."""
        return {
            "width": self.size.width,
            "height": self.size.height,
            "num_frames": self.size.frames,
            "num_inference_steps": self.asked,
            "guidance": asdict(self.guidance),
        }


def passes_of(request: Request, model: Model, size: ClipSize) -> TwoPasses | None:
    """The two passes that a clip of that size takes with a model; None: one."""
    if request.passes == 1:
        return None
    two = None if model.upsampler is None else model.advice.two
    if two is None and request.passes == 2:
        raise RequestError(
            f"{model.name} makes clips in one pass, got passes=2: load a model that has a second "
            "one, such as ltxv-13b-0.9.8-dev, with an upscaler (upscaler=, --upscaler)"
        )
    if two is not None and request.passes is None and min(size.height, size.width) < two.least:
        return None
    return two


def decide(
    request: Request, model: Model, size: ClipSize, frame_rate: float, stop: float
) -> tuple[Walk, ...]:
    """The walks of a clip of that size. What a request says of steps and guidance is the first's.

    `stop` is the level at which the last one ends.
    """
    _check_conditions(request, model)
    two = passes_of(request, model, size)
    if two is None:
        return (_first(request, model, model.advice.walk, size, frame_rate, stop),)
    assert model.upsampler is not None
    time, space, _ = model.upsampler.config.stride
    small = _smaller(size, two.downscale, time=time, space=space)
    large = check_size(
        size.frames,
        small.height * space,
        small.width * space,
    )
    if time > 1:
        _check_halved(request)
    first = _first(request, model, two.first, small, frame_rate / time, 0.0)
    schedule, steps = two.second.schedule, two.second.steps
    second = Walk(
        size=large,
        frame_rate=frame_rate,
        sigmas=schedule.sigmas(steps, tokens=large.latent.tokens, end=stop),
        asked=steps,
        guidance=two.second.guidance,
        stochastic=two.second.stochastic,
        conditions=_opened(request, model, large),
    )
    return (first, second)


def _first(
    request: Request,
    model: Model,
    advised: Pass,
    size: ClipSize,
    frame_rate: float,
    stop: float,
) -> Walk:
    if advised.student and (_guides(request) or model.fuser.reports):
        assert model.advice.guided is not None
        advised = model.advice.guided
    guidance = advised.guidance if request.guidance is None else request.guidance
    if request.sigmas is not None:
        advised.schedule.check(tuple(request.sigmas))
        if request.sigmas[-1] <= stop:
            raise RequestError(
                f"the last of sigmas must be above decode_sigma, got {request.sigmas[-1]} and "
                f"{stop}: leave it out, or lower decode_sigma"
            )
        steps, sigmas = len(request.sigmas), torch.tensor([*request.sigmas, stop])
    else:
        steps = request.num_inference_steps or advised.steps
        sigmas = advised.schedule.sigmas(steps, tokens=size.latent.tokens, end=stop)
    return Walk(
        size=size,
        frame_rate=frame_rate,
        sigmas=sigmas,
        asked=steps,
        guidance=guidance
        if isinstance(guidance, Guidance | GuidanceByLevel)
        else Guidance(scale=float(guidance)),
        stochastic=advised.stochastic,
        conditions=_opened(request, model, size),
        student=advised.student,
    )


def _guides(request: Request) -> bool:
    """Whether it asks for any guidance, which a student was not trained for."""
    return request.guidance not in (None, 1, Guidance())


def _opened(request: Request, model: Model, size: ClipSize) -> tuple[Condition, ...]:
    crf = model.advice.crf
    return tuple(given.opened(size, crf=crf) for given in request.all_conditions())


def _smaller(size: ClipSize, downscale: float, *, time: int, space: int) -> ClipSize:
    """The size of the first pass. Source: Lightricks LTX-Video, `LTXMultiScalePipeline`."""
    height, width = (
        int(side * downscale) // PIXELS_PER_CELL * PIXELS_PER_CELL if space > 1 else side
        for side in (size.height, size.width)
    )
    if min(height, width) == 0:
        raise SizeError(
            f"a clip in two passes is larger than that, got {size.width} x {size.height}: "
            "make it at least 64 x 64, or ask for passes=1"
        )
    latent = size.latent
    if (latent.frames - 1) % time:
        below = LatentSize(latent.frames - 1, 1, 1).clip.frames
        above = LatentSize(latent.frames + 1, 1, 1).clip.frames
        raise SizeError(
            f"with an upscaler in time a clip has 16n + 1 frames, got {size.frames}: try {below} "
            f"or {above}"
        )
    frames = LatentSize((latent.frames - 1) // time + 1, 1, 1).clip.frames
    return ClipSize(frames, height, width)


def _check_halved(request: Request) -> None:
    for condition in request.all_conditions():
        if not isinstance(condition, Image) or condition.at > 0:
            raise RequestError(
                "with an upscaler in time the first pass has every other frame only, got "
                f"{condition.describe()}: give a picture at frame 0, or ask for passes=1"
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
