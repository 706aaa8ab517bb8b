"""What a run will cost, before it is begun: parameters, memory, time. Nothing is written."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from overcrank.runtime import Hardware, free_memory
from overcrank.train.checks import check_clips, missing
from overcrank.train.config import RunConfig, Stage
from overcrank.train.learnt import moving
from overcrank.train.rehearse import Architecture, Rehearsal, rehearse
from overcrank.train.tally import cost, speed

_Shape = tuple[int, int, int | str, int | None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network, and how many numbers it has."""

    name: str
    trained: int
    frozen: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at the largest step."""

    weights: int
    average: int
    """The moving average of the weights."""
    optimiser: int
    gradients: int
    activations: int
    """What forward and backward hold at their peak, besides gradients."""

    @property
    def total(self) -> int:
        """At once."""
        return self.weights + self.average + self.optimiser + self.gradients + self.activations


@dataclass(frozen=True, slots=True)
class Planned:
    """One stage: how much there is to do in it, and what a step of it costs."""

    first: int
    steps: int
    batch: int
    frames: int
    size: int | str
    tokens: int
    """Of the transformer in one step; for an autoencoder the cells it writes."""
    operations: float
    """Of one step; a multiplication and an addition are two."""
    seconds: float
    """Of one step."""

    @property
    def samples_per_second(self) -> float:
        """Clips that are learnt from."""
        return self.batch / self.seconds


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will cost."""

    config: RunConfig
    device: str
    precision: str
    parts: tuple[Part, ...]
    memory: Memory
    free: int | None
    stages: tuple[Planned, ...]
    timed_by: str
    remarks: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of all steps; making latents, measuring and saving are not in it."""
        return sum(stage.steps * stage.seconds for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "config": self.config.model_dump(mode="json"),
            "device": self.device,
            "precision": self.precision,
            "parameters": {
                "trained": sum(part.trained for part in self.parts),
                "frozen": sum(part.frozen for part in self.parts),
                "parts": [asdict(part) for part in self.parts],
            },
            "memory": {**asdict(self.memory), "total": self.memory.total, "free": self.free},
            "stages": [
                {**asdict(stage), "samples_per_second": stage.samples_per_second}
                for stage in self.stages
            ],
            "timed_by": self.timed_by,
            "seconds": self.seconds,
            "remarks": list(self.remarks),
        }


def plan_run(config: RunConfig, hardware: Hardware) -> RunPlan:
    """Count and time a run without beginning it."""
    architecture = Architecture.of(config)
    check_clips(config)
    whole = rehearse(config, architecture, hardware)
    weights = sum(_bytes([*n.parameters(), *n.buffers()]) for n in whole.networks)
    average = sum(_bytes(moving(network).values()) for network in whole.trained.values())
    learnt = [p for net in whole.trained.values() for p in net.parameters() if p.requires_grad]
    gradients = _bytes(learnt)
    shapes = {_shape(s): s for s in config.stages}
    costs = {key: cost(config, architecture, s, hardware) for key, s in shapes.items()}
    rate, timed_by = speed(config, architecture, hardware)
    free = free_memory(hardware.device)
    memory = Memory(
        weights=weights,
        average=average,
        optimiser=2 * gradients,  # AdamW: two moments
        gradients=gradients,
        activations=max(activations for _, activations in costs.values()),
    )
    remarks = [*architecture.remarks, *_not_there(config)]
    if free is not None and memory.total > free:
        remarks.append(
            f"this does not fit into memory: {memory.total / 1e9:.1f} GB where {free / 1e9:.1f} GB "
            "are free: make the batch or the clips smaller"
        )
    return RunPlan(
        config=config,
        device=str(hardware.device),
        precision=str(hardware.dtype).removeprefix("torch."),
        parts=tuple(_parts(whole)),
        memory=memory,
        free=free,
        stages=tuple(_stages(config, {key: ops for key, (ops, _) in costs.items()}, rate)),
        timed_by=timed_by,
        remarks=tuple(remarks),
    )


def _not_there(config: RunConfig) -> list[str]:
    lacking = ", ".join(f"{key} {given}" for key, given, _ in missing(config))
    return [f"not there yet, and needed to begin: {lacking}"] if lacking else []


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shape(stage: Stage) -> _Shape:
    """What decides the cost of a step."""
    return stage.batch, stage.frames, stage.size, stage.tokens


def _parts(rehearsal: Rehearsal) -> list[Part]:
    """Networks by the first word of their parameters' names."""
    counts: dict[str, list[int]] = {}
    for name, network in {**rehearsal.trained, **rehearsal.beside}.items():
        for path, parameter in network.named_parameters():
            count = counts.setdefault(f"{name}.{path.split('.')[0]}", [0, 0])
            learns = parameter.requires_grad and name in rehearsal.trained
            count[0 if learns else 1] += parameter.numel()
    return [Part(name, *count) for name, count in counts.items()]


def _stages(config: RunConfig, operations: Mapping[_Shape, float], speed: float) -> list[Planned]:
    """Stages that begin together share the steps until the next ones."""
    starts = sorted({stage.start for stage in config.stages} | {config.steps})
    ends = dict(pairwise(starts))
    planned = []
    for stage in config.stages:
        if stage.start >= config.steps:
            continue
        has = stage.clip.latent.tokens
        beside = sum(other.start == stage.start for other in config.stages)
        needed = operations[_shape(stage)]
        planned.append(
            Planned(
                first=stage.start,
                steps=(ends[stage.start] - stage.start) // beside,
                batch=stage.batch,
                frames=stage.frames,
                size=stage.size,
                tokens=stage.batch * min(has, stage.tokens or has),
                operations=needed,
                seconds=needed / speed,
            )
        )
    return planned
