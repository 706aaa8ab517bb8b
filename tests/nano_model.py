"""The smallest real model, for tests: random weights, every path in a moment on one core."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from overcrank import transformer, vae
from overcrank.pipeline import Pipeline
from overcrank.weights import Card, Defaults, Model, save_model

DEFAULTS = Defaults(
    frames=9,
    height=32,
    width=64,
    frame_rate=8.0,
    steps=2,
    guidance=1.0,
    decode_sigma=0.05,
    negative_prompt="",
)


def nano_model(text_width: int = 48) -> Model:
    torch.manual_seed(0)
    config = replace(transformer.PRESETS["nano"], text_width=text_width)
    return Model("nano", vae.VAE(vae.PRESETS["nano"]), transformer.Transformer(config), DEFAULTS)


def nano_pipeline() -> Pipeline:
    return Pipeline(nano_model(), device="cpu", dtype="float32")


def save_nano(folder: Path, text_encoder: str | None = "overcrank-small") -> Path:
    model = nano_model(384)
    save_model(
        folder,
        Card(name="nano", text_encoder=text_encoder, defaults=DEFAULTS),
        model.vae,
        model.transformer,
    )
    return folder


def embeds(clips: int = 1, width: int = 48) -> Tensor:
    return torch.randn(clips, 3, width, generator=torch.Generator().manual_seed(1))
