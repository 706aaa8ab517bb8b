"""The transformer computes what diffusers' independent implementation computes."""

from typing import Any

import pytest
import torch

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


@pytest.mark.parametrize("per_token", [False, True])
def test_outputs_equal_those_of_diffusers(per_token: bool) -> None:
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

    latent = LatentSize(3, 2, 4)
    positions = token_positions(latent, 25.0, causal=True).expand(2, -1, -1)
    tokens = torch.randn(2, latent.tokens, CONFIG.latent_channels)
    sigma = torch.rand(2, latent.tokens) if per_token else torch.rand(2)
    text = torch.randn(2, 7, CONFIG.text_width)
    keep = torch.arange(7)[None] < torch.tensor([[7], [4]])
    with torch.no_grad():
        got = ours(tokens, sigma, positions, text, keep)
        expected = theirs(
            hidden_states=tokens,
            encoder_hidden_states=text,
            timestep=sigma * 1000,
            encoder_attention_mask=keep.long(),
            video_coords=positions.transpose(1, 2),
            return_dict=False,
        )[0]
    assert expected.std() >= 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5
