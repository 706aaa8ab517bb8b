"""Give an autoencoder's file a linear preview of its latents; its weights stay as they are.

    python examples/fit_preview.py src/overcrank/presets/pocket/vae.safetensors

The map is fitted on clips of the toybox that no run sees, and measured on others: decibels of the
colours of cells, beside those of the clips' mean colour.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from overcrank.data.world import World
from overcrank.metrics import psnr
from overcrank.shapes import ClipSize
from overcrank.train.vae import to_video
from overcrank.vae import VAE, cell_colours
from overcrank.weights import latent_hash, load_component, save_component

SIZE, FITTED, MEASURED = ClipSize(17, 128, 128), 96, 16
FIRST = 2**42
"""Scenes of training have smaller numbers."""


def cells(vae: VAE, numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (N, C) and colours (N, 3) of one clip after the other."""
    world = World()
    for number in numbers:
        frames = world.render(world.scene(number, "train"), SIZE, 24.0)
        video = to_video(frames[None])
        pair = vae.encode(video), cell_colours(video)
        yield tuple(x.movedim(1, -1).flatten(0, -2) for x in pair)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    vae = load_component(file, "vae")
    with safe_open(file, framework="pt") as opened:
        stored = opened.get_tensor("encoder.conv_in.conv.weight").dtype
    before, fitted = latent_hash(vae), range(FIRST, FIRST + FITTED)
    latents, colours = (torch.cat(x) for x in zip(*cells(vae, fitted), strict=True))
    vae.fit_preview(latents, colours)
    save_component(file, "vae", vae, dtype=stored)
    again = load_component(file, "vae")
    assert latent_hash(again) == before, "the latents must stay what they are"
    held_out = range(FIRST + FITTED, FIRST + FITTED + MEASURED)
    latents, colours = (torch.cat(x) for x in zip(*cells(again, held_out), strict=True))
    seen = again.preview(latents.T[None, :, :, None, None])[0, :, :, 0, 0].T
    plain = colours.mean(0).expand_as(colours)
    print(f"colours: {psnr(seen[None], colours[None]).item():.1f} dB,", end=" ")
    print(f"their mean: {psnr(plain[None], colours[None]).item():.1f} dB")


if __name__ == "__main__":
    main()
