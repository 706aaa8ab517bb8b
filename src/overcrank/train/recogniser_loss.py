"""What the recogniser learns by: right names, right places, and a guide for its cells.

Axes: B batch, F frames, D width, H W cells, S slots, X two coordinates.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from overcrank.runtime import choose
from overcrank.toybox.recogniser import NAMES, OF_ACTOR
from overcrank.train.recogniser_clips import NONE
from overcrank.train.spoil import UNSURE

LOOKS = (24, 24, 13)
"""Frames of the batches, in turn: of whole clips, and of the first two seconds. Few frames far
apart would teach shapes faster, but at the cost of motion."""


def loss_of(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy summed over names; the aim of an UNSURE label is the uniform distribution."""
    terms = []
    for name, scores in logits.items():
        if name == "centre":
            continue
        log = scores.float().log_softmax(-1).flatten(0, -2)
        aim = labels[name].flatten()
        picked = log.gather(1, aim.clamp(min=0)[:, None])[:, 0]
        each = -torch.where(aim == UNSURE, log.mean(1), picked)
        asked = aim != NONE
        terms.append((each * asked).sum() / asked.sum().clamp(min=1))
    return torch.stack(terms).sum()


def centre_loss(centres_BSX: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Mean distance between read and true first places of actors, along x plus along y."""
    there_BS = labels["shape"] >= 0
    away_BS = (centres_BSX.float() - labels["centre"][:, :, 0]).abs().sum(-1)
    return (away_BS * there_BS).sum() / there_BS.sum().clamp(min=1)


class Guide(nn.Module):
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


def loss_on(answers: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Of all that is answered, places too."""
    return loss_of(answers, labels) + centre_loss(answers["centre"], labels)


def optimise(
    parameters: Sequence[nn.Parameter],
    steps: int,
    lr: float,
    loss_at: Callable[[int], Tensor],
    on_event: Callable[[dict[str, Any]], None],
) -> None:
    """AdamW, a learning rate that rises and falls once, an event every 50 steps."""
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        loss = loss_at(step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            on_event({"step": step + 1, "loss": round(loss.item(), 4)})


def mixed(device: torch.device) -> torch.autocast:
    """The precision that training has there."""
    dtype = choose(device, "auto").dtype
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
