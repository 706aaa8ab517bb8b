"""What must hold for the video transformer, whatever its weights."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.flow import SkipMode
from overcrank.shapes import LatentSize
from overcrank.transformer import PRESETS, Transformer, TransformerConfig, token_positions
from overcrank.transformer.ops import Ops, attention, rms_norm

LATENT = LatentSize(2, 2, 2)
NANO = PRESETS["nano"]


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(NANO).eval().requires_grad_(False)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two clips' tokens, noise levels, positions and texts."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, LATENT.tokens, NANO.latent_channels, generator=generator),
        torch.rand(2, generator=generator),
        token_positions(LATENT, 24.0, causal=True)[None],
        torch.randn(2, 5, NANO.text_width, generator=generator),
    )


Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.mark.parametrize(
    ("preset", "parameters", "tensors"),
    [("ltxv-2b-0.9.5", 1_923_385_472, 715), ("ltxv-13b", 13_042_569_344, 1215)],
)
def test_published_models_have_their_parameter_counts(
    preset: str, parameters: int, tensors: int
) -> None:
    with torch.device("meta"):
        state = Transformer(PRESETS[preset]).state_dict()
    assert len(state) == tensors
    assert sum(value.numel() for value in state.values()) == parameters


def test_parameters_are_named_as_in_the_published_files() -> None:
    with torch.device("meta"):
        names = set(Transformer(replace(NANO, layers=1)).state_dict())
    block = {"scale_shift_table"}
    block |= {f"attn{i}.{part}.weight" for i in (1, 2) for part in ("q_norm", "k_norm")}
    for layer in (
        *(f"attn{i}.{part}" for i in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")),
        *("ff.net.0.proj", "ff.net.2"),
    ):
        block |= {f"{layer}.weight", f"{layer}.bias"}
    expected = {"scale_shift_table", *(f"transformer_blocks.0.{name}" for name in block)}
    for layer in (
        *("patchify_proj", "proj_out", "adaln_single.linear"),
        *(f"adaln_single.emb.timestep_embedder.linear_{i}" for i in (1, 2)),
        *(f"caption_projection.linear_{i}" for i in (1, 2)),
    ):
        expected |= {f"{layer}.weight", f"{layer}.bias"}
    assert names == expected


def test_masked_context_tokens_change_nothing(model: Transformer, inputs: Inputs) -> None:
    """Padding is invisible: a padded context equals the same context cut short."""
    tokens, sigma, positions, text = inputs
    keep = torch.tensor([[True, True, True, False, False]]).expand(2, -1)
    short = model(tokens, sigma, positions, text[:, :3])
    torch.testing.assert_close(model(tokens, sigma, positions, text, keep), short)


def test_a_text_without_tokens_is_finite(model: Transformer, inputs: Inputs) -> None:
    keep = torch.zeros(2, 5, dtype=torch.bool)
    assert model(*inputs, keep).isfinite().all()


def test_the_same_level_for_every_token_equals_one_level(
    model: Transformer, inputs: Inputs
) -> None:
    tokens, sigma, positions, text = inputs
    one = model(tokens, sigma, positions, text)
    each = model(tokens, sigma[:, None].expand(-1, LATENT.tokens), positions, text)
    torch.testing.assert_close(each, one)


def test_a_level_may_hold_for_neighbouring_tokens(model: Transformer, inputs: Inputs) -> None:
    """One for each latent frame is the same as that one for each of its tokens."""
    tokens, _, positions, text = inputs
    sigma_BT = torch.tensor([[0.0, 0.7], [0.2, 0.9]])
    sigma_BN = sigma_BT.repeat_interleave(LATENT.height * LATENT.width, dim=1)
    by_frame = model(tokens, sigma_BT, positions, text)
    torch.testing.assert_close(by_frame, model(tokens, sigma_BN, positions, text))
    swapped = model(tokens, sigma_BT.flip(1), positions, text)
    assert (by_frame - swapped).abs().max() > 1e-3


def test_a_clip_does_not_see_its_neighbours_in_the_batch(
    model: Transformer, inputs: Inputs
) -> None:
    tokens, sigma, positions, text = inputs
    swapped = model(tokens.flip(0), sigma.flip(0), positions, text.flip(0))
    torch.testing.assert_close(swapped.flip(0), model(*inputs))


def test_order_of_tokens_is_told_by_positions_only(model: Transformer, inputs: Inputs) -> None:
    tokens, sigma, positions, text = inputs
    order = torch.randperm(LATENT.tokens, generator=torch.Generator().manual_seed(2))
    shuffled = model(tokens[:, order], sigma, positions[:, order], text)
    torch.testing.assert_close(shuffled, model(*inputs)[:, order])
    assert not torch.allclose(model(tokens[:, order], sigma, positions, text), shuffled)


def test_every_input_matters(model: Transformer, inputs: Inputs) -> None:
    base = model(*inputs)
    for index in range(4):
        changed = list(inputs)
        changed[index] = changed[index] * 0.5
        assert not torch.allclose(model(*changed), base, rtol=1e-3)


def test_guidance_layers_mix_nothing(model: Transformer, inputs: Inputs) -> None:
    """With self-attention out of every layer, a token hears of no other."""
    tokens, sigma, positions, text = inputs
    other = tokens.clone()
    other[:, 1:] = 0
    everywhere = range(NANO.layers)
    first = model(tokens, sigma, positions, text, stg_layers=everywhere)[:, 0]
    alone = model(other, sigma, positions, text, stg_layers=everywhere)[:, 0]
    torch.testing.assert_close(first, alone)
    assert not torch.allclose(model(*inputs)[:, 0], first, rtol=1e-3)


@pytest.mark.parametrize("mode", get_args(SkipMode))
def test_a_perturbed_clip_does_not_see_its_neighbours(
    model: Transformer, inputs: Inputs, mode: SkipMode
) -> None:
    """Upstream perturbs the wrong rows of a batch; here a batch equals its clips one by one."""
    tokens, sigma, positions, text = inputs
    both = model(*inputs, stg_layers=(1,), stg_mode=mode)
    assert not torch.allclose(both, model(*inputs), rtol=1e-3)
    for clip in (slice(0, 1), slice(1, 2)):
        alone = model(
            tokens[clip], sigma[clip], positions, text[clip], stg_layers=(1,), stg_mode=mode
        )
        torch.testing.assert_close(both[clip], alone)


def test_a_perturbed_block_does_nothing(model: Transformer, inputs: Inputs) -> None:
    shorter = Transformer(replace(NANO, layers=1))
    shorter.load_state_dict(model.state_dict(), strict=False)
    got = model(*inputs, stg_layers=(1,), stg_mode="transformer_block")
    torch.testing.assert_close(got, shorter(*inputs))


def test_a_fresh_model_predicts_zero_and_learns(inputs: Inputs) -> None:
    torch.manual_seed(0)
    model = Transformer(NANO)
    model.initialise()
    tokens = inputs[0]
    assert model(*inputs).abs().max() == 0
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        loss = (model(*inputs) - tokens).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.5


def test_every_parameter_has_a_gradient_under_autocast(inputs: Inputs) -> None:
    torch.manual_seed(0)
    model = Transformer(NANO)
    keep = torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(*inputs, keep)
    velocity.float().square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_bfloat16_stays_close_to_float32(model: Transformer, inputs: Inputs) -> None:
    expected = model(*inputs)
    half = Transformer(NANO).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    with torch.no_grad():
        got = half(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(*inputs)
    assert got.dtype == torch.bfloat16
    for velocity in (got.float(), mixed.float()):
        assert (velocity - expected).norm() / expected.norm() < 0.03


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_norm_learns_as_its_formula_does(dtype: torch.dtype, near: float) -> None:
    """Its own backward pass against autograd through the same formula in float64."""
    dice = torch.Generator().manual_seed(0)
    x, slope = torch.randn(2, 6, 32, generator=dice).mul(3).to(dtype).unbind(0)
    weight = torch.rand(32, generator=dice)
    mine, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    rms_norm(mine, 1e-6, weight).backward(slope)
    root = exact.square().mean(-1, keepdim=True).add(1e-6).sqrt()
    (exact / root * weight).backward(slope.double())
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=near, atol=near)


def test_an_instance_can_be_given_other_functions(inputs: Inputs) -> None:
    torch.manual_seed(0)
    model, calls = Transformer(NANO), list[int]()

    def counted(q: Tensor, k: Tensor, v: Tensor, heads: int, keep: Tensor | None = None) -> Tensor:
        calls.append(heads)
        return attention(q, k, v, heads, keep)

    before = model(*inputs)
    model.use(Ops(attention=counted))
    assert torch.equal(model(*inputs), before)
    assert len(calls) == 2 * NANO.layers


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_survives_its_dictionary(preset: str) -> None:
    config = PRESETS[preset]
    assert TransformerConfig.from_dict(config.to_dict()) == config


def test_an_unknown_key_of_a_config_is_named() -> None:
    with pytest.raises(ModelError, match="unknown keys: depth"):
        TransformerConfig.from_dict({**NANO.to_dict(), "depth": 3})


def test_a_missing_key_of_a_config_is_named() -> None:
    with pytest.raises(ModelError, match="missing keys: heads, layers"):
        TransformerConfig.from_dict({"head_width": 8, "text_width": 8, "causal_positions": True})


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ModelError, match="got 45"):
        replace(NANO, heads=3, head_width=15)


@pytest.mark.parametrize(
    "values",
    [
        {"layers": 10**9},
        {"layers": True},
        {"heads": 2.0},
        {"head_width": 10**30},
        {"ff_multiple": 0},
        {"causal_positions": 1},
        {"rope_theta": float("nan")},
        {"rope_theta": 0},
        {"rope_theta": 10**400},
        {"max_position": (1.0, 2.0)},
        {"max_position": ("a", 1, 1)},
        {"max_position": 3},
        {"activation": ["gelu"]},
    ],
)
def test_a_config_that_no_network_can_have_is_refused(values: dict[str, object]) -> None:
    config = {**PRESETS["nano"].to_dict(), **values}
    with pytest.raises((ModelError, TypeError)):
        TransformerConfig.from_dict(config)
