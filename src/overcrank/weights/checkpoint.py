"""A checkpoint of any format: configs, tensors by our names and not read yet, and its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from overcrank.errors import ModelError
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.vae import VAE, VAEConfig
from overcrank.weights.float8 import computable
from overcrank.weights.hub import HubId
from overcrank.weights.mapped import Entries, Entry, Tensors, json_object
from overcrank.weights.origin import Origin
from overcrank.weights.recognise import Facts, Finding, identify
from overcrank.weights.store import Component, build_on_meta, check_tensors

Format = Literal["lightricks", "diffusers", "overcrank", "gguf"]
Config = VAEConfig | TransformerConfig


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network as it is stored: exactly the tensors that its config calls for."""

    component: Component
    config: Config
    entries: Entries
    scales: Entries = field(default_factory=dict)
    """Of weights in eight bits, by the name of the weight."""
    certain: bool = True
    """False: the config was guessed from shapes; causal positions leave no trace in them."""

    @classmethod
    def of(
        cls,
        path: Path,
        component: Component,
        config: Config,
        entries: Entries,
        *,
        scales: Entries | None = None,
        certain: bool = True,
    ) -> "Network":
        """Checked: what is missing, surplus or of another shape is refused by name."""
        expected = build_on_meta(path, component, config.to_dict()).state_dict()
        check_tensors(path, expected, entries, scales or ())
        ordered = {name: entries[name] for name in expected}
        return cls(
            component=component,
            config=config,
            entries=ordered,
            scales=scales or {},
            certain=certain,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors as they are stored."""
        return sum(entry.nbytes for entry in self.entries.values())

    def cast(self, dtype: torch.dtype | None) -> dict[str, Entry]:
        """Tensors in `dtype`; None keeps theirs, only float8 with scales is multiplied out."""
        if dtype is not None:
            return computable(self.entries, self.scales, dtype)
        plain = {name: each for name, each in self.entries.items() if name not in self.scales}
        scaled = {name: self.entries[name] for name in self.scales}
        return {**plain, **computable(scaled, self.scales, None)}

    def build(self, dtype: torch.dtype | None = None) -> VAE | Transformer:
        """The network on the CPU in evaluation mode: built without memory, tensors assigned.

        `dtype` None keeps what is stored, so that the weights are the pages of the file; float8
        becomes bfloat16. Otherwise tensors are cast one by one, and the pages are given back.
        """
        module = build_on_meta("this checkpoint", self.component, self.config.to_dict())
        entries = computable(self.entries, self.scales, dtype)
        module.load_state_dict(dict(Tensors(entries)), assign=True)
        return module.eval()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was found in a file or folder."""

    path: Path
    format: Format
    transformer: Network | None = None
    vae: Network | None = None
    origin: Origin = field(default_factory=Origin)
    unread: Entries = field(default_factory=dict)
    """Tensors that nothing is computed from, by their names in a Lightricks file."""
    remarks: tuple[str, ...] = ()
    """What was assumed, in words."""
    text_encoder: Path | None = None
    """A text encoder that lies in the same folder."""
    hub: HubId | None = None
    """Where on the hub it came from."""

    @property
    def name(self) -> str:
        """What it is called: as the file, folder or hub id that it was first read from."""
        name = self.origin.source or self.path.name
        return name.removesuffix(".safetensors").removesuffix(".gguf")

    @cached_property
    def published(self) -> Mapping[str, Any]:
        """The JSON that Lightricks embedded: transformer, vae, scheduler, allowed steps."""
        text = self.origin.metadata.get("config")
        return {} if text is None else json_object(text, f"config in {self.path}")

    @cached_property
    def finding(self) -> Finding | None:
        """The release it is run as; None for networks that Lightricks never published."""
        if not self.networks or any(_is_ours(each.config) for each in self.networks):
            return None
        shapes = {
            name: entry.shape for each in self.networks for name, entry in each.entries.items()
        }
        facts = Facts.of_file(self.origin.metadata, shapes)
        if "config" not in self.origin.metadata:
            told = Facts.of_folder({}, {}, self.origin.diffusers.get("scheduler", {}))
            facts = replace(
                facts, kind=told.kind, terminal=told.terminal, stochastic=told.stochastic
            )
        if self.transformer is not None and self.transformer.certain:
            config = self.transformer.config
            assert isinstance(config, TransformerConfig)
            facts = replace(facts, causal_positions=config.causal_positions)
        return identify(facts, name=self.origin.source or self.path.name)

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those that are there."""
        return tuple(each for each in (self.vae, self.transformer) if each is not None)

    def build_vae(self, dtype: torch.dtype | None = None) -> VAE:
        """See `Network.build`."""
        module = self.network("vae").build(dtype)
        assert isinstance(module, VAE)
        return module

    def build_transformer(self, dtype: torch.dtype | None = None) -> Transformer:
        """See `Network.build`."""
        module = self.network("transformer").build(dtype)
        assert isinstance(module, Transformer)
        return module

    def network(self, component: Component) -> Network:
        """The one asked for; refused if it is not there."""
        network = self.vae if component == "vae" else self.transformer
        if network is None:
            found = ", ".join(each.component for each in self.networks)
            raise ModelError(
                f"{self.path} holds no {component}: got {found}: give a file or folder that has one"
            )
        return network


def _is_ours(config: Config) -> bool:
    """Whether a network is of our small family."""
    if isinstance(config, VAEConfig):
        return config.factorised or config.linear_trunk
    return config.activation != "gelu"
