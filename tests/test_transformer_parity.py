"""The transformer computes what diffusers' independent implementation computes."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from overcrank.flow import SkipMode
from overcrank.shapes import LatentSize
from overcrank.transformer import Transformer, TransformerConfig, token_positions

pytestmark = pytest.mark.reference

CONFIG = TransformerConfig(
    layers=3, heads=4, head_width=16, text_width=24, causal_positions=True, latent_channels=12
)
RENAMES = (
    ("patchify_proj", "proj_in"),
    ("adaln_single", "time_embed"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)


def randomise(model: torch.nn.Module) -> None:
    """Weights of a size that keeps every branch of the network audible in its output."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if name.endswith("norm.weight"):
            parameter.data = 1 + 0.1 * noise
        elif name.endswith("bias") or "table" in name:
            parameter.data = 0.3 * noise
        else:
            parameter.data = noise / parameter.shape[-1] ** 0.5


def renamed(name: str) -> str:
    """The parameter's name in diffusers."""
    for ours, theirs in RENAMES:
        name = name.replace(ours, theirs)
    return name


Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def pair() -> tuple[Transformer, Any]:
    """Our network and diffusers', with the same weights."""
    from diffusers import LTXVideoTransformer3DModel

    torch.manual_seed(0)
    ours = Transformer(CONFIG)
    randomise(ours)
    untyped: Any = LTXVideoTransformer3DModel
    theirs = untyped(
        in_channels=CONFIG.latent_channels,
        out_channels=CONFIG.latent_channels,
        num_attention_heads=CONFIG.heads,
        attention_head_dim=CONFIG.head_width,
        cross_attention_dim=CONFIG.width,
        num_layers=CONFIG.layers,
        caption_channels=CONFIG.text_width,
    )
    theirs.load_state_dict({renamed(name): value for name, value in ours.state_dict().items()})
    return ours, theirs


def made(*, per_token: bool = False) -> Inputs:
    """Tokens, noise levels, positions, texts and which of their tokens count, for two clips."""
    latent = LatentSize(3, 2, 4)
    positions = token_positions(latent, 25.0, causal=True).expand(2, -1, -1)
    tokens = torch.randn(2, latent.tokens, CONFIG.latent_channels)
    sigma = torch.rand(2, latent.tokens) if per_token else torch.rand(2)
    text = torch.randn(2, 7, CONFIG.text_width)
    keep = torch.arange(7)[None] < torch.tensor([[7], [4]])
    return tokens, sigma, positions, text, keep


def run(theirs: Any, inputs: Inputs) -> Tensor:
    """What diffusers' network answers."""
    tokens, sigma, positions, text, keep = inputs
    out: Tensor = theirs(
        hidden_states=tokens,
        encoder_hidden_states=text,
        timestep=sigma * 1000,
        encoder_attention_mask=keep.long(),
        video_coords=positions.transpose(1, 2),
        return_dict=False,
    )[0]
    return out


@pytest.mark.parametrize("per_token", [False, True])
def test_outputs_equal_those_of_diffusers(per_token: bool) -> None:
    ours, theirs = pair()
    inputs = made(per_token=per_token)
    with torch.no_grad():
        got, expected = ours(*inputs), run(theirs, inputs)
    assert expected.std() >= 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5


@pytest.mark.parametrize("mode", get_args(SkipMode))
def test_perturbed_outputs_equal_those_of_diffusers(mode: SkipMode) -> None:
    """With its own stand-in for attention's scores, and ours written out for the other two."""
    ours, theirs = pair()
    block = theirs.transformer_blocks[1]
    attention, attend = block.attn1, block.attn1.forward

    def values(*args: Any, **kwargs: Any) -> Tensor:
        from diffusers.hooks.layer_skip import AttentionScoreSkipFunctionMode

        with AttentionScoreSkipFunctionMode():
            out: Tensor = attend(*args, **kwargs)
        return out

    def input_instead(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        out: Tensor = attention.to_out[1](attention.to_out[0](hidden_states))
        return out

    def nothing(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_states

    if mode == "transformer_block":
        block.forward = nothing
    else:
        attention.forward = values if mode == "attention_values" else input_instead
    inputs = made()
    with torch.no_grad():
        plain = ours(*inputs)
        got = ours(*inputs, stg_layers=(1,), stg_mode=mode)
        expected = run(theirs, inputs)
    assert (plain - expected).norm() / expected.norm() > 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5
