"""The same network in diffusers, with the same weights and input, in turns.

diffusers has none of our small networks' own parts (their activation, the factorised blocks of the
autoencoder): both sides run the pocket transformer with the activation and rotation of the
published models.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from overcrank.bench.clips import Setting
from overcrank.errors import RequestError
from overcrank.evaluate.twins import Diffusers, Inputs
from overcrank.pipeline import Pipeline
from overcrank.runtime import Hardware, precision
from overcrank.shapes import LATENT_CHANNELS, ClipSize
from overcrank.transformer import Transformer, token_positions
from overcrank.weights.synthetic import fill_randomly

WORDS = 24


class Beside:
    """Both transformers, at the size of a clip. RequestError if diffusers is not installed."""

    def __init__(self, pipe: Pipeline, setting: Setting) -> None:
        ours, inputs = network(pipe), inputs_of(pipe, setting)
        try:
            theirs = Diffusers(copy.deepcopy(ours), None)
        except ImportError as error:
            raise RequestError(
                f"diffusers is not installed, got {error}: run `pip install diffusers`"
            ) from None
        self.hardware = pipe.hardware
        self._calls: dict[str, Callable[[], Tensor]] = {
            "ours": lambda: _ours(ours, inputs),
            "diffusers": lambda: theirs.velocity(inputs),
        }

    def calls(self, rounds: int) -> dict[str, Any]:
        """Seconds of one call, medians, in each precision; and how far apart the outputs are."""
        found = {}
        for dtype in dict.fromkeys((torch.float32, self.hardware.dtype)):
            with precision(replace(self.hardware, dtype=dtype)):
                outputs = {name: call().float() for name, call in self._calls.items()}
                times = _timed(self._calls, rounds, self.hardware)
            apart = (outputs["ours"] - outputs["diffusers"]).norm() / outputs["diffusers"].norm()
            found[str(dtype).removeprefix("torch.")] = {**times, "apart": float(apart)}
        return found


def network(pipe: Pipeline) -> Transformer:
    """The model's transformer as diffusers can build it, with random weights."""
    config = replace(pipe.transformer.config, activation="gelu", rope_theta=10000.0)
    made = Transformer(config).eval().requires_grad_(False)
    fill_randomly(made, 0)
    pipe.hardware.place(made)
    return made


def inputs_of(pipe: Pipeline, setting: Setting) -> Inputs:
    """As in a clip of that size."""
    device, dice = pipe.hardware.device, torch.Generator().manual_seed(0)
    grid = ClipSize(setting.frames, setting.height, setting.width).latent
    positions_NX = token_positions(grid, 1.0, causal=True) / torch.tensor([24.0, 1, 1])
    text_width = pipe.transformer.config.text_width
    return Inputs(
        tokens_BNC=torch.randn(1, grid.tokens, LATENT_CHANNELS, generator=dice).to(device),
        sigma_BN=torch.full((1, 1), 0.5, device=device),
        positions_BNX=positions_NX[None].to(device),
        text_BLE=torch.randn(1, WORDS, text_width, generator=dice).to(device),
        keep_BL=torch.ones(1, WORDS, dtype=torch.bool, device=device),
    )


def _ours(network: Transformer, inputs: Inputs) -> Tensor:
    velocity: Tensor = network(
        inputs.tokens_BNC, inputs.sigma_BN, inputs.positions_BNX, inputs.text_BLE, inputs.keep_BL
    )
    return velocity


def _timed(
    calls: dict[str, Callable[[], Tensor]], rounds: int, hardware: Hardware
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = perf_counter()
            call()
            if hardware.device.type == "cuda":
                torch.cuda.synchronize(hardware.device)
            seconds[name].append(perf_counter() - begin)
    return {name: median(taken) for name, taken in seconds.items()}
