"""A published release at its real size on a CPU, with random weights: memory, and time of a step.

    python examples/real_scale.py FILE

FILE is written first where it is not there: 6.3 GB of random weights. Then each part runs in a
process of its own, one after another: our pipeline (load, one step, decode), a step of our
transformer, and a step of diffusers' with the same weights. Prints one JSON object.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

RELEASE = "ltxv-2b-0.9.8"
SIZE = {"height": 256, "width": 256, "num_frames": 17}
TEXT_TOKENS = 128
CALLS = 3


def main() -> None:
    """Run all parts, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--part", choices=[*PARTS], help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.part is not None:
        print(json.dumps(PARTS[wish.part](wish.file, wish.dtype)))
        return
    report: dict[str, Any] = {"release": RELEASE, **SIZE}
    if not wish.file.exists():
        command = "from overcrank.cli import main; main()"
        words = ["convert", "--random", RELEASE, str(wish.file)]
        start = perf_counter()
        subprocess.run([sys.executable, "-c", command, *words], check=True)
        report["write_seconds"] = perf_counter() - start
    report["file_gb"] = wish.file.stat().st_size / 1e9
    for part in PARTS:
        words = [__file__, str(wish.file), "--dtype", wish.dtype, "--part", part]
        done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE)
        report[part] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(report, indent=2))


def clip(file: Path, dtype: str) -> dict[str, Any]:
    """Load, one step, one decode: everything a user waits for but the text encoder."""
    import overcrank
    from overcrank import Video
    from overcrank.runtime import peak_memory

    start = perf_counter()
    pipe = overcrank.load(file, device="cpu", dtype=dtype)
    loaded, loaded_memory = perf_counter() - start, peak_memory(pipe.hardware)
    text_BLE = _inputs(pipe.transformer.config.text_width).text_BLE
    video = pipe(prompt_embeds=text_BLE, num_inference_steps=1, guidance=1.0, **SIZE)
    assert isinstance(video, Video)
    return {
        "dtype": str(pipe.hardware.dtype),
        "load_seconds": loaded,
        "peak_gb_loaded": loaded_memory / 1e9,
        **{f"{stage}_seconds": seconds for stage, seconds in video.report.seconds.items()},
        "peak_gb": peak_memory(pipe.hardware) / 1e9,
        "std_of_frames": float(video.frames.float().std()),
    }


def our_step(file: Path, dtype: str) -> dict[str, Any]:
    """The transformer alone, on the tokens of such a clip."""
    import torch

    from overcrank.runtime import choose, precision
    from overcrank.weights import open_checkpoint

    hardware = choose("cpu", dtype)
    kept = None if hardware.dtype == torch.bfloat16 else torch.float32
    network = open_checkpoint(file).build_transformer(kept)
    inputs = _inputs(network.config.text_width)

    def step() -> None:
        with precision(hardware):
            network(
                inputs.tokens_BNC,
                inputs.sigma_BN,
                inputs.positions_BNX,
                inputs.text_BLE,
                inputs.keep_BL,
            )

    return _timed(step, hardware)


def diffusers_step(file: Path, dtype: str) -> dict[str, Any]:
    """diffusers' transformer with the same weights on the same tokens, in the same precision."""
    from dataclasses import fields

    import torch

    from overcrank.evaluate.twins import Diffusers, Inputs
    from overcrank.runtime import choose
    from overcrank.weights import open_checkpoint

    hardware = choose("cpu", dtype)
    network = open_checkpoint(file).build_transformer(hardware.dtype)
    twin, plain = Diffusers(network, None), _inputs(network.config.text_width)
    values = {each.name: getattr(plain, each.name) for each in fields(plain)}
    for name in ("tokens_BNC", "text_BLE"):
        values[name] = values[name].to(hardware.dtype)
    inputs = Inputs(**values)

    def step() -> None:
        with torch.no_grad():
            twin.velocity(inputs)

    return _timed(step, hardware)


def _inputs(text_width: int) -> Any:
    import torch

    from overcrank.evaluate.twins import Inputs
    from overcrank.shapes import LATENT_CHANNELS, ClipSize
    from overcrank.transformer import token_positions

    latent = ClipSize(SIZE["num_frames"], SIZE["height"], SIZE["width"]).latent
    generator = torch.Generator().manual_seed(0)
    return Inputs(
        torch.randn(1, latent.tokens, LATENT_CHANNELS, generator=generator),
        torch.full((1, 1), 0.9),
        token_positions(latent, 25.0, causal=True)[None],
        torch.randn(1, TEXT_TOKENS, text_width, generator=generator),
        torch.ones(1, TEXT_TOKENS, dtype=torch.bool),
    )


def _timed(step: Any, hardware: Any) -> dict[str, Any]:
    """The first call, which touches every weight, and the median of those after it."""
    from overcrank.runtime import peak_memory

    seconds = []
    for _ in range(1 + CALLS):
        start = perf_counter()
        step()
        seconds.append(perf_counter() - start)
    return {
        "dtype": str(hardware.dtype),
        "first_seconds": seconds[0],
        "step_seconds": median(seconds[1:]),
        "peak_gb": peak_memory(hardware) / 1e9,
    }


PARTS = {"clip": clip, "our_step": our_step, "diffusers_step": diffusers_step}


if __name__ == "__main__":
    main()
