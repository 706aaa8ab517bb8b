"""Clips get captions: from files beside them, or from a vision-language model."""

import json
from pathlib import Path

import pytest
from PIL import Image

from command_line import overcrank
from overcrank.data.prepare import Captioner, Settings, prepare
from overcrank.errors import ModelError, RequestError
from test_data_prepare import everything, manifest, pan, video
from tiny_vlm import write_vlm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vlm(tmp_path_factory.mktemp("models") / "tiny-vlm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A video of two shots without a caption, one with, and a picture without."""
    source = tmp_path / "source"
    video(source / "a.mp4", pan(1), pan(2))
    video(source / "b.mp4", pan(3))
    (source / "b.txt").write_text("squares move", encoding="utf-8")
    Image.fromarray(pan(4, frames=1)[0].numpy()).save(source / "c.png")
    return source


class Counted(Captioner):
    """It remembers of how many clips it was asked at once."""

    def describe(self, clips: list[list[Image.Image]]) -> list[str]:  # type: ignore[override]
        self.asked = [*getattr(self, "asked", []), len(clips)]
        return super().describe(clips)


def test_a_model_describes_what_has_no_caption(folder: Path, model: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = prepare(
        folder,
        tmp_path / "out",
        captioner=Captioner(model, longest=12, batch=2),
        on_clip=lambda *clips: told.append(clips),
    )
    lines = manifest(tmp_path / "out")
    assert [line.get("captioned_by") for line in lines] == [
        "tiny-vlm",
        "tiny-vlm",
        None,
        "tiny-vlm",
    ]
    assert lines[2]["caption"] == "squares move"
    assert len({line["caption"] for line in lines}) == 4
    assert (done["without_caption"], done["captioner"]["model"]) == (0, "tiny-vlm")
    assert told == [(2, 3), (3, 3)]


def test_a_caption_is_that_of_the_clip_alone_and_follows_the_prompt(model: Path) -> None:
    frames = [[Image.fromarray(each.numpy()) for each in pan(seed)[::4]] for seed in (1, 2)]
    captioner = Captioner(model, longest=12)
    both = captioner.describe([*frames, frames[0][:1]])
    assert both == [captioner.describe([each])[0] for each in (*frames, frames[0][:1])]
    assert both[0] != both[2]
    assert captioner.describe(frames[:1]) != Captioner(
        model, longest=12, prompt="Who is it?"
    ).describe(frames[:1])


def test_captions_that_were_written_are_not_written_again(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    def captioner() -> Counted:
        return Counted(model, longest=12, batch=1)

    def stop(clips: int, _all: int) -> None:
        if clips == 2:
            raise KeyboardInterrupt

    prepare(folder, tmp_path / "whole", captioner=captioner())
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "out", captioner=captioner(), on_clip=stop)
    again = captioner()
    prepare(folder, tmp_path / "out", captioner=again)
    assert again.asked == [1]
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    with pytest.raises(RequestError, match="holds clips of other files or settings"):
        prepare(folder, tmp_path / "out")


def test_captions_stand_beside_the_files_as_text_or_json(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for seed, name in enumerate(("a", "b", "c", "d")):
        video(source / f"{name}.mp4", pan(seed))
    (source / "a.json").write_text('{"caption": " in JSON ", "more": 1}', encoding="utf-8")
    (source / "b.txt").write_text("\n", encoding="utf-8")
    (source / "b.json").write_text('{"caption": "not in the text"}', encoding="utf-8")
    (source / "c.json").write_text('{"camera": "none"}', encoding="utf-8")
    prepare(source, tmp_path / "out")
    captions = [line["caption"] for line in manifest(tmp_path / "out")]
    assert captions == ["in JSON", "not in the text", None, None]


@pytest.mark.parametrize("text", ["{", "[]", '{"caption": 3}'])
def test_a_sidecar_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    video(tmp_path / "source" / "a.mp4", pan(1))
    (tmp_path / "source" / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=r"a caption cannot be read, got .*a.json .*: write"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_a_model_that_cannot_be_had_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing", "no such folder", ""):
        with pytest.raises(ModelError, match=r"no vision-language model .*: got .*: give a folder"):
            Captioner(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no vision-language model can be loaded: got .*empty"):
        Captioner(tmp_path / "empty")
    with pytest.raises(ModelError, match="without a chat template: got .*mute"):
        Captioner(write_vlm(tmp_path / "mute", template=None))


def test_weights_that_cannot_be_read_are_refused_and_no_clip_is_lost(
    folder: Path, tmp_path: Path
) -> None:
    broken = write_vlm(tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(ModelError, match="no vision-language model can be loaded: got .*broken"):
        prepare(folder, tmp_path / "out", captioner=Captioner(broken, longest=12))
    (broken / "model.safetensors").write_bytes(whole)
    first: list[int] = []
    prepare(
        folder,
        tmp_path / "out",
        captioner=Captioner(broken, longest=12),
        on_file=lambda files, *_: first.append(files),
    )
    assert first == [3]


def test_wishes_for_captions_that_cannot_be_are_refused(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="got batch 0, longest 96"):
        Captioner(model, batch=0)
    with pytest.raises(RequestError, match="require_captions and the captioner tiny-vlm: choose"):
        prepare(
            folder,
            tmp_path / "out",
            Settings(require_captions=True),
            captioner=Captioner(model),
        )


def test_the_command_captions(folder: Path, model: Path, tmp_path: Path) -> None:
    flags = ("--captioner", model, "--caption-prompt", "Who?", "--caption-batch", "1", "--json")
    done = overcrank("prepare", folder, tmp_path / "out", *flags)
    assert done.code == 0, done.err
    assert json.loads(done.out)["captioner"] == {
        "model": "tiny-vlm",
        "prompt": "Who?",
        "longest": 96,
    }
    missing = overcrank("prepare", folder, tmp_path / "other", "--captioner", "no such model")
    assert (missing.code, "vision-language" in missing.err) == (2, True)
    assert not (tmp_path / "other").exists()
