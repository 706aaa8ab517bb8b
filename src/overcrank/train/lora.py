"""LoRA: a frozen transformer with small additions to its linear layers, which alone are trained.

    y = W x + b + alpha / rank * up(down(x)),   down: in -> rank, up: rank -> out

`up` begins at zero, so that training begins with the network as it is. Source: Hu et al., "LoRA",
arXiv:2106.09685, section 4.1.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from overcrank.errors import RequestError
from overcrank.train.config import Lora
from overcrank.weights.files import write_atomically


class Addition(nn.Linear):
    """A frozen linear layer, under its own names, and what is added to it, float32."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float, dice: torch.Generator) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.scale = scale
        device = layer.weight.device
        down = torch.empty(rank, layer.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=dice)  # as PEFT
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  as nn.Linear calls it
        """(..., in) -> (..., out), in the dtype of the frozen layer."""
        plain = super().forward(input)
        added = functional.linear(input.to(self.down.dtype), self.down)
        return plain + (self.scale * functional.linear(added, self.up)).to(plain.dtype)


def adapt(network: nn.Module, lora: Lora, seed: int = 0) -> None:
    """Freeze a transformer and put additions to its layers, in place."""
    network.requires_grad_(False)
    dice = torch.Generator().manual_seed(seed)
    for name in targeted(network, lora.targets):
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        network.set_submodule(name, Addition(layer, lora.rank, lora.alpha / lora.rank, dice))


def additions(network: nn.Module) -> Iterator[tuple[str, Addition]]:
    """By the names of their layers."""
    for name, module in network.named_modules():
        if isinstance(module, Addition):
            yield name, module


def save_lora(path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write the additions as diffusers names them, float32, with alpha / rank multiplied in.

    So alpha equals the rank, which is what readers assume of a file that states no alpha.
    """
    tensors: dict[str, Tensor] = {}
    for name, addition in additions(network):
        tensors[f"transformer.{name}.lora_A.weight"] = addition.down
        tensors[f"transformer.{name}.lora_B.weight"] = addition.scale * addition.up
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        save_file(stored, temporary, {"format": "pt", **metadata})
        temporary.chmod(0o644)  # save_file leaves it readable for its owner alone


def targeted(network: nn.Module, ends: list[str]) -> list[str]:
    """Layers in the blocks by the ends of their names; each end has to name some."""
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("transformer_blocks.")
    ]
    for end in ends:
        if not any(name.endswith(f".{end}") for name in layers):
            first = [name.split(".", 2)[2] for name in layers if name.split(".")[1] == "0"]
            raise RequestError(
                f"lora.targets name linear layers of a block by the ends of their names: got "
                f"{end!r}: there are {', '.join(first)}"
            )
    return [name for name in layers if any(name.endswith(f".{end}") for end in ends)]
