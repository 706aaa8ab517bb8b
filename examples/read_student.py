"""A few-step student that a reader of latents teaches, too: how the shipped one was trained.

    python examples/latent_reader.py pocket-distil -o reader.safetensors --set start_from=pocket
    torchrun --nproc-per-node 2 examples/read_student.py pocket-distil reader.safetensors \\
        --set start_from=pocket --folder runs/read-student

To the gradient of distribution matching (`kind: distil`) comes that of the reader's mistakes on
what the student made, noised a little: WEIGHT times as long, on the average over some steps. What
it is worth: docs/log.md, 2026-11-24. The folder is one of `overcrank train`; the same command goes
on with it.

Axes: B batch, N video tokens, C latent channels, K colours.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from latent_reader import Reader, cached, facts, mistaken
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch
from overcrank.data.latents import NOTHING, LatentCache
from overcrank.flow import mix
from overcrank.runtime import choose, keep_freed_memory
from overcrank.train import RunConfig, join_workers, read_config, train
from overcrank.train.compiled import compile_stages
from overcrank.train.distil import DistilObjective
from overcrank.train.given import Tokens
from overcrank.weights import load_network

WEIGHT, KEPT = 0.5, 0.95
Facts = tuple[Tensor, Tensor]
"""Shapes and motions (clips, K) of the clips of a cache."""
LOWEST, HIGHEST = 0.05, 0.5
"""Of the noise that the reader sees."""


@dataclass(frozen=True, slots=True)
class Told(Batch):
    """A batch, and what its clips show."""

    shapes_BK: Tensor = NOTHING
    motions_BK: Tensor = NOTHING


class ToldBatches(Dataset[Batch]):
    """Batches of a run with the facts of their clips, which are drawn first of all."""

    def __init__(
        self, batches: Dataset[Batch], cache: LatentCache, config: RunConfig, told: Facts
    ) -> None:
        self.batches, self.cache, self.config, self.told = batches, cache, config, told

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Told:
        batch = self.batches[step]
        dice = torch.Generator().manual_seed(self.config.seed * 2**32 + step)
        count = (len(batch.frame_rate_B),)
        picks = torch.randint(self.cache.held_out, len(self.cache), count, generator=dice)
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return Told(**values, shapes_BK=self.told[0][picks], motions_BK=self.told[1][picks])


class ReadObjective(DistilObjective):
    """Distribution matching, and a reader that says what the student's clips show wrongly."""

    def teach(self, reader: Reader, told: Facts) -> None:
        """From now on."""
        self.reader, self.told = reader.requires_grad_(False).eval(), told
        self.lengths: dict[str, Tensor] = {}
        if self.config.compile:
            compile_stages(reader.trunk)

    def data(self) -> Dataset[Batch]:
        """With facts."""
        cache = next(iter(self.caches.values()))
        return ToldBatches(super().data(), cache, self.config, self.told)

    def matching(
        self,
        shadow: nn.Module,
        batch: Batch,
        tokens: Tokens,
        made_BNC: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Its gradient is the sum of both."""
        loss, gap = super().matching(shadow, batch, tokens, made_BNC, generator)
        assert isinstance(batch, Told)
        matched = torch.autograd.grad(loss, made_BNC, retain_graph=True)[0]
        corrected = self._corrected(batch, tokens, made_BNC.detach(), generator)
        ratio = self._mean("matched", matched) / self._mean("corrected", corrected)
        return loss + (WEIGHT * ratio * corrected * made_BNC).sum(), gap

    def _corrected(
        self, batch: Told, tokens: Tokens, made_BNC: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The gradient of the reader's mistakes by what it reads."""
        made_BNC.requires_grad_()
        with torch.enable_grad():
            drawn_B = torch.rand(len(made_BNC), generator=generator)
            sigma_B = LOWEST + (HIGHEST - LOWEST) * drawn_B
            noise_BNC = torch.randn(made_BNC.shape, generator=generator)
            at_BNC = mix(made_BNC, noise_BNC, sigma_B[:, None, None])
            read = self.reader(at_BNC, sigma_B, tokens.positions_BNX)
            loss = mistaken(read, batch.shapes_BK, batch.motions_BK)
        return torch.autograd.grad(loss, made_BNC)[0]

    def _mean(self, name: str, gradient: Tensor) -> Tensor:
        """Its length, on the average over the last steps."""
        now = gradient.norm().clamp(min=1e-9)
        self.lengths[name] = torch.lerp(now, self.lengths.get(name, now), KEPT)
        return self.lengths[name]


def main(words: Sequence[str] | None = None) -> None:
    """Run until the configuration's steps are done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="a preset or file of kind distil")
    parser.add_argument("reader", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/read-student"))
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args(words)
    config, hardware = read_config(asked.run, asked.changes), choose("cpu", "auto")
    keep_freed_memory()
    plain = cached(config, asked.folder, hardware)
    assert config.start_from is not None
    trunk = load_network(config.start_from, "transformer")
    reader = Reader(trunk, plain.empty_LD)
    reader.load_state_dict(load_file(asked.reader))
    objective = ReadObjective(config, plain.caches, plain.latent_hash, hardware)
    objective.teach(reader, facts(config, len(next(iter(plain.caches.values())))))
    with join_workers() as workers:
        train(config, objective, asked.folder, print, hardware, workers)


if __name__ == "__main__":
    main()
