"""What a checkpoint says of itself, and which networks belong together."""

import json
from pathlib import Path

import pytest

from overcrank.errors import ModelError
from overcrank.weights.convert import open_checkpoint
from overcrank.weights.fit import check_fit, fit
from overcrank.weights.report import describe_checkpoint
from tiny_checkpoints import LAYOUTS, tiny, write_tiny


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_says_its_release_its_dtypes_and_what_it_lacks(layout: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors", layout)
    found = describe_checkpoint(path)
    json.dumps(found, allow_nan=False)
    assert found["release"] == LAYOUTS[layout]
    assert set(found["components"]["transformer"]["dtypes"]) == {"bfloat16", "float32"}
    assert found["missing"] == ["no text encoder: give T5-XXL, or prompt embeddings"]
    assert found["mismatch"] is None
    assert found["trained_range"]["frames"] == 257


def test_statistics_are_those_of_the_weights(tmp_path: Path) -> None:
    found = open_checkpoint(write_tiny(tmp_path / "a.safetensors"))
    groups = describe_checkpoint(found)["components"]["transformer"]["groups"]
    weights = found.build_transformer().proj_out
    numbers = [parameter.float().flatten() for parameter in weights.parameters()]
    import torch

    expected = torch.cat(numbers)
    assert groups["proj_out"]["std"] == pytest.approx(expected.std(correction=0).item(), rel=1e-4)
    assert groups["proj_out"]["max"] == expected.max().item()


def test_headers_alone_can_be_described(tmp_path: Path) -> None:
    found = describe_checkpoint(write_tiny(tmp_path / "a.safetensors"), statistics=False)
    assert found["components"]["vae"]["groups"]["encoder.conv_in"].keys() == {"parameters"}


def test_a_transformer_alone_says_what_it_goes_with(tmp_path: Path) -> None:
    found = describe_checkpoint(write_tiny(tmp_path / "a.safetensors", "0.9.1", only="model."))
    assert "no vae" in found["missing"]
    assert any("0.9.1" in each for each in found["goes_with"])


def test_our_own_models_can_be_described() -> None:
    found = describe_checkpoint("pocket", statistics=False)
    assert found["architecture"] == "of our small family"
    assert found["missing"] == []


@pytest.mark.parametrize(("transformer", "vae"), [("0.9.1", "0.9.5"), ("0.9.5", "0.9.0")])
def test_networks_of_different_releases_are_refused(
    transformer: str, vae: str, tmp_path: Path
) -> None:
    first = open_checkpoint(write_tiny(tmp_path / "a.safetensors", transformer))
    second = open_checkpoint(write_tiny(tmp_path / "b.safetensors", vae))
    with pytest.raises(ModelError, match=rf"right is .*autoencoder of {transformer}"):
        check_fit(first, second)
    assert len(check_fit(first, second, allow_mismatch=True)) == 1


def test_what_is_not_proven_is_only_warned_of(tmp_path: Path) -> None:
    from dataclasses import replace

    from overcrank.weights.origin import Origin

    silent = replace(tiny(), origin=Origin(source="a"))
    found = fit(silent, open_checkpoint(write_tiny(tmp_path / "b.safetensors")))
    assert found.refusal is None
    assert "nothing in" in found.warnings[0]
