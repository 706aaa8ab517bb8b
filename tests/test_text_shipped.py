"""The small encoder: what ships, and who asks for it."""

from pathlib import Path

import pytest
import torch

from nano_model import save_nano
from overcrank.runtime import choose
from overcrank.text import SmallEncoder, TextEmbedding
from overcrank.text.small import FILE
from overcrank.train.checks import missing
from overcrank.train.config import read_config
from overcrank.train.start import _text_encoder
from overcrank.weights import open_model

PROMPTS = [
    "a red ball bounces on a blue floor",
    "two green cubes turn slowly on the grass, then leave to the left",
    "a cat",
]


@pytest.fixture(scope="module")
def encoder() -> SmallEncoder:
    return SmallEncoder()


@pytest.fixture(scope="module")
def embedding(encoder: SmallEncoder) -> TextEmbedding:
    return encoder.encode(PROMPTS)


def test_the_small_encoder_gives_one_float32_vector_of_384_for_each_token(
    embedding: TextEmbedding,
) -> None:
    assert embedding.embeds_BLD.shape == (*embedding.keep_BL.shape, 384)
    assert embedding.embeds_BLD.dtype == torch.float32
    assert (embedding.embeds_BLD[~embedding.keep_BL] == 0).all()
    assert 0.8 < embedding.embeds_BLD[embedding.keep_BL].std() < 1.2


def test_a_prompt_is_embedded_the_same_alone_and_in_a_batch(
    encoder: SmallEncoder, embedding: TextEmbedding
) -> None:
    for prompt, row in zip(PROMPTS, embedding.rows(), strict=True):
        torch.testing.assert_close(encoder.encode([prompt]).rows()[0], row, atol=1e-5, rtol=1e-5)


def test_rare_words_stand_where_common_ones_do(encoder: SmallEncoder) -> None:
    """ "crimson" is nearer to "red" than any other colour is, and so on."""
    colours = ("red", "yellow", "green", "blue", "purple", "white", "black")
    at = 2
    known = torch.stack(
        [row[at] for row in encoder.encode([f"a {name} ball bounces" for name in colours]).rows()]
    )
    said = {"crimson": "red", "navy": "blue", "emerald": "green", "ivory": "white"}
    for word, meant in said.items():
        row = encoder.encode([f"a {word} ball bounces"]).rows()[0]
        near = torch.cosine_similarity(row[at : at + 1], known).argmax()
        assert colours[near] == meant, word


def test_the_first_prompt_keeps_its_golden_numbers(embedding: TextEmbedding) -> None:
    """The embeddings a trained model was fed with must never drift."""
    golden = torch.tensor([2.1509, 0.6941, 0.1276, -1.1129])
    torch.testing.assert_close(embedding.embeds_BLD[0, 3, :4], golden, atol=1e-3, rtol=0)


def test_a_prompt_beyond_128_tokens_is_cut_and_says_so(encoder: SmallEncoder) -> None:
    with pytest.warns(UserWarning, match="up to 128 tokens"):
        assert encoder.encode(["ball " * 200]).keep_BL.shape == (1, 128)


def test_letters_of_no_vocabulary_are_unknown_and_no_error(encoder: SmallEncoder) -> None:
    assert encoder.encode(["球", "", "Éclair naïve"]).embeds_BLD.isfinite().all()


def test_it_is_small() -> None:
    assert FILE.stat().st_size < 8_000_000


def test_a_model_whose_card_names_it_is_opened_with_it(tmp_path: Path) -> None:
    model = open_model(save_nano(tmp_path / "nano", SmallEncoder.name))
    assert model.open_text_encoder is SmallEncoder


def test_a_run_may_name_it() -> None:
    run = read_config("pocket-transformer", ["vae=pocket"])
    assert run.text == SmallEncoder.name
    assert "text" not in [key for key, *_ in missing(run)]
    assert isinstance(_text_encoder(run, choose("cpu", "float32")), SmallEncoder)
    lost = read_config("pocket-transformer", ["text=overcrank-large", "vae=pocket"])
    assert ("text", "overcrank-large") in [(key, given) for key, given, _ in missing(lost)]
