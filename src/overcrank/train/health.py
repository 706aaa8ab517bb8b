"""Is a held-out number normal? It stands beside those of reference runs, and beside a plain guess.

Reference runs took a shipped preset as it is, on toybox clips, with several seeds; reference.json
holds their bands, each an `entry` that `examples/reference_bands.py` made of such runs. A run of
any other steps, clips, rates or sizes has none.

The plain guess knows the spread of the latents and nothing else: if x_0 ~ N(0, 1), the best guess
of v = n - x_0 from x = (1 - s) x_0 + s n leaves the loss 1 / (s^2 + (1 - s)^2). A network that is
narrower than the latent can guess so for a part of the channels, and of the others knows nothing:
they leave 2, the square of v itself.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from torch import nn

from overcrank.errors import RequestError
from overcrank.metrics import student
from overcrank.train.config import read_config
from overcrank.transformer import Transformer

FILE = "reference.json"
CONFIDENCE, AT_LEAST = 0.99, 0.03
"""Of a band: how often one more run lies in it; and its least width to each side, as a part of the
value."""
FREE = {"seed", "vae", "samples", "precision", "recompute", "compile", "shard"}
FREE |= {"log_every", "save_every"}
"""What a run may have of its own and still be compared with reference runs."""
SLACK = 1.25
"""Above this times the plain guess is worse than guessing: clips vary more than the average one."""
FALLING = 0.98
"""A loss below this times the one before is on its way down."""
_LEVEL = re.compile(r"held_out_(?:.+_)?([01]\.\d+)")


@dataclass(frozen=True, slots=True)
class Band:
    """What is usual: (step, low, high), steps rising."""

    points: tuple[tuple[float, float, float], ...]

    def at(self, step: int) -> tuple[float, float] | None:
        """Low and high at a step, between its neighbours in proportion to log(step).

        None before the first point; from the last one on, as there.
        """
        if step < self.points[0][0]:
            return None
        for (first, *ends), (last, *others) in zip(self.points, self.points[1:], strict=False):
            if first <= step < last:
                part = math.log(step / first) / math.log(last / first)
                low, high = (a + part * (b - a) for a, b in zip(ends, others, strict=True))
                return low, high
        return self.points[-1][1], self.points[-1][2]


def guess(level: float, part: float = 1.0) -> float:
    """The loss of the plain guess at a noise level, for a part of the channels."""
    return part / (level**2 + (1 - level) ** 2) + (1 - part) * 2


def part_seen(network: nn.Module) -> float:
    """The part of the latent's channels that fits through a transformer; of others, all."""
    if not isinstance(network, Transformer):
        return 1.0
    config = network.config
    return min(1.0, config.heads * config.head_width / config.latent_channels)


def reference(config: Mapping[str, Any]) -> Mapping[str, Band]:
    """Bands by the name of the number, for runs that took a shipped preset as it is; else none.

    What is in `FREE` does not count. `config` has all keys, as in a run's config.yaml.
    """
    bands = _stored().get(f"{config['kind']} {config['preset']}", {})
    if not bands:
        return {}
    shipped = read_config(f"{config['preset']}-{config['kind']}")
    return bands if _fixed(config) == _fixed(shipped.model_dump()) else {}


def _fixed(config: Mapping[str, Any]) -> Any:
    """What is the same in all runs of a preset, as JSON has it."""
    kept = {name: value for name, value in config.items() if name not in FREE}
    return json.loads(json.dumps(kept, default=str))


def remarks(
    numbers: Mapping[str, float],
    before: Mapping[str, float],
    bands: Mapping[str, Band],
    step: int,
    part: float = 1.0,
) -> list[str]:
    """What is not as it should be with held-out numbers, one sentence each, with advice.

    `before` are the numbers of the evaluation before this one, `part` is what `part_seen` says.
    """
    said = []
    lost = [name for name, value in numbers.items() if not math.isfinite(value)]
    if lost:
        said.append(
            f"{_told(lost, numbers)}, which is no finite number: the run has come apart, and needs "
            "a lower learning rate"
        )
    numbers = {name: value for name, value in numbers.items() if name not in lost}
    levels = {name: float(found[1]) for name in numbers if (found := _LEVEL.fullmatch(name))}
    blind = [
        name
        for name, level in levels.items()
        if numbers[name] > SLACK * guess(level, part)
        and numbers[name] > FALLING * before.get(name, math.inf)
    ]
    if blind:
        said.append(
            f"{_told(blind, numbers)}, and not falling: worse than a guess that knows nothing but "
            "the spread of the latents: a learning rate that is too high, or latents that are not "
            "normalised"
        )
    off = []
    for name in numbers.keys() & bands.keys():
        usual = bands[name].at(step)
        if usual is None or name in blind:
            continue
        low, high = usual
        if numbers[name] < low if "psnr" in name else numbers[name] > high:
            off.append(f"{name} is {numbers[name]:.3g}, usual is {low:.3g} to {high:.3g}")
    if off:
        said.append(f"behind the reference run at this step: {'; '.join(sorted(off))}")
    return said


def _told(names: Sequence[str], numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} is {numbers[name]:.3g}" for name in names)


@cache
def _stored() -> dict[str, dict[str, Band]]:
    text = resources.files("overcrank.train").joinpath(FILE).read_text()
    return {
        run: {
            name: Band(tuple((step, low, high) for step, low, high in points))
            for name, points in bands.items()
        }
        for run, bands in json.loads(text).items()
    }


def entry(runs: Sequence[Path]) -> dict[str, dict[str, list[list[float]]]]:
    """What runs of one preset with different seeds amount to, as an entry of reference.json."""
    if len(runs) < 2:
        raise RequestError(
            f"a band needs runs that differ, got {len(runs)}: train with another seed, too"
        )
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for line in (run / "metrics.jsonl").read_text().splitlines():
            numbers = json.loads(line)
            for name, value in numbers.items():
                if name.startswith("held_out"):
                    found[name][numbers["step"]].append(value)
    bands = {
        name: [
            [step, *(round(end, 4) for end in _ends(values))]
            for step, values in sorted(steps.items())
            if step and len(values) == len(runs)
        ]
        for name, steps in found.items()
    }
    config = yaml.safe_load((runs[0] / "config.yaml").read_text())
    return {f"{config['kind']} {config['preset']}": bands}


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Where one more run is to be expected: the mean -+ t s sqrt(1 + 1/n)."""
    middle, count = fmean(values), len(values)
    widths = student(count - 1, CONFIDENCE) * math.sqrt(1 + 1 / count)
    reach = max(widths * stdev(values), AT_LEAST * abs(middle))
    return middle - reach, middle + reach
