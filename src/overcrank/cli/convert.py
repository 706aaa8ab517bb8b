"""`overcrank convert`: a checkpoint in another format, or random weights of a release."""

import json as json_format
import sys
from contextlib import closing
from typing import Annotated, cast

import torch
import typer

from overcrank.cli.progress import Progress
from overcrank.cli.values import whole
from overcrank.errors import RequestError
from overcrank.request import MAX_SEED, check_whole
from overcrank.weights import TARGETS, Target, convert, open_checkpoint, random_release

DTYPES = {
    "keep": None,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def convert_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[SOURCE] TARGET",
            help="What is read (a preset, a file or folder of any format, a hub id; nothing with "
            "--random) and the new file or folder.",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(TARGETS)}; by default lightricks for a target that ends in "
            ".safetensors, else diffusers."
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="keep, float32, float16 or bfloat16: what weights are cast to.")
    ] = "keep",
    random: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Random weights of a release, such as ltxv-2b-0.9.8-distilled."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Of the random weights.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a checkpoint in another format, tensor by tensor; nothing is overwritten."""
    wanted = 1 if random is not None else 2
    if len(words) != wanted:
        right = "TARGET alone" if random is not None else "SOURCE and TARGET"
        raise RequestError(
            f"convert takes {right}{' with --random' * (wanted == 1)}, got {len(words)} names: "
            "see --help"
        )
    chosen = to or ("lightricks" if words[-1].endswith(".safetensors") else "diffusers")
    stored = _dtype(dtype)
    check_whole("--seed", seed, 0, MAX_SEED)
    if random is not None:
        found = random_release(random, seed=seed)
    else:
        found = open_checkpoint(words[0], progress=sys.stderr.isatty())
    with closing(Progress()) as progress:
        progress.stage("convert")
        done = convert(
            found, words[-1], cast(Target, chosen), dtype=stored, on_read=progress.on_part
        )
    summary = {
        "path": str(done.path),
        "format": chosen,
        "networks": list(done.networks),
        "bytes": done.nbytes,
        "warnings": list(done.remarks),
    }
    if json:
        print(json_format.dumps(summary))
        return
    print(f"{done.path}: {' and '.join(done.networks)}, {done.nbytes / 2**20:,.1f} MiB, {chosen}")
    for remark in done.remarks:
        print(f"note: {remark}")


def _dtype(name: str) -> torch.dtype | None:
    if name not in DTYPES:
        raise RequestError(
            f"weights are stored in {', '.join(DTYPES)}, got --dtype {name!r}: choose one"
        )
    return DTYPES[name]
