"""Everything that decides the outcome of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from overcrank import transformer, vae
from overcrank.errors import RequestError
from overcrank.shapes import LatentSize
from overcrank.train.config.adapt import Lora
from overcrank.train.config.base import Count, Shaped, Strict
from overcrank.train.config.clips import Clips
from overcrank.train.config.data import FilmShare, Latents, Scenes, Stage
from overcrank.train.config.decoder import DecoderShape
from overcrank.train.config.joint import Joint
from overcrank.train.config.learn import Conditions, Distil, Optim
from overcrank.train.config.losses import VAELoss
from overcrank.train.config.samples import Samples

ONLY_FOR = {
    "vae": ("freeze", "decoder", "loss", "film", "clips"),
    "transformer": ("vae", "text", "latents", "conditions", "lora", "clips", "samples", "compile"),
    "distil": ("vae", "text", "latents", "conditions", "distil", "clips", "samples", "compile"),
    "joint": ("decoder", "loss", "conditions", "joint", "clips", "samples"),
}
"""Keys that not every kind of run understands."""

STAGES_OF = {
    "tokens": ("transformer", "distil"),
    "near_noise": ("transformer",),
    "below": ("transformer",),
}
"""Keys of stages that not every kind of run understands."""


class RunConfig(Strict):
    """Everything that decides the outcome of a run."""

    kind: Literal["vae", "transformer", "distil", "joint"] = Field(examples=["transformer"])
    """What is trained: an autoencoder, a transformer, a few-step student, or both networks."""
    preset: str | None = None
    """Row of the architecture table of that network, or of both: pocket, if neither it nor
    `start_from` is given. What a run starts from says by itself what it is."""
    vae: str | None = None
    """Transformer only: the autoencoder, as `start_from` is given."""
    text: str = "overcrank-small"
    """What reads the captions: overcrank-small, which ships, or a T5, by folder, file or hub id."""
    start_from: str | None = None
    """Weights to start from instead of random numbers: a file or folder of any format, the name
    of a shipped model, or a hub id as hf://OWNER/NAME; for a joint run one with both networks."""
    freeze: list[Literal["encoder", "decoder"]] = Field(default=[], max_length=1)
    """Parts of the network that stay as they are. With the encoder frozen, the latents and their
    statistics do too, and a transformer trained on them still fits."""
    decoder: DecoderShape = DecoderShape()
    """Changes to the architecture of an autoencoder's decoder."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of all that is drawn: first weights, batches, noise."""
    steps: Count = Field(examples=[1000])
    """How long the run is."""
    stages: list[Stage] = Field(min_length=1, examples=["[{frames: 17, size: 128, batch: 16}]"])
    """What batches are like, from which step on; those of one `start` take turns."""
    optim: Optim = Field(examples=["{lr: 1.0e-3}"])
    """The optimiser."""
    actor_weight: float = Field(default=2.0, ge=0)
    """How much more an error counts where an actor is seen."""
    loss: VAELoss = VAELoss()
    """What an autoencoder's output is judged by."""
    scenes: Scenes = Scenes()
    """What clips of the toybox show."""
    film: FilmShare | None = None
    """Real footage among an autoencoder's clips."""
    clips: Clips | None = None
    """Real clips; if not given, the toybox."""
    latents: list[Latents] = Field(default=[])
    """One entry for each size and length; a stage takes the shortest that is long enough."""
    conditions: Conditions = Conditions()
    """Probabilities of what a sample is given besides noise."""
    distil: Distil = Distil()
    """What a few-step student learns to do."""
    lora: Lora | None = None
    """Train additions to the layers of `start_from` instead of all its weights."""
    joint: Joint = Joint()
    """How the two networks of a joint run learn together."""
    samples: Samples | None = None
    """Clips of its own network that a run makes as it goes."""
    precision: Literal["auto", "float32"] = "auto"
    """auto computes in bfloat16 where that is fast; weights of what learns are float32."""
    accumulate: Count = 1
    """Each batch is computed in so many parts, one after another, for less memory."""
    recompute: bool = False
    """Compute the inside of blocks again in the backward pass instead of keeping it."""
    compile: bool = False
    """Compile the blocks of a transformer with torch.compile: some ten seconds for each new
    shape of a batch, then about twice as fast in bfloat16 on a CPU. A transformer's only."""
    shard: bool = False
    """Spread weights and moments over the processes instead of having all in each."""
    log_every: Count = 20
    """Steps from one line of numbers to the next."""
    save_every: Count = 500
    """Steps from one saved state to the next; held-out numbers and the exported weights with it."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        whole = self.kind in ("vae", "joint")
        presets = list(vae.PRESETS if whole else transformer.PRESETS)
        if self.kind == "joint":
            presets = [name for name in presets if name in transformer.PRESETS]
        if self.row not in presets:
            raise RequestError(
                f"there is no such preset of a {self.kind}: got {self.preset}: right is one of "
                f"{', '.join(presets)}"
            )
        for name in sorted({name for names in ONLY_FOR.values() for name in names}):
            unused = name not in ONLY_FOR[self.kind]
            if unused and getattr(self, name) != type(self).model_fields[name].default:
                raise RequestError(
                    f"{name} does nothing in a run of kind {self.kind}: leave it out"
                )
        for name, kinds in STAGES_OF.items():
            given = {getattr(stage, name) for stage in self.stages}
            if self.kind not in kinds and given != {Stage.model_fields[name].default}:
                raise RequestError(
                    f"{name} does nothing in a run of kind {self.kind}: leave it out of stages"
                )
        needed = {"vae": (), "joint": (), "transformer": ("vae", "latents")}
        for name in needed.get(self.kind, ("vae", "latents", "start_from")):
            if not getattr(self, name):
                raise RequestError(
                    f"a run of kind {self.kind} needs an autoencoder (vae: a vae.safetensors file "
                    "or a model) and latents, and to distil also a teacher (start_from: a "
                    f"transformer.safetensors file): got no {name}, fill it in"
                )
        if self.lora is not None and self.start_from is None:
            raise RequestError(
                "a LoRA adds to a network that is there: got lora and no start_from: name the "
                "network, or leave lora out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_spread(self) -> Self:
        if self.shard and (self.kind == "distil" or self.loss.gan):
            raise RequestError(
                "shard needs every process to take the same way through its networks, which a "
                f"student or a critic does not: got kind {self.kind} and loss.gan {self.loss.gan}: "
                "leave shard out"
            )
        return self

    @model_validator(mode="after")
    def _has_time_for_its_critic(self) -> Self:
        if self.loss.gan and self.kind != "vae":
            raise RequestError(
                f"a run of kind {self.kind} has no critic: got loss.gan {self.loss.gan}: "
                "right is 0, or an autoencoder's own run before it"
            )
        if self.loss.gan and (self.loss.gan_from >= self.steps or "decoder" in self.freeze):
            raise RequestError(
                f"a critic has nothing to do: got loss.gan {self.loss.gan} from step "
                f"{self.loss.gan_from} of {self.steps}, and freeze {self.freeze}: right is a "
                "smaller loss.gan_from, a decoder that learns, or loss.gan 0"
            )
        return self

    @model_validator(mode="after")
    def _has_stages_in_order(self) -> Self:
        starts = [stage.start for stage in self.stages]
        if starts[0] != 0 or starts != sorted(starts):
            raise RequestError(f"stages start at {starts}: right is 0 first, then rising steps")
        if len({latents.clip for latents in self.latents}) < len(self.latents):
            raise RequestError(
                "latents have one entry for each size and length, got two of one: join them"
            )
        for stage in self.stages if self.latents else ():
            self.latents_of(stage)
        if self.clips is None and any(latents.clips is None for latents in self.latents):
            raise RequestError(
                "latents of the toybox are of so many clips, got no clips: give their number, as "
                "in latents=[{clips: 8192, ...}], or prepared clips: clips.folder=DIR"
            )
        if self.clips is not None and self.clips.share < 1 and self.kind != "vae":
            raise RequestError(
                f"a run of kind {self.kind} learns from prepared clips alone, got clips.share "
                f"{self.clips.share}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        least = min(stage.batch for stage in self.stages)
        if self.accumulate > least:
            raise RequestError(
                f"a batch cannot be computed in so many parts: got accumulate {self.accumulate}, "
                f"right is at most the smallest batch, {least}"
            )
        return self

    @model_validator(mode="after")
    def _samples_what_it_learns(self) -> Self:
        wish = self.samples
        if wish is None:
            return self
        if (wish.every or self.save_every) % self.save_every:
            raise RequestError(
                f"samples are made where a run is saved: got samples.every {wish.every} and "
                f"save_every {self.save_every}: right is a multiple of it"
            )
        longest = {s.size: s.frames for s in sorted(self.stages, key=lambda s: s.frames)}
        asked = self.sampled()
        if asked.frames > longest.get(asked.size, 0):
            raise RequestError(
                f"samples lie outside of what the run learns: got {asked.frames} frames of "
                f"{asked.size} pixels: right is at most "
                + " or ".join(f"{frames} frames of {size}" for size, frames in longest.items())
            )
        return self

    @property
    def row(self) -> str:
        """The row of the table where no file says more."""
        return self.preset or "pocket"

    @property
    def title(self) -> str:
        """What is trained, in a few words."""
        return title(self.model_dump())

    def sampled(self) -> Shaped:
        """The shape of the clips that are made to look at."""
        assert self.samples is not None
        small = min(self.stages_at(self.steps - 1), key=lambda stage: stage.pixels)
        return Shaped(
            frames=self.samples.frames or small.frames, size=self.samples.size or small.size
        )

    def latents_of(self, stage: Stage) -> Latents:
        """Where the clips of a stage come from: cut to their beginning, if they are longer."""
        fitting = [n for n in self.latents if n.size == stage.size and n.frames >= stage.frames]
        if not fitting:
            raise RequestError(
                f"the latents do not hold a stage of {stage.frames} frames of {stage.size} "
                "pixels: right is at most "
                + " or ".join(f"{held.frames} frames of {held.size}" for held in self.latents)
            )
        return min(fitting, key=lambda held: held.frames)

    def stage(self, step: int) -> Stage:
        """The stage that `step` belongs to."""
        turns = self.stages_at(step)
        return turns[step % len(turns)]

    def stage_like(self, grid: Sequence[int]) -> Stage:
        """The first stage whose clips have that latent grid."""
        return next(s for s in self.stages if s.clip.latent == LatentSize(*grid))

    def stages_at(self, step: int) -> list[Stage]:
        """The stages that take turns around `step`, longest clips last."""
        start = max(s.start for s in self.stages if s.start <= step)
        return sorted((s for s in self.stages if s.start == start), key=lambda s: s.frames)


def title(values: Mapping[str, Any]) -> str:
    """What is trained by a run of such values, in a few words."""
    network = values["preset"] or Path(values.get("start_from") or "pocket").name
    what = f"{values['kind']} {network}"
    lora = values.get("lora")
    return f"LoRA of rank {lora['rank']} for the {what}" if lora else what


GROUPS: dict[str, type[Strict]] = {
    "": RunConfig,
    "stages": Stage,
    "optim": Optim,
    "decoder": DecoderShape,
    "loss": VAELoss,
    "latents": Latents,
    "scenes": Scenes,
    "film": FilmShare,
    "clips": Clips,
    "conditions": Conditions,
    "distil": Distil,
    "lora": Lora,
    "joint": Joint,
    "samples": Samples,
}

LISTS = ("stages", "latents")
"""Groups of which there are several."""
