"""`overcrank convert` and `overcrank inspect`: flags, files, exit codes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from command_line import overcrank
from overcrank.cli.values import weighted
from overcrank.errors import RequestError
from overcrank.transformer import TransformerConfig
from overcrank.vae import PRESETS as VAES
from overcrank.weights import convert, synthetic
from overcrank.weights.convert import open_checkpoint
from test_pipeline_extras import write_lora
from test_pipeline_passes import write_upscaler
from tiny_checkpoints import LAYOUTS, assert_bit_equal, contents, write_tiny


@pytest.mark.parametrize("to", ["diffusers", "overcrank"])
def test_there_and_back_every_tensor_is_bit_equal(to: str, tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "a.safetensors")
    first = overcrank("convert", source, tmp_path / "b", "--to", to, "--json")
    assert first.code == 0, first.err
    assert json.loads(first.out)["format"] == to
    assert overcrank("convert", tmp_path / "b", tmp_path / "c.safetensors").code == 0
    assert_bit_equal(contents(tmp_path / "c.safetensors")[0], contents(source)[0])


def test_random_weights_of_a_release_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the release's layout, here with narrow networks in the tables of presets."""
    narrow = TransformerConfig(
        layers=2, heads=2, head_width=12, text_width=24, causal_positions=True
    )
    monkeypatch.setitem(synthetic.TRANSFORMERS, "ltxv-2b-0.9.5", narrow)
    monkeypatch.setitem(synthetic.VAES, "ltxv-0.9.5", replace(VAES["ltxv-0.9.5"], base_width=8))
    path = tmp_path / "random.safetensors"
    assert overcrank("convert", "--random", "ltxv-2b-0.9.8", path).code == 0
    found = open_checkpoint(path)
    assert found.finding is not None
    assert found.finding.release.name == "ltxv-2b-0.9.8-distilled"
    assert found.build_transformer(torch.float32).config == narrow
    again = overcrank("convert", "--random", "ltxv-2b-0.9.8", path)
    assert again.code == 2
    assert "is there already" in again.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["a.safetensors"], "SOURCE and TARGET, got 1"),
        (["--random", "ltxv-2b-0.9.8", "a", "b"], "TARGET alone with --random, got 2"),
        (["--random", "ltxv-9b", "a"], "no such release: got 'ltxv-9b'"),
        (["pocket", "a", "--dtype", "int8"], "got --dtype 'int8': choose one"),
        (["pocket", "a", "--to", "onnx"], "got 'onnx'"),
        (["--random", "ltxv-2b-0.9.8", "a", "--seed", "-1", "--to", "onnx"], "--seed is a"),
        (["pocket", "a"], "our own format only (--to overcrank)"),
        (["pocket", "new/folder/a.safetensors"], "our own format only (--to overcrank)"),
        (["nowhere", "a"], "there is no such model"),
    ],
)
def test_a_wrong_wish_ends_with_two(
    words: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = overcrank("convert", *words)
    assert done.code == 2
    assert what in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "a.safetensors")

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    for to in ("lightricks", "diffusers", "overcrank"):
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "b", to, on_read=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = write_tiny(tmp_path / "a.safetensors")
    convert(source, tmp_path / "b", "overcrank", on_read=lambda *both: seen.append(both))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inspect_says_what_a_published_file_is(layout: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors", layout)
    done = overcrank("inspect", path)
    assert done.code == 0, done.err
    for expected in (LAYOUTS[layout], "257 frames", "missing: no text encoder", "goes with: the"):
        assert expected in done.out
    found = json.loads(overcrank("inspect", path, "--json").out)
    assert found["release"] == LAYOUTS[layout]
    assert found["components"]["vae"]["groups"]["decoder.conv_in"]["std"] > 0


def test_files_that_go_with_a_model_are_described(tmp_path: Path) -> None:
    lora = overcrank("inspect", write_lora(tmp_path / "lora.safetensors", stray=True))
    assert (lora.code, lora.err) == (0, "")
    assert "LoRA of rank 4 for a transformer 24 wide, 5 layers" in " ".join(lora.out.split())
    upscaler = write_upscaler(tmp_path / "up.safetensors")
    found = json.loads(overcrank("inspect", upscaler, "--json").out)
    assert found["architecture"] == "latent upscaler in space, 32 channels wide"
    assert "ltxv-13b-0.9.8-dev" in found["goes_with"][0]


def test_headers_alone_can_be_inspected(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors")
    found = json.loads(overcrank("inspect", path, "--json", "--no-statistics").out)
    assert "std" not in found["components"]["vae"]["groups"]["decoder.conv_in"]


def test_a_folder_without_weights_ends_with_two(tmp_path: Path) -> None:
    assert overcrank("inspect", tmp_path).code == 2
    (tmp_path / "model.json").write_text("[]")
    done = overcrank("inspect", tmp_path)
    assert done.code == 2
    assert str(tmp_path) in done.err
    assert "pickle" not in done.err


def test_a_weight_file_that_is_not_there_gets_no_advice_on_pickles(tmp_path: Path) -> None:
    done = overcrank("inspect", tmp_path / "no.safetensors")
    assert done.code == 2
    assert "there is no such model" in done.err
    assert "pickle" not in done.err


def test_the_small_family_is_named_as_ours() -> None:
    assert "of our small family" in overcrank("inspect", "pocket").out


def test_the_weight_of_a_lora_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "lora.safetensors").touch()
    with pytest.raises(RequestError, match="the weight of a LoRA is a number, got 'much'"):
        weighted(f"{tmp_path}/lora.safetensors:much")
    assert weighted(f"{tmp_path}/lora.safetensors:0.5") == (f"{tmp_path}/lora.safetensors", 0.5)
