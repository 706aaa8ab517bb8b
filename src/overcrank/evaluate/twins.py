"""Independent implementations of the same networks, given our weights, to compare with.

Axes: B batch, N video tokens, C latent channels, X coordinate axes, L text tokens, E text width,
F H W frames and pixels, T H W cells of the latent grid.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from overcrank.errors import ModelError
from overcrank.flow import Schedule, SkipMode
from overcrank.transformer import Transformer
from overcrank.vae import VAE
from overcrank.weights.diffusers_config import write_transformer as diffusers_transformer
from overcrank.weights.diffusers_config import write_vae as diffusers_vae
from overcrank.weights.names import diffusers_names
from overcrank.weights.published import write_transformer, write_vae


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a transformer is asked."""

    tokens_BNC: Tensor
    sigma_BN: Tensor
    positions_BNX: Tensor
    text_BLE: Tensor
    keep_BL: Tensor


class Twin(Protocol):
    """Another implementation of both networks."""

    name: ClassVar[str]
    transformer: Any
    vae: Any

    def module_name(self, name: str) -> str:
        """What it calls a module that we call `transformer.x` or `vae.x`."""
        ...

    def velocity(self, inputs: Inputs, skip: SkipMode | None = None, layer: int = 0) -> Tensor:
        """(B, N, C); with `skip`, the self-attention of that layer mixes nothing."""
        ...

    def rotation(self, positions_BNX: Tensor) -> Tensor:
        """(cos, sin) for every pair, (B, N, P, 2)."""
        ...

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        """The mean of the raw latents."""
        ...

    def decode(self, raw_BCTHW: Tensor, sigma_B: Tensor | None) -> Tensor:
        """Pixels."""
        ...

    def levels(self, schedule: Schedule, steps: int, tokens: int) -> Tensor:
        """The level that each step begins with."""
        ...


class Diffusers:
    """Hugging Face's diffusers."""

    name = "diffusers"

    def __init__(self, transformer: Transformer, vae: VAE | None) -> None:
        import diffusers

        self._names: dict[str, str] = {}
        kinds: Any = diffusers
        self.transformer = self._same(
            "transformer",
            kinds.LTXVideoTransformer3DModel,
            transformer,
            diffusers_transformer(transformer.config),
        )
        self.vae: Any = None
        if vae is not None:
            config = diffusers_vae(vae.config)
            self.vae = self._same("vae", kinds.AutoencoderKLLTXVideo, vae, config)

    def _same(
        self, component: str, kind: Any, ours: Transformer | VAE, config: Mapping[str, Any]
    ) -> Any:
        """Its network with our weights; remembers what it calls our modules."""
        with torch.device("meta"):  # its weights will be ours, not copies of them
            network = kind.from_config(dict(config)).eval()
        state = ours.state_dict()
        names = diffusers_names(ours.config, state)
        renamed = {names[name]: tensor for name, tensor in state.items()}
        network.load_state_dict(renamed, assign=True)
        for name, _ in ours.named_modules():
            for parameter in state:
                rest = parameter.removeprefix(f"{name}.")
                if name and rest != parameter and names[parameter].endswith(f".{rest}"):
                    theirs = names[parameter].removesuffix(f".{rest}")
                    self._names[f"{component}.{name}"] = f"{component}.{theirs}"
                    break
        return network

    def module_name(self, name: str) -> str:
        return self._names.get(name, name)

    def velocity(self, inputs: Inputs, skip: SkipMode | None = None, layer: int = 0) -> Tensor:
        with self.skipping(skip, layer):
            out: Tensor = self.transformer(
                hidden_states=inputs.tokens_BNC,
                encoder_hidden_states=inputs.text_BLE,
                timestep=inputs.sigma_BN * 1000,
                encoder_attention_mask=inputs.keep_BL.long(),
                video_coords=inputs.positions_BNX.transpose(1, 2),
                return_dict=False,
            )[0]
        return out

    def rotation(self, positions_BNX: Tensor) -> Tensor:
        table = self.transformer.rope(positions_BNX, video_coords=positions_BNX.transpose(1, 2))
        return torch.stack([each[..., ::2] for each in table], dim=-1)

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(video_BCFHW).latent_dist.mean
        return mean

    def decode(self, raw_BCTHW: Tensor, sigma_B: Tensor | None) -> Tensor:
        pixels: Tensor = self.vae.decode(raw_BCTHW, temb=sigma_B).sample
        return pixels

    def levels(self, schedule: Schedule, steps: int, tokens: int) -> Tensor:
        condition = import_module("diffusers.pipelines.ltx.pipeline_ltx_condition")
        kind = import_module("diffusers").FlowMatchEulerDiscreteScheduler
        if schedule.kind == "linear-quadratic":
            found: Tensor = condition.linear_quadratic_schedule(steps)
            return found
        settings = {"use_dynamic_shifting": True, "shift_terminal": schedule.terminal}
        scheduler = kind(**settings)
        even = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
        mu = condition.calculate_shift(tokens, 1024, 4096, 0.95, 2.05)
        scheduler.set_timesteps(sigmas=even.numpy(), mu=mu)
        shifted: Tensor = scheduler.sigmas[:-1]
        return shifted

    @contextmanager
    def skipping(self, skip: SkipMode | None, layer: int) -> Iterator[None]:
        """With its own stand-in for attention's scores; the other two modes it does not have."""
        if skip is None:
            yield
            return
        block = self.transformer.transformer_blocks[layer]
        attention, attend = block.attn1, block.attn1.forward

        def values(*args: Any, **kwargs: Any) -> Any:
            from diffusers.hooks.layer_skip import AttentionScoreSkipFunctionMode

            with AttentionScoreSkipFunctionMode():
                return attend(*args, **kwargs)

        def its_input(hidden_states: Tensor, *_: object, **__: object) -> Any:
            return attention.to_out[1](attention.to_out[0](hidden_states))

        target = block if skip == "transformer_block" else attention
        instead = {
            "attention_values": values,
            "attention_skip": its_input,
            "transformer_block": lambda hidden_states, *_, **__: hidden_states,
        }
        target.forward = instead[skip]
        try:
            yield
        finally:
            del target.forward


class Official:
    """Lightricks' own `ltx-video`."""

    name = "ltx-video"

    def __init__(self, transformer: Transformer, vae: VAE) -> None:
        models = "ltx_video.models"
        kind = import_module(f"{models}.transformers.transformer3d").Transformer3DModel
        coder = import_module(f"{models}.autoencoders.causal_video_autoencoder")
        with torch.device("meta"):  # its weights will be ours, not copies of them
            self.transformer: Any = kind.from_config(write_transformer(transformer.config)).eval()
        self.transformer.load_state_dict(transformer.state_dict(), assign=True)
        self.vae: Any = coder.CausalVideoAutoencoder.from_config(write_vae(vae.config)).eval()
        self.vae.load_state_dict(vae.state_dict())

    def module_name(self, name: str) -> str:
        return name

    def velocity(self, inputs: Inputs, skip: SkipMode | None = None, layer: int = 0) -> Tensor:
        mask = None
        if skip is not None:
            mask = inputs.tokens_BNC.new_ones(
                len(self.transformer.transformer_blocks), len(inputs.tokens_BNC)
            )
            mask[layer] = 0
        out: Tensor = self.transformer(
            inputs.tokens_BNC,
            indices_grid=inputs.positions_BNX.transpose(1, 2),
            encoder_hidden_states=inputs.text_BLE,
            encoder_attention_mask=inputs.keep_BL.long(),
            timestep=inputs.sigma_BN,
            skip_layer_mask=mask,
            skip_layer_strategy=None if skip is None else self.strategy(skip),
            return_dict=False,
        )[0]
        return out

    def rotation(self, positions_BNX: Tensor) -> Tensor:
        table = self.transformer.precompute_freqs_cis(positions_BNX.transpose(1, 2))
        return torch.stack([each[..., ::2] for each in table], dim=-1)

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(video_BCFHW).latent_dist.mean
        return mean

    def decode(self, raw_BCTHW: Tensor, sigma_B: Tensor | None) -> Tensor:
        batch, _, frames, height, width = raw_BCTHW.shape
        told = {} if sigma_B is None else {"timestep": sigma_B}
        shape = (batch, 3, 8 * frames - 7, 32 * height, 32 * width)
        pixels: Tensor = self.vae.decode(raw_BCTHW, target_shape=shape, **told).sample
        return pixels

    def levels(self, schedule: Schedule, steps: int, tokens: int) -> Tensor:
        scheduler = self.scheduler(schedule)
        scheduler.set_timesteps(steps, samples_shape=torch.Size((1, tokens, 128)))
        found: Tensor = scheduler.timesteps
        return found

    @staticmethod
    def scheduler(schedule: Schedule) -> Any:
        """Its scheduler, set as a release's file does."""
        kind = import_module("ltx_video.schedulers.rf").RectifiedFlowScheduler
        if schedule.kind == "shifted":
            return kind(shifting="SD3", target_shift_terminal=schedule.terminal)
        return kind(sampler="LinearQuadratic")

    @staticmethod
    def strategy(skip: SkipMode) -> Any:
        """Its name for a way to skip."""
        names = {
            "attention_values": "AttentionValues",
            "attention_skip": "AttentionSkip",
            "transformer_block": "TransformerBlock",
        }
        strategies = import_module("ltx_video.utils.skip_layer_strategy").SkipLayerStrategy
        return getattr(strategies, names[skip])


TWINS: dict[str, type[Diffusers] | type[Official]] = {
    Diffusers.name: Diffusers,
    Official.name: Official,
}
_PACKAGES = {Diffusers.name: "diffusers", Official.name: "ltx_video.pipelines.pipeline_ltx_video"}


def installed() -> list[str]:
    """The implementations that are there."""
    found = []
    for name, package in _PACKAGES.items():
        try:
            import_module(package)
        except ImportError:
            continue
        found.append(name)
    return found


def check_installed(names: list[str]) -> None:
    """Refuse implementations that are not there."""
    unknown = [name for name in names if name not in installed()]
    if unknown:
        raise ModelError(
            f"an implementation to compare with is not there: got {', '.join(unknown)}: right is "
            f"one of {', '.join(TWINS)}, installed with `pip install --no-deps NAME`"
        )


def trace(network: nn.Module, modules: Mapping[str, str], run: Any) -> dict[str, Tensor]:
    """What the named modules gave while `run()` ran; keys of `modules` are kept."""
    found: dict[str, Tensor] = {}

    def keep(key: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            found[key] = first.detach().float()

        return hook

    named = dict(network.named_modules())
    handles = [named[name].register_forward_hook(keep(key)) for key, name in modules.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found
