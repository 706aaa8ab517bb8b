"""LoRA files: every naming, PEFT's arithmetic, and weights that come back bit for bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from loud_weights import randomise
from overcrank.errors import ModelError
from overcrank.transformer import PRESETS, Transformer
from overcrank.weights.lora import Fuser, LoRA, Pair, read_lora

CONFIG = PRESETS["nano"]
RANK = 4
LAYERS = (
    *(f"transformer_blocks.{n}.attn{a}.to_{p}" for n in (0, 1) for a in (1, 2) for p in "qkv"),
    *("transformer_blocks.0.attn1.to_out.0", "transformer_blocks.1.ff.net.0.proj"),
    *("transformer_blocks.1.ff.net.2", "patchify_proj", "adaln_single.linear"),
)


@pytest.fixture
def model() -> Transformer:
    model = Transformer(CONFIG).eval().requires_grad_(False)
    randomise(model)
    return model


def pairs(model: Transformer, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (A, B), PEFT's letters."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer in LAYERS:
        out, width = model.get_parameter(f"{layer}.weight").shape
        found[layer] = (
            torch.randn(RANK, width, generator=generator) / width**0.5,
            torch.randn(out, RANK, generator=generator),
        )
    return found


def diffusers(layer: str) -> str:
    return layer.replace("patchify_proj", "proj_in").replace("adaln_single", "time_embed")


STYLES = {
    "diffusers": ("transformer.{d}.lora_A.weight", "transformer.{d}.lora_B.weight"),
    "comfy": ("diffusion_model.{o}.lora_A.weight", "diffusion_model.{o}.lora_B.weight"),
    "comfy, down and up": (
        "model.diffusion_model.{o}.lora_down.weight",
        "model.diffusion_model.{o}.lora_up.weight",
    ),
    "peft": (
        "base_model.model.{d}.lora_A.default.weight",
        "base_model.model.{d}.lora_B.default.weight",
    ),
    "old diffusers": ("transformer.{d}.lora.down.weight", "transformer.{d}.lora.up.weight"),
    "kohya": ("lora_unet_{f}.lora_down.weight", "lora_unet_{f}.lora_up.weight"),
    "bare": ("{o}.lora_A.weight", "{o}.lora_B.weight"),
}


def save(
    path: Path,
    values: dict[str, tuple[Tensor, Tensor]],
    style: str = "diffusers",
    *,
    extra: dict[str, Tensor] | None = None,
    metadata: dict[str, str] | None = None,
) -> LoRA:
    tensors = dict(extra or {})
    for layer, both in values.items():
        for pattern, tensor in zip(STYLES[style], both, strict=True):
            flat = layer.replace(".", "_")
            tensors[pattern.format(o=layer, d=diffusers(layer), f=flat)] = tensor.contiguous()
    save_file(tensors, path, metadata)
    return read_lora(path)


@pytest.mark.parametrize("style", STYLES)
def test_a_fused_layer_is_what_peft_computes(
    model: Transformer, tmp_path: Path, style: str
) -> None:
    """y = W x + alpha / rank * B (A x) * weight, in float64, for every naming."""
    values = pairs(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (report,) = Fuser(model).fuse((save(tmp_path / "style.safetensors", values, style), 0.7))
    assert report.matched == tuple(sorted(LAYERS))
    assert (report.name, report.weight, report.unmatched) == ("style", 0.7, ())
    for layer, (a, b) in values.items():
        linear = model.get_submodule(layer)
        weight, bias = (before[f"{layer}.{name}"].double() for name in ("weight", "bias"))
        x = torch.randn(3, a.shape[1], generator=torch.Generator().manual_seed(9))
        expected = x.double() @ weight.T + bias + 0.7 * (x.double() @ a.double().T) @ b.double().T
        got = linear(x)
        assert expected.std() >= 0.1
        assert (got - expected).norm() / expected.norm() <= 1e-6
    touched = {f"{layer}.weight" for layer in LAYERS}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in touched), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_what_was_fused_is_taken_out_bit_for_bit(
    model: Transformer, tmp_path: Path, dtype: torch.dtype
) -> None:
    for layer in LAYERS:
        parameter = model.get_parameter(f"{layer}.weight")
        parameter.data = parameter.data.to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fuser = Fuser(model)
    fuser.fuse((save(tmp_path / "a.safetensors", pairs(model)), 1.0))
    layer = model.get_parameter(f"{LAYERS[0]}.weight")
    assert layer.dtype == (torch.bfloat16 if dtype.itemsize == 1 else dtype)
    assert not torch.equal(layer.float(), before[f"{LAYERS[0]}.weight"].float())
    fuser.unfuse()
    fuser.unfuse()
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value.view(torch.uint8), before[name].view(torch.uint8)), name


def test_several_at_once_add_up_and_new_weights_replace_the_old(
    model: Transformer, tmp_path: Path
) -> None:
    first = save(tmp_path / "a.safetensors", pairs(model, 1))
    second = save(tmp_path / "b.safetensors", pairs(model, 2), "kohya")
    layer = LAYERS[3]
    start = model.get_parameter(f"{layer}.weight").clone()
    added = [b @ a for a, b in (pairs(model, seed)[layer] for seed in (1, 2))]
    fuser = Fuser(model)
    for weights in ((1.0, 0.5), (-0.3, 2.0), (0.0, 0.25)):
        reports = fuser.fuse((first, weights[0]), (second, weights[1]))
        assert [report.name for report in reports] == ["a", "b"]
        expected = start + weights[0] * added[0] + weights[1] * added[1]
        torch.testing.assert_close(model.get_parameter(f"{layer}.weight").data, expected)
    fuser.fuse()
    assert torch.equal(model.get_parameter(f"{layer}.weight"), start)


def test_alpha_beside_the_layer_scales_it(model: Transformer, tmp_path: Path) -> None:
    layer = LAYERS[0]
    key = f"lora_unet_{layer.replace('.', '_')}.alpha"
    lora = save(
        tmp_path / "a.safetensors", pairs(model), "kohya", extra={key: torch.tensor(RANK / 2)}
    )
    scales = {stem: pair.scale for stem, pair in lora.pairs.items()}
    assert scales.pop(f"lora_unet_{layer.replace('.', '_')}") == 0.5
    assert set(scales.values()) == {1.0}
    assert Fuser(model).match(lora).unmatched == ()


@pytest.mark.parametrize(
    ("stated", "first", "others"),
    [
        ({"transformer.lora_alpha": 8}, 2.0, 2.0),
        ({"transformer.lora_alpha": 8, "transformer.use_rslora": True}, 4.0, 4.0),
        ({"transformer.lora_alpha": 4, "transformer.alpha_pattern": {LAYERS[0]: 1}}, 0.25, 1.0),
    ],
)
def test_alpha_in_the_metadata_scales_all(
    model: Transformer, tmp_path: Path, stated: dict[str, object], first: float, others: float
) -> None:
    lora = save(
        tmp_path / "a.safetensors",
        pairs(model),
        metadata={"lora_adapter_metadata": json.dumps(stated)},
    )
    scales = {stem: pair.scale for stem, pair in lora.pairs.items()}
    assert scales.pop(f"transformer.{LAYERS[0]}") == first
    assert set(scales.values()) == {others}


def test_what_goes_nowhere_is_reported(model: Transformer, tmp_path: Path) -> None:
    values = pairs(model)
    a, b = values[LAYERS[0]]
    values["transformer_blocks.47.attn1.to_q"] = (a.clone(), b.clone())
    lora = save(
        tmp_path / "a.safetensors", values, "comfy", extra={"text.something": torch.zeros(2)}
    )
    (report,) = Fuser(model).fuse((lora, 1.0))
    assert len(report.matched) == len(LAYERS)
    assert report.unmatched == (
        "diffusion_model.transformer_blocks.47.attn1.to_q",
        "text.something",
    )


def test_a_lora_that_fits_nowhere_is_refused(model: Transformer, tmp_path: Path) -> None:
    values = {"single_blocks.3.linear1": (torch.randn(RANK, 8), torch.randn(8, RANK))}
    lora = save(tmp_path / "flux.safetensors", values)
    with pytest.raises(ModelError, match=r"no layer of the LoRA flux .*single_blocks\.3"):
        Fuser(model).fuse((lora, 1.0))


def test_a_lora_of_another_width_is_refused_before_anything_changes(
    model: Transformer, tmp_path: Path
) -> None:
    other = save(
        tmp_path / "wide.safetensors",
        {LAYERS[0]: (torch.randn(RANK, 4096), torch.randn(4096, RANK))},
    )
    assert (other.width, other.ranks) == (4096, (RANK,))
    right = save(tmp_path / "right.safetensors", pairs(model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match="4096 wide, got one that is 48 wide: right is a 13B"):
        Fuser(model).fuse((right, 1.0), (other, 1.0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_of_another_shape_is_refused(model: Transformer, tmp_path: Path) -> None:
    lora = save(
        tmp_path / "a.safetensors",
        {"transformer_blocks.1.ff.net.2": (torch.randn(RANK, 7), torch.randn(48, RANK))},
    )
    with pytest.raises(ModelError, match="a layer of 7 to 48, right is 192 to 48"):
        Fuser(model).match(lora)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no LoRA: got no tensors"),
        ({"x.weight": torch.zeros(2, 2)}, "no LoRA: got x.weight"),
        ({"x.alpha": torch.zeros(1)}, "no LoRA: got x.alpha"),
        ({"x.lora_A.weight": torch.zeros(2, 2)}, "only the lower half of x"),
        ({"x.lora_up.weight": torch.zeros(2, 2)}, "only the upper half of x"),
        (
            {"x.lora_A.weight": torch.zeros(2, 5), "x.lora_B.weight": torch.zeros(5, 3)},
            r"damaged: got \(2, 5\) and \(5, 3\)",
        ),
        (
            {"x.lora_A.weight": torch.zeros(0, 5), "x.lora_B.weight": torch.zeros(5, 0)},
            "damaged: got",
        ),
        (
            {
                "x.lora_A.weight": torch.full((2, 5), torch.nan),
                "x.lora_B.weight": torch.zeros(5, 2),
            },
            "x is not finite",
        ),
        (
            {
                "x.lora_A.weight": torch.zeros(2, 5),
                "x.lora_B.weight": torch.zeros(5, 2),
                "x.dora_scale": torch.zeros(5),
            },
            "rescale weights",
        ),
    ],
)
def test_a_file_that_is_no_whole_lora_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=message):
        read_lora(tmp_path / "a.safetensors")


@pytest.mark.parametrize("stated", ["[]", "{", '{"lora_alpha": "x"}', '{"alpha_pattern": 3}'])
def test_metadata_that_cannot_be_read_are_refused(
    model: Transformer, tmp_path: Path, stated: str
) -> None:
    with pytest.raises(ModelError, match="lora_adapter_metadata that cannot be read"):
        save(tmp_path / "a.safetensors", pairs(model), metadata={"lora_adapter_metadata": stated})


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    torch.save({"x.lora_A.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ModelError, match="zip archive"):
        read_lora(path)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 101.0])
def test_a_weight_that_cannot_be_is_refused(
    model: Transformer, tmp_path: Path, weight: float
) -> None:
    lora = save(tmp_path / "a.safetensors", pairs(model))
    with pytest.raises(ModelError, match="the weight of a must be from -100 to 100"):
        Fuser(model).match(lora, weight)


def test_a_published_layer_has_one_name_in_every_format() -> None:
    """The names of a 2B file, block count and all, found through kohya's underscores."""
    with torch.device("meta"):
        big = Transformer(replace(PRESETS["ltxv-2b-0.9.5"], layers=12))
    fuser = Fuser(big)
    width = big.config.width
    stems = ("lora_unet_transformer_blocks_11_attn1_to_out_0", "lora_transformer_proj_in")
    for stem, size, layer in zip(
        stems,
        (width, 128),
        ("transformer_blocks.11.attn1.to_out.0", "patchify_proj"),
        strict=True,
    ):
        pair = Pair(torch.zeros(2, size), torch.zeros(width, 2), 1.0)
        assert fuser.match(LoRA("x", {stem: pair})).matched == (layer,)
