"""Prompts made longer by a language model, here a tiny random one with a word tokenizer."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from overcrank.errors import ModelError, RequestError
from overcrank.text import PromptEnhancer

WORDS = [
    "<pad>",
    "</s>",
    "<unk>",
    *["a", "red", "ball", "bounces", "over", "the", "green", "grass", "while", "it", "rains"],
]


def save_model(folder: Path, chat_template: str | None = None) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> PromptEnhancer:
    return PromptEnhancer(save_model(tmp_path_factory.mktemp("llama")), max_new_tokens=12)


def test_the_same_seed_gives_the_same_words_and_another_seed_others(
    enhancer: PromptEnhancer,
) -> None:
    said = [enhancer.enhance("a red ball", seed).prompt for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]


def test_random_numbers_of_others_are_not_touched(enhancer: PromptEnhancer) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    enhancer.enhance("a red ball")
    assert torch.equal(torch.rand(3), expected)


def test_the_recipe_says_what_was_done(enhancer: PromptEnhancer) -> None:
    enhanced = enhancer.enhance("a red ball", 5)
    assert enhanced.original == "a red ball"
    assert enhanced.recipe == {"model": enhancer.name, "seed": 5, "original": "a red ball"}


def test_a_prompt_that_is_long_enough_is_left_alone(enhancer: PromptEnhancer) -> None:
    prompt = "a red ball " * 40
    enhanced = enhancer.enhance(prompt)
    assert (enhanced.prompt, enhanced.recipe) == (prompt, {})


def test_a_model_is_talked_to_in_its_own_form(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}rains"
    enhancer = PromptEnhancer(save_model(tmp_path, template), instructions="over the grass")
    ids = enhancer._ids("a red ball")[0].tolist()  # what the model is given is not said elsewhere
    assert " ".join(WORDS[i] for i in ids) == "<unk> over the grass <unk> a red ball rains"


def test_loading_and_enhancing_print_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path)
    capfd.readouterr()
    PromptEnhancer(tmp_path, max_new_tokens=2).enhance("a red ball")
    assert capfd.readouterr() == ("", "")


def test_an_empty_idea_is_refused(enhancer: PromptEnhancer) -> None:
    with pytest.raises(RequestError, match="must say something"):
        enhancer.enhance(" ")


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no language model can be loaded: got .*: give a folder"):
        PromptEnhancer(tmp_path)


@pytest.mark.parametrize("name", ["gone.safetensors", "gone", "./gone/it", "a/b/c", "a/b.gguf", ""])
def test_what_is_no_folder_and_no_hub_id_is_refused_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)  # nobody asks the hub
    with pytest.raises(ModelError, match="got .*, which is no folder: give a folder, or the hub"):
        PromptEnhancer(name)


def test_a_language_model_that_cannot_be_had_is_refused_in_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match=r"got 'nobody/nothing' \(.*\): give a folder") as refused:
        PromptEnhancer("nobody/nothing")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_pickled_language_model_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no language model"):
        PromptEnhancer(tmp_path)
