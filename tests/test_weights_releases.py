"""How each published release is run, and which one a file is."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank import transformer, vae
from overcrank.errors import ModelError
from overcrank.flow import Guidance, VelocityFn, euler, guided, linear_quadratic, shifted
from overcrank.shapes import ClipSize
from overcrank.weights.recognise import RELEASE_KEY, Facts, identify
from overcrank.weights.releases import ALLOWED, RELEASES, Pass, Release

SHIFTED = {"shifting": "SD3", "target_shift_terminal": 0.1, "sampler": "Uniform"}
QUADRATIC = {"shifting": None, "sampler": "LinearQuadratic"}


def shapes(row: Release, *, narrow: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a single file, for a release, or for one of its kind but small."""
    config = transformer.PRESETS[row.transformer_preset]
    layout = vae.PRESETS[row.vae_preset]
    if narrow:
        config = replace(config, layers=2, heads=2)
        layout = replace(layout, base_width=16)
    with torch.device("meta"):
        networks = {
            "model.diffusion_model.": transformer.Transformer(config),
            "vae.": vae.VAE(layout),
        }
    return {
        prefix + name: tuple(tensor.shape)
        for prefix, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def metadata(row: Release) -> dict[str, str]:
    """What the file of a release says about itself."""
    shifts = row.one.schedule.kind == "shifted"
    config: dict[str, Any] = {
        "transformer": {"num_layers": 28},
        "vae": {},
        "scheduler": SHIFTED if shifts else QUADRATIC,
    }
    if row.causal_positions:
        config["transformer"]["causal_temporal_positioning"] = True
    if row.lists_levels:
        config["allowed_inference_steps"] = list(ALLOWED)
    return {"config": json.dumps(config)}


@pytest.fixture(scope="module")
def all_shapes() -> dict[tuple[str, str], dict[str, tuple[int, ...]]]:
    """By size and autoencoder."""
    return {(row.scale, row.vae): shapes(row) for row in RELEASES.values()}


@pytest.mark.parametrize("name", RELEASES)
def test_a_file_is_run_as_what_it_says_and_is_called(
    name: str, all_shapes: dict[tuple[str, str], dict[str, tuple[int, ...]]]
) -> None:
    row = RELEASES[name]
    facts = Facts.of_file(metadata(row), all_shapes[row.scale, row.vae])
    assert (facts.scale, facts.vae) == (row.scale, row.vae)
    found = identify(facts, name=f"some/folder/{name}.safetensors")
    assert found.release == row
    assert found.causal_positions == row.causal_positions
    assert (found.alternatives, found.remarks) == ((), ())


@pytest.mark.parametrize("name", RELEASES)
def test_without_its_name_a_file_is_run_as_it_should_or_the_doubt_is_named(
    name: str, all_shapes: dict[tuple[str, str], dict[str, tuple[int, ...]]]
) -> None:
    row = RELEASES[name]
    facts = Facts.of_file(metadata(row), all_shapes[row.scale, row.vae])
    found = identify(facts)
    if not found.release.behaves_like(row):
        assert name in found.alternatives
        assert name in " ".join(found.remarks)
    assert {"ltxv-2b-0.9.6-distilled", "ltxv-13b-0.9.7-distilled"} >= set(found.alternatives)


def test_what_a_file_says_beats_what_it_is_called() -> None:
    facts = Facts(scale="13b", vae="0.9.5", causal_positions=True, allowed=ALLOWED)
    found = identify(facts, name="ltxv-2b-0.9.6-dev.safetensors")
    assert found.release.name == "ltxv-13b-0.9.8-distilled"


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("ltx-video-2b-v0.9.safetensors", "ltxv-2b-0.9"),
        ("ltx-video-2b-v0.9.1.safetensors", "ltxv-2b-0.9.1"),
        ("ltxv-2b-0.9.6-distilled-04-25.safetensors", "ltxv-2b-0.9.6-distilled"),
        ("Lightricks/LTX-Video-0.9.7-dev", "ltxv-13b-0.9.7-dev"),
        ("Lightricks/LTX-Video-0.9.8-13B-distilled", "ltxv-13b-0.9.8-distilled"),
        ("ltxv-2b-0.9.8-distilled-fp8.safetensors", "ltxv-2b-0.9.8-distilled"),
        ("ltxv-13b-0.9.7-dev-Q4_K_M.gguf", "ltxv-13b-0.9.7-dev"),
    ],
)
def test_a_file_that_says_nothing_is_what_it_is_called(called: str, name: str) -> None:
    assert identify(Facts(), name=called).release.name == name


def test_a_name_that_is_no_release_decides_nothing() -> None:
    assert identify(Facts(), name="2024-09-12-best.safetensors") == identify(Facts())


def test_a_release_that_a_converter_wrote_down_decides(
    all_shapes: dict[tuple[str, str], dict[str, tuple[int, ...]]],
) -> None:
    stated = {RELEASE_KEY: "ltxv-2b-0.9.6-distilled"}
    found = identify(Facts.of_file(stated, all_shapes["2b", "0.9.5"]))
    assert found.release.name == "ltxv-2b-0.9.6-distilled"
    assert found.remarks == ()


@pytest.mark.parametrize("name", ["ltxv-2b-0.9", "ltxv-2b-0.9.1", "ltxv-2b-0.9.5"])
def test_a_small_network_of_the_same_kind_is_recognised(name: str) -> None:
    row = RELEASES[name]
    """By structure; where releases of both sizes would fit, the smaller is taken."""
    found = identify(Facts.of_file(metadata(row), shapes(row, narrow=True)))
    assert found.release.name == name
    assert all("13b" in other or "distilled" in other for other in found.alternatives)


def test_a_file_that_contradicts_itself_is_run_as_it_says_and_it_is_told() -> None:
    facts = Facts(scale="2b", vae="0.9.5", causal_positions=False, kind="linear-quadratic")
    found = identify(facts, name="ltxv-2b-0.9.5")
    assert found.release.name == "ltxv-2b-0.9.5"
    assert not found.causal_positions
    assert "causal_temporal_positioning is False, not True" in found.remarks[0]


def test_levels_and_schedule_of_the_file_count() -> None:
    found = identify(Facts(scale="2b", allowed=(1.0, 0.9, 0.5), kind="linear-quadratic"))
    assert found.release.one.schedule.sigmas(3, tokens=1).tolist() == pytest.approx(
        [1, 0.9, 0.5, 0]
    )
    assert found.release.one.steps == 3
    shifts = identify(Facts(vae="0.9.0", kind="shifted", terminal=0.2))
    assert shifts.release.one.schedule.sigmas(4, tokens=9)[-2] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("dynamic", "block", "timestep", "name"),
    [
        (True, "LTXVideoDownBlock3D", False, "ltxv-2b-0.9"),
        (True, "LTXVideoDownBlock3D", True, "ltxv-2b-0.9.1"),
        (False, "LTXVideo095DownBlock3D", True, "ltxv-2b-0.9.5"),
    ],
)
def test_a_diffusers_folder_is_recognised(
    dynamic: bool, block: str, timestep: bool, name: str
) -> None:
    facts = Facts.of_folder(
        {"num_layers": 28, "num_attention_heads": 32, "attention_head_dim": 64},
        {"down_block_types": [block] * 4, "timestep_conditioning": timestep},
        {
            "use_dynamic_shifting": dynamic,
            "shift_terminal": 0.1 if dynamic else None,
            "stochastic_sampling": False,
        },
    )
    assert identify(facts).release == RELEASES[name]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[1]", "must be a JSON object, got list"),
        ("{", "cannot be read"),
        ('{"transformer": 3}', "must be a JSON object, got int"),
        ('{"transformer": {"causal_temporal_positioning": "yes"}}', "true or false, got yes"),
        ('{"transformer": {}, "allowed_inference_steps": [0.5, 1.0]}', "must fall"),
        ('{"transformer": {}, "allowed_inference_steps": [NaN]}', "must fall"),
        ('{"transformer": {}, "allowed_inference_steps": {}}', "must fall"),
        ('{"transformer": {}, "allowed_inference_steps": []}', "must fall"),
        ('{"transformer": {}, "allowed_inference_steps": [1e999]}', "must fall"),
        ('{"transformer": {}, "allowed_inference_steps": [%s]}' % ("9" * 400), "must fall"),
        ('{"scheduler": {"target_shift_terminal": 7}}', "between 0 and 1, got 7"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_metadata_that_cannot_be_are_refused(config: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Facts.of_file({"config": config}, {})


def test_a_declared_release_that_nobody_published_is_refused() -> None:
    with pytest.raises(ModelError, match="names no release, got 'ltxv-3'"):
        Facts.of_file({RELEASE_KEY: "ltxv-3"}, {})


def forwards(walk: Pass) -> tuple[int, Counter[str]]:
    """Steps, and how often which network is asked, in one pass."""
    count: Counter[str] = Counter()

    def network(name: str, value: float) -> VelocityFn:
        def velocity(x: Tensor, _: Tensor) -> Tensor:
            count[name] += 1
            return torch.randn_like(x) + value

        return velocity

    def perturb(guidance: Guidance) -> VelocityFn:
        return network(f"without {guidance.stg_layers}", 0.5)

    field = guided(network("text", 1), network("negative", 0), walk.guidance, perturb=perturb)
    sigmas = walk.schedule.sigmas(walk.steps, tokens=5600)
    euler(field, torch.randn(1, 4, 3), sigmas)
    return len(sigmas) - 1, count


def test_two_passes_of_the_13b_dev_release_ask_the_network_62_and_26_times() -> None:
    two = RELEASES["ltxv-13b-0.9.8-dev"].two
    assert two is not None
    steps, count = forwards(two.first)
    assert (steps, count.total()) == (27, 62)
    assert count == {
        "text": 27,
        "negative": 11,
        "without (22, 35, 39)": 2,
        "without (28,)": 22,
    }
    steps, count = forwards(two.second)
    assert (steps, count.total()) == (13, 26)
    assert count == {"text": 13, "without (27,)": 13}


@pytest.mark.parametrize(
    ("name", "steps", "asked"),
    [
        ("ltxv-2b-0.9", 40, 120),
        ("ltxv-2b-0.9.6-distilled", 8, 8),
        ("ltxv-2b-0.9.8-distilled", 7, 7),
        ("ltxv-13b-0.9.8-distilled", 7, 7),
    ],
)
def test_one_pass_takes_no_more_than_it_must(name: str, steps: int, asked: int) -> None:
    taken, count = forwards(RELEASES[name].one)
    assert (taken, count.total()) == (steps, asked)


def test_the_second_pass_of_a_distilled_release_is_its_list() -> None:
    two = RELEASES["ltxv-13b-0.9.8-distilled"].two
    assert two is not None
    levels = two.second.schedule.sigmas(two.second.steps, tokens=22400)
    torch.testing.assert_close(levels, torch.tensor([0.9094, 0.725, 0.4219, 0.0]))
    assert two.tone_map == 0.6


def test_schedules_are_those_of_the_releases() -> None:
    old, new = RELEASES["ltxv-2b-0.9.1"].one, RELEASES["ltxv-2b-0.9.5"].one
    expected = shifted(40, tokens=6144, terminal=0.1)
    assert torch.equal(old.schedule.sigmas(old.steps, tokens=6144), expected)
    assert torch.equal(new.schedule.sigmas(new.steps, tokens=6144), linear_quadratic(40))


def test_only_the_first_release_has_a_decoder_without_noise() -> None:
    assert [row.name for row in RELEASES.values() if row.decode_sigma is None] == ["ltxv-2b-0.9"]
    for row in RELEASES.values():
        assert vae.PRESETS[row.vae_preset].denoises == (row.decode_sigma is not None)
        assert transformer.PRESETS[row.transformer_preset].causal_positions == row.causal_positions


def test_layers_of_guidance_are_layers_of_the_transformer() -> None:
    for row in RELEASES.values():
        layers = transformer.PRESETS[row.transformer_preset].layers
        walks = [row.one] + ([row.two.first, row.two.second] if row.two else [])
        for walk in walks:
            for entry in walk.guidance.entries:
                assert set(entry.stg_layers) <= set(range(layers))


def test_clips_outside_of_what_a_release_was_made_for_are_remarked_on() -> None:
    trained = RELEASES["ltxv-2b-0.9.5"].trained
    assert trained.remarks(ClipSize(121, 704, 1216), 30.0) == ()
    remarks = trained.remarks(ClipSize(265, 1024, 1024), 8.0)
    assert [remark.split("got ")[1].split(":")[0] for remark in remarks] == ["1048576", "265", "8"]
