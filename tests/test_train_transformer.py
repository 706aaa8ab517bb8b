"""The transformer learns from cached latents, and caches are made of what they say."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from overcrank.data.crops import ToyCrops
from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.originals import ToyOriginals, share_of_tokens
from overcrank.data.world import SOLIDS
from overcrank.errors import ModelError, RequestError
from overcrank.shapes import ClipSize
from overcrank.text import TextEmbedding
from overcrank.train import build_objective, read_config
from overcrank.train.config import Latents, Optim, RunConfig, Stage
from overcrank.train.given import Given, flow_loss
from overcrank.train.transformer import TransformerObjective
from overcrank.train.vae import to_video
from overcrank.transformer.ops import attention, rotate
from overcrank.vae import PRESETS, VAE
from test_train_loop import CPU, fit_one_batch


class LetterCounts:
    """A text encoder small enough for tests: one token a word, its letters counted."""

    name = "letters"
    width = 384

    def encode(self, prompts: list[str]) -> TextEmbedding:
        rows = []
        for prompt in prompts:
            words = prompt.split() or [""]
            row = torch.zeros(len(words), self.width)
            for place, word in enumerate(words):
                for letter in word:
                    row[place, ord(letter) % self.width] += 1
            rows.append(row)
        return TextEmbedding.from_rows(rows)


SPEC = CacheSpec(
    size=ClipSize(9, 32, 32),
    clips=128,
    captions=2,
    seed=0,
    latent_hash="abc",
    text="letters",
    world="solids",
)
CLIPS = ToyOriginals(SOLIDS, SPEC.size, seed=SPEC.seed, captions=SPEC.captions)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LatentCache]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("latents")
    vae = VAE(PRESETS["nano"])
    makers = Makers(CLIPS, lambda frames: vae.encode(to_video(frames)), LetterCounts())
    make_cache(folder, SPEC, makers, lambda _done, _total: None)
    return folder, LatentCache(folder, SPEC)


def transformer_objective(cache: LatentCache, **changes: Any) -> TransformerObjective:
    config = RunConfig(
        kind="transformer",
        preset="nano",
        steps=30,
        stages=[Stage(frames=9, size=32, batch=4)],
        optim=Optim(lr=3e-3, warmup=0),
        vae="nano",
        latents=[Latents(clips=128, frames=9, size=32)],
        **changes,
    )
    return TransformerObjective(config, {SPEC.size: cache}, "abc", CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"latent_hash": "def"},
        {"size": ClipSize(17, 32, 32)},
        {"captions": 1},
        {"seed": 1},
        {"world": "?"},
    ],
)
def test_latents_made_otherwise_are_refused(
    cache: tuple[Path, LatentCache], change: dict[str, Any]
) -> None:
    spec = replace(SPEC, clips=256, **change)
    with pytest.raises(ModelError, match=f"got {next(iter(change))} .*right is"):
        make_cache(
            cache[0], spec, Makers(CLIPS, torch.Tensor.float, LetterCounts()), lambda *_: None
        )
    with pytest.raises(ModelError, match="do not fit this run"):
        LatentCache(cache[0], spec)


def test_latents_that_say_nothing_of_themselves_are_refused(tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(1)}, tmp_path / "00000.safetensors", {"latent_hash": "abc"})
    with pytest.raises(ModelError, match="not stated"):
        LatentCache(tmp_path, SPEC)


def test_a_transformer_for_other_texts_is_refused_before_latents_are_made(tmp_path: Path) -> None:
    config = read_config("pocket-transformer", ["preset=ltxv-2b-0.9"])
    with pytest.raises(RequestError, match="4096 wide, right is one for 384"):
        build_objective(config, tmp_path, lambda _event: None, CPU)


def test_a_cached_clip_has_its_texts(cache: tuple[Path, LatentCache]) -> None:
    clip = cache[1][5]
    assert clip.latent_CTHW.shape == (128, 2, 1, 1)
    assert len(clip.texts) == 2
    assert all(text.shape[1] == 384 and len(text) > 3 for text in clip.texts)


def test_a_transformer_learns(cache: tuple[Path, LatentCache]) -> None:
    losses = fit_one_batch(transformer_objective(cache[1]), 3e-3)
    assert losses[-1] < 0.9 * losses[0]


def test_an_error_on_an_actor_weighs_more(cache: tuple[Path, LatentCache]) -> None:
    """With a weight without end, the loss is the error of the tokens full of actors."""
    objective = transformer_objective(cache[1])
    batch = objective.data()[0]
    actors = torch.zeros(4, 2, 1, 1)
    actors[:, 1] = 1
    batch = replace(batch, actors_BTHW=actors)

    def loss(given: bool, weight: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        knows = Given(torch.tensor([given, False]).expand(4, 2))
        with torch.no_grad():
            return flow_loss(
                objective.module, batch, torch.full((4,), 0.5), knows, generator, weight
            )

    plain, heavy = loss(False, 0.0), loss(False, 1e6)
    # A fresh network answers zero, so that a pinned first frame changes nothing but the sum.
    torch.testing.assert_close(heavy, loss(True, 0.0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, heavy)
    torch.testing.assert_close(loss(False, 2.0), (plain * 2 + 2 * heavy) / 4, rtol=1e-4, atol=1e-5)


def test_the_share_of_a_token_counts_its_own_frames_only() -> None:
    mask = torch.zeros(9, 32, 64, dtype=torch.bool)
    mask[0, :, 32:] = True
    mask[1:5, :16, :32] = True
    share = share_of_tokens(mask, ClipSize(9, 32, 64))
    torch.testing.assert_close(share, torch.tensor([[[0.0, 1.0]], [[0.25, 0.0]]]))


def test_crops_know_where_actors_are() -> None:
    """About a sixth of the area, on the average."""
    crops = ToyCrops(0, 8, lambda _step: (2, ClipSize(1, 128, 128)))
    covered = [crops[step].actors.float().mean().item() for step in range(8)]
    assert crops[0].actors.shape == crops[0].frames.shape[:-1]
    assert 0.1 < sum(covered) / len(covered) < 0.3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_learn_the_same(cache: tuple[Path, LatentCache]) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        objective = transformer_objective(cache[1], compile=compiled)
        loss, _ = objective.loss(objective.data()[0], torch.Generator().manual_seed(1))
        loss.backward()
        found.append((loss.detach(), objective.module.proj_out.weight.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_attention_and_rotation_are_the_plain_ones_to_rounding() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 12, 16) for _ in range(3)]
    table, keep = torch.randn(2, 12, 8, 2), torch.arange(12) < torch.tensor([[12], [7]])

    def turned(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attention(rotate(q, table), rotate(k, table), v, 2, keep)

    def found(function: Callable[..., torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
        given = [each.to(dtype).requires_grad_() for each in inputs]
        out = function(*given).float()
        return [out, *(slope.float() for slope in torch.autograd.grad(out.square().sum(), given))]

    plain, fast = found(turned, torch.float32), found(torch.compile(turned), torch.bfloat16)
    for right, ours in zip(plain, fast, strict=True):
        assert (ours - right).norm() < 0.03 * right.norm()
