"""How the recogniser is trained: `python -m overcrank.train.recogniser FOLDER --vae FILE`.

Toybox clips are made once into FOLDER (another run takes them from there): plain renders, and,
slower to make, round trips through an autoencoder. They are spoilt, mirrored and moved a little
on the way in, and a few are replaced by clips of nothing, so that the network learns to be
unsure. bench-v1 plays no part. The weights, as float16, and their score on held-out
scenes go to FOLDER/recogniser.safetensors. A `--device` does all but the rendering, which
`--processes` share.

Axes: B batch, C channels, F frames, H W pixels, S slots.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from overcrank.runtime import choose
from overcrank.toybox import recogniser as names
from overcrank.toybox.recogniser import NAMES
from overcrank.train.recogniser_clips import (
    Clips,
    held_out_draws,
    round_trip_draws,
    stored_clips,
    training_draws,
)
from overcrank.train.recogniser_loss import Guide, loss_on
from overcrank.train.spoil import spoil
from overcrank.vae import VAE
from overcrank.weights import load_component
from overcrank.weights.files import write_atomically

LENGTHS = (24, 24, 13)
"""Frames of the batches, in turn: of whole clips, and of the first two seconds. Few frames far
apart would teach shapes faster, but at the cost of motion."""
READ_AT = (24, 13)
"""Frames looked at in clips of at least four seconds, and of two."""
AIM = 0.995
"""Part of the sure answers that should be right."""
PER_NAME = ("temperature", "sure")
"""What calibration sets."""
SETTLED = 0.75
"""Part of training after which the normalisations keep their statistics (see `settle`)."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What batches are drawn from: sets of clips, and the part of a batch that each gives."""

    sets: Sequence[Clips]
    parts: Sequence[float]

    def batch(self, count: int, dice: torch.Generator) -> Clips:
        """`count` clips, drawn on the device of `dice`, where the sets are as well."""
        return Clips.cat(
            [
                clips[picks(len(clips.frames), round(part * count), dice)]
                for clips, part in zip(self.sets, self.parts, strict=True)
            ]
        )


def fit(
    network: names.Recogniser,
    mixture: Mixture,
    steps: int,
    on_event: Callable[[dict[str, Any]], None],
    *,
    lr: float,
    batch: int,
    keep_stem: bool = False,
) -> None:
    """AdamW, a learning rate that rises and falls once, on the device that `network` is on.

    With `keep_stem` the pictures that the stem makes stay as they are, and `mixture` holds them
    in place of clips: see `pictures_of`.
    """
    device = network.queries_SD.device
    guide = Guide(network.config.stem[-1]).to(device)
    network.stem.requires_grad_(not keep_stem)
    parameters = [p for p in (*network.parameters(), *guide.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    precision = mixed(device)
    network.train(not keep_stem)
    for step in range(steps):
        if step == int(SETTLED * steps) and not keep_stem:
            settle(network, mixture, batch)
        dice = torch.Generator(device).manual_seed(step)
        picked = mixture.batch(batch, dice)
        frames = LENGTHS[step % len(LENGTHS)]
        picked.labels["centre"] = picked.labels["centre"][:, :, :frames]
        seen, labels = picked.frames[:, :frames], picked.labels
        if not keep_stem:
            seen, labels = spoil(seen, labels, dice)
        with precision:
            cells_BFDHW = network.changes(seen) if keep_stem else network.cells(seen)
            loss = loss_on(network, guide, cells_BFDHW, labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            on_event({"step": step + 1, "loss": round(loss.item(), 4)})


@torch.no_grad()
def pictures_of(network: names.Recogniser, clips: Clips, times: int, piece: int = 16) -> Clips:
    """Clips as the stem shows them, each spoilt in so many ways: "frames" are (B, F, D, H, W)
    in bfloat16."""
    device = network.queries_SD.device
    network.eval()
    parts = []
    for number, picks in enumerate(torch.arange(len(clips.frames)).repeat(times).split(piece)):
        dice = torch.Generator(device).manual_seed(2**33 + number)
        picked = clips[picks.to(device)]
        video, labels = spoil(picked.frames, picked.labels, dice)
        with mixed(device):
            parts.append(Clips(network.pictures(video).bfloat16(), labels))
    return Clips.cat(parts)


@torch.no_grad()
def settle(network: names.Recogniser, mixture: Mixture, batch: int, passes: int = 40) -> None:
    """Give the normalisations the statistics of whole clips, and have them keep these.

    Until then each batch was normalised by its own. Statistics of a mixture with shorter clips
    made some swings read as orbits and some spins as rest; what is trained from here on computes
    exactly what a reader will.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    device = network.queries_SD.device
    network.train()
    for step in range(passes):
        dice = torch.Generator(device).manual_seed(2**32 + step)
        picked = mixture.batch(batch, dice)
        with mixed(device):
            network(spoil(picked.frames, picked.labels, dice)[0])
    network.eval()


@torch.no_grad()
def calibrate(network: names.Recogniser, clips: Clips) -> None:
    """Set, for each name, the temperature under which the right names are likeliest, and the
    least probability from which on at least `AIM` of the answers are right."""
    parts = [_logits(network, clips, frames) for frames in READ_AT]
    for i, name in enumerate(network.config.asked):
        label = torch.cat([clips.labels[name].flatten()] * len(parts))
        logits = torch.cat([part[name].flatten(0, -2) for part in parts])[label >= 0]
        label = label[label >= 0]
        losses = {
            t / 20: float(functional.cross_entropy(logits / (t / 20), label)) for t in range(10, 81)
        }
        network.temperature[i] = min(losses, key=losses.__getitem__)
        best = (logits / network.temperature[i]).softmax(-1).max(-1)
        network.sure[i] = max(names.SURE, surely_right(best.values, best.indices == label))


def surely_right(probability_N: Tensor, right_N: Tensor) -> float:
    """The least probability from which on at least `AIM` of the answers are right: halfway to the
    next that is too uncertain; 0 if all may count, 1 if none."""
    order = probability_N.argsort(descending=True)
    rate = right_N[order].double().cumsum(0) / torch.arange(1, len(order) + 1, device=order.device)
    count = int((rate >= AIM).nonzero().max()) + 1 if (rate >= AIM).any() else 0
    if count == len(order):
        return 0.0
    least = float(probability_N[order[count - 1]]) if count else 1.0
    return (least + float(probability_N[order[count]])) / 2


@torch.no_grad()
def score(network: names.Recogniser, clips: Clips) -> dict[str, dict[str, dict[str, float]]]:
    """By frames looked at and by name: the part of answers that are right if all count, the part
    that are sure, and the part of these that are right; and of how many."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for frames in READ_AT:
        probabilities = network.probabilities(_logits(network, clips, frames))
        found[str(frames)] = {}
        for i, (name, probability) in enumerate(probabilities.items()):
            asked = clips.labels[name] >= 0
            best, label = probability[asked].max(-1), clips.labels[name][asked]
            right, sure = best.indices == label, best.values >= network.sure[i]
            found[str(frames)][name] = {
                "right": right.float().mean().item(),
                "sure": sure.float().mean().item(),
                "right_when_sure": right[sure].float().mean().item(),
                "total": len(label),
            }
    return found


def _logits(network: names.Recogniser, clips: Clips, frames: int) -> dict[str, Tensor]:
    parts = [
        network(piece.movedim(-1, 1).float() / 127.5 - 1)
        for piece in clips.frames[:, :frames].split(32)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def picks(of: int, count: int, dice: torch.Generator) -> Tensor:
    return torch.randint(of, (count,), generator=dice, device=dice.device)


def mixed(device: torch.device) -> torch.autocast:
    dtype = choose(device, "auto").dtype
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def _mixture(options: argparse.Namespace, vae: VAE | None, device: torch.device) -> Mixture:
    """The training clips, as bytes on the device."""
    folder, processes = options.folder, options.processes
    rendered = stored_clips(
        folder / "rendered", training_draws, options.clips, processes=processes
    ).to(device)
    if vae is None:
        return Mixture([rendered], [1.0])
    count, part = options.round_trips, options.round_trip_part
    seen = stored_clips(folder / "round-trips", round_trip_draws, count, vae, processes)
    return Mixture([rendered, seen.to(device)], [1 - part, part])


def _write(network: names.Recogniser, path: Path, extra: dict[str, str]) -> None:
    tensors = {
        name: (tensor.float() if name in PER_NAME else tensor.half()).cpu()
        for name, tensor in network.state_dict().items()
    }
    with write_atomically(path) as temporary:
        save_file(tensors, temporary, {**network.metadata(), **extra})
        temporary.chmod(0o644)  # save_file leaves it readable for its owner alone


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--clips", type=int, default=10240)
    parser.add_argument("--round-trips", type=int, default=2048)
    parser.add_argument("--round-trip-part", type=float, default=0.45, help="of each batch")
    parser.add_argument(
        "--keep-stem",
        type=int,
        nargs="+",
        help="train the rest alone, on the stem's pictures of so many versions of each clip and "
        "of each round trip: a third of the time for a step",
    )
    parser.add_argument("--steps", type=int, default=1700, help="0 only calibrates and scores")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=16, help="clips; try 192 on an accelerator")
    parser.add_argument("--score-on", type=int, default=384, help="and half as many calibrate")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=0, help="that render; 0: this one")
    return parser.parse_args()


def main() -> None:
    """Make the clips, train, calibrate, score, write."""
    options = _options()
    torch.manual_seed(0)
    begin = perf_counter()
    hardware = choose(options.device, "auto")
    vae = load_component(options.vae, "vae") if options.vae else None
    if vae is not None:
        hardware.place(vae)
    network = begun(options.start).to(hardware.device)
    options.folder.mkdir(parents=True, exist_ok=True)
    weights = options.folder / "recogniser.safetensors"
    with (options.folder / "metrics.jsonl").open("a") as log:

        def write(event: dict[str, Any]) -> None:
            log.write(json.dumps({**event, "seconds": round(perf_counter() - begin, 1)}) + "\n")
            log.flush()

        if options.steps:
            mixture = _mixture(options, vae, hardware.device)
            write({"clips": [len(clips.frames) for clips in mixture.sets]})
            if options.keep_stem:
                sets = [
                    pictures_of(network, clips, times)
                    for clips, times in zip(mixture.sets, options.keep_stem, strict=True)
                ]
                mixture = Mixture(sets, mixture.parts)
                write({"pictures": [len(clips.frames) for clips in mixture.sets]})
            fit(
                network,
                mixture,
                options.steps,
                write,
                lr=options.lr,
                batch=options.batch,
                keep_stem=bool(options.keep_stem),
            )
            _write(network, weights, {})
        network.half().float()  # what the file holds is what is judged
        result = _judge(network, options, vae)
        write(result)
    _write(network, weights, {"score": json.dumps(result)})


def begun(start: Path | None) -> names.Recogniser:
    """The network to train: new, or with the weights of a file; what that lacks is new."""
    if start is None:
        return names.Recogniser(names.RecogniserConfig())
    old = names.Recogniser.load(start)
    config = replace(old.config, asked=tuple(NAMES), centres=True)
    network = names.Recogniser(config)
    known = {name: tensor for name, tensor in old.state_dict().items() if name not in PER_NAME}
    network.load_state_dict(known, strict=False)
    return network


def _judge(
    network: names.Recogniser, options: argparse.Namespace, vae: VAE | None
) -> dict[str, Any]:
    """Calibrate on the last third of the held-out clips, score on the others."""
    count = options.score_on
    device = network.queries_SD.device

    def unseen(name: str, through: VAE | None) -> tuple[Clips, Clips]:
        folder, total = options.folder / name, count + count // 2
        clips = stored_clips(folder, held_out_draws, total, through, options.processes).to(device)
        return clips[slice(count)], clips[slice(count, total)]

    renders, renders_left = unseen("held-out", None)
    if vae is None:
        calibrate(network, renders_left)
        return {"renders": score(network, renders)}
    seen, seen_left = unseen("held-out-round-trips", vae)
    calibrate(network, Clips.cat([renders_left, seen_left]))
    return {"renders": score(network, renders), "through_vae": score(network, seen)}


if __name__ == "__main__":
    main()
