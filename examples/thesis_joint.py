"""Are two networks better trained together? `python examples/thesis_joint.py bounded --seed 0`.

Each arm gets the same number of floating point operations, counted, and the same clips:

    staged      the autoencoder, then the transformer on its latents, as thesis.py does it
    stopped     both at once; the diffusion loss does not reach the encoder
    bounded     both at once; the diffusion loss has a tenth of the encoder's gradient at most
    free        both at once; the diffusion loss reaches the encoder as it is

Captions that training never saw are made into clips and measured in pixels, where arms compare.
"""

import argparse
import copy
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from small_world import RATE, SIZE
from thesis import (
    ASKED,
    OPTIM,
    SAMPLER_STEPS,
    TERA,
    TRAIN,
    TRUE,
    World,
    learn,
    run_config,
    train_transformer,
    train_vae,
)
from thesis_networks import HANDED_OVER, VARIANTS, build_transformer, vae_config
from thesis_parts import OnClips, Steps, pixels_of, sample
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank import transformer, vae
from overcrank.data.pixels import PixelBatch
from overcrank.runtime import precision
from overcrank.train.config import Joint, RunConfig
from overcrank.train.joint import JointObjective, richness
from overcrank.train.pictures import contact_sheet
from overcrank.train.vae import to_video
from overcrank.weights import save_component

ARMS = {
    "stopped": Joint(share=0.0),
    "bounded": Joint(share=0.1),
    "half": Joint(share=0.5),
    "free": Joint(share=1e9),
}
PACE = {"transformer.": 5.0}
"""The transformer's rate in thesis.py over the autoencoder's."""
DRAWS = 4
"""Noise levels of each clip, so that both networks get about as much as they do in stages."""
TRANSFORMER = replace(transformer.PRESETS["pocket"], layers=4, heads=4, head_width=48)


class JointOnClips(JointObjective):
    """The repository's joint objective on the clips of a file."""

    def __init__(self, config: RunConfig, world: World) -> None:
        pixels = OnClips(config, world.hardware, world.train, world.test)
        network = build_transformer(TRANSFORMER, "full", SIZE.latent.frames)
        self.clips = world
        super().__init__(config, pixels, network, None, world.hardware)  # type: ignore[arg-type]

    def data(self) -> Dataset[Any]:
        config, count = self.config, len(self.clips.train)
        return Steps(self._batch, count, config.stages[0].batch, config.steps, config.seed)

    def _batch(self, picks_B: Tensor, dice: torch.Generator) -> PixelBatch:
        clips = self.clips.train
        voices_B = torch.randint(2, picks_B.shape, generator=dice)
        dropped_B = torch.rand(len(picks_B), generator=dice) < self.config.conditions.drop_text
        texts = clips.text(picks_B, voices_B, dropped_B)
        return _pixels(clips.frames[picks_B], clips.masks[picks_B], *texts)

    def _unseen(self) -> PixelBatch:
        picks_B, test = torch.arange(min(64, self.clips.asked)), self.clips.test
        texts = test.text(picks_B, picks_B * 0, picks_B < 0)
        return _pixels(test.frames[picks_B], test.masks[picks_B], *texts)

    @torch.no_grad()
    def evaluate(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Round trips, latents, and what clips of unseen captions are like."""
        assert isinstance(module, nn.ModuleDict)
        numbers = super().evaluate(module, folder, step)
        if step < self.config.steps:
            return numbers
        network = copy.deepcopy(module["vae"])
        assert isinstance(network, vae.VAE)
        self.pixels.export(network, folder)  # its statistics are measured anew
        count, hardware = self.clips.asked, self.hardware
        latent = sample(
            module["transformer"], self.clips.test, count, SIZE.latent, SAMPLER_STEPS, HANDED_OVER
        )
        made = pixels_of(network, latent, 1, HANDED_OVER, hardware)
        pairs = islice(zip(self.clips.test.frames[:count], made, strict=True), 12)
        contact_sheet([row[::2] for pair in pairs for row in pair], folder / "sheet.png")
        return {**numbers, **self.clips.judged(made)}

    @torch.no_grad()
    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, nn.ModuleDict)
        self.pixels.export(module["vae"], folder)
        save_component(folder / "transformer.safetensors", "transformer", module["transformer"])


def _pixels(
    frames_BFHWC: Tensor, masks_BFHW: Tensor, text_BLD: Tensor, keep_BL: Tensor
) -> PixelBatch:
    """No pictures of later frames are given."""
    count = len(frames_BFHWC)
    return PixelBatch(
        frames_BFHWC,
        masks_BFHW,
        torch.full((count,), RATE),
        text_BLD,
        keep_BL,
        torch.zeros(count, 1, dtype=torch.long),
    )


def train_together(arm: str, world: World, folder: Path, seed: int, tera: float) -> None:
    """Both networks, with the optimiser and the schedule of the stages."""
    vae.PRESETS["thesis"], transformer.PRESETS["thesis"] = vae_config(128, 1), TRANSFORMER

    def make(steps: int) -> JointOnClips:
        torch.manual_seed(seed)
        plain = run_config("vae", "thesis", seed, steps, {}).model_dump()
        plain["conditions"] = {"first_frame": 0.0, "drop_text": 0.1}
        optim = {**OPTIM["vae"], "betas": (0.9, 0.98), "fall": steps // 2, "pace": PACE}
        plain["optim"] = optim
        plain["save_every"] = max(1, -(-steps // 8))
        joint = ARMS[arm].model_copy(update={"draws": DRAWS})
        return JointOnClips(RunConfig(**{**plain, "kind": "joint", "joint": joint}), world)

    learn(folder, make, tera, world.hardware)


def main() -> None:
    """Train and measure one arm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("arm", choices=["staged", *ARMS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/thesis"))
    parser.add_argument("--tera", type=float, nargs=2, default=TERA)
    parser.add_argument("--clips", type=int, nargs=3, default=(TRAIN, ASKED, TRUE))
    wish = parser.parse_args()
    torch.set_num_threads(1)
    world = World.of(wish.folder, tuple(wish.clips))
    folder = wish.folder / f"joint-{wish.arm}-{wish.seed}"
    if wish.arm != "staged":
        train_together(wish.arm, world, folder, wish.seed, sum(wish.tera))
        return
    network = train_vae(VARIANTS["base"], world, folder / "vae", wish.seed, wish.tera[0])
    with precision(world.hardware):
        latents = network.posterior(to_video(world.test.frames[:64])).mean_BCTHW
    (folder / "vae" / "latents.json").write_text(json.dumps(richness(latents)))
    train_transformer(VARIANTS["base"], world, network, folder, wish.seed, wish.tera[1])


if __name__ == "__main__":
    main()
