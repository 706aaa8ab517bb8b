"""One network in one file: round trips, hashes, and every kind of file that is refused."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from overcrank.errors import ModelError
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from overcrank.weights import content_hash, load_component, save_component


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(VAES["nano"])


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    torch.manual_seed(1)
    return Transformer(TRANSFORMERS["nano"])


@pytest.fixture
def file(vae: VAE, tmp_path: Path) -> Path:
    path = tmp_path / "vae.safetensors"
    save_component(path, "vae", vae)
    return path


def rewrite(
    path: Path,
    change: Callable[[dict[str, Tensor]], object],
    metadata_change: dict[str, str] | None = None,
) -> None:
    """Change the tensors and the metadata of a stored network in place."""
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata | (metadata_change or {}))


def test_a_vae_comes_back_bit_equal_after_rounding_to_float16(file: Path, vae: VAE) -> None:
    loaded = load_component(file, "vae")
    assert isinstance(loaded, VAE)
    assert loaded.config == vae.config
    for name, tensor in vae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name


def test_a_transformer_comes_back_bit_equal_in_float32(
    transformer: Transformer, tmp_path: Path
) -> None:
    path = tmp_path / "transformer.safetensors"
    save_component(path, "transformer", transformer, dtype=torch.float32)
    loaded = load_component(path, "transformer")
    assert loaded.config == transformer.config
    for name, tensor in transformer.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_loaded_network_is_float32_can_be_trained_and_is_in_evaluation_mode(file: Path) -> None:
    loaded = load_component(file, "vae")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training


def test_a_loaded_vae_still_runs(file: Path) -> None:
    latents = load_component(file, "vae").encode(torch.zeros(1, 3, 1, 32, 32))
    assert latents.shape == (1, 128, 1, 1, 1)


def test_the_content_hash_survives_storing_in_either_dtype(vae: VAE, tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.float32):
        path = tmp_path / f"{dtype}.safetensors"
        save_component(path, "vae", vae, dtype=dtype)
        assert content_hash(load_component(path, "vae")) == content_hash(vae)


def test_the_content_hash_sees_one_changed_number(vae: VAE, file: Path) -> None:
    changed = load_component(file, "vae")
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 0.01
    assert content_hash(changed) != content_hash(vae)


def test_the_content_hash_of_known_numbers_is_golden() -> None:
    """Stored transformers name their VAE by this hash, so its definition must never change."""
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.1, -2.0], [3.0, 0.0]]))
        module.bias.copy_(torch.tensor([1.0, 1e-3]))
    assert content_hash(module).startswith("8b8a5ecec6ce9c01")


def test_a_failed_save_leaves_the_old_file_and_no_other(vae: VAE, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(TypeError):
        save_component(file, "vae", vae, extra={"not a text": 1})  # type: ignore[dict-item]
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_numbers_beyond_float16_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    vae = VAE(VAES["nano"])
    with torch.no_grad():
        next(vae.parameters()).view(-1)[0] = 1e6
    with pytest.raises(ModelError, match=r"not finite in torch.float16: got encoder.conv_in"):
        save_component(tmp_path / "vae.safetensors", "vae", vae)
    assert not list(tmp_path.iterdir())


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [1.0]}))


def _torch_saved(path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, path)


def _torch_saved_old(path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "not a safetensors file"),
        (lambda path: path.write_bytes(b"abc"), "not a safetensors file"),
        (_truncated, "cut short or damaged"),
        (_pickled, "is a pickle"),
        (_torch_saved, "zip archive, as torch.save writes it around a pickle"),
        (_torch_saved_old, "is a pickle"),
        (_folder, r"not readable \(Is a directory"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused_by_what_it_is(
    file: Path, spoil: Callable[[Path], object], what: str
) -> None:
    spoil(file)
    with pytest.raises(ModelError, match=what) as caught:
        load_component(file, "vae")
    assert "pickled weights (.pt, .ckpt, .bin) are never opened" in str(caught.value)


def test_a_file_that_is_not_there_gets_no_advice_on_pickles(file: Path) -> None:
    file.unlink()
    with pytest.raises(ModelError, match="got no such file: copy or download it again") as caught:
        load_component(file, "vae")
    assert "pickle" not in str(caught.value)


def test_a_pickle_under_a_safetensors_name_is_never_run(file: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (tmp_path / "boom",)  # type: ignore[return-value]

    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError):
        load_component(file, "vae")
    assert not (tmp_path / "boom").exists()


def _flip_a_number(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.conv_in.conv.bias"][0] += 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda tensors: tensors.pop("encoder.conv_in.conv.bias"),
            "lacks encoder.conv_in.conv.bias",
        ),
        (lambda tensors: tensors.update(stray=torch.ones(2)), "has surplus tensors stray"),
        (
            lambda tensors: tensors.update({"encoder.conv_in.conv.bias": torch.ones(3)}),
            r"has encoder.conv_in.conv.bias \(3,\) instead of \(8,\)",
        ),
        (
            lambda tensors: tensors.update(
                {"encoder.conv_in.conv.bias": torch.ones(8, dtype=torch.int8)}
            ),
            "has encoder.conv_in.conv.bias in torch.int8",
        ),
        (_flip_a_number, "damaged: its weights do not have the content hash"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    file: Path, change: Callable[[dict[str, Tensor]], object], what: str
) -> None:
    rewrite(file, change)
    with pytest.raises(ModelError, match=what):
        load_component(file, "vae")


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("format_version", "2", "got format_version 2, right is 1"),
        ("config", "{", "describes no vae"),
        ("config", "[1]", "describes no vae"),
        ("config", "{}", "describes no vae"),
        ("config", '{"depth": 9}', "has no field depth"),
        ("config", "[" * 100_000, "describes no vae"),
        ("component", "audio", "got 'audio', right is vae"),
    ],
)
def test_metadata_that_do_not_keep_the_format_are_refused(
    file: Path, key: str, value: str, what: str
) -> None:
    rewrite(file, dict.copy, {key: value})
    with pytest.raises(ModelError, match=what):
        load_component(file, "vae")


def test_safetensors_of_another_maker_are_refused(file: Path) -> None:
    save_file(load_file(file), file, {"format": "pt"})
    with pytest.raises(ModelError, match="metadata lacks component, config"):
        load_component(file, "vae")


def test_many_missing_tensors_are_counted_not_listed(file: Path) -> None:
    rewrite(file, lambda tensors: [tensors.pop(name) for name in list(tensors)[3:]])
    with pytest.raises(ModelError, match=r"lacks \S+, \S+, \S+ and \d+ more"):
        load_component(file, "vae")


def test_a_vae_is_refused_where_a_transformer_belongs(file: Path) -> None:
    with pytest.raises(ModelError, match="got 'vae', right is transformer"):
        load_component(file, "transformer")
