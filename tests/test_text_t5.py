"""T5 through transformers, with a tiny random T5 and a word tokenizer made here."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from overcrank.errors import ModelError
from overcrank.text import T5Encoder

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "ball", "bounces", "green", "square"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 two layers deep and 32 wide, in the sub-folders that diffusers uses."""
    path = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    T5EncoderModel(config).save_pretrained(path / "text_encoder")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path / "tokenizer")
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> T5Encoder:
    return T5Encoder(folder)


def test_t5_adds_the_end_token_and_cuts_padding_to_the_longest_prompt(encoder: T5Encoder) -> None:
    embedding = encoder.encode(["a red ball bounces", " a ball "])
    assert embedding.embeds_BLD.shape == (2, 5, encoder.width)
    assert embedding.keep_BL.sum(dim=1).tolist() == [5, 3]


def test_padding_does_not_reach_the_words(encoder: T5Encoder) -> None:
    """The mask is given to T5 itself, as the official code does."""
    padded = encoder.encode(["a ball", "a red ball bounces"]).rows()[0]
    torch.testing.assert_close(padded, encoder.encode(["a ball"]).rows()[0])


def test_embeddings_are_the_last_hidden_states(encoder: T5Encoder, folder: Path) -> None:
    model = T5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    expected = model(input_ids=torch.tensor([[3, 4, 5, 1]])).last_hidden_state
    torch.testing.assert_close(encoder.encode(["a red ball"]).embeds_BLD, expected)
    assert expected.std() > 0.1


def test_t5_in_bfloat16_still_hands_out_float32(folder: Path) -> None:
    embedding = T5Encoder(folder, dtype=torch.bfloat16).encode(["a red ball"])
    assert embedding.embeds_BLD.dtype == torch.float32


def test_a_prompt_beyond_256_tokens_is_cut_and_says_so(encoder: T5Encoder) -> None:
    with pytest.warns(UserWarning, match="up to 256 tokens"):
        assert encoder.encode(["ball " * 300]).keep_BL.shape == (1, 256)


def test_all_files_may_lie_side_by_side(folder: Path, tmp_path: Path) -> None:
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert T5Encoder(tmp_path).width == 32


def test_loading_t5_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    T5Encoder(folder)
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_t5_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no T5 can be loaded: got .*text_encoder/"):
        T5Encoder(tmp_path)


def test_pickled_t5_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        T5Encoder(tmp_path)
