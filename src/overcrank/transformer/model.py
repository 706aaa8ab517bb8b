"""The video transformer: noisy latent tokens and a text in, their velocity out.

Parameter names are those of the published LTX-Video files.
Axes: B batch, N video tokens, T clocks (of N / T tokens each), L text tokens, C latent channels,
D width, P pairs (D / 2), E text width.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overcrank.flow import SkipMode
from overcrank.transformer.attention import Attention
from overcrank.transformer.block import NORM_EPS, Block, activation
from overcrank.transformer.config import Activation, TransformerConfig
from overcrank.transformer.ops import Ops, modulate
from overcrank.transformer.rope import SIGMA_FEATURES, rotation_table, sigma_features


class TwoLayers(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, width_in: int, width: int, act: Activation) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width)
        self.act = activation(act)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width)."""
        out: Tensor = self.linear_2(self.act(self.linear_1(x)))
        return out


class NoiseLevel(nn.Module):
    """What every block hears about the noise level (adaLN-single).

    Source: Chen et al., "PixArt-alpha", arXiv:2310.00426, section 2.3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emb = nn.ModuleDict({"timestep_embedder": TwoLayers(SIGMA_FEATURES, width, "silu")})
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, sigma_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Modulation of all blocks (B, T, 6, D), and the embedding (B, T, D) it was made from."""
        level_BTD = self.emb["timestep_embedder"](sigma_features(sigma_BT).to(dtype))
        return self.linear(F.silu(level_BTD)).unflatten(-1, (6, -1)), level_BTD


class Transformer(nn.Module):
    """Predicts the velocity of every video token. Source: LTX-Video, arXiv:2501.00103, sec. 2."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.patchify_proj = nn.Linear(config.latent_channels, width)
        self.adaln_single = NoiseLevel(width)
        self.caption_projection = TwoLayers(config.text_width, width, config.activation)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.scale_shift_table = nn.Parameter(torch.empty(2, width))
        nn.init.kaiming_uniform_(self.scale_shift_table, nonlinearity="linear")
        self.proj_out = nn.Linear(width, config.latent_channels)

    def forward(
        self,
        tokens_BNC: Tensor,
        sigma: Tensor,
        positions_BNX: Tensor,
        text_BLE: Tensor,
        keep_BL: Tensor | None = None,
        *,
        stg_layers: Collection[int] = (),
        stg_mode: SkipMode = "attention_values",
    ) -> Tensor:
        """Velocity (B, N, C) of noisy tokens, in the dtype of the parameters.

        sigma in [0, 1], one for each clip (B,), each token (B, N), or (B, T) where T divides N: one
        for N / T neighbouring tokens, such as those of a latent frame; positions in seconds,
        pixels down, pixels right, batch 1 or B; keep_BL is True for real text tokens.
        In `stg_layers` self-attention mixes nothing, for every clip of the batch: the weaker
        prediction that spatiotemporal guidance steers away from (Hyung et al., arXiv:2411.18664).
        """
        self._check(tokens_BNC, sigma, positions_BNX, text_BLE, keep_BL)
        config, dtype = self.config, self.scale_shift_table.dtype
        sigma_BT = sigma[:, None] if sigma.ndim == 1 else sigma
        rotation_BNP2 = rotation_table(
            positions_BNX, config.width, config.rope_theta, config.max_position
        )
        modulation_BT6D, level_BTD = self.adaln_single(sigma_BT, dtype)
        context_BLD = self.caption_projection(text_BLE.to(dtype))

        h_BND = self.patchify_proj(tokens_BNC.to(dtype))
        for index, block in enumerate(self.transformer_blocks):
            h_BND = block(
                h_BND,
                modulation_BT6D,
                context_BLD,
                rotation_BNP2,
                keep_BL=keep_BL,
                skip=stg_mode if index in stg_layers else None,
            )

        shift, scale = (self.scale_shift_table + level_BTD[:, :, None]).unbind(dim=2)
        h_BND = modulate(F.layer_norm(h_BND, (config.width,), eps=NORM_EPS), shift, scale)
        velocity_BNC: Tensor = self.proj_out(h_BND)
        return velocity_BNC

    def initialise(self) -> None:
        """Start values for training from scratch: the first velocity is zero, gates are small.

        Linear layers are Xavier-uniform (Peebles & Xie, "DiT", arXiv:2212.09748, section 3), and
        the modulation starts the same at every noise level.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.adaln_single.linear.weight)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.scale_shift_table)
        gate = (2 * self.config.layers) ** -0.5
        for block in self.transformer_blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.scale_shift_table)
            nn.init.constant_(block.scale_shift_table[2::3], gate)
            for parameter in block.attn2.to_out.parameters():
                nn.init.zeros_(parameter)

    def use(self, ops: Ops) -> None:
        """Compute with other implementations of the plain functions, in this instance only."""
        for module in self.modules():
            if isinstance(module, Attention | Block):
                module.ops = ops

    def _check(
        self,
        tokens_BNC: Tensor,
        sigma: Tensor,
        positions_BNX: Tensor,
        text_BLE: Tensor,
        keep_BL: Tensor | None,
    ) -> None:
        batch, count, channels = tokens_BNC.shape
        text_batch, length, text_width = text_BLE.shape
        assert channels == self.config.latent_channels, channels
        assert sigma.shape[0] == batch, sigma.shape
        assert sigma.ndim == 1 or count % sigma.shape[1] == 0, sigma.shape
        assert positions_BNX.shape in ((batch, count, 3), (1, count, 3)), positions_BNX.shape
        assert (text_batch, text_width) == (batch, self.config.text_width), text_BLE.shape
        assert keep_BL is None or keep_BL.shape == (batch, length), keep_BL.shape
        assert keep_BL is None or keep_BL.dtype == torch.bool, keep_BL.dtype
