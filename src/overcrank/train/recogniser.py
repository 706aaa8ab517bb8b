"""How the recogniser is trained: `python -m overcrank.train.recogniser FOLDER --vae FILE`.

Toybox clips are made once into FOLDER (another run takes them from there): plain renders, and,
slower to make, round trips through an autoencoder. They are spoilt, mirrored and moved a little
on the way in, and a few are replaced by clips of nothing, so that the network learns to be
unsure. bench-v1 plays no part. The weights, as float16, and their score on held-out
scenes go to FOLDER/recogniser.safetensors.

Axes: B batch, C channels, F frames, H W pixels, S slots.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from overcrank.runtime import choose, precision
from overcrank.shapes import ClipSize
from overcrank.toybox import recogniser as names
from overcrank.toybox.motion import pose
from overcrank.toybox.recogniser import FRAMES, NAMES, OF_ACTOR, RATE, SLOTS, prepare
from overcrank.toybox.render import render
from overcrank.toybox.scene import Scene, sample_scene
from overcrank.train.spoil import UNSURE, spoil
from overcrank.vae import VAE
from overcrank.weights import load_component
from overcrank.weights.files import write_atomically

PER_SHARD = 256
TRAINING = 2**42
"""First seed of the training clips, in the test split: unlike models, the recogniser has to know
the pairs that training scenes never show, or it would read them wrong. bench-v1 has small seeds."""
HELD_OUT = 2**40
"""First seed of the test split that calibrates and scores."""
CUTS = (slice(None, None, 4), slice(24), slice(None, None, 4), slice(14))
"""The frames of a batch, in turn: some of all, which teach shapes, or the first seconds."""
FRAMES_PER_STEP = 480
NONE = -100
"""Label of a slot that nobody stands in."""


@dataclass(frozen=True, slots=True)
class Clips:
    """uint8 (B, F, H, W, 3) with labels (B, S) for each name of an actor, (B,) of the world."""

    frames: Tensor
    labels: dict[str, Tensor]

    def __getitem__(self, picks: Tensor) -> "Clips":
        return Clips(
            self.frames[picks], {name: label[picks] for name, label in self.labels.items()}
        )

    @classmethod
    def cat(cls, parts: "Sequence[Clips]") -> "Clips":
        return cls(
            torch.cat([part.frames for part in parts]),
            {name: torch.cat([part.labels[name] for part in parts]) for name in NAMES},
        )


def label(scene: Scene) -> dict[str, Tensor]:
    """Numbers of the right names; actors stand from left to right at the beginning."""
    actors = sorted(scene.actors, key=lambda actor: pose(actor, 0.0).x)
    empty = [UNSURE if not actors else NONE] * (SLOTS - len(actors))
    labels = {
        name: torch.tensor([NAMES[name].index(getattr(actor, name)) for actor in actors] + empty)
        for name in OF_ACTOR
    }
    labels["ground"] = torch.tensor(NAMES["ground"].index(scene.ground))
    labels["actors"] = torch.tensor(len(actors) - 1 if actors else UNSURE)
    return labels


def make_clips(scenes: Sequence[Scene], dice: random.Random, vae: VAE | None = None) -> Clips:
    """Rendered with small differences in tempo, and seen through `vae` if there is one."""
    frames, labels = [], []
    for scene in scenes:
        tempo = dice.uniform(0.8, 1.25)
        if vae is None:
            seen = prepare(render(scene, ClipSize(FRAMES + 1, 128, 128), RATE / tempo), RATE)
        else:
            clip = render(scene, ClipSize(97, 128, 128), 24.0 / tempo)
            seen = prepare(round_trip(vae, clip, dice.choice((0.0, 0.05, 0.1))), 24.0)
        frames.append(((seen.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        labels.append(label(scene))
    return Clips(
        torch.stack(frames), {name: torch.stack([each[name] for each in labels]) for name in NAMES}
    )


def round_trip(vae: VAE, frames: Tensor, sigma: float = 0.0) -> Tensor:
    """uint8 (F, H, W, 3) -> the same; the latents are noised to `sigma` on the way."""
    video_BCFHW = frames.movedim(-1, 0)[None].float() / 127.5 - 1
    with precision(choose("cpu", "auto")):
        latent_BCTHW = vae.encode(video_BCFHW)
        noise_BCTHW = torch.randn_like(latent_BCTHW)
        told_B = torch.tensor([sigma]) if vae.config.denoises else None
        output_BCFHW = vae.decode((1 - sigma) * latent_BCTHW + sigma * noise_BCTHW, told_B)
    pixels = (output_BCFHW[0].float().movedim(0, -1) + 1) * 127.5
    return pixels.round().clamp(0, 255).to(torch.uint8)


def stored_clips(folder: Path, count: int, vae: VAE | None = None) -> Clips:
    """`count` clips from the shards in `folder`, made where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [load_file(_shard(folder, n, vae)) for n in range(-(-count // PER_SHARD))]
    return Clips.cat([Clips(tensors.pop("frames"), tensors) for tensors in shards])


def _shard(folder: Path, number: int, vae: VAE | None) -> Path:
    path = folder / f"{number:04d}.safetensors"
    if not path.exists():
        first = TRAINING + number * PER_SHARD + (2**39 if vae else 0)
        dice = random.Random(first)
        scenes = [sample_scene(first + i, split="test") for i in range(PER_SHARD)]
        scenes = [replace(s, actors=()) if dice.random() < 0.03 else s for s in scenes]
        clips = make_clips(scenes, dice, vae)
        with write_atomically(path) as temporary:
            save_file({"frames": clips.frames, **clips.labels}, temporary)
    return path


def loss_of(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy summed over names; the aim of an UNSURE label is the uniform distribution."""
    total = torch.zeros(())
    for name, scores in logits.items():
        log = scores.float().log_softmax(-1).flatten(0, -2)
        aim = labels[name].flatten()
        picked = log.gather(1, aim.clamp(min=0)[:, None])[:, 0]
        each = -torch.where(aim == UNSURE, log.mean(1), picked)
        asked = aim != NONE
        total = total + (each * asked).sum() / asked.sum().clamp(min=1)
    return total


def fit(
    network: names.Recogniser,
    sets: Sequence[Clips],
    steps: int,
    on_event: Callable[[dict[str, Any]], None],
    lr: float = 2e-3,
) -> None:
    """AdamW, a learning rate that rises and falls once; each set gives an equal part of a batch."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    dtype = choose("cpu", "auto").dtype
    mixed = torch.autocast("cpu", dtype, enabled=dtype != torch.float32)
    network.train()
    for step in range(steps):
        dice = torch.Generator().manual_seed(step)
        cut = CUTS[step % len(CUTS)]
        share = FRAMES_PER_STEP // len(range(FRAMES)[cut]) // len(sets)
        picked = Clips.cat(
            [clips[torch.randint(len(clips.frames), (share,), generator=dice)] for clips in sets]
        )
        video, labels = spoil(picked.frames[:, cut], picked.labels, dice)
        if cut.step:  # too few frames to see how things move
            labels["motion"] = torch.full_like(labels["motion"], NONE)
        with mixed:
            loss = loss_of(network(video), labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            on_event({"step": step + 1, "loss": round(loss.item(), 4)})
    network.eval()


@torch.no_grad()
def calibrate(network: names.Recogniser, clips: Clips) -> None:
    """Set the temperature of each name to the one under which the right names are likeliest."""
    logits = _logits(network, clips)
    for i, name in enumerate(NAMES):
        losses = {
            t / 20: float(loss_of({name: logits[name] / (t / 20)}, clips.labels))
            for t in range(10, 81)
        }
        network.temperature[i] = min(losses, key=losses.__getitem__)


@torch.no_grad()
def score(network: names.Recogniser, clips: Clips) -> dict[str, float]:
    """Part of the clips, of one actor each, that are read right and surely, by name."""
    found = {}
    for i, (name, logits) in enumerate(_logits(network, clips).items()):
        sure, best = (logits / network.temperature[i]).softmax(-1).max(-1)
        right = (best == clips.labels[name]) & (sure >= names.SURE)
        found[name] = (right[:, 0] if name in OF_ACTOR else right).float().mean().item()
    return found


def _logits(network: names.Recogniser, clips: Clips) -> dict[str, Tensor]:
    parts = [network(piece.movedim(-1, 1).float() / 127.5 - 1) for piece in clips.frames.split(32)]
    return {name: torch.cat([part[name] for part in parts]) for name in NAMES}


def _held_out(numbers: range, vae: VAE | None) -> Clips:
    scenes = [sample_scene(HELD_OUT + i, split="test", actors=1) for i in numbers]
    return make_clips(scenes, random.Random(0), vae)


def main() -> None:
    """Make the clips, train, calibrate, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--clips", type=int, default=12288)
    parser.add_argument("--round-trips", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--score-on", type=int, default=512)
    options = parser.parse_args()
    torch.manual_seed(0)
    vae = load_component(options.vae, "vae") if options.vae else None
    if vae is not None:
        choose("cpu", "auto").place(vae)
    sets = [stored_clips(options.folder / "rendered", options.clips)]
    if vae is not None:
        trips = stored_clips(options.folder / "round-trips", options.round_trips, vae)
        sets = [*sets, *sets, *sets, trips]
    network = names.Recogniser(names.RecogniserConfig())
    if options.start:
        network = names.Recogniser.load(options.start)
    with (options.folder / "metrics.jsonl").open("a") as log:

        def write(event: dict[str, Any]) -> None:
            log.write(json.dumps(event) + "\n")
            log.flush()

        fit(network, sets, options.steps, write)
        calibrate(network, _held_out(range(options.score_on, 2 * options.score_on), vae))
        result = {"renders": score(network, _held_out(range(options.score_on), None))}
        if vae is not None:
            result["through_vae"] = score(network, _held_out(range(options.score_on), vae))
        write(result)
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    extra = {"score": json.dumps(result), "scored_on": str(options.score_on)}
    with write_atomically(options.folder / "recogniser.safetensors") as path:
        save_file(tensors, path, {**network.metadata(), **extra})
        path.chmod(0o644)  # save_file leaves it readable for its owner alone


if __name__ == "__main__":
    main()
