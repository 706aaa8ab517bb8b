"""Training steps a second: the loop of this package beside a plain one over diffusers' modules.

    python examples/train_speed.py [--frames 121] [--size 128] [--batch 8] [--rounds 15]

Both train the same network (the pocket transformer with the activation and rotation of the
published models) from the same weights on the same clips, levels and noise, in the same precision,
in turns; the losses are compared, and the median time of a step. The plain loop is what one would
write first: AdamW, gradient clipping, mean squared error of the velocity.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from overcrank.data.batches import Batch
from overcrank.evaluate.twins import Diffusers
from overcrank.flow import shifted_logit_normal
from overcrank.shapes import ClipSize
from overcrank.train.given import Given, flow_loss
from overcrank.transformer import PRESETS, Transformer, token_positions

RATE = 1e-4
WORDS = 24


def main() -> None:
    """Print a line for each precision."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    size = ClipSize(asked.frames, asked.size, asked.size)
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        ours = Transformer(replace(PRESETS["pocket"], activation="gelu", rope_theta=10000.0))
        theirs = Diffusers(copy.deepcopy(ours), None).transformer
        steps = (_our_step(ours.train()), _plain_step(theirs.train(), size))
        times: list[list[float]] = [[], []]
        apart = 0.0
        for number in range(asked.rounds):
            losses = []
            for step, taken in zip(steps, times, strict=True):
                batch, sigma_B = _batch(size, asked.batch, number)
                begin = time.perf_counter()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    losses.append(step(batch, sigma_B, torch.Generator().manual_seed(number)))
                taken.append(time.perf_counter() - begin)
            apart = max(apart, abs(losses[0] / losses[1] - 1))
        mine, other = (statistics.median(taken[2:]) for taken in times)
        print(
            f"{str(dtype).removeprefix('torch.')}: {asked.batch} clips of {size.latent.tokens} "
            f"tokens, {asked.batch / mine:.2f} a second, plain loop {asked.batch / other:.2f}: "
            f"{other / mine:.2f} times as fast; losses differ by at most {apart:.1e}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _batch(size: ClipSize, samples: int, seed: int) -> tuple[Batch, Tensor]:
    """Random clips and texts, and a noise level for each."""
    dice = torch.Generator().manual_seed(seed)
    grid = size.latent
    latent = torch.randn(samples, 128, grid.frames, grid.height, grid.width, generator=dice)
    keep_BL = torch.arange(WORDS) < torch.randint(8, WORDS, (samples, 1), generator=dice)
    batch = Batch(
        latent_BCTHW=latent,
        actors_BTHW=torch.zeros(samples, *latent.shape[2:]),
        frame_rate_B=torch.full((samples,), 24.0),
        text_BLD=torch.randn(samples, WORDS, PRESETS["pocket"].text_width, generator=dice),
        keep_BL=keep_BL,
        keys_BKCHW=latent[:, :, -1:].movedim(2, 1),
        key_frames_BK=torch.full((samples, 1), size.frames - 1),
        kept_BN=torch.arange(grid.tokens).expand(samples, -1),
    )
    return batch, shifted_logit_normal(samples, tokens=grid.tokens, generator=dice)


Step = Callable[[Batch, Tensor, torch.Generator], float]


def _our_step(module: Transformer) -> Step:
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, fused=True)

    def step(batch: Batch, sigma_B: Tensor, generator: torch.Generator) -> float:
        loss = flow_loss(module, batch, sigma_B, Given.nothing(batch), generator).mean()
        return _descend(optimiser, module, loss)

    return step


def _plain_step(module: Any, size: ClipSize) -> Step:
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE)
    positions_BNX = token_positions(size.latent, 1.0, causal=True)
    positions_BNX = positions_BNX / torch.tensor([24.0, 1, 1])

    def step(batch: Batch, sigma_B: Tensor, generator: torch.Generator) -> float:
        clean_BNC = batch.latent_BCTHW.flatten(2).transpose(1, 2)
        noise_BNC = torch.randn(clean_BNC.shape, generator=generator)
        level_B11 = sigma_B[:, None, None]
        predicted_BNC = module(
            hidden_states=(1 - level_B11) * clean_BNC + level_B11 * noise_BNC,
            encoder_hidden_states=batch.text_BLD,
            timestep=sigma_B[:, None] * 1000,
            encoder_attention_mask=batch.keep_BL.long(),
            video_coords=positions_BNX.expand(len(clean_BNC), -1, -1).transpose(1, 2),
            return_dict=False,
        )[0]
        loss = nn.functional.mse_loss(predicted_BNC.float(), noise_BNC - clean_BNC)
        return _descend(optimiser, module, loss)

    return step


def _descend(optimiser: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> float:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()
    return loss.item()


if __name__ == "__main__":
    main()
