"""Transformer blocks as `torch.compile` makes them: the same values to rounding, in fewer passes.

Norms, modulations, rotations and the softmax are most of a step in bfloat16 on a CPU, and each is a
pass over memory of its own until they are compiled into few.
"""

import torch
from torch import nn

from overcrank.train.memory import stages

MOST_SHAPES = 64
"""Shapes of batches that are compiled; torch goes on without from then on."""


def compile_stages(network: nn.Module) -> None:
    """Compile each block when it first meets a shape; blocks that are alike share the result."""
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    for stage in stages(network):
        stage.compile(dynamic=False)
