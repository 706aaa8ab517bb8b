"""From what a caller names to a model: its files are found and checked before weights are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypedDict, Unpack, overload

import torch

from overcrank.errors import ModelError, RequestError, in_words
from overcrank.text import SmallEncoder, T5Encoder, TextEncoder
from overcrank.text.t5 import LONGEST, OFFICIAL
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.vae.linear_upsampler import LinearUpsampler
from overcrank.vae.upsampler import Upsampler, load_upsampler
from overcrank.weights.advice import Advice
from overcrank.weights.card import STUDENT_FILE, UPSAMPLER_FILE, Card, Defaults
from overcrank.weights.checkpoint import Checkpoint
from overcrank.weights.convert import open_checkpoint
from overcrank.weights.fit import check_fit
from overcrank.weights.hub import HubId, fetch, local
from overcrank.weights.lightricks import has_late_encoder
from overcrank.weights.lora import LoRA, read_lora
from overcrank.weights.mapped import open_file
from overcrank.weights.model import Model
from overcrank.weights.own import FILES, own_file, recommended
from overcrank.weights.releases import Release
from overcrank.weights.store import (
    Component,
    content_hash,
    latent_hash,
    load_component,
    read_metadata,
    sampled_hash,
)

LoRAFile = str | Path | tuple[str | Path, float]
"""A file, or a file and its weight; 1 is as it was trained."""


NO_TEXT_ENCODER = (
    "{name} has no text encoder, got a prompt: give prompt_embeds instead, or name one "
    f"(text_encoder=, --text-encoder), such as {OFFICIAL}"
)


class Extras(TypedDict, total=False):
    """Files that go with a model, and how they are treated."""

    vae: str | Path | None
    """Another autoencoder than the one that comes with the transformer."""
    text_encoder: str | Path | None
    """T5: a folder, a hub id, or a single file .safetensors or .gguf."""
    upscaler: str | Path | None
    """A latent upscaler: clips are made in two passes."""
    loras: Sequence[LoRAFile]
    in_context: bool
    """Whether one of the LoRAs is an IC-LoRA: only then are reference videos heeded."""
    allow_mismatch: bool
    """Run files that are proven not to belong together, with a warning."""
    progress: bool
    """Show downloads on stderr."""


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, opened and checked; no weights are read yet."""

    checkpoint: Checkpoint
    """It has the transformer."""
    coder: Checkpoint
    """It has the autoencoder."""
    extras: Extras
    remarks: tuple[str, ...] = ()

    @classmethod
    @in_words
    def find(cls, source: str | Path, **extras: Unpack[Extras]) -> "ModelFiles":
        """Open a preset, a folder or file of any format, or a hub id."""
        show, vae = extras.get("progress", False), extras.get("vae")
        found = coder = open_checkpoint(source, progress=show)
        if vae is not None:
            coder = open_checkpoint(vae, progress=show)
            if coder.vae and found.transformer and not found.transformer.certain:
                causal = has_late_encoder(coder.vae)
                found = open_checkpoint(source, causal_positions=causal, progress=show)
        _check_holds(found, "transformer")
        _check_holds(coder, "vae", " with vae= or --vae")
        remarks = list(found.remarks)
        if found.finding is not None:
            remarks += found.finding.remarks
            allowed = extras.get("allow_mismatch", False)
            remarks += check_fit(found, coder, allow_mismatch=allowed)
        files = cls(found, coder, extras, tuple(remarks))
        return files if files.card is None else cls(found, coder, extras, files.remarks_on_card())

    @cached_property
    def card(self) -> Card | None:
        """model.json, which a folder of ours has."""
        path = self.checkpoint.path
        ours = self.checkpoint.format == "overcrank" and path.is_dir()
        return Card.read(path) if ours else None

    @property
    def release(self) -> Release | None:
        """The published release it is run as; None: ours."""
        finding = self.checkpoint.finding
        return None if finding is None else finding.release

    @property
    def defaults(self) -> Defaults:
        """What the card says, or the release as far as a card can say it."""
        return recommended(self.checkpoint) if self.card is None else self.card.defaults

    @property
    def advice(self) -> Advice:
        """How it wants to be run."""
        return Advice.of(self.release, self.defaults)

    @cached_property
    def loras(self) -> tuple[tuple[LoRA, float], ...]:
        """Those that were named, with their weights."""
        show = self.extras.get("progress", False)
        return tuple(read_weighted(each, progress=show) for each in self.extras.get("loras", ()))

    def check_prompt(self) -> None:
        """Refuse a model that cannot read a prompt."""
        if self._encoder_opener(torch.float32, "cpu") is None:
            name = self.checkpoint.name if self.card is None else self.card.name
            raise RequestError(NO_TEXT_ENCODER.format(name=name))

    def remarks_on_card(self) -> tuple[str, ...]:
        """The remarks, with one on a card that says otherwise than its release."""
        if self.release is None or self.defaults == recommended(self.checkpoint):
            return self.remarks
        odd = (
            f"model.json of {self.checkpoint.path} recommends otherwise than {self.release.name}, "
            "which it is run as: the release counts"
        )
        return (*self.remarks, odd)

    def load(
        self, compute: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Model:
        """Read the weights, for a device that multiplies in `compute`; they stay on the CPU.

        For float32 they are cast tensor by tensor. Else they keep the dtypes of the file, so that
        they are its pages; only our own small models are always float32, and what GGUF quantised
        becomes `compute`.
        """
        # What is wrong with the small files is said before the large ones are read.
        upsampler, opener = self._upsampler(), self._encoder_opener(compute, device)
        if self.extras.get("text_encoder") is not None and opener is not None:
            encoder = opener()  # its weights wait
            opener = lambda: encoder  # noqa: E731
        _ = self.loras
        vae, transformer, student = self._vae(compute), self._transformer(compute), self._student()
        hashes = {
            "vae": self._hash("vae", vae),
            "transformer": self._hash("transformer", transformer),
            **({} if upsampler is None else {"upscaler": sampled_hash(upsampler)}),
            **({} if student is None else {"student": content_hash(student)}),
        }
        warned = self._check_latents(vae)
        return Model(
            self.checkpoint.name if self.card is None else self.card.name,
            vae,
            transformer,
            self.defaults,
            opener,
            hashes,
            release=self.release,
            upsampler=upsampler,
            student=student,
            remarks=(*self.remarks, *warned),
            mismatch_allowed=self.extras.get("allow_mismatch", False),
        )

    def fuse_into(self, model: Model) -> None:
        """Fuse the LoRAs that were named; the model is where it will stay."""
        if self.loras:
            model.fuser.fuse(*self.loras, in_context=self.extras.get("in_context", False))

    def _vae(self, compute: torch.dtype) -> VAE:
        if self.coder.format == "overcrank":
            return load_component(own_file(self.coder, "vae"), "vae", dtype=self._dtype(compute))
        return self.coder.build_vae(self._dtype(compute))

    def _transformer(self, compute: torch.dtype) -> Transformer:
        found, dtype = self.checkpoint, self._dtype(compute)
        if found.format == "overcrank":
            return load_component(own_file(found, "transformer"), "transformer", dtype=dtype)
        return found.build_transformer(compute if found.format == "gguf" else dtype)

    def _student(self) -> Transformer | None:
        """Beside the transformer, where the card has levels for it; of the same latents."""
        if self.card is None or not self.card.defaults.student:
            return None
        path = self.checkpoint.path / STUDENT_FILE
        needed, found = (
            read_metadata(each, "transformer").get("latent_hash")
            for each in (own_file(self.checkpoint, "transformer"), path)
        )
        if found != needed:
            raise ModelError(
                f"the networks in {self.checkpoint.path} do not belong together: got "
                f"{STUDENT_FILE} of the latents {found}, right is the one made of "
                f"{FILES['transformer']}, of {needed}"
            )
        return load_component(path, "transformer")

    def _dtype(self, compute: torch.dtype) -> torch.dtype | None:
        kept = self.release is not None and compute != torch.float32
        return None if kept else torch.float32

    def _hash(self, component: Component, network: VAE | Transformer) -> str:
        found = self.coder if component == "vae" else self.checkpoint
        if found.format == "overcrank":
            return read_metadata(own_file(found, component))["content_hash"]
        return sampled_hash(network)

    def _check_latents(self, vae: VAE) -> tuple[str, ...]:
        """A transformer of ours names the hash of the latents it was trained on."""
        own = self.release is None or (
            self.checkpoint.format == "overcrank" and self.coder is self.checkpoint
        )
        if not own:
            return ()
        stored = read_metadata(own_file(self.checkpoint, "transformer"), "transformer")
        latents, trained_on = latent_hash(vae), stored.get("latent_hash", "none named")
        if trained_on == latents:
            return ()
        refusal = (
            f"the networks in {self.checkpoint.path} and {self.coder.path} do not belong together: "
            f"got a VAE with latent hash {latents[:16]}..., right is the one the transformer was "
            f"trained on, latent_hash {trained_on[:16]}..."
        )
        if not self.extras.get("allow_mismatch"):
            raise ModelError(refusal)
        return (refusal,)

    def _upsampler(self) -> Upsampler | None:
        named = self.extras.get("upscaler")
        if named is None:
            if self.card is None or not self.card.defaults.second:
                return None
            named = str(self.checkpoint.path / UPSAMPLER_FILE)
        elif self.advice.two is None:
            raise ModelError(
                f"{self.checkpoint.name} is run in one pass: got the upscaler {named}: leave it "
                "out, or take a release that has a second pass, such as ltxv-13b-0.9.8-dev"
            )
        path = local(named, kind="upscaler", progress=self.extras.get("progress", False))
        if not path.is_dir():
            open_file(path)  # refuses what is no file, and headers without bounds
        upsampler = load_upsampler(path)
        assert self.coder.vae is not None
        channels = self.coder.vae.config.latent_channels
        if upsampler.config.in_channels != channels:
            raise ModelError(
                f"the upscaler {named} does not fit {self.coder.path}: got latents of "
                f"{upsampler.config.in_channels} channels: right are {channels}"
            )
        return upsampler.float() if isinstance(upsampler, LinearUpsampler) else upsampler

    def _encoder_opener(
        self, compute: torch.dtype, device: torch.device | str
    ) -> Callable[[], TextEncoder] | None:
        longest = LONGEST if self.release is None else self.release.text_tokens
        t5 = partial(T5Encoder, device=device, dtype=compute, longest=longest)
        named, beside = self.extras.get("text_encoder"), self.checkpoint.text_encoder
        if named is not None:
            return partial(t5, named)
        if beside is not None:
            return partial(t5, beside.parent)
        hub = self.checkpoint.hub
        if hub is not None and hub.file is None and self.checkpoint.format == "diffusers":
            return _from_hub(t5, hub)
        openers: dict[str | None, Callable[[], TextEncoder]] = {
            SmallEncoder.name: SmallEncoder,
            "t5": partial(t5, OFFICIAL),
        }
        return openers.get(None if self.card is None else self.card.text_encoder)


def open_model(
    source: str | Path, *, compute: torch.dtype = torch.float32, **extras: Unpack[Extras]
) -> Model:
    """Open a preset by its name, a folder or file of any format, or a hub id."""
    files = ModelFiles.find(source, **extras)
    model = files.load(compute)
    files.fuse_into(model)
    return model


@overload
def load_network(
    source: str | Path, component: Literal["vae"], dtype: torch.dtype = torch.float32
) -> VAE: ...
@overload
def load_network(
    source: str | Path, component: Literal["transformer"], dtype: torch.dtype = torch.float32
) -> Transformer: ...
def load_network(
    source: str | Path, component: Component, dtype: torch.dtype = torch.float32
) -> VAE | Transformer:
    """One network of a preset, a file or folder of any format, or a hub id; on the CPU."""
    found = open_checkpoint(source)
    if found.format == "overcrank":  # whose content hash is checked
        return load_component(own_file(found, component), component, dtype=dtype)
    return found.network(component).build(dtype)


def read_weighted(named: LoRAFile, *, progress: bool = False) -> tuple[LoRA, float]:
    """A LoRA from a file or the hub, and its weight."""
    path, weight = named if isinstance(named, tuple) else (named, 1.0)
    return read_lora(local(path, kind="LoRA", progress=progress)), weight


def _check_holds(found: Checkpoint, component: Component, how: str = "") -> None:
    if any(network.component == component for network in found.networks):
        return
    there = " and ".join(each.component for each in found.networks) or "nothing"
    file = f", {FILES[component]}," if found.format == "overcrank" else ""
    raise ModelError(
        f"{found.path} holds no {component}: got {there}: name a file or folder{file} that has "
        f"one{how}"
    )


def _from_hub(t5: Callable[[Path], TextEncoder], name: HubId) -> Callable[[], TextEncoder]:
    """Its text encoder is larger than all the rest, and fetched when it is needed."""
    return lambda: t5(fetch(name, text_encoder=True))
