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
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from overcrank.runtime import choose, precision
from overcrank.shapes import ClipSize
from overcrank.toybox import recogniser as names
from overcrank.toybox.motion import pose
from overcrank.toybox.recogniser import FRAMES, NAMES, OF_ACTOR, RATE, SIDE, SLOTS, prepare
from overcrank.toybox.render import render
from overcrank.toybox.scene import Scene, sample_scene
from overcrank.toybox.truth import tracks
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
CUTS = (slice(0, None, 8), slice(24), slice(5, None, 8), slice(14))
"""The frames of a batch, in turn: few of many clips, which teach shapes, or the first seconds."""
FRAMES_PER_STEP = 384
NONE = -100
"""Label of a slot that nobody stands in."""


@dataclass(frozen=True, slots=True)
class Clips:
    """uint8 (B, F, H, W, 3) with labels (B, S) for each name of an actor, (B,) of the world, and
    "centre" (B, S, F, 2), where actors are: x and y in [-1, 1] while inside of the frame."""

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
            {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
        )


def label(scene: Scene, rate: float = RATE) -> dict[str, Tensor]:
    """Numbers of the right names and centres; actors stand from left to right at the beginning."""
    actors = sorted(scene.actors, key=lambda actor: pose(actor, 0.0).x)
    empty = [UNSURE if not actors else NONE] * (SLOTS - len(actors))
    labels = {
        name: torch.tensor([NAMES[name].index(getattr(actor, name)) for actor in actors] + empty)
        for name in OF_ACTOR
    }
    labels["ground"] = torch.tensor(NAMES["ground"].index(scene.ground))
    labels["actors"] = torch.tensor(len(actors) - 1 if actors else UNSURE)
    labels["centre"] = torch.zeros(SLOTS, FRAMES, 2)
    in_order = replace(scene, actors=tuple(actors))
    for slot, track in enumerate(tracks(in_order, ClipSize(FRAMES + 1, SIDE, SIDE), rate)):
        labels["centre"][slot] = torch.tensor(track[:FRAMES]) * 2 / SIDE - 1
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
        labels.append(label(scene, RATE / tempo))
    return Clips(
        torch.stack(frames),
        {name: torch.stack([each[name] for each in labels]) for name in labels[0]},
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
        counts = [1 if dice.random() < 0.5 else None for _ in range(PER_SHARD)]
        scenes = [sample_scene(first + i, split="test", actors=n) for i, n in enumerate(counts)]
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


class _Guide(nn.Module):
    """Asks the cell that an actor's centre is in, in each frame, what the actor is.

    This teaches the cells much faster than the slots alone can, who first have to find actors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(NAMES[name])) for name in OF_ACTOR})

    def forward(self, cells_BFDHW: Tensor, labels: dict[str, Tensor]) -> Tensor:
        batch, frames = cells_BFDHW.shape[:2]
        centre = rearrange(labels["centre"], "b s f xy -> (b f) s 1 xy")
        cells = cells_BFDHW.float().flatten(0, 1)
        seen = functional.grid_sample(cells, centre, align_corners=False)
        seen_BSFD = self.norm(rearrange(seen, "(b f) d s 1 -> b s f d", b=batch))
        outside_BSF = (labels["centre"].abs() > 1).any(-1)
        aims = {}
        for name in OF_ACTOR:
            aim_BSF = labels[name][:, :, None].expand(-1, -1, frames)
            aims[name] = torch.where(outside_BSF | (aim_BSF == UNSURE), NONE, aim_BSF)
        return loss_of({name: head(seen_BSFD) for name, head in self.heads.items()}, aims)


def fit(
    network: names.Recogniser,
    sets: Sequence[Clips],
    steps: int,
    on_event: Callable[[dict[str, Any]], None],
    lr: float,
) -> None:
    """AdamW, a learning rate that rises and falls once; each set gives an equal part of a batch."""
    guide = _Guide(network.config.stem[-1])
    parameters = [*network.parameters(), *guide.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.02)
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
        picked.labels["centre"] = picked.labels["centre"][:, :, cut]
        smear = 0.0 if cut.step else 0.3  # frames far apart are no neighbours
        video, labels = spoil(picked.frames[:, cut], picked.labels, dice, smear=smear)
        if cut.step:  # too few frames to see how things move
            labels["motion"] = torch.full_like(labels["motion"], NONE)
        with mixed:
            cells_BFDHW = network.cells(video)
            loss = loss_of(network.answer(cells_BFDHW), labels) + guide(cells_BFDHW, labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            on_event({"step": step + 1, "loss": round(loss.item(), 4)})
    settle(network, sets[0])


@torch.no_grad()
def settle(network: names.Recogniser, clips: Clips, passes: int = 40) -> None:
    """Give the normalisations the statistics of whole clips, which is what they will see.

    Training leaves them a mixture with clips of few frames, which seem to move much faster; with
    that, some swings are read as orbits and some spins as rest.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    network.train()
    for step in range(passes):
        dice = torch.Generator().manual_seed(step)
        picked = clips[torch.randint(len(clips.frames), (16,), generator=dice)]
        network(spoil(picked.frames, picked.labels, dice)[0])
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


def _training_sets(folder: Path, rendered: int, round_trips: int, vae: VAE | None) -> list[Clips]:
    """An eighth of a batch comes from round trips."""
    sets = [stored_clips(folder / "rendered", rendered)]
    if vae is None:
        return sets
    return sets * 7 + [stored_clips(folder / "round-trips", round_trips, vae)]


def _write(network: names.Recogniser, path: Path, extra: dict[str, str]) -> None:
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    with write_atomically(path) as temporary:
        save_file(tensors, temporary, {**network.metadata(), **extra})
        temporary.chmod(0o644)  # save_file leaves it readable for its owner alone


def main() -> None:
    """Make the clips, train, calibrate, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--clips", type=int, default=10240)
    parser.add_argument("--round-trips", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1700, help="0 only calibrates and scores")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--score-on", type=int, default=512)
    options = parser.parse_args()
    torch.manual_seed(0)
    vae = load_component(options.vae, "vae") if options.vae else None
    if vae is not None:
        choose("cpu", "auto").place(vae)
    network = names.Recogniser(names.RecogniserConfig())
    if options.start:
        network = names.Recogniser.load(options.start)
    options.folder.mkdir(parents=True, exist_ok=True)
    weights = options.folder / "recogniser.safetensors"
    with (options.folder / "metrics.jsonl").open("a") as log:

        def write(event: dict[str, Any]) -> None:
            log.write(json.dumps(event) + "\n")
            log.flush()

        if options.steps:
            sets = _training_sets(options.folder, options.clips, options.round_trips, vae)
            fit(network, sets, options.steps, write, options.lr)
            _write(network, weights, {})
        count = options.score_on
        calibrate(network, _held_out(range(count, count + count // 4), vae))
        result = {"renders": score(network, _held_out(range(count), None))}
        if vae is not None:
            result["through_vae"] = score(network, _held_out(range(count), vae))
        write(result)
    _write(network, weights, {"score": json.dumps(result), "scored_on": str(count)})


if __name__ == "__main__":
    main()
