"""What a plan will cost, before it is begun.

Memory is counted: what is surely held at once, so a clip that needs more than is free cannot be
made. Time is measured on the model's own networks: one transformer block on a few tokens and the
decoder on a few cells, after a call to warm up, scaled to the plan by the number of operations.
Neither are tokens that conditions add counted, nor the upscaler between two passes.

Axes: B batch, 1; N tokens, L text tokens, D width, P pairs; C T H W of a latent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from overcrank.errors import SizeError
from overcrank.plan import Plan
from overcrank.runtime import Hardware, free_memory, precision
from overcrank.shapes import FRAMES_PER_CELL, LATENT_CHANNELS
from overcrank.transformer import Transformer
from overcrank.vae.autoencoder import pieces
from overcrank.walks import Walk
from overcrank.weights import Model

FEW_TOKENS, FEW_TOKENS_GPU = 256, 4096
FEW_CELLS, FEW_CELLS_GPU = 2, 16
"""Along each side. Enough for about the speed of a large clip: a GPU needs more to be busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """About so many seconds, and at least so many bytes."""

    seconds: float
    memory: int


def estimate(plan: Plan, model: Model, hardware: Hardware) -> Estimate:
    """Of a clip whose frames are kept; takes as long as a small part of a denoising step."""
    with precision(hardware):
        seconds = _denoising(plan, model, hardware) + _decoding(plan, model, hardware)
    return Estimate(seconds=seconds, memory=max(_needed(plan, model, hardware, kept=True).values()))


def check_memory(plan: Plan, model: Model, hardware: Hardware, *, kept: bool) -> None:
    """Refuse what cannot fit; `kept`: all frames are held, as for a `Video`."""
    for place, needed in _needed(plan, model, hardware, kept=kept).items():
        free = free_memory(torch.device(place))
        if free is not None and needed > free:
            size = plan.size
            raise SizeError(
                f"the clip does not fit into memory, got {size.frames} frames of {size.width} x "
                f"{size.height}, at least {needed / 1e9:.1f} GB where {free / 1e9:.1f} GB are "
                "free: make it smaller or shorter"
            )


def _needed(plan: Plan, model: Model, hardware: Hardware, *, kept: bool) -> dict[str, int]:
    """Bytes by device, on top of the networks.

    In a feed-forward layer the stream, its input, and the hidden values before and after the
    activation are held; at the end of the decoder its last layer's input twice, and the pixels.
    The frames of a video are held once more when they are joined.
    """
    size, decoded = plan.size, plan.walks[-1].size
    config, decoder = model.transformer.config, model.vae.config
    item, tokens = hardware.dtype.itemsize, max(walk.size.latent.tokens for walk in plan.walks)
    denoising = tokens * config.width * (2 + 2 * config.ff_multiple) * item
    at_once, cells = size.frames, decoded.latent.height * decoded.latent.width
    if decoder.causal_decoder:
        at_once = min(at_once, FRAMES_PER_CELL * max(pieces(size.latent.frames, cells)))
    values = 3 + 2 * decoder.base_width / decoder.patch_size**2
    decoding = int(at_once * decoded.height * decoded.width * values * item)
    frames = kept * size.frames * size.height * size.width * 3
    if hardware.device.type == "cpu":
        return {"cpu": max(denoising, decoding + frames, 2 * frames)}
    return {str(hardware.device): max(denoising, decoding), "cpu": 2 * frames}


def _denoising(plan: Plan, model: Model, hardware: Hardware) -> float:
    """Seconds of all calls of the transformer."""
    network, largest = model.transformer, max(walk.size.latent.tokens for walk in plan.walks)
    few = min(largest, FEW_TOKENS if hardware.device.type == "cpu" else FEW_TOKENS_GPU)
    width, dtype = network.config.width, network.scale_shift_table.dtype
    h_BND = torch.zeros(1, few, width, device=hardware.device, dtype=dtype)
    modulation_BT6D = h_BND.new_zeros(1, 1, 6, width)
    context_BLD = h_BND.new_zeros(1, 32, width)
    rotation_BNP2 = torch.zeros(1, few, width // 2, 2, device=hardware.device)
    block = network.transformer_blocks[0]
    measured = _seconds(
        lambda: block(h_BND, modulation_BT6D, context_BLD, rotation_BNP2, keep_BL=None, skip=None),
        hardware,
    )
    operations = sum(_calls(w) * _operations(network, w.size.latent.tokens) for w in plan.walks)
    return measured * network.config.layers * operations / _operations(network, few)


def _calls(walk: Walk) -> int:
    """Of the transformer, as many as guidance needs in each step."""
    guidance = [walk.guidance.at(float(level)) for level in walk.sigmas[:-1]]
    return sum(1 + now.uses_negative + now.uses_perturbed for now in guidance)


def _operations(network: Transformer, tokens: int) -> int:
    """Of one block: its matrices on each token, and each token with each other one.

    The few tokens of the text are left out.
    """
    matrices = sum(
        parameter.numel()
        for name, parameter in network.transformer_blocks[0].named_parameters()
        if not name.startswith(("attn2.to_k", "attn2.to_v"))
    )
    return 2 * tokens * matrices + 4 * tokens**2 * network.config.width


def _decoding(plan: Plan, model: Model, hardware: Hardware) -> float:
    """Seconds of the decoder, which takes the same for each cell."""
    latent = plan.walks[-1].size.latent
    side = FEW_CELLS if hardware.device.type == "cpu" else FEW_CELLS_GPU
    few = (min(latent.frames, 2), min(latent.height, side), min(latent.width, side))
    latent_BCTHW = torch.zeros(1, LATENT_CHANNELS, *few, device=hardware.device)
    sigma = plan.decode_sigma
    sigma_B = None if sigma is None else latent_BCTHW.new_full((1,), sigma)
    # A generator of its own, for decoders that inject noise: the clip must not change.
    drawn = torch.Generator()
    measured = _seconds(lambda: model.vae.decode(latent_BCTHW, sigma_B, drawn), hardware)
    return measured * latent.tokens / (few[0] * few[1] * few[2])


def _seconds(run: Callable[[], object], hardware: Hardware) -> float:
    """Of the second call."""
    start = 0.0
    for _ in range(2):
        start = perf_counter()
        run()
        if hardware.device.type == "cuda":
            torch.cuda.synchronize(hardware.device)
    return perf_counter() - start
