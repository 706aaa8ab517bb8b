"""What a run has learnt so far: weights, their moving average, and the optimiser's moments."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overcrank.errors import RequestError
from overcrank.train.config import Optim
from overcrank.train.memory import gathered, local, spread


@dataclass(frozen=True, slots=True)
class Learnt:
    """Everything that a run changes; each tensor has a name to be stored under."""

    module: nn.Module
    average: dict[str, Tensor]
    """Of all that moves, by its name in the module."""
    optimiser: torch.optim.Optimizer
    blank: nn.Module
    """The module without weights, for copies of it."""
    spread: bool
    """Each process has a part of it."""

    @classmethod
    def begin(cls, module: nn.Module, optim: Optim, processes: int = 1) -> "Learnt":
        """As at step 0: the average is the weights, the optimiser has seen nothing.

        With more than one of `processes`, all is spread over them.
        """
        blank = _without_weights(module)
        if processes > 1:
            spread(module, processes)
        optimiser = torch.optim.AdamW(
            parameter_groups(module, optim.fan_in, optim.pace),
            lr=optim.lr,
            betas=optim.betas,
            weight_decay=optim.weight_decay,
            fused=True,
        )
        average = {name: tensor.clone() for name, tensor in moving(module).items()}
        return cls(module, average, optimiser, blank, processes > 1)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights."""
        now = moving(self.module)
        targets = [local(self.average[name]) for name in now]
        torch._foreach_lerp_(targets, [local(tensor) for tensor in now.values()], 1 - decay)

    def network(self) -> nn.Module:
        """A copy of the module with the average as its weights, in evaluation mode.

        Frozen weights are the module's own. If all is spread, every process has to ask for it.
        """
        network, state = copy.deepcopy(self.blank), self.module.state_dict()
        frozen = {
            n: gathered(t) if self.spread else t for n, t in state.items() if n not in self.average
        }
        average = {name: gathered(tensor) for name, tensor in self.average.items()}
        network.load_state_dict(frozen | average, assign=True)
        return network.eval()

    def tensors(self) -> dict[str, Tensor]:
        """All of it: `module.*`, `average.*`, and `optimiser.*.exp_avg` and the like."""
        named = {f"module.{name}": tensor for name, tensor in moving(self.module).items()}
        named |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.module.named_parameters():
            moments = self.optimiser.state.get(parameter, {})
            named |= {f"optimiser.{name}.{key}": moment for key, moment in moments.items()}
        return named

    @torch.no_grad()
    def make_room(self, stored: Mapping[str, Tensor]) -> None:
        """Give the optimiser zeros for the moments that are `stored`, whose values do not count.

        A parameter that has had no gradient yet has none.
        """
        parameters = dict(self.module.named_parameters())
        for full, moment in stored.items():
            name, _, key = full.removeprefix("optimiser.").rpartition(".")
            if full.startswith("optimiser.") and name in parameters:
                one, like = parameters[name], moment
                if moment.shape == one.shape:  # it is laid out, and spread, as its parameter
                    like = one
                room = torch.zeros_like(like, dtype=moment.dtype, device=one.device)
                self.optimiser.state[one][key] = room


def parameter_groups(
    module: nn.Module, fan_in: int | None, pace: Mapping[str, float] = {}
) -> list[dict[str, Any]]:
    """Parameters by the factor on their learning rate (see `Optim.fan_in` and `Optim.pace`)."""
    named = {name: each for name, each in module.named_parameters() if each.requires_grad}
    for part in pace:
        if not any(name.startswith(part) for name in named):
            parts = sorted({name.partition(".")[0] for name in named})
            raise RequestError(
                f"optim.pace names a part that does not learn: got {part}: right are beginnings "
                f"of the names of parameters: {', '.join(parts)}"
            )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        inputs = parameter[0].numel() if parameter.ndim > 1 else 1
        scale = min(1.0, fan_in / inputs) if fan_in else 1.0
        for part, factor in pace.items():
            scale *= factor if name.startswith(part) else 1.0
        groups.setdefault(scale, []).append(parameter)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]


def moving(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: buffers, and parameters that are not frozen."""
    frozen = {name for name, each in module.named_parameters() if not each.requires_grad}
    return {name: each for name, each in module.state_dict().items() if name not in frozen}


def _without_weights(module: nn.Module) -> nn.Module:
    """A copy whose parameters take no memory; buffers are copied."""
    instead: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in module.parameters()
    }
    return copy.deepcopy(module, instead)
