"""What may be asked for, and what is left of it when a model has filled the gaps."""

import operator
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from typing import Any, TypeGuard, get_args

from torch import Tensor

from overcrank.conditioning import Clip, Image, Reference
from overcrank.conditioning.image import Picture, check_picture
from overcrank.errors import RequestError, SizeError, in_words
from overcrank.flow import Guidance, GuidanceByLevel, SkipMode
from overcrank.moment import Moment
from overcrank.shapes import MAX_FRAMES, MAX_SIDE, PIXELS_PER_CELL, ClipSize
from overcrank.text import PromptEnhancer, is_text
from overcrank.weights.card import (
    MAX_DECODE_SIGMA,
    MAX_FRAME_RATE,
    MAX_GUIDANCE,
    MAX_STEPS,
    MIN_FRAME_RATE,
)

MAX_TOKENS = 2**18
MAX_SEED = 2**63 - 1

OnStep = Callable[[int, int], None]
"""Called with (step, total) after each step; what it raises ends the run."""

OnMoment = Callable[[Moment], None]
"""Called after each step with where the clip is; what it raises ends the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A wish. None means: what the model's own metadata recommend. Wrong values are refused."""

    prompt: str | Sequence[str] | None = None
    """Several prompts give several clips, each as if it had been asked for alone."""
    image: Picture | None = None
    """The picture to begin with: short for a condition `Image`."""
    conditions: Sequence[Image | Clip | Reference] = ()
    negative_prompt: str | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    frame_rate: float | None = None
    num_inference_steps: int | None = None
    sigmas: Sequence[float] | None = None
    """The level each step starts from, falling; instead of a number of steps."""
    guidance: float | Guidance | GuidanceByLevel | None = None
    """A number is classifier-free guidance of that scale, and nothing else."""
    seed: int | Sequence[int] = 0
    """Of several prompts, one for all or one for each; several of one prompt: several clips."""
    latents: Tensor | None = None
    """What the sampler starts from, (1, C, T, H, W), instead of noise."""
    prompt_embeds: Tensor | None = None
    """(B, L, D), instead of a prompt."""
    prompt_attention_mask: Tensor | None = None
    """(B, L), true for the tokens that count; None: all do."""
    negative_prompt_embeds: Tensor | None = None
    """(1, L, D), instead of a negative prompt."""
    decode_sigma: float | None = None
    """The noise level the decoder is told; by default the sampler stops there."""
    decode_noise: float | None = None
    """The sampler goes on to zero, and this much noise is put back before decoding."""
    on_step: OnStep | None = None
    on_moment: OnMoment | None = None
    resume: Moment | None = None
    """Go on from what `on_moment` was given when this request was made before."""
    strict_size: bool = False
    """Refuse pictures and frames of another size, instead of fitting them."""
    image_noise: float = 0.0
    """How much what a condition fixes is shaken in each step, for livelier clips; try 0.15."""
    enhance: str | PathLike[str] | PromptEnhancer | None = None
    """A language model, by hub id or folder, that makes a short prompt long; None: as it is."""
    passes: int | None = None
    """1, or 2: small first, then upscaled and refined as the release says. None: 2 where the model
    has an upscaler. Steps, sigmas, guidance and latents are those of the first pass."""

    def __post_init__(self) -> None:
        self._check_text()
        for name, low, high in (
            ("height", PIXELS_PER_CELL, MAX_SIDE),
            ("width", PIXELS_PER_CELL, MAX_SIDE),
            ("num_frames", 1, MAX_FRAMES),
            ("num_inference_steps", 1, MAX_STEPS),
        ):
            check_whole(name, getattr(self, name), low, high)
        check_whole("passes", self.passes, 1, 2)
        self._check_seeds()
        check_number("frame_rate", self.frame_rate, MIN_FRAME_RATE, MAX_FRAME_RATE)
        check_number("decode_sigma", self.decode_sigma, 0, MAX_DECODE_SIGMA)
        check_number("decode_noise", self.decode_noise, 0, MAX_DECODE_SIGMA)
        check_number("image_noise", self.image_noise, 0, 1, optional=False)
        _check_guidance(self.guidance)
        self._check_sigmas()
        self._check_conditions()
        for name, of in (("on_step", "(step, total)"), ("on_moment", "a Moment")):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise RequestError(
                    f"{name} is a function of {of}, got {_shown(given)}: try {name}=print"
                )
        if self.resume is not None and not isinstance(self.resume, Moment):
            raise RequestError(
                f"resume is a Moment that on_moment was given, got {_shown(self.resume)}: keep one"
            )

    @property
    def is_batch(self) -> bool:
        """Whether the answer is a list of clips."""
        return self._texts > 1 or not isinstance(self.seed, int) or self._lists_prompts

    def each(self) -> list["Request"]:
        """One request for every clip asked for."""
        alone = [replace(self, seed=0, **text) for text in self._each_text()]
        seeds = [self.seed] * len(alone) if isinstance(self.seed, int) else list(self.seed)
        alone *= len(seeds) if len(alone) == 1 else 1
        return [replace(one, seed=seed) for one, seed in zip(alone, seeds, strict=True)]

    @property
    def _lists_prompts(self) -> bool:
        return self.prompt_embeds is None and not isinstance(self.prompt, str)

    @property
    def _texts(self) -> int:
        """How many different ones are given."""
        if self.prompt_embeds is not None:
            return len(self.prompt_embeds)
        return 1 if isinstance(self.prompt, str) else len(self.prompt or ())

    def _each_text(self) -> list[dict[str, Any]]:
        """The fields that tell the clips apart, besides the seed."""
        embeds, mask = self.prompt_embeds, self.prompt_attention_mask
        if embeds is None:
            prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt or ()
            return [{"prompt": prompt} for prompt in prompts]
        return [
            {
                "prompt_embeds": embeds[i : i + 1],
                "prompt_attention_mask": None if mask is None else mask[i : i + 1],
            }
            for i in range(len(embeds))
        ]

    def all_conditions(self) -> tuple[Image | Clip | Reference, ...]:
        """The conditions, `image` among them."""
        first = () if self.image is None else (Image(image=self.image),)
        conditions = (*first, *self.conditions)
        if self.strict_size:
            return tuple(replace(condition, fit=False) for condition in conditions)
        return conditions

    def _check_text(self) -> None:
        embeds, mask, negative = (
            self.prompt_embeds,
            self.prompt_attention_mask,
            self.negative_prompt_embeds,
        )
        if (self.prompt is None) == (embeds is None):
            raise RequestError(
                "a clip needs a prompt or prompt_embeds, "
                f"got {'neither' if embeds is None else 'both'}: give one of them"
            )
        if self.prompt is not None:
            prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
            listed = isinstance(prompts, Sequence) and len(prompts) > 0
            if not listed or not all(isinstance(p, str) and p.strip() for p in prompts):
                raise RequestError(
                    f"a prompt must say something, got {self.prompt!r}: "
                    "try 'a red ball bounces on a blue floor'"
                )
            _check_strings("a prompt", prompts)
        if self.negative_prompt is not None:
            _check_strings("negative_prompt", [self.negative_prompt])
        for name, tensor in (("prompt_embeds", embeds), ("negative_prompt_embeds", negative)):
            if tensor is not None and (tensor.ndim != 3 or 0 in tensor.shape):
                raise RequestError(
                    f"{name} are (clips, text tokens, width), got {tuple(tensor.shape)}: "
                    "add the dimension that is missing"
                )
        if self.enhance is not None and embeds is not None:
            raise RequestError(
                f"a prompt is enhanced before it is encoded, got enhance={_shown(self.enhance)} "
                "with prompt_embeds: give a prompt instead"
            )
        if negative is not None and len(negative) != 1:
            raise RequestError(
                f"negative_prompt_embeds are for all clips alike, got {len(negative)}: give one"
            )
        if mask is not None and (embeds is None or mask.shape != embeds.shape[:2]):
            given = None if embeds is None else tuple(embeds.shape)
            raise RequestError(
                "prompt_attention_mask goes with prompt_embeds and has their first two "
                f"dimensions, got {tuple(mask.shape)} for {given}: give both, or no mask"
            )

    def _check_seeds(self) -> None:
        listed = isinstance(self.seed, Sequence) and not isinstance(self.seed, str)
        for seed in self.seed if listed else [self.seed]:  # type: ignore[union-attr]
            check_whole("seed", seed, 0, MAX_SEED, optional=False)
        count = len(self.seed) if listed else 1  # type: ignore[arg-type]
        if listed and (count == 0 or self._texts not in (1, count)):
            raise RequestError(
                f"there is one seed for all clips, or one for each, got {count} for {self._texts} "
                "prompts: give as many of both, or one prompt"
            )

    def _check_conditions(self) -> None:
        if self.image is not None:
            check_picture(self.image)
        listed = isinstance(self.conditions, Sequence)
        for condition in self.conditions if listed else [self.conditions]:
            if not isinstance(condition, Image | Clip | Reference):
                raise RequestError(
                    f"conditions are a list of Image, Clip and Reference, got {condition!r}: "
                    "try [Image(at=0, image='first.png')]"
                )

    def _check_sigmas(self) -> None:
        if self.sigmas is None:
            return
        if self.num_inference_steps is not None:
            raise RequestError(
                "sigmas say how many steps there are, got num_inference_steps="
                f"{self.num_inference_steps} as well: give one of them"
            )
        levels = self.sigmas if isinstance(self.sigmas, Sequence) else ()
        falls = all(_is_number(level) for level in levels) and all(
            now > after for now, after in pairwise([*levels, 0.0])
        )
        if not falls or not 1 <= len(levels) <= MAX_STEPS or levels[0] > 1:
            raise RequestError(
                f"sigmas fall from at most 1 and stay above 0, got {_shown(self.sigmas)}: "
                "try [1.0, 0.75, 0.5, 0.25]"
            )


# The generated __init__ raises a bare TypeError for a name that is not a field.
Request.__init__ = in_words(Request.__init__)  # type: ignore[method-assign]


def _check_guidance(guidance: object) -> None:
    if isinstance(guidance, Guidance | GuidanceByLevel):
        for entry in guidance.entries:
            _check_entry(entry)
    else:
        check_number("guidance", guidance, 0, MAX_GUIDANCE)


def _check_entry(guidance: Guidance) -> None:
    for name, high in (("scale", MAX_GUIDANCE), ("stg_scale", MAX_GUIDANCE), ("rescale", 1)):
        check_number(f"guidance.{name}", getattr(guidance, name), 0, high, optional=False)
    layers = guidance.stg_layers
    named = isinstance(layers, tuple | list) and all(type(layer) is int for layer in layers)
    if not named or (guidance.stg_scale and not layers):
        raise RequestError(
            f"guidance.stg_layers are numbers of layers, got {_shown(layers)} with "
            f"stg_scale {guidance.stg_scale:g}: try [1]"
        )
    modes = get_args(SkipMode)
    if guidance.stg_mode not in modes:
        raise RequestError(
            f"guidance.stg_mode is {', '.join(modes[:-1])} or {modes[-1]}, got "
            f"{_shown(guidance.stg_mode)}: choose one"
        )
    interval = guidance.interval
    ends = isinstance(interval, tuple | list) and len(interval) == 2
    if not ends or not all(map(_is_number, interval)) or not 0 <= interval[0] <= interval[1] <= 1:
        raise RequestError(
            "guidance.interval is two levels from 0 to 1, the lower first, got "
            f"{_shown(interval)}: try [0.0, 1.0]"
        )
    if not isinstance(guidance.project, bool):
        raise RequestError(
            f"guidance.project is true or false, got {_shown(guidance.project)}: choose one"
        )


def _check_strings(name: str, texts: Sequence[object]) -> None:
    for text in texts:
        if not is_text(text):
            raise RequestError(
                f"{name} is text that UTF-8 can write, got {_shown(text)}: "
                "leave out what is no character"
            )
        assert isinstance(text, str)
        control = [c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"]
        if control:
            raise RequestError(
                f"{name} is text without control characters, got {_shown(text)}: "
                f"leave out {control[0]!r}"
            )


def check_whole(name: str, value: object, low: int, high: int, *, optional: bool = True) -> None:
    """Refuse what is no whole number in [low, high]; None passes where it is `optional`."""
    if value is None and optional:
        return
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        kind = SizeError if name in ("height", "width", "num_frames") else RequestError
        what = "multiple of 32" if name in ("height", "width") else "whole number"
        raise kind(f"{name} is a {what} from {low} to {high}, got {_shown(value)}: choose one")


def check_number(
    name: str, value: object, low: float, high: float, *, optional: bool = True
) -> None:
    """Refuse what is no number in [low, high]; None passes where it is `optional`."""
    if value is None and optional:
        return
    if not _is_number(value) or not low <= value <= high:
        raise RequestError(
            f"{name} is a number from {low:g} to {high:g}, got {_shown(value)}: choose one"
        )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """As in Python, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number too long to write"
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_size(frames: int, height: int, width: int) -> ClipSize:
    """The size of a clip; refuses one that is off the grid, or more than can be made."""
    size = ClipSize(frames, height, width)
    if size.latent.tokens > MAX_TOKENS:
        raise SizeError(
            f"a clip has at most {MAX_TOKENS} cells of 8 frames and 32 x 32 pixels, got "
            f"{size.latent.tokens} for {frames} frames of {width} x {height}: make it smaller"
        )
    return size
