"""A whole model: opened from a folder or by name, refused when its parts do not belong together."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from overcrank.errors import ModelError
from overcrank.text import TextEmbedding
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from overcrank.weights import (
    Card,
    Defaults,
    Model,
    content_hash,
    open_model,
    preset_names,
    save_component,
    save_model,
)

DEFAULTS = Defaults(
    frames=9,
    height=32,
    width=64,
    frame_rate=8.0,
    steps=4,
    guidance=1.0,
    decode_sigma=0.05,
    negative_prompt="",
)
CARD = Card(name="tiny", text_encoder=None, defaults=DEFAULTS)


def networks(text_width: int = 48) -> tuple[VAE, Transformer]:
    torch.manual_seed(0)
    config = replace(TRANSFORMERS["nano"], text_width=text_width)
    return VAE(VAES["nano"]), Transformer(config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "tiny", CARD, *networks())
    return tmp_path / "tiny"


def test_a_model_comes_back_as_it_was_saved(folder: Path) -> None:
    vae, transformer = networks()
    model = open_model(folder)
    assert (model.name, model.defaults) == ("tiny", DEFAULTS)
    assert content_hash(model.vae) == content_hash(vae) == model.hashes["vae"]
    assert content_hash(model.transformer) == content_hash(transformer)
    assert model.hashes["transformer"] == content_hash(transformer)


def test_a_model_without_a_text_encoder_opens(folder: Path) -> None:
    assert open_model(folder).text_encoder is None


def test_the_text_encoder_of_a_model_is_loaded_at_first_use_and_once(tmp_path: Path) -> None:
    save_model(tmp_path, replace(CARD, text_encoder="overcrank-small"), *networks(text_width=384))
    model = open_model(tmp_path)
    assert "text_encoder" not in vars(model)
    encoder = model.text_encoder
    assert encoder is not None
    assert encoder.encode(["a red ball"]).embeds_BLD.shape == (1, 5, 384)
    assert model.text_encoder is encoder


def test_a_text_encoder_of_another_width_is_refused() -> None:
    class Wide:
        name = "wide"
        width = 384

        def encode(self, prompts: Sequence[str]) -> TextEmbedding:
            return TextEmbedding.from_rows([torch.zeros(1, 384) for _ in prompts])

    vae, transformer = networks()
    model = Model("tiny", vae, transformer, DEFAULTS, open_text_encoder=Wide)
    with pytest.raises(ModelError, match="got wide, 384 wide, right is one that is 48 wide"):
        _ = model.text_encoder


def test_a_transformer_that_was_trained_on_another_vae_is_refused(folder: Path) -> None:
    torch.manual_seed(7)
    save_component(folder / "vae.safetensors", "vae", VAE(VAES["nano"]))
    with pytest.raises(ModelError, match="do not belong together"):
        open_model(folder)


def test_a_transformer_that_names_no_vae_is_refused(folder: Path) -> None:
    save_component(folder / "transformer.safetensors", "transformer", networks()[1])
    with pytest.raises(ModelError, match="latent_hash none named"):
        open_model(folder)


@pytest.mark.parametrize("missing", ["vae.safetensors", "transformer.safetensors"])
def test_a_folder_that_lacks_a_network_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"{missing} cannot be used .* No such file|{missing}"):
        open_model(folder)


def test_a_folder_without_a_card_says_what_it_has_and_what_a_model_has(folder: Path) -> None:
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match=r"it holds transformer.safetensors, vae.*no model.json"):
        open_model(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the folder is empty"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["no-such-model", "", "a\0b", "x" * 5000])
def test_an_unknown_name_lists_the_presets(name: str) -> None:
    with pytest.raises(ModelError, match="right is a preset") as caught:
        open_model(name)
    assert (", ".join(preset_names()) or "none is installed") in str(caught.value)


def test_one_network_of_ours_alone_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="holds no transformer: got vae: name a file"):
        open_model(folder / "vae.safetensors")


def _without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda card: card.pop(key)


def _default(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda card: card["defaults"].update(values)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_without("name"), "missing name"),
        (_without("defaults"), "missing defaults"),
        (lambda card: card.update(colour="red"), "unknown colour"),
        (lambda card: card.update(format_version=2), "got format_version 2, right is 1"),
        (
            lambda card: card.update(text_encoder="clip"),
            "got 'clip': right is overcrank-small or t5",
        ),
        (lambda card: card.update(text_encoder=["t5"]), "right is overcrank-small or t5"),
        (lambda card: card.update(name=""), "right is a text of one line that is not empty"),
        (lambda card: card.update(defaults=3), "must be an object, got 3"),
        (lambda card: card["defaults"].pop("steps"), "missing steps"),
        (_default(sampler="euler"), "unknown sampler"),
        (_default(frames=10), "try 9 or 17"),
        (_default(height="32"), "got '32': right is a whole number"),
        (_default(width=True), "got True: right is a whole number"),
        (_default(steps=0), "got 0: right is a whole number from 1 to 1000"),
        (_default(guidance=float("nan")), "got nan: right is a number from 0 to 100"),
        (_default(frame_rate=float("inf")), "got inf: right is a number from 0.1 to 1000"),
        (_default(frame_rate=0.05), "got 0.05: right is a number from 0.1 to 1000"),
        (_default(frames=10**30), "right is a whole number from 1 to 99993"),
        (_default(guidance=101), "got 101: right is a number from 0 to 100"),
        (lambda card: card.update(format_version=True), "got format_version True, right is 1"),
        (lambda card: card.update(name="\ud800"), "right is a text of one line"),
        (_default(decode_sigma=1.5), "got 1.5: right is a number from 0 to 0.9, or null"),
        (_default(decode_sigma=[0]), "or null"),
        (_default(negative_prompt=None), "got None: right is a text"),
    ],
)
def test_a_card_that_does_not_keep_the_format_is_refused_by_name(
    folder: Path, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    card = json.loads((folder / "model.json").read_text())
    change(card)
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=what):
        open_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "null", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match="must be a JSON object"):
        open_model(folder)


def test_a_folder_may_be_given_as_a_relative_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert open_model("tiny").name == open_model(f".{os.sep}tiny").name == "tiny"


@pytest.mark.parametrize("sigma", [None, 0, 0.0, 0.05])
def test_a_card_keeps_any_decode_sigma_that_a_decoder_may_have(
    sigma: float | None, tmp_path: Path
) -> None:
    card = replace(CARD, defaults=replace(DEFAULTS, decode_sigma=sigma))
    card.write(tmp_path)
    assert Card.read(tmp_path) == card


def test_a_distilled_model_is_run_on_its_levels_with_fresh_noise(tmp_path: Path) -> None:
    levels = (1.0, 0.88, 0.7, 0.42)
    defaults = replace(DEFAULTS, levels=levels)
    save_model(tmp_path, replace(CARD, defaults=defaults), *networks())
    model = open_model(tmp_path)
    assert model.defaults == defaults
    walk = model.advice.walk
    assert walk.stochastic
    sigmas = walk.schedule.sigmas(walk.steps, tokens=1, end=0.05).tolist()
    assert sigmas == pytest.approx([0.05 + 0.95 * level for level in (*levels, 0)])
    assert not replace(model, defaults=DEFAULTS).advice.walk.stochastic


def test_a_card_without_levels_opens(folder: Path) -> None:
    """As those of older models are."""
    card = json.loads((folder / "model.json").read_text())
    del card["defaults"]["levels"]
    (folder / "model.json").write_text(json.dumps(card))
    assert open_model(folder).defaults.levels == ()


@pytest.mark.parametrize("levels", [(1.0, 0.5), (0.4, 0.5, 0.6, 0.7), (1.2, 1, 0.5, 0.1), "1"])
def test_levels_that_no_sampler_can_walk_are_refused(levels: Any) -> None:
    with pytest.raises(ModelError, match="right is one falling number"):
        replace(DEFAULTS, levels=levels)
