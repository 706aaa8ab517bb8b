"""How many operations a clip takes, and of what kind they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from overcrank.bench.clips import Setting, clip
from overcrank.pipeline import Pipeline

KINDS = {
    "attention": ("scaled_dot_product",),
    "convolutions": ("mkldnn_convolution", "slow_conv", "cudnn_convolution", "thnn_conv"),
    "matrices": ("addmm", "mm", "bmm", "mkldnn_linear"),
    "copies": ("copy_", "cat", "clone", "contiguous", "fill_", "zero_"),
}
"""Kind -> what its operations begin with, behind "aten::" and underscores; all others are passes
over elements."""


def operations(pipe: Pipeline, setting: Setting) -> dict[str, int]:
    """Floating-point operations of matrices, convolutions and attention, as torch counts them:
    while denoising, while decoding, and of both; those of the text are few and left out."""
    clip(pipe, setting, 0)  # now the encoder knows its text
    after_steps: list[int] = []
    with _also_cpu_attention() as counter:
        clip(pipe, setting, 0, lambda *_: after_steps.append(counter.get_total_flops()))
    denoise, both = after_steps[-1], counter.get_total_flops()
    return {"denoise": denoise, "decode": both - denoise, "clip": both}


def kinds(pipe: Pipeline, setting: Setting) -> dict[str, float]:
    """Seconds of a clip on a CPU by kind of operation; "python" is what lies between them.

    Watching takes time itself: the sum is some percent above a clip that is not watched.
    """
    clip(pipe, setting, 0)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        begin = perf_counter()
        clip(pipe, setting, 1)
        whole = perf_counter() - begin
    found = dict.fromkeys((*KINDS, "passes over elements"), 0.0)
    for event in watched.key_averages():
        found[_kind(event.key)] += event.self_cpu_time_total / 1e6
    return {**found, "python": max(0.0, whole - sum(found.values()))}


def _kind(name: str) -> str:
    plain = name.removeprefix("aten::").lstrip("_")
    return next(
        (kind for kind, starts in KINDS.items() if plain.startswith(starts)), "passes over elements"
    )


@contextmanager
def _also_cpu_attention() -> Iterator[FlopCounterMode]:
    """torch does not count its attention for CPUs: queries with keys, and weights with values."""

    def attention(q_BANK: Any, k_BALK: Any, *_: Any, **__: Any) -> int:
        batch, heads, queries, width = q_BANK
        return 4 * batch * heads * queries * k_BALK[2] * width

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={on_cpu: attention}) as counter:
        yield counter
