"""What trains the transformer: rectified flow on latents, all conditions in the same batches.

The level is drawn from a logit-normal shifted by the number of tokens, the conditions as `Given`
says; with some probability the text is left out (for classifier-free guidance). Sources:
LTX-Video, arXiv:2501.00103, section 2.3; Ho & Salimans, arXiv:2207.12598.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.data.batches import Batch, LatentBatches, collate
from overcrank.data.latents import LatentCache
from overcrank.runtime import Hardware
from overcrank.shapes import ClipSize
from overcrank.train.compiled import compile_stages
from overcrank.train.config import RunConfig
from overcrank.train.given import Given, draw_levels, flow_loss
from overcrank.train.loop import on_device
from overcrank.train.lora import adapt, save_lora
from overcrank.transformer import PRESETS, Transformer
from overcrank.weights import load_network, save_component

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_TOKENS_AT_ONCE = 16384
"""Of held-out clips: as many as this leaves room for."""


class TransformerObjective:
    """Trains a `Transformer` on cached latents, `caches` by the size of their clips."""

    def __init__(
        self,
        config: RunConfig,
        caches: Mapping[ClipSize, LatentCache],
        latent_hash: str,
        hardware: Hardware,
    ) -> None:
        self.config, self.caches, self.latent_hash = config, caches, latent_hash
        self.hardware = hardware
        self.module: Transformer = start_transformer(config, hardware)
        hardware.place(self.module)
        self.module.train()
        if config.compile:
            compile_stages(self.module)

    def data(self) -> Dataset[Batch]:
        """Batch number `step`."""
        return latent_batches(self.config, self.caches)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and what is worth logging."""
        conditions = self.config.conditions
        stage = self.config.stage_like(tuple(batch.latent_BCTHW.shape[2:]))
        sigma_BT = draw_levels(batch, conditions, generator, stage)
        given = Given.draw(batch, conditions, generator)
        extra = self.config.actor_weight
        loss_B = flow_loss(self.module, batch, sigma_BT, given, generator, extra)
        with torch.no_grad():
            low = loss_B[sigma_BT.mean(1) < 0.5].mean()
            known = loss_B[given.frames_BT.any(1)].mean()
        return loss_B.mean(), {"low": low, "given": known}

    @torch.no_grad()
    def evaluate(self, module: nn.Module, _folder: Path, step: int) -> dict[str, float]:
        """Loss on clips never trained on, with fixed noise, by size of clips and noise level."""
        assert isinstance(module, Transformer)
        device, losses = self.hardware.device, {}
        longest = {str(s.size): s for s in self.config.stages_at(step - 1)}
        for size, stage in sorted(longest.items()):
            grid = stage.clip.latent
            cache = self.caches[self.config.latents_of(stage).clip]
            count = min(cache.held_out, max(1, _TOKENS_AT_ONCE // grid.tokens))
            if count == 0:
                continue
            held_out = collate(cache, range(count), grid.frames, [0] * count, [False] * count)
            batch = on_device(held_out, device)
            given = Given.nothing(batch, reference=self.config.conditions.reference == 1)
            for level in LEVELS:
                generator = torch.Generator(device).manual_seed(0)
                sigma_B = torch.full((count,), level, device=device)
                loss_B = flow_loss(module, batch, sigma_B, given, generator)
                losses[f"held_out_{size}_{level}"] = loss_B.mean().item()
        return losses

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write `transformer.safetensors`, or what was added to it as `lora.safetensors`."""
        assert isinstance(module, Transformer)
        extra = made_with(self.latent_hash, self.caches)
        if self.config.lora is not None:
            save_lora(folder / "lora.safetensors", module, extra)
            return
        save_component(folder / "transformer.safetensors", "transformer", module, extra=extra)


def made_with(latent_hash: str, caches: Mapping[ClipSize, LatentCache]) -> dict[str, str]:
    """What a transformer's file says of its training: the latents, and the rate of most clips."""
    longest = caches[max(caches, key=lambda size: size.frames)]
    return {"latent_hash": latent_hash, "frame_rate": f"{longest.frame_rate:g}"}


def start_transformer(config: RunConfig, hardware: Hardware) -> Transformer:
    """New, or what the run starts from, with the additions of a LoRA if it trains one."""
    # What is frozen is as precise as it is computed with.
    dtype = torch.float32 if config.lora is None else hardware.dtype
    if config.start_from is None:
        network = Transformer(PRESETS[config.row])
        network.initialise()
    else:
        network = load_network(config.start_from, "transformer", dtype)
    if config.lora is not None:
        adapt(network, config.lora, config.seed)
    return network


def latent_batches(config: RunConfig, caches: Mapping[ClipSize, LatentCache]) -> LatentBatches:
    """The batches of a run on cached latents."""

    def shape_of(step: int) -> tuple[int, int, int]:
        stage, grid = config.stage(step), config.stage(step).clip.latent
        return stage.batch, grid.frames, min(grid.tokens, stage.tokens or grid.tokens)

    return LatentBatches(
        lambda step: caches[config.latents_of(config.stage(step)).clip],
        shape_of,
        steps=config.steps,
        seed=config.seed,
        drop_text=config.conditions.drop_text,
    )
