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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from overcrank.runtime import choose
from overcrank.toybox import recogniser as names
from overcrank.train.recogniser_answers import fit_answers, looks_at
from overcrank.train.recogniser_clips import (
    Clips,
    Mixture,
    held_out_draws,
    round_trip_draws,
    stored_clips,
    training_draws,
)
from overcrank.train.recogniser_loss import LOOKS, Guide, loss_on, mixed, optimise
from overcrank.train.spoil import spoil
from overcrank.vae import VAE
from overcrank.weights import load_component
from overcrank.weights.files import write_atomically

READ_AT = (24, 13)
"""Frames looked at in clips of at least four seconds, and of two."""
AIM = 0.998
"""Part of the sure answers that are right on the clips that calibrate, for 99.5 % on others."""
PER_NAME = ("temperature", "sure")
"""What calibration sets."""
SETTLED = 0.75
"""Part of training after which the normalisations keep their statistics (see `settle`)."""


def fit(
    network: names.Recogniser,
    mixture: Mixture,
    steps: int,
    on_event: Callable[[dict[str, Any]], None],
    *,
    lr: float,
    batch: int,
) -> None:
    """AdamW, a learning rate that rises and falls once, on the device that `network` is on."""
    device = network.temperature.device
    guide = Guide(network.config.stem[-1]).to(device)
    network.train()

    def loss_at(step: int) -> Tensor:
        if step == int(SETTLED * steps):
            settle(network, mixture, batch)
        dice = torch.Generator(device).manual_seed(step)
        picked = mixture.batch(batch, dice)
        frames = LOOKS[step % len(LOOKS)]
        picked.labels["centre"] = picked.labels["centre"][:, :, :frames]
        video, labels = spoil(picked.frames[:, :frames], picked.labels, dice)
        with mixed(device):
            cells_BFDHW = network.cells(video)
            return loss_on(network.answer(cells_BFDHW), labels) + guide(cells_BFDHW, labels)

    optimise([*network.parameters(), *guide.parameters()], steps, lr, loss_at, on_event)


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
    device = network.temperature.device
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
        "--answers-only",
        type=int,
        nargs="+",
        help="train only what looks at the cells, on those of so many versions of each clip and "
        "of each round trip: a tenth of the time",
    )
    parser.add_argument("--steps", type=int, default=1700, help="0 only calibrates and scores")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=16, help="clips; try 192 on an accelerator")
    parser.add_argument("--score-on", type=int, default=384, help="others calibrate")
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
            if options.answers_only:
                looks = looks_at(network, mixture, options.answers_only)
                write({"cells": [[len(c.frames) for c in look.sets] for look in looks]})
                fit_answers(
                    network, looks, options.steps, write, lr=options.lr, batch=options.batch
                )
            else:
                fit(network, mixture, options.steps, write, lr=options.lr, batch=options.batch)
            _write(network, weights, {})
        network.half().float()  # what the file holds is what is judged
        result = _judge(network, options, vae)
        write(result)
    _write(network, weights, {"score": json.dumps(result)})


def begun(start: Path | None) -> names.Recogniser:
    """The network to train: new, or with the weights of a file; a second reader that it lacks
    begins as the first one is."""
    if start is None:
        return names.Recogniser(names.RecogniserConfig())
    old = names.Recogniser.load(start)
    network = names.Recogniser(replace(old.config, later=names.LATER_ASKED))
    known = {name: tensor for name, tensor in old.state_dict().items() if name not in PER_NAME}
    first = {name.replace("first.", "later.", 1): known[name] for name in known}
    network.load_state_dict(first | known, strict=False)
    return network


def _judge(
    network: names.Recogniser, options: argparse.Namespace, vae: VAE | None
) -> dict[str, Any]:
    """Score on the first held-out clips, calibrate on those after them: twice as many renders and
    half as many round trips, which are slow to make."""
    count = options.score_on
    device = network.temperature.device

    def unseen(name: str, total: int, through: VAE | None) -> tuple[Clips, Clips]:
        folder = options.folder / name
        clips = stored_clips(folder, held_out_draws, total, through, options.processes).to(device)
        return clips[slice(count)], clips[slice(count, total)]

    renders, left = unseen("held-out", 3 * count, None)
    if vae is None:
        calibrate(network, left)
        return {"renders": score(network, renders)}
    seen, seen_left = unseen("held-out-round-trips", count + count // 2, vae)
    calibrate(network, Clips.cat([left, seen_left]))
    return {"renders": score(network, renders), "through_vae": score(network, seen)}


if __name__ == "__main__":
    main()
