"""What `inspect` says about a model."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from overcrank.cli.inspect import inspect_command
from overcrank.errors import ModelError
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from overcrank.weights import Card, Defaults, describe, preset_names, save_model

CARD = Card(
    name="tiny",
    text_encoder=None,
    defaults=Defaults(
        frames=9,
        height=32,
        width=64,
        frame_rate=8.0,
        steps=4,
        guidance=1.0,
        decode_sigma=0.05,
        negative_prompt="",
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path, CARD, VAE(VAES["nano"]), Transformer(TRANSFORMERS["nano"]))
    return tmp_path


def test_a_description_counts_every_number_of_a_network_once(folder: Path) -> None:
    network = Transformer(TRANSFORMERS["nano"])
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    found = describe(folder)["components"]["transformer"]
    assert found["parameters"] == found["dtypes"]["float16"] == numbers
    assert sum(group["parameters"] for group in found["groups"].values()) == numbers


def test_a_description_holds_the_card_and_the_configs(folder: Path) -> None:
    found = describe(folder)
    assert found["defaults"] == asdict(CARD.defaults)
    config = found["components"]["transformer"]["config"]
    assert type(TRANSFORMERS["nano"]).from_dict(config) == TRANSFORMERS["nano"]
    assert found["missing"] == []


def test_blocks_are_groups_of_their_own(folder: Path) -> None:
    groups = describe(folder)["components"]["transformer"]["groups"]
    assert {"transformer_blocks.0", "transformer_blocks.1"} <= set(groups)


def test_statistics_are_those_of_the_weights(folder: Path) -> None:
    found = describe(folder)["components"]["vae"]["groups"]
    statistics = found["per_channel_statistics"]
    assert (statistics["min"], statistics["max"], statistics["std"]) == (0.0, 1.0, 0.5)


def test_what_an_incomplete_folder_lacks_is_named(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "vae.safetensors").unlink()
    found = describe(folder)
    assert found["missing"] == ["vae.safetensors", "model.json"]
    assert list(found["components"]) == ["transformer"]


def test_one_weight_file_can_be_described_alone(folder: Path) -> None:
    assert list(describe(folder / "vae.safetensors")["components"]) == ["vae"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a model"):
        describe(tmp_path)


def test_a_preset_needs_no_text_encoder_to_be_described(folder: Path) -> None:
    replace(CARD, text_encoder="t5").write(folder)
    assert describe(folder)["text_encoder"] == "t5"


def test_the_command_prints_one_json_object(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect_command(str(folder), json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(describe(str(folder))))


def test_the_command_prints_tables_of_both_networks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.json").unlink()
    inspect_command(str(folder))
    printed = capsys.readouterr().out
    for expected in ("vae:", "transformer:", "transformer_blocks.0", "missing: model.json"):
        assert expected in printed


def test_a_damaged_network_is_not_described(folder: Path) -> None:
    path = folder / "vae.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        describe(folder)


def test_a_preset_is_not_hidden_by_a_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in preset_names():
        Path(name).write_text("")
        assert describe(name)["name"] == name
