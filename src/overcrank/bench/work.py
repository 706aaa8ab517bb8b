"""How many operations a clip takes, and what part of the machine's peak that is."""

from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from overcrank.bench.clips import Setting, clip, own
from overcrank.pipeline import Pipeline
from overcrank.runtime import Hardware
from overcrank.runtime.machine import multiplications


def shares(pipe: Pipeline, rounds: int) -> dict[str, Any]:
    """Of the model's own clip: operations while denoising and while decoding, and both in one; the
    peak of matrix multiplications in the same precision, measured between the clips; and how much
    of that peak is reached: operations / (seconds x peak), medians.

    Counted are matrix multiplications, convolutions and attention, as torch's FlopCounterMode does.
    """
    setting = own(pipe)
    whole, one_step, two_steps = (
        _counted(pipe, replace(setting, steps=steps)) for steps in (setting.steps, 1, 2)
    )
    denoise = (two_steps - one_step) * setting.steps
    operations = {"denoise": denoise, "decode": whole - denoise}
    peaks, seconds = [], []
    clip(pipe, setting, 0)
    for turn in range(1, rounds + 1):
        peaks.append(multiplications(pipe.hardware))
        seconds.append(clip(pipe, setting, turn))
    peak = median(peaks)
    reached = {
        "denoise": [denoise / each["stage_denoise"] / peak for each in seconds],
        "decode": [operations["decode"] / each["stage_decode"] / peak for each in seconds],
        "clip": [whole / each["seconds"] / peak for each in seconds],
    }
    return {
        "operations": {**operations, "clip": whole},
        "peak": peak,
        "peak_float32": multiplications(Hardware(pipe.hardware.device, torch.float32)),
        "reached": {name: median(values) for name, values in reached.items()},
    }


def _counted(pipe: Pipeline, setting: Setting) -> int:
    with FlopCounterMode(display=False) as counter:
        clip(pipe, setting, 0)
    return counter.get_total_flops()
