"""A step of a run on made-up data: no weights, no files. What a plan counts and times.

Axes: B batch, C channels, T H W latent grid, L text tokens, D text width, K pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from overcrank.data.batches import Batch
from overcrank.errors import RequestError
from overcrank.runtime import Hardware
from overcrank.train.config import RunConfig, Stage
from overcrank.train.given import Given, flow_loss
from overcrank.train.lora import adapt
from overcrank.train.memory import recompute
from overcrank.train.vae import VAEObjective
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE, VAEConfig
from overcrank.weights import open_checkpoint
from overcrank.weights.checkpoint import Config
from overcrank.weights.presets import preset_names
from overcrank.weights.store import Component, build_on_meta

TEXT_TOKENS = {384: 32}
"""About as many as a caption has, by the width of its encoder; others read long ones."""
LONG_TEXT = 128

_COMPONENTS: Mapping[str, tuple[Component, ...]] = {
    "vae": ("vae",),
    "joint": ("vae", "transformer"),
}

Loss = Callable[[Stage], Tensor]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The networks of a run, without numbers, and its kinds of steps."""

    trained: dict[str, nn.Module]
    beside: dict[str, nn.Module]
    """What is held in memory and stays as it is."""
    steps: Sequence[tuple[float, Loss]]
    """The share of each kind of step, and its loss on a batch as a stage says."""

    @property
    def networks(self) -> list[nn.Module]:
        """All of them."""
        return [*self.trained.values(), *self.beside.values()]

    def fill(self, device: torch.device) -> None:
        """Give all tensors a place there, and small numbers where tensors have numbers now."""
        for module in (m for network in self.networks for m in network.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                numbers = 0.02 * torch.randn(weight.shape, dtype=weight.dtype, device=device)
                setattr(module, name, nn.Parameter(numbers, requires_grad=weight.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                ones = torch.ones(buffer.shape, dtype=buffer.dtype, device=device)
                module.register_buffer(name, ones)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a run will build."""

    vae: VAEConfig | None
    transformer: TransformerConfig | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig, *, fetch: bool = False) -> "Architecture":
        """From the file that a run starts from, or the preset where there is no such file yet.

        `fetch` looks at hub ids, too. Raises RequestError if file and preset are of other sizes.
        """
        found: dict[Component, Config] = {}
        remarks = []
        for component in _COMPONENTS.get(config.kind, ("transformer",)):
            presets = VAES if component == "vae" else TRANSFORMERS
            found[component], source = presets[config.row], config.start_from
            if source is None:
                continue
            if fetch or source in preset_names() or Path(source).exists():
                found[component] = open_checkpoint(source).network(component).config
                _check_preset(config, component, found[component])
            else:
                remarks.append(f"{source} was not looked at, counted as {config.row}")
        if config.loss.perceptual and "vae" in found:
            remarks.append("the network of the perceptual loss is not counted")
        vae, transformer = found.get("vae"), found.get("transformer")
        assert vae is None or isinstance(vae, VAEConfig)
        assert transformer is None or isinstance(transformer, TransformerConfig)
        if vae is not None:
            vae = config.decoder.of(vae)
        return cls(vae, transformer, tuple(dict.fromkeys(remarks)))

    @property
    def layers(self) -> int:
        """Of the transformer, which costs the same for each; 0 where there is none."""
        return 0 if self.transformer is None else self.transformer.layers

    def with_layers(self, layers: int) -> "Architecture":
        """The same with another number of layers."""
        if self.transformer is None:
            return self
        return replace(self, transformer=replace(self.transformer, layers=layers))


def rehearse(config: RunConfig, architecture: Architecture, hardware: Hardware) -> Rehearsal:
    """Build the networks on the meta device, and say what a step computes."""
    rehearsal = _built(config, architecture, hardware)
    for network in rehearsal.trained.values() if config.recompute else ():
        recompute(network)
    return rehearsal


def _built(config: RunConfig, architecture: Architecture, hardware: Hardware) -> Rehearsal:
    pixels = None if architecture.vae is None else _vae(config, architecture.vae, hardware)
    if architecture.transformer is None:
        assert pixels is not None
        return pixels
    with torch.device("meta"):
        network, shadow, teacher = (Transformer(architecture.transformer) for _ in range(3))
    if pixels is not None:
        [(_, rebuilt)] = pixels.steps
        both = (1.0, lambda stage: rebuilt(stage) + _flow_loss(network, stage))
        return Rehearsal({**pixels.trained, "transformer": network}, {}, [both])
    if config.kind == "transformer":
        if config.lora is not None:
            adapt(network.to(hardware.dtype), config.lora)
        step = (1.0, lambda stage: _flow_loss(network, stage))
        return Rehearsal({"transformer": network}, {}, [step])
    teacher.requires_grad_(False)
    calls = len(config.distil.levels)

    def distil(stage: Stage, *, learns: bool) -> Tensor:
        """A walk of middle length, the shadow's loss, and where the student learns two of the
        teacher and one of the shadow more."""
        with torch.no_grad():
            for _ in range((calls + 1) // 2 - learns):
                _flow_loss(network, stage)
            for judge in (teacher, teacher, shadow) if learns else ():
                _flow_loss(judge, stage)
        loss = _flow_loss(shadow, stage)
        return loss + _flow_loss(network, stage) if learns else loss

    often = 1 / config.distil.every
    return Rehearsal(
        {"student": network, "shadow": shadow},
        {"teacher": teacher},
        [
            (often, lambda stage: distil(stage, learns=True)),
            (1 - often, lambda stage: distil(stage, learns=False)),
        ],
    )


def _vae(config: RunConfig, architecture: VAEConfig, hardware: Hardware) -> Rehearsal:
    """The objective itself, on grey clips in which nobody acts."""
    nowhere = replace(hardware, device=torch.device("meta"))
    plain = config.loss.model_copy(update={"perceptual": 0.0})
    fresh = config.model_copy(update={"start_from": None, "film": None, "loss": plain})
    with nowhere.device:
        objective = VAEObjective(fresh, nowhere)
        objective.vae = vae = VAE(architecture)
    for part in config.freeze:
        vae.get_submodule(part).requires_grad_(False)

    def loss(stage: Stage) -> Tensor:
        size, device = stage.clip, vae.per_channel_statistics.mean.device
        grey = torch.zeros(stage.batch, 3, size.frames, size.height, size.width, device=device)
        posterior = vae.posterior(grey)
        dice = torch.Generator(device).manual_seed(0)
        noisy, sigma_B = objective.noised(posterior, dice)
        total, _ = objective.reconstruction(
            posterior, noisy, sigma_B, grey, grey[:, 0], dice, plays=config.loss.gan > 0
        )
        return total

    critic = {} if objective.critic is None else {"critic": objective.critic}
    return Rehearsal({"vae": vae, **critic}, {}, [(1.0, loss)])


def _check_preset(config: RunConfig, component: Component, there: Config) -> None:
    """A preset that is named beside a file has to be that file's."""
    table: Mapping[str, Config] = VAES if component == "vae" else TRANSFORMERS
    if config.preset is None or _sizes(table[config.preset]) == _sizes(there):
        return
    named, found = (
        sum(p.numel() for p in build_on_meta("", component, each.to_dict()).parameters())
        for each in (table[config.preset], there)
    )
    alike = [name for name, row in table.items() if _sizes(row) == _sizes(there)]
    raise RequestError(
        f"the preset is not what the run starts from: got preset {config.preset} of {named:,} "
        f"parameters and start_from {config.start_from} of {found:,}: right is "
        + "".join(f"preset={name} or " for name in alike[:1])
        + "preset=null, which takes the size from the file, or start_from=null, random weights"
    )


def _sizes(config: Config) -> tuple[object, ...]:
    """What decides the shapes of weights, but for noise, which a run may add."""
    if isinstance(config, VAEConfig):
        blocks = (*config.encoder_blocks, *config.decoder_blocks)
        return config.base_width, *(replace(block, noise=False) for block in blocks)
    return config.layers, config.heads, config.head_width, config.text_width, config.ff_multiple


def _flow_loss(network: Transformer, stage: Stage) -> Tensor:
    """Of a batch of nothing, half noised."""
    latent, samples, width = stage.clip.latent, stage.batch, network.config.text_width
    grid = (latent.frames, latent.height, latent.width)
    length = TEXT_TOKENS.get(width, LONG_TEXT)
    device = network.scale_shift_table.device
    with torch.device(device):
        batch = Batch(
            torch.zeros(samples, network.config.latent_channels, *grid),
            torch.zeros(samples, *grid),
            torch.full((samples,), 24.0),
            torch.zeros(samples, length, width),
            torch.ones(samples, length, dtype=torch.bool),
            torch.zeros(samples, 1, network.config.latent_channels, *grid[1:]),
            torch.zeros(samples, 1, dtype=torch.int64),
            torch.arange(min(latent.tokens, stage.tokens or latent.tokens)).expand(samples, -1),
        )
        level_B = torch.full((samples,), 0.5)
    generator = torch.Generator(device).manual_seed(0)
    return flow_loss(network, batch, level_B, Given.nothing(batch), generator).mean()
