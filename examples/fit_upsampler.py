"""Fit the upscaler of a model that makes its clips in two passes.

    python examples/fit_upsampler.py SMALL LARGE -o upsampler.safetensors

SMALL and LARGE are folders of latents that runs of `overcrank train` have made: the same clips in
two sizes, one twice as large as the other. The first shard is not learnt from: the error is told on
it, as a share of what those latents vary.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from overcrank.vae.linear_upsampler import LinearUpsampler, LinearUpsamplerConfig
from overcrank.vae.upsampler import save_upsampler


def pair(small: Path, large: Path) -> tuple[Tensor, Tensor]:
    """Latents of a shard in both sizes; refused if their clips differ."""
    latents, told = [], []
    for path in (small, large):
        with safe_open(path, "pt") as file:
            told.append({k: v for k, v in file.metadata().items() if k != "size"})
            latents.append(file.get_tensor("latents"))
    if told[0] != told[1]:
        raise SystemExit(f"{small} and {large} show other clips, got {told[0]} and {told[1]}")
    return latents[0], latents[1]


def main() -> None:
    """Fit, tell the error, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=192)
    parser.add_argument("--first", type=int, default=0, help="The shard that is not learnt from.")
    wish = parser.parse_args()
    names = sorted(path.name for path in wish.large.glob("*.safetensors"))
    names = [name for name in names if (wish.small / name).exists()][wish.first :]
    if len(names) < 2:
        raise SystemExit(f"two shards at least have both sizes, got {names}: draw more clips")

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        for number, name in enumerate(names[1:], 1):
            print(f"\rshard {number} of {len(names) - 1}", end="", flush=True)
            yield pair(wish.small / name, wish.large / name)
        print()

    upsampler = LinearUpsampler(LinearUpsamplerConfig(rank=wish.rank))
    upsampler.fit(shown())
    small, large = pair(wish.small / names[0], wish.large / names[0])
    with torch.no_grad():
        error = (upsampler(small.float()) - large.float()).square().mean() / large.float().var()
    print(f"{error:.1%} of what clips that were not learnt from vary is left")
    save_upsampler(wish.output, upsampler)


if __name__ == "__main__":
    main()
