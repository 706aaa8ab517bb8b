"""The presets for the published 2B model: they resolve, and plan on the meta device."""

from pathlib import Path

import pytest
import torch

from overcrank.errors import RequestError
from overcrank.train import read_config
from overcrank.train.config import RunConfig
from overcrank.train.lora import adapt
from overcrank.train.start import with_files
from overcrank.transformer import PRESETS, Transformer

WHOLE = 1_923_385_472
"""Parameters of the published 2B transformer, in 715 tensors."""


def planned(config: RunConfig) -> Transformer:
    with torch.device("meta"):
        network = Transformer(PRESETS[config.preset])
    if config.lora is not None:
        adapt(network, config.lora)
    return network


@pytest.mark.parametrize(
    ("name", "learnt"),
    [("ltxv-2b-lora", 58_720_256), ("ltxv-2b-full", WHOLE), ("ltxv-2b-pretrain", WHOLE)],
)
def test_a_preset_of_the_2b_model_has_its_size(name: str, learnt: int) -> None:
    config = read_config(name)
    assert config.recompute
    network = planned(config)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == learnt
    assert config.optim.fall <= config.steps
    assert network.config.causal_positions, "as those of 0.9.5 and later"


def test_an_ic_lora_is_the_lora_with_the_changes_that_its_file_names() -> None:
    ends = "to_q, to_k, to_v, to_out.0, ff.net.0.proj, ff.net.2"
    config = read_config(
        "ltxv-2b-lora",
        ["lora.rank=128", "lora.alpha=128", f"lora.targets=[{ends}]", "conditions.reference=1"],
    )
    learnt = sum(p.numel() for p in planned(config).parameters() if p.requires_grad)
    assert learnt == 190_840_832


def test_batches_of_pretraining_have_the_same_number_of_tokens() -> None:
    config = read_config("ltxv-2b-pretrain")
    counts = {
        stage.batch * min(stage.tokens or 0, stage.clip.latent.tokens) for stage in config.stages
    }
    assert counts == {16 * 6144}
    assert {stage.frames for stage in config.stages} >= {1, 121, 249}
    assert config.start_from is None


@pytest.mark.parametrize("name", ["ltxv-2b-lora", "ltxv-2b-full", "ltxv-2b-pretrain"])
def test_a_preset_says_which_file_it_lacks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"vae is not there: got ltxv-2b-.*safetensors"):
        with_files(read_config(name))
