"""Loading takes the memory of the file, casting that of the result: measured in a new process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from overcrank.transformer import TransformerConfig
from overcrank.vae import PRESETS as VAES
from overcrank.weights.convert import convert
from overcrank.weights.releases import RELEASES
from overcrank.weights.synthetic import random_checkpoint

MEASURE = """
import json, sys
import torch
from overcrank.weights.convert import convert, open_checkpoint
def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
with torch.device("meta"):  # imports more of torch
    torch.nn.init.kaiming_uniform_(torch.nn.Linear(2, 2).weight)
before = status("VmRSS")
source, dtype = sys.argv[1], getattr(torch, sys.argv[2], None)
if sys.argv[3] == "convert":
    convert(source, sys.argv[4], "overcrank")
else:
    network = open_checkpoint(source).build_transformer(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.amax()  # every page is read
print(json.dumps(status("VmHWM") - before))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer of 200 MB in bfloat16."""
    config = TransformerConfig(
        layers=5, heads=16, head_width=64, text_width=4096, causal_positions=True
    )
    release = RELEASES["ltxv-2b-0.9.5"]
    source = random_checkpoint(config, VAES["ltxv-0.9.5"], release=release)
    from dataclasses import replace

    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    convert(replace(source, vae=None), path, "lightricks")
    return path


def grown(*arguments: str) -> int:
    """Bytes by which the peak exceeds what the process held before."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return int(json.loads(done.stdout))


def test_kept_dtypes_cost_at_most_1_15_times_the_file(large: Path) -> None:
    size = large.stat().st_size
    assert size > 180e6
    assert grown(str(large), "keep", "load") <= 1.15 * size


def test_casting_costs_the_result_and_one_tensor(large: Path) -> None:
    result = 2 * large.stat().st_size
    assert grown(str(large), "float32", "load") <= 1.15 * result


def test_converting_costs_a_fraction_of_the_file(large: Path, tmp_path: Path) -> None:
    used = grown(str(large), "keep", "convert", str(tmp_path / "own"))
    assert used <= 0.75 * large.stat().st_size  # most of it does not grow with the file


def test_random_weights_are_the_same_each_time_they_are_read() -> None:
    from overcrank.weights.synthetic import random_release

    network = random_release("ltxv-2b-0.9.8").transformer
    assert network is not None
    entry = network.entries["transformer_blocks.3.attn1.q_norm.weight"]
    assert entry.load().equal(entry.load())
    assert entry.load().dtype == torch.bfloat16
    assert sum(each.count for each in network.entries.values()) == pytest.approx(1.9234e9, rel=1e-4)
