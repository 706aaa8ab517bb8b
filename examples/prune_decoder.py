"""Begin a smaller decoder with the weights of a larger one; the latents stay what they are.

    python examples/prune_decoder.py pocket -o start.safetensors --keep - 01 012+ 01

`--keep` names, from the pixels to the latents, the residual blocks that each stack keeps: digits
count its blocks from the latent side, `+` is a new one that begins as an identity, `-` is none.
Train the file with `overcrank train pocket-decoder --set start_from=start.safetensors`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from overcrank.vae import VAE
from overcrank.weights import latent_hash, load_network, save_component

NEW = "+"


def kept_blocks(text: str) -> list[str]:
    """`01+` -> ["0", "1", "+"]; `-` -> []."""
    blocks = [] if text == "-" else list(text)
    if not all(block.isdecimal() or block == NEW for block in blocks):
        raise argparse.ArgumentTypeError(f"got {text}: right is such as 01, 0+ or -")
    return blocks


def source_of(name: str, stacks: dict[str, list[str]]) -> str | None:
    """The name in the larger decoder of a tensor of the smaller one; None is a new one's."""
    side, _, rest = name.partition(".res_blocks.")
    if side not in stacks:
        return name
    number, _, tensor = rest.partition(".")
    block = stacks[side][int(number)]
    return None if block == NEW else f"{side}.res_blocks.{block}.{tensor}"


def pruned(large: VAE, keep: list[list[str]]) -> VAE:
    """`keep` has one entry for each stack of the decoder, from the pixel side."""
    given = list(large.config.decoder_blocks)
    at = [n for n, block in enumerate(given) if block.kind == "res_x"]
    for n, blocks in zip(at, keep, strict=True):
        given[n] = replace(given[n], layers=len(blocks))
    small = VAE(replace(large.config, decoder_blocks=tuple(given)))
    last = len(given) - 1
    stacks = {f"decoder.up_blocks.{last - n}": b for n, b in zip(at, keep, strict=True)}
    there, state = large.state_dict(), dict[str, Tensor]()
    for name, begun in small.state_dict().items():
        source = source_of(name, stacks)
        state[name] = begun if source is None else there[source]
    small.load_state_dict(state)
    return small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--keep", type=kept_blocks, nargs="+", required=True)
    given = parser.parse_args()
    torch.manual_seed(0)  # a new block has random inner weights
    large = load_network(given.source, "vae")
    small = pruned(large, given.keep)
    assert latent_hash(small) == latent_hash(large), "the latents must stay what they are"
    save_component(given.output, "vae", small)
    counts = (sum(p.numel() for p in vae.decoder.parameters()) for vae in (large, small))
    print("decoder: {:,} -> {:,} weights".format(*counts))


if __name__ == "__main__":
    main()
