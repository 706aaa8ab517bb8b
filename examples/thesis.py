"""What LTX-Video claims, tested at a size that minutes can train: `python examples/thesis.py base`.

A variant is an autoencoder and a transformer on its latents. Each part is trained with the same
number of floating point operations, counted, whatever it costs a step; then 256 captions that
training never saw are made into clips and measured. Autoencoders that several variants share are
trained once.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from measures import Judge
from safetensors.torch import load_file, save_file
from small_world import RATE, SIZE, Clips, clips, scene
from thesis_networks import VARIANTS, Variant, build_transformer, vae_config
from thesis_parts import (
    OnClips,
    OnTokens,
    held_out_loss,
    pixels_of,
    round_trip,
    sample,
    tokens_of,
)
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from overcrank import transformer, vae
from overcrank.metrics import psnr
from overcrank.runtime import Hardware, choose, precision
from overcrank.toybox.recogniser import Recogniser
from overcrank.train import RunConfig, train
from overcrank.train.pictures import contact_sheet
from overcrank.train.vae import to_frames, to_video
from overcrank.weights.store import load_component

TRAIN, ASKED, TRUE = 2048, 256, 512
"""Clips to learn from, captions that are asked for, true clips that are compared with."""
TERA = (2.5, 20.0)
"""Floating point operations of the autoencoder's and the transformer's training, in 10^12."""
SAMPLER_STEPS = 10
LOSS = {"l1": 1.0, "mse": 8.0, "wavelet": 1.0, "kl": 1e-3, "max_sigma": 0.2}
OPTIM = {
    "vae": {"lr": 1e-3, "fan_in": 128, "warmup": 20, "ema": 0.98},
    "transformer": {"lr": 5e-3, "fan_in": 192, "betas": (0.9, 0.98), "warmup": 20, "ema": 0.98},
}


@dataclass(frozen=True, slots=True)
class World:
    """The clips, what judges them, and where to compute."""

    train: Clips
    test: Clips
    judge: Judge
    hardware: Hardware
    asked: int

    @classmethod
    def of(cls, folder: Path, counts: tuple[int, int, int]) -> "World":
        """Render what is not in `folder` yet."""
        learn, asked, true = counts
        test = clips(folder / "test.safetensors", range(asked + true), "test")
        path = folder / "judge.safetensors"
        if not path.exists():
            mean, covariance = Judge.of(test.frames[asked:], RATE).true
            save_file({"mean": mean, "covariance": covariance}, path)
        seen = load_file(path)
        judge = Judge(Recogniser.load(), RATE, (seen["mean"], seen["covariance"]))
        learnt = clips(folder / "train.safetensors", range(learn), "train")
        return cls(learnt, test, judge, choose("cpu", "auto"), asked)

    def judged(self, clips_BFHWC: Tensor) -> dict[str, float]:
        """Of clips of the first captions."""
        scenes = [scene(number, "test") for number in range(len(clips_BFHWC))]
        with torch.autocast("cpu", enabled=False):
            return self.judge.measure(clips_BFHWC, scenes)


def run_config(kind: str, preset: str, seed: int, steps: int, loss: dict[str, float]) -> RunConfig:
    """A run of the repository's loop; each part falls over its last half."""
    rest: dict[str, Any]
    if kind == "vae":
        rest = {"loss": {**LOSS, "gan_from": steps // 2, **loss}}
    else:
        held = [{"clips": TRAIN, "frames": SIZE.frames, "size": SIZE.width}]
        conditions = {"first_frame": 0.0, "drop_text": 0.1}
        rest = {"vae": "the one of the variant", "latents": held, "conditions": conditions}
    return RunConfig(
        kind=kind,
        preset=preset,
        seed=seed,
        steps=steps,
        stages=[{"frames": SIZE.frames, "size": SIZE.width, "batch": 8 if kind == "vae" else 64}],
        optim={**OPTIM[kind], "fall": steps // 2},
        log_every=max(1, steps // 40),
        save_every=max(1, -(-steps // 3)),
        **rest,
    )


def learn(folder: Path, make: Any, tera: float, hardware: Hardware) -> Any:
    """Train what `make(steps)` makes for so many operations; returns the objective."""
    probe = make(2)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", hardware.dtype):
        for step in range(2):  # some losses begin in the middle of a run
            loss, _ = probe.loss(probe.data()[step], torch.Generator().manual_seed(0))
            loss.backward()
    each = counter.get_total_flops() / 2
    steps = max(2, round(tera * 1e12 / each))
    objective = make(steps)
    wall, cpu = time.perf_counter(), time.process_time()
    train(objective.config, objective, folder, print, hardware)
    summary = {
        "flops_of_a_step": each,
        "steps": steps,
        "parameters": sum(p.numel() for p in objective.module.parameters()),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }
    if not (folder / "summary.json").exists():
        (folder / "summary.json").write_text(json.dumps(summary))
    return objective


def train_vae(variant: Variant, world: World, folder: Path, seed: int, tera: float) -> vae.VAE:
    """The autoencoder of a variant, trained unless it is there."""
    file = folder / "vae.safetensors"
    if not (folder / "kept.json").exists():
        shape = vae_config(variant.channels, variant.merge, noise=variant.noise)
        vae.PRESETS[variant.vae] = shape

        def make(steps: int) -> OnClips:
            torch.manual_seed(seed)
            config = run_config("vae", variant.vae, seed, steps, variant.loss)
            return OnClips(config, world.hardware, world.train, world.test)

        learn(folder, make, tera, world.hardware)
        network = load_component(file, "vae")
        world.hardware.place(network)
        frames = world.test.frames[: world.asked]
        with precision(world.hardware):
            output = round_trip(network, frames)
        masks, video = world.test.masks[: world.asked, None], to_video(frames)
        kept = world.judged(to_frames(output))
        kept |= {"psnr": psnr(output, video).mean().item()}
        kept |= {"actor_psnr": psnr(output, video, masks).mean().item()}
        (folder / "kept.json").write_text(json.dumps(kept))
    network = load_component(file, "vae")
    world.hardware.place(network)
    return network


def train_transformer(
    variant: Variant, world: World, network: vae.VAE, folder: Path, seed: int, tera: float
) -> None:
    """The transformer of a variant, measured three times on the way, unless it is there."""
    if (folder / "summary.json").exists():
        return
    hardware, size = world.hardware, SIZE.latent
    encode = partial(tokens_of, network, merge=variant.merge, hardware=hardware)
    latent_BCTHW, test_BCTHW = (
        encode(world.train.frames),
        encode(world.test.frames[: world.asked // 2]),
    )
    channels = latent_BCTHW.shape[1]
    shape = replace(
        transformer.PRESETS["pocket"], layers=4, heads=4, head_width=48, latent_channels=channels
    )
    transformer.PRESETS["thesis"] = shape

    def clips_of(module: Any, count: int, steps: int, end: float) -> Tensor:
        latent = sample(module, world.test, count, size, steps, end)
        return pixels_of(network, latent, variant.merge, end, hardware)

    def measure(module: nn.Module, step: int) -> dict[str, float]:
        last = step == objective.config.steps
        made = clips_of(
            module, world.asked if last else world.asked // 4, SAMPLER_STEPS, variant.end
        )
        found = {**held_out_loss(module, world.test, test_BCTHW), **world.judged(made)}
        if last:
            pairs = zip(world.test.frames[: len(made)], made, strict=True)
            rows = [row[::2] for pair in islice(pairs, 12) for row in pair]
            contact_sheet(rows, folder / "sheet.png")
        if last and variant.vae in ("base", "clean") and variant.attention == "full":
            ends = {0.0, variant.end}
            for count, end in ((n, end) for n in (2, 10) for end in sorted(ends)):
                several = world.judged(clips_of(module, world.asked // 2, count, end))
                found |= {f"{count} steps to {end}, {k}": v for k, v in several.items()}
        return found

    def make(steps: int) -> OnTokens:
        torch.manual_seed(seed)
        config = run_config("transformer", "thesis", seed, steps, {})
        module = build_transformer(shape, variant.attention, size.frames)
        hardware.place(module)
        return OnTokens(config, module, world.train, latent_BCTHW, measure)

    objective = None

    def kept(steps: int) -> OnTokens:
        nonlocal objective
        objective = make(steps)
        return objective

    learn(folder, kept, tera, hardware)


def main() -> None:
    """Train and measure some variants; those that are done are left as they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS, metavar="variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/thesis"))
    parser.add_argument("--vae-only", action="store_true", help="leave out the transformer")
    parser.add_argument("--tera", type=float, nargs=2, default=TERA)
    parser.add_argument("--clips", type=int, nargs=3, default=(TRAIN, ASKED, TRUE))
    wish = parser.parse_args()
    torch.set_num_threads(1)
    world = World.of(wish.folder, tuple(wish.clips))
    for name in wish.variants:
        variant = VARIANTS[name]
        folder = wish.folder / f"vae-{variant.vae.replace(':', '-')}-{wish.seed}"
        network = train_vae(variant, world, folder, wish.seed, wish.tera[0])
        folder = wish.folder / f"{name.replace(':', '-')}-{wish.seed}"
        if not wish.vae_only:
            train_transformer(variant, world, network, folder, wish.seed, wish.tera[1])


if __name__ == "__main__":
    main()
