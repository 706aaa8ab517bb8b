"""Training steps at full resolution on a CPU, with random latents: time and memory of a step.

    python examples/train_step.py
    python examples/train_step.py --lora ltxv-2b-0.9.5 --frames 49 --steps 1

One sample of 768 x 512 x 121 (6,144 tokens) through the pocket transformer, forward, backward and
AdamW, once with all activations kept and once with `recompute`, in a process each. With --lora the
transformer is that release with random weights, frozen, and a LoRA of rank 64 learns. Prints one
JSON object.
"""

import argparse
import json
import subprocess
import sys
from statistics import median
from time import perf_counter, process_time
from typing import Any

TEXT_TOKENS = 64


def main() -> None:
    """Both ways, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="pocket")
    parser.add_argument("--lora", metavar="RELEASE")
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3, help="the first is not timed if it can be")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--recompute", choices=["true", "false"], help="both if not given")
    wish = parser.parse_args()
    if wish.recompute is not None:
        print(json.dumps(measure(wish)))
        return
    report = {}
    for way in ("false", "true"):
        words = [sys.executable, *sys.argv, "--recompute", way]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        report[f"recompute: {way}"] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(report, indent=2))


def measure(wish: argparse.Namespace) -> dict[str, Any]:
    """Some steps in this process."""
    import torch

    from overcrank.runtime import choose, peak_memory
    from overcrank.shapes import ClipSize
    from overcrank.train.given import Given, flow_loss
    from overcrank.train.memory import recompute

    torch.set_num_threads(wish.threads)
    torch.manual_seed(0)
    hardware = choose("cpu", wish.dtype)
    network = _network(wish, hardware.dtype)
    learnt = [p for p in network.parameters() if p.requires_grad]
    if wish.recompute == "true":
        recompute(network)
    size = ClipSize(wish.frames, wish.height, wish.width)
    batch = _batch(size, network.config.text_width)
    optimiser = torch.optim.AdamW(learnt, 1e-4, fused=True)
    before, losses = peak_memory(hardware), []
    seconds, busy = [], []  # the second is what one thread would take if it had a core of its own
    for step in range(wish.steps):
        start = perf_counter(), process_time()
        generator = torch.Generator().manual_seed(step)
        with torch.autocast("cpu", hardware.dtype, enabled=hardware.dtype != torch.float32):
            loss = flow_loss(
                network, batch, torch.tensor([0.5]), Given.nothing(batch), generator
            ).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds.append(perf_counter() - start[0])
        busy.append(process_time() - start[1])
        losses.append(loss.item())
    return {
        "tokens": size.latent.tokens,
        "dtype": str(hardware.dtype).removeprefix("torch."),
        "learnt": sum(p.numel() for p in learnt),
        "step_seconds": median(seconds[1:] or seconds),
        "step_cpu_seconds": median(busy[1:] or busy),
        "gb_before": before / 1e9,
        "gb_peak": peak_memory(hardware) / 1e9,
        "losses": losses,
    }


def _network(wish: argparse.Namespace, dtype: Any) -> Any:
    from overcrank.train.config import Lora
    from overcrank.train.lora import adapt
    from overcrank.transformer import PRESETS, Transformer
    from overcrank.weights import random_release

    if wish.lora is not None:
        network = random_release(wish.lora).build_transformer(dtype)
        adapt(network, Lora())
        return network
    network = Transformer(PRESETS[wish.preset])
    network.initialise()
    return network


def _batch(size: Any, text_width: int) -> Any:
    import torch

    from overcrank.data.batches import Batch

    cells = (size.latent.frames, size.latent.height, size.latent.width)
    return Batch(
        latent_BCTHW=torch.randn(1, 128, *cells),
        actors_BTHW=torch.zeros(1, *cells),
        frame_rate_B=torch.tensor([24.0]),
        text_BLD=torch.randn(1, TEXT_TOKENS, text_width),
        keep_BL=torch.ones(1, TEXT_TOKENS, dtype=torch.bool),
        keys_BKCHW=torch.empty(1, 0),
        key_frames_BK=torch.empty(1, 0),
        kept_BN=torch.arange(size.latent.tokens)[None],
    )


if __name__ == "__main__":
    main()
