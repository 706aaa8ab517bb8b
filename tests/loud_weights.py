"""Random weights for tests: every branch of a network is audible in its output."""

import torch
from torch import nn


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Weights keep the size of what passes through them; biases and tables are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("timestep_scale_multiplier"):
            continue
        if name.endswith(("norm.weight", "std-of-means")):
            tensor.copy_(1 + 0.1 * noise)
        elif name.endswith("weight"):
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.3 * noise)
