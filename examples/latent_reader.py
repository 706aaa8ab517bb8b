"""A network that reads shapes and motions off latents, for `examples/read_student.py` to teach by.

    python examples/latent_reader.py pocket-distil -o reader.safetensors

It is the first blocks of the transformer that a run starts from, with a query for each colour: what
shape is the thing of that colour, what does it do, or is there none? It learns from the clips of
the run, noised, and never sees a decoded frame or the judge of the benchmark. Two cores, twelve
minutes, once the latents are there, which both examples keep in `--folder`.

Axes: B batch, N video tokens, C latent channels, D width, K colours, S shapes and none, M motions
and none.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from overcrank.data.batches import collate
from overcrank.data.latents import LatentCache
from overcrank.data.originals import FRAME_RATES
from overcrank.flow import mix
from overcrank.runtime import Hardware, choose
from overcrank.toybox.scene import COLOURS, MOTIONS, SHAPES, Scene
from overcrank.train import RunConfig, build_objective, read_config
from overcrank.train.distil import DistilObjective
from overcrank.train.given import Given, Tokens
from overcrank.train.record import Event
from overcrank.train.start import build_world
from overcrank.transformer import Transformer
from overcrank.transformer.rope import rotation_table
from overcrank.weights import load_network

BLOCKS, HIGHEST, STEPS, HELD_OUT = 6, 0.8, 450, 320
UNKNOWN = -1
"""Of a colour that two actors have, of a figure, of a motion that is one of two."""


class Reader(nn.Module):
    """Noisy tokens (B, N, C), levels (B,), positions -> logits (B, K, S) and (B, K, M)."""

    def __init__(self, trunk: Transformer, empty_LE: Tensor) -> None:
        super().__init__()
        width = trunk.config.width
        self.trunk = trunk
        del trunk.transformer_blocks[BLOCKS:]
        self.queries_KD = nn.Parameter(0.5 * torch.randn(len(COLOURS), width))
        self.norm, self.again = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look = nn.MultiheadAttention(width, 8, batch_first=True)
        self.look_again = nn.MultiheadAttention(width, 8, batch_first=True)
        self.think = nn.Sequential(
            *(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU()),
            nn.Linear(2 * width, width),
        )
        self.say = nn.Linear(width, len(SHAPES) + len(MOTIONS) + 2)
        self.register_buffer("empty_LE", empty_LE)

    def forward(
        self, tokens_BNC: Tensor, sigma_B: Tensor, positions_BNX: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is read."""
        trunk, config = self.trunk, self.trunk.config
        rotation = rotation_table(
            positions_BNX, config.width, config.rope_theta, config.max_position
        )
        modulation, _ = trunk.adaln_single(sigma_B[:, None], tokens_BNC.dtype)
        context_BLD = trunk.caption_projection(self.empty_LE.expand(len(tokens_BNC), -1, -1))
        h_BND = trunk.patchify_proj(tokens_BNC)
        for block in trunk.transformer_blocks:
            h_BND = block(h_BND, modulation, context_BLD, rotation, keep_BL=None, skip=None)
        h_BND = self.norm(h_BND)
        q_BKD = self.queries_KD.expand(len(h_BND), -1, -1)
        q_BKD = q_BKD + self.look(q_BKD, h_BND, h_BND, need_weights=False)[0]
        q_BKD = q_BKD + self.look_again(self.again(q_BKD), h_BND, h_BND, need_weights=False)[0]
        shapes_BKS, motions_BKM = self.say(q_BKD + self.think(q_BKD)).split(
            [len(SHAPES) + 1, len(MOTIONS) + 1], dim=-1
        )
        return shapes_BKS, motions_BKM


def facts(config: RunConfig, clips: int) -> tuple[Tensor, Tensor]:
    """Shape and motion (clips, K) of each colour in the clips of a run's first latents."""
    latents, world = config.latents[0], build_world(config.scenes)
    shapes_NK = torch.full((clips, len(COLOURS)), len(SHAPES))
    motions_NK = torch.full((clips, len(COLOURS)), len(MOTIONS))
    for number in range(clips):
        rate = FRAME_RATES[number % len(FRAME_RATES)]
        seed = config.seed * 2**32 + latents.first + number
        scene = world.scene(seed, "train", latents.frames / rate)
        if not isinstance(scene, Scene):
            shapes_NK[number] = motions_NK[number] = UNKNOWN
            continue
        colours = [actor.colour for actor in scene.actors]
        for actor in scene.actors:
            k = COLOURS.index(actor.colour)
            alone, plain = colours.count(actor.colour) == 1, actor.motion in MOTIONS
            shapes_NK[number, k] = SHAPES.index(actor.shape) if alone else UNKNOWN
            known = alone and plain and actor.then is None
            motions_NK[number, k] = MOTIONS.index(actor.motion) if known else UNKNOWN
    return shapes_NK, motions_NK


def mistaken(read: tuple[Tensor, Tensor], shapes_BK: Tensor, motions_BK: Tensor) -> Tensor:
    """Cross-entropy of the answers; motions count half."""
    of_shapes, of_motions = (
        F.cross_entropy(logits.flatten(0, 1).float(), right.flatten(), ignore_index=UNKNOWN)
        for logits, right in zip(read, (shapes_BK, motions_BK), strict=True)
    )
    return of_shapes + 0.5 * of_motions


def train(
    reader: Reader, cache: LatentCache, told: tuple[Tensor, Tensor], hardware: Hardware
) -> None:
    """In turn whole clips and their first 49 frames."""
    rates = {"trunk": 3e-4, "rest": 1e-3}
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in reader.named_parameters():
        groups["trunk" if name.startswith("trunk") else "rest"].append(parameter)
    optimiser = torch.optim.AdamW(
        [{"params": groups[name], "lr": rates[name], "full": rates[name]} for name in rates],
        betas=(0.9, 0.98),
    )
    dice = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        share = min(1.0, (step + 1) / 50, (STEPS - step) / (0.4 * STEPS))
        for group in optimiser.param_groups:
            group["lr"] = share * group["full"]
        count, frames = (32, 16) if step % 2 else (64, 7)
        picks = torch.randint(cache.held_out, len(cache) - HELD_OUT, (count,), generator=dice)
        loss, right = _look(reader, cache, told, picks, frames, hardware, dice)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        if step % 20 == 19:
            print(f"step {step + 1}  loss {loss.item():.3f}  shapes right {right:.0%}", flush=True)


def _look(
    reader: Reader,
    cache: LatentCache,
    told: tuple[Tensor, Tensor],
    picks: Tensor,
    frames: int,
    hardware: Hardware,
    dice: torch.Generator,
) -> tuple[Tensor, float]:
    batch = collate(cache, picks.tolist(), frames, [0] * len(picks), [False] * len(picks))
    tokens = Tokens.of(batch, Given.nothing(batch), causal=True)
    sigma_B = HIGHEST * torch.rand(len(picks), generator=dice)
    noise_BNC = torch.randn(tokens.clean_BNC.shape, generator=dice)
    at_BNC = mix(tokens.clean_BNC, noise_BNC, sigma_B[:, None, None])
    with torch.autocast("cpu", hardware.dtype, enabled=hardware.dtype != torch.float32):
        read = reader(at_BNC, sigma_B, tokens.positions_BNX)
    right = [table[picks] for table in told]
    actors = (right[0] != UNKNOWN) & (right[0] != len(SHAPES))
    found = (read[0].argmax(-1) == right[0]) & actors
    return mistaken(read, *right), (found.sum() / actors.sum().clamp(min=1)).item()


def cached(config: RunConfig, folder: Path, hardware: Hardware) -> DistilObjective:
    """The run's own objective, whose latents are made where they are missing."""
    plain = config.model_copy(update={"samples": None})
    objective = build_objective(plain, folder, _say, hardware)
    assert isinstance(objective, DistilObjective)
    return objective


def _say(event: Event) -> None:
    print(event, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Train one, say how well it reads clips it has not seen, and store it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="a preset or file of kind distil")
    parser.add_argument("--folder", type=Path, default=Path("runs/read-student"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args(words)
    config, hardware = read_config(asked.run, asked.changes), choose("cpu", "auto")
    objective = cached(config, asked.folder, hardware)
    cache = next(iter(objective.caches.values()))
    assert config.start_from is not None
    torch.manual_seed(0)
    reader = Reader(load_network(config.start_from, "transformer"), objective.empty_LD)
    told, dice = facts(config, len(cache)), torch.Generator().manual_seed(1)
    train(reader, cache, told, hardware)
    with torch.no_grad():
        picks = torch.arange(len(cache) - HELD_OUT, len(cache))
        _, right = _look(reader.eval(), cache, told, picks, 16, hardware, dice)
    save_file(reader.state_dict(), asked.output)
    print(f"{asked.output}: shapes of {HELD_OUT} clips it has not seen: {right:.0%} right")


if __name__ == "__main__":
    main()
