"""Between Lightricks' file, diffusers' folder and our own: there and back, nothing is lost."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from overcrank.errors import ModelError, RequestError
from overcrank.weights import open_model
from overcrank.weights.convert import Target, convert, open_checkpoint
from overcrank.weights.mapped import Tensors
from overcrank.weights.origin import ORIGIN_KEY
from overcrank.weights.own import read_own
from tiny_checkpoints import LAYOUTS, assert_bit_equal, contents, embedded, tiny, write_tiny


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_file_comes_back_bit_equal_by_way_of_every_format(
    layout: str, tmp_path: Path
) -> None:
    """Names, dtypes, bits, metadata and the tensors that nothing reads."""
    source = write_tiny(tmp_path / "ltxv.safetensors", layout)
    (tmp_path / "ltxv.license.txt").write_text("You may.")
    convert(source, tmp_path / "diffusers", "diffusers", shard_bytes=100_000)
    convert(tmp_path / "diffusers", tmp_path / "own", "overcrank")
    convert(tmp_path / "own", tmp_path / "again", "diffusers")
    convert(tmp_path / "again", tmp_path / "back.safetensors", "lightricks")
    expected, told = contents(source)
    got, tells = contents(tmp_path / "back.safetensors")
    assert_bit_equal(got, expected)
    assert {name: text for name, text in tells.items() if name != ORIGIN_KEY} == told
    assert (tmp_path / "back.license.txt").read_text() == "You may."


@pytest.mark.parametrize("layout", LAYOUTS)
def test_configs_are_the_same_in_every_format(layout: str, tmp_path: Path) -> None:
    source = tiny(layout)
    formats: tuple[Target, ...] = ("lightricks", "diffusers", "overcrank")
    for to in formats:
        convert(source, tmp_path / to, to)
        found = open_checkpoint(tmp_path / to)
        assert found.format == to
        assert [each.config for each in found.networks] == [each.config for each in source.networks]
        assert found.finding is not None
        assert found.finding.release.name == LAYOUTS[layout]


def test_what_is_written_is_read_back_by_an_independent_reader(tmp_path: Path) -> None:
    source = tiny()
    convert(source, tmp_path / "one.safetensors", "lightricks")
    assert source.vae is not None
    stored = load_file(tmp_path / "one.safetensors")
    for name, tensor in Tensors(source.vae.entries).items():
        assert stored[f"vae.{name}"].equal(tensor)


@pytest.mark.parametrize(
    ("prefix", "component", "lacking"), [("model.", "transformer", "vae"), ("vae.", "vae", "tr")]
)
def test_a_file_with_one_network_opens_and_comes_back(
    prefix: str, component: str, lacking: str, tmp_path: Path
) -> None:
    source = write_tiny(tmp_path / "part.safetensors", "0.9.1", only=prefix)
    found = open_checkpoint(source)
    assert [each.component for each in found.networks] == [component]
    convert(source, tmp_path / "diffusers", "diffusers")
    convert(tmp_path / "diffusers", tmp_path / "own", "overcrank")
    convert(tmp_path / "own", tmp_path / "back.safetensors", "lightricks")
    assert_bit_equal(contents(tmp_path / "back.safetensors")[0], contents(source)[0])
    with pytest.raises(ModelError, match="holds no"):
        found.build_transformer() if component == "vae" else found.build_vae()


def test_a_file_without_metadata_is_recognised_by_its_shapes(tmp_path: Path) -> None:
    for layout in ("0.9.0", "0.9.1", "0.9.5"):
        expected = open_checkpoint(write_tiny(tmp_path / "a.safetensors", layout, only="vae."))
        save_file(contents(tmp_path / "a.safetensors")[0], tmp_path / "bare.safetensors")
        found = open_checkpoint(tmp_path / "bare.safetensors")
        assert found.vae is not None
        assert expected.vae is not None
        assert found.vae.config == expected.vae.config


def test_a_transformer_without_metadata_says_what_was_assumed(tmp_path: Path) -> None:
    """Published transformers have 32 heads, and only metadata tell 0.9.1 from 0.9.5."""
    from overcrank.transformer import Transformer, TransformerConfig

    torch.manual_seed(0)
    config = TransformerConfig(
        layers=1, heads=32, head_width=2, text_width=8, causal_positions=True
    )
    path = tmp_path / "bare.safetensors"
    save_file(Transformer(config).state_dict(), path)
    found = open_checkpoint(path)
    assert "leaves no trace" in found.remarks[0]
    assert not found.build_transformer().config.causal_positions
    assert open_checkpoint(path, causal_positions=True).build_transformer().config == config


def test_our_own_model_with_its_card_survives_the_other_formats(tmp_path: Path) -> None:
    convert(write_tiny(tmp_path / "a.safetensors"), tmp_path / "own", "overcrank")
    card = json.loads((tmp_path / "own" / "model.json").read_text())
    card["defaults"]["steps"] = 7
    (tmp_path / "own" / "model.json").write_text(json.dumps(card))
    convert(tmp_path / "own", tmp_path / "b.safetensors", "lightricks")
    convert(tmp_path / "b.safetensors", tmp_path / "diffusers", "diffusers")
    convert(tmp_path / "diffusers", tmp_path / "back", "overcrank")
    for name in ("model.json", "vae.safetensors", "transformer.safetensors"):
        before, after = tmp_path / "own" / name, tmp_path / "back" / name
        if name == "model.json":
            assert before.read_text() == json.dumps(json.loads(after.read_text()))
        else:
            assert_bit_equal(contents(after)[0], contents(before)[0])


def test_a_converted_folder_is_a_model_that_overcrank_opens(tmp_path: Path) -> None:
    convert(write_tiny(tmp_path / "a.safetensors"), tmp_path / "own", "overcrank")
    model = open_model(tmp_path / "own")
    assert model.defaults.decode_sigma == 0.05
    assert {tensor.dtype for tensor in model.vae.state_dict().values()} == {torch.float32}


def test_a_conversion_can_cast(tmp_path: Path) -> None:
    convert(write_tiny(tmp_path / "a.safetensors"), tmp_path / "own", "overcrank", dtype=torch.half)
    assert {each.dtype for each in contents(tmp_path / "own" / "vae.safetensors")[0].values()} == {
        torch.float16
    }


def test_a_small_model_of_ours_has_no_published_format(tmp_path: Path) -> None:
    for to in ("lightricks", "diffusers"):
        with pytest.raises(ModelError, match="our own format only"):
            convert("pocket", tmp_path / to, to)
        assert not (tmp_path / to).exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "a.safetensors")
    before = source.read_bytes()
    with pytest.raises(RequestError, match="is there already"):
        convert(source, source, "lightricks")
    assert source.read_bytes() == before


def test_the_origin_is_named_in_every_format(tmp_path: Path) -> None:
    convert(write_tiny(tmp_path / "a.safetensors"), tmp_path / "own", "overcrank")
    found = read_own(tmp_path / "own")
    assert found.origin.source == "a.safetensors"
    assert found.origin.metadata["modelspec.author"] == "somebody"
    assert found.published == embedded(tmp_path / "a.safetensors")
