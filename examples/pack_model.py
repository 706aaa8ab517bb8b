"""Join a trained autoencoder and transformer, or a student of one, into a model folder.

python examples/pack_model.py runs/pocket-vae runs/pocket-transformer src/overcrank/presets/pocket
"""

import sys
from dataclasses import replace
from pathlib import Path

from overcrank.train import read_config
from overcrank.weights import Card, Defaults, load_component, save_model

DEFAULTS = Defaults(
    frames=121,
    height=128,
    width=128,
    frame_rate=24.0,
    steps=20,
    guidance=3.0,
    decode_sigma=0.05,
    negative_prompt="",
)


def main(vae_run: str, transformer_run: str, folder: str) -> None:
    """The weights that the two runs exported, with the settings we recommend."""
    defaults = DEFAULTS
    run = read_config(Path(transformer_run) / "config.yaml")
    if run.kind == "distil":
        levels = tuple(run.distil.levels)
        defaults = replace(
            defaults,
            steps=len(levels),
            guidance=1.0,
            levels=levels,
            decode_sigma=run.distil.end,
        )
    save_model(
        folder,
        Card(name=Path(folder).name, text_encoder="minilm-l6", defaults=defaults),
        load_component(Path(vae_run) / "vae.safetensors", "vae"),
        load_component(Path(transformer_run) / "transformer.safetensors", "transformer"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
