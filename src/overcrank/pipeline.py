"""The one way from a request to frames: `Pipeline.stream`.

Axes: B batch, always 1; N video tokens, C latent channels, T H W cells of the latent grid,
L text tokens, D text width, F frames, H W pixels.
"""

import inspect
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from overcrank.denoise import Denoised, Denoiser, gaussian
from overcrank.errors import RequestError, RunError, in_words
from overcrank.estimate import Estimate, check_memory, estimate
from overcrank.flow.tone import tone_map
from overcrank.metrics.artefacts import not_finite
from overcrank.plan import Plan
from overcrank.request import Request
from overcrank.runtime import Stages, choose, keep_freed_memory, peak_memory
from overcrank.text import PromptEnhancer, TextEmbedding
from overcrank.video import Outcome, Report, Video
from overcrank.weights import Extras, LoRAFile, Model, ModelFiles, read_weighted
from overcrank.weights.lora import Report as FusedReport

_HEARING = Lock()
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Stream = Generator[Tensor, None, Outcome]
"""uint8 (n, H, W, 3), first to last; the generator returns the outcome."""


def _asks(
    request: Callable[Arguments, Request],
) -> Callable[
    [Callable[["Pipeline", Request], Result]], Callable[Concatenate["Pipeline", Arguments], Result]
]:
    """Give a method that takes a request the arguments of `Request`, which lists them once."""

    def decorate(
        method: Callable[["Pipeline", Request], Result],
    ) -> Callable[Concatenate["Pipeline", Arguments], Result]:
        @wraps(method)
        def with_arguments(
            self: "Pipeline", /, *args: Arguments.args, **kwargs: Arguments.kwargs
        ) -> Result:
            return method(self, request(*args, **kwargs))

        # For help() and editors, which would otherwise see the method that is wrapped.
        own, theirs = inspect.signature(method), inspect.signature(request)
        parameters = [own.parameters["self"], *theirs.parameters.values()]
        with_arguments.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return with_arguments

    return decorate


@dataclass(frozen=True, slots=True)
class Reading:
    """What the text encoder made of a request."""

    text: TextEmbedding
    negative: TextEmbedding
    """The text itself, where guidance asks for no other."""
    remarks: tuple[str, ...]


class Pipeline:
    """A model that is loaded, on its device, and ready for requests."""

    def __init__(
        self,
        model: Model,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
    ) -> None:
        self.hardware = choose(device, dtype)
        self.model = model
        self.vae, self.transformer = model.vae, model.transformer
        self.network: Callable[..., Tensor] = model.transformer
        """What denoising calls: the transformer, or what shares it among several pipelines."""
        self.student: Callable[..., Tensor] | None = model.student
        """What it calls in few steps without guidance, where the model has it."""
        self._enhancers: dict[str, PromptEnhancer] = {}
        self.reads_once = False
        """Whether large text models make room as soon as a prompt is read."""
        if self.hardware.device.type == "cpu":
            keep_freed_memory()
        for network in (self.vae, self.transformer, model.student, model.upsampler):
            if network is not None:
                self.hardware.place(network)

    @classmethod
    @in_words
    def from_pretrained(
        cls,
        source: str | Path = "pocket",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        **extras: Unpack[Extras],
    ) -> Self:
        """Open a preset by its name, a folder or file of any format, or a hub id.

        `extras` are those of `weights.Extras`: vae, text_encoder, upscaler, loras, in_context,
        allow_mismatch, progress.
        """
        if not isinstance(source, str | Path):
            raise RequestError(
                f"a model is a name, a folder or a file, got {source!r}: try 'pocket'"
            )
        return cls.of_files(ModelFiles.find(source, **extras), device=device, dtype=dtype)

    @classmethod
    def of_files(
        cls,
        files: ModelFiles,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
    ) -> Self:
        """Load files that are found already."""
        hardware = choose(device, dtype)
        model = files.load(hardware.dtype, hardware.device)
        pipe = cls(model, device=hardware.device, dtype=hardware.dtype)
        files.fuse_into(model)
        return pipe

    @in_words
    def fuse(self, *loras: LoRAFile, in_context: bool = False) -> tuple[FusedReport, ...]:
        """Run with these LoRAs, and no others: a file or hub id each, or a pair with a weight.

        `in_context`: one of them is an IC-LoRA, so that reference videos are heeded.
        """
        read = [read_weighted(each) for each in loras]
        return self.model.fuser.fuse(*read, in_context=in_context)

    def unfuse(self) -> None:
        """Take out all LoRAs: the weights are bit for bit what they were."""
        self.model.fuser.unfuse()

    def enhancer(self, named: str | PathLike[str] | PromptEnhancer) -> PromptEnhancer:
        """The language model of a request, loaded now; kept until text models are dropped."""
        if isinstance(named, PromptEnhancer):
            return named
        name, hardware = str(named), self.hardware
        if name not in self._enhancers:
            self._enhancers[name] = PromptEnhancer(
                name, device=hardware.device, dtype=hardware.dtype
            )
        return self._enhancers[name]

    def drop_text_models(self) -> None:
        """Free what encodes and enhances prompts; it is read again when it is needed."""
        self._enhancers.clear()
        if self.model.text_encoder is not None:
            self.model.text_encoder.drop()

    @_asks(Request)
    def __call__(self, request: Request) -> Video | list[Video]:
        """Make a clip, or a list of clips from a list of prompts."""
        plans = [self._plan(single, kept=True) for single in request.each()]
        if not request.is_batch:
            return _gather(self._make(*plans[0]))
        readings = [self._read(plan, stages) for plan, stages in plans]
        self.drop_text_models()  # large ones make room
        return [
            _gather(self._make(*plan, reading))
            for plan, reading in zip(plans, readings, strict=True)
        ]

    @_asks(Request)
    def stream(self, request: Request) -> Stream:
        """The frames of one clip, as soon as they are decoded. Wrong requests are refused here."""
        return self.run(request)

    @in_words
    def generate(self, request: Request) -> Video:
        """Make the one clip of a request."""
        return _gather(self._run(request, kept=True))

    @in_words
    def run(self, request: Request) -> Stream:
        """`stream` for a request that is made already."""
        return self._run(request, kept=False)

    @in_words
    def estimate(self, request: Request) -> Estimate:
        """Seconds and memory that a request will take, without making anything."""
        return estimate(Plan.make(request, self.model), self.model, self.hardware)

    @in_words
    def recipe(self, request: Request) -> dict[str, object]:
        """All that is needed to make the clip of a request again, before it is made once."""
        return Plan.make(request, self.model).recipe(self.model, self.hardware)

    def _run(self, request: Request, *, kept: bool) -> Stream:
        if not isinstance(request, Request):
            raise RequestError(
                f"this takes a Request, got {request!r:.80}: try Request('a red ball')"
            )
        if request.is_batch:
            raise RequestError(
                f"a stream is one clip, got {len(request.each())}: stream them one by one"
            )
        return self._make(*self._plan(request, kept=kept))

    def _plan(self, request: Request, *, kept: bool) -> tuple[Plan, Stages]:
        """Decide, enhance the prompt, load the text encoder; the clip's clock starts here."""
        stages = Stages(self.hardware, ("prepare", "text", "denoise", "decode"))
        with stages.stage("prepare", mixed=False), _naming_lack_of_memory():
            plan = Plan.make(request, self.model)
            check_memory(plan, self.model, self.hardware, kept=kept)
            plan = self._enhanced(plan)
            if plan.texts and self.model.text_encoder is not None:
                self.model.text_encoder.prepare(plan.texts)
        return plan, stages

    def _enhanced(self, plan: Plan) -> Plan:
        """With the prompt that a language model made of it, where that was asked for."""
        request = plan.request
        if request.enhance is None:
            return plan
        named = self.enhancer(request.enhance)
        assert isinstance(request.prompt, str)
        enhanced = named.enhance(request.prompt, plan.seed)
        return replace(
            plan, request=replace(request, prompt=enhanced.prompt), enhanced=enhanced.recipe
        )

    def _make(self, plan: Plan, stages: Stages, reading: Reading | None = None) -> Stream:
        with _naming_lack_of_memory():
            if reading is None:
                reading = self._read(plan, stages)
                if self.reads_once:
                    self.drop_text_models()
            return (yield from self._stages(plan, stages, reading))

    def _stages(self, plan: Plan, stages: Stages, reading: Reading) -> Stream:
        """Noise, conditions, schedule, guidance, sampler, decoder: all that follows the text."""
        with stages.stage("denoise"):
            texts = (reading.text, reading.negative)
            networks = (self.network, self.student)
            done = Denoiser(plan, self.model, self.hardware.device, *texts, *networks).run()
            latent_BCTHW = done.latent
            _check_finite(latent_BCTHW, "the latents")

        with stages.stage("decode"):
            noisy_BCTHW = self._for_decoder(plan, done)
        yield from stages.each("decode", _showing_something(self._decode(plan, noisy_BCTHW)))

        report = Report(
            seconds=stages.seconds,
            video_seconds=plan.size.frames / plan.frame_rate,
            peak_memory=peak_memory(self.hardware),
            warnings=(*plan.remarks, *reading.remarks),
        )
        recipe = plan.recipe(self.model, self.hardware)
        return Outcome(
            frame_rate=plan.frame_rate, latents=latent_BCTHW, report=report, recipe=recipe
        )

    def _read(self, plan: Plan, stages: Stages) -> Reading:
        """The prompt, the negative prompt if guidance needs one, and what the encoder remarks."""
        request = plan.request
        # In training the embeddings were made in float32 too.
        with stages.stage("text", mixed=False), _hearing_warnings() as caught:
            text = self._embed(request.prompt, request.prompt_embeds, request.prompt_attention_mask)
            if plan.uses_negative:
                negative = self._embed(plan.negative_prompt, request.negative_prompt_embeds, None)
            else:
                negative = text
        remarks = tuple(str(w.message) for w in caught if w.category is UserWarning)
        return Reading(text, negative, remarks)

    def _embed(
        self, prompt: object, embeds_BLD: Tensor | None, mask_BL: Tensor | None
    ) -> TextEmbedding:
        if embeds_BLD is None:
            assert isinstance(prompt, str)
            assert self.model.text_encoder is not None
            text = self.model.text_encoder.encode([prompt])
            embeds_BLD, mask_BL = text.embeds_BLD, text.keep_BL
        elif mask_BL is None:
            mask_BL = embeds_BLD.new_ones(embeds_BLD.shape[:2])
        device = self.hardware.device
        return TextEmbedding(embeds_BLD.to(device, torch.float32), mask_BL.to(device, torch.bool))

    def _for_decoder(self, plan: Plan, done: Denoised) -> Tensor:
        """All tokens at the noise level that the decoder is told.

        Free tokens are there already unless the sampler went on to zero; tokens that were held
        back by a condition are cleaner. From level s to level r:
        x_r = a x_s + sqrt(r^2 - (a s)^2) noise, a = (1 - r) / (1 - s).
        """
        level, state, walk = plan.decode_noise, done.state, plan.walks[-1]
        if level == plan.stop and not walk.conditions:
            noisy_BCTHW = done.latent
        else:
            now_BN1 = state.own(state.cap_BN).clamp(max=plan.stop)[..., None]
            kept_BN1 = (1 - level) / (1 - now_BN1)
            added_BN1 = (level**2 - (kept_BN1 * now_BN1) ** 2).clamp(min=0).sqrt()
            fresh_BNC = rearrange(gaussian(plan, walk, "decode"), "b c t h w -> b (t h w) c")
            tokens_BNC = state.own(done.tokens_BNC)
            noisy_BCTHW = state.latent(kept_BN1 * tokens_BNC + added_BN1 * fresh_BNC.to(tokens_BNC))
        return noisy_BCTHW if plan.two is None else tone_map(noisy_BCTHW, plan.two.tone_map)

    def _decode(self, plan: Plan, latent_BCTHW: Tensor) -> Iterator[Tensor]:
        """Chunks of frames on the host; all at once if the decoder needs the whole clip."""
        sigma_B = None
        if plan.decode_sigma is not None:
            sigma_B = latent_BCTHW.new_full((1,), plan.decode_sigma)
        drawn = torch.Generator().manual_seed(plan.seed)  # for decoders that inject noise
        if self.vae.config.causal_decoder:
            videos = self.vae.decode_stream(latent_BCTHW, sigma_B, generator=drawn)
        else:
            videos = iter([self.vae.decode(latent_BCTHW, sigma_B, drawn)])
        for video_BCFHW in videos:
            _check_finite(video_BCFHW, "the frames")
            pixels_FCHW = rearrange(video_BCFHW.float(), "1 c f h w -> f c h w")
            size = (plan.size.height, plan.size.width)
            if pixels_FCHW.shape[2:] != size:  # two passes end at another one
                # Clipped before it is scaled, as upstream.
                pixels_FCHW = interpolate(pixels_FCHW.clamp(-1, 1), size, mode="bilinear")
            pixels_FHWC = rearrange(pixels_FCHW, "f c h w -> f h w c")
            frames = (pixels_FHWC + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
            yield frames.cpu().contiguous()


load = Pipeline.from_pretrained


def _gather(stream: Stream) -> Video:
    """A stream to its end."""
    chunks: list[Tensor] = []
    with _naming_lack_of_memory():
        while True:
            try:
                chunks.append(next(stream))
            except StopIteration as end:
                return Video.of(torch.cat(chunks), end.value)


@contextmanager
def _naming_lack_of_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On the CPU, torch says it in words only.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and (
            "allocate memory" not in str(error)
        ):
            raise
        raise RunError(
            "the clip does not fit into memory, got no more from the system: "
            "make it smaller or shorter"
        ) from error


@contextmanager
def _hearing_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """All of the user's, of the whole process: one thread at a time."""
    with _HEARING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield caught


def _showing_something(chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """The same chunks; a clip of one colour is refused at its end."""
    darkest, brightest = 255, 0
    for frames in chunks:
        darkest, brightest = min(darkest, int(frames.min())), max(brightest, int(frames.max()))
        yield frames
    if darkest == brightest:
        raise RunError(
            f"a clip shows something, got {darkest} in every pixel: "
            "the weights of the model cannot be right"
        )


def _check_finite(values: Tensor, what: str) -> None:
    if values.sum(dtype=torch.float32).isfinite():  # as it is in one pass if all are
        return
    wrong = not_finite(values, what)
    if wrong is not None:
        raise RunError(
            f"{what} must be finite, got: {wrong.message}: "
            "the weights of the model cannot be right, or try dtype='float32'"
        )
