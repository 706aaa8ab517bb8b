"""What an autoencoder loses, of rendered clips and of video files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from loud_weights import randomise
from nano_model import nano_pipeline
from overcrank.errors import MediaError, RunError
from overcrank.evaluate.parts import Given, Parts
from overcrank.evaluate.suites import Setting, Studio, chosen
from overcrank.evaluate.true_clips import Rendered, find_clips
from overcrank.evaluate.vae_report import as_frames, flat_field, trip, vae_report
from overcrank.media import write_mp4
from overcrank.metrics import mobilenet, psnr
from overcrank.pipeline import Pipeline
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Recogniser
from overcrank.toybox.render import render

SIZE = ClipSize(17, 64, 96)
MEANS = {
    *("psnr", "psnr_actors", "ssim", "flicker", "flicker_share", "first_delta", "last_delta"),
    *("values_to_one", "bytes_to_one", "bytes_to_one_h264"),
}


def quiet(done: int, total: int) -> None:
    """Nobody looks."""


def film(path: Path, frames: int = 17, height: int = 64, width: int = 96) -> Path:
    """A video file of a rendered clip, any size."""
    whole = render(bench()[0].scene, ClipSize(49, 128, 128), 24.0)
    write_mp4(path, [whole[:frames, :height, :width]], 24.0, metadata={})
    return path


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    pipe = nano_pipeline()
    randomise(pipe.vae)
    return pipe


@pytest.fixture(scope="module")
def report(pipe: Pipeline) -> dict[str, Any]:
    return vae_report(pipe, [Rendered(item, SIZE, 24.0) for item in bench()[:3]], quiet)


def test_a_part_is_reported_when_it_is_measured(pipe: Pipeline) -> None:
    """Two clips, and the fields of one colour after them."""
    steps: list[tuple[object, ...]] = []
    clips = [Rendered(item, SIZE, 24.0) for item in bench()[:2]]
    vae_report(
        pipe,
        clips,
        lambda done, total: steps.append((done, total)),
        on_trip=lambda clip, _: steps.append((clip.name,)),
    )
    assert steps == [("item 0",), (1, 3), ("item 1",), (2, 3), (3, 3)]


def test_means_have_intervals_and_clips_have_values(report: dict[str, Any]) -> None:
    assert report["items"] == 3
    for name in MEANS:
        values = [clip[name] for clip in report["clips"]]
        assert report[name]["mean"] == pytest.approx(sum(values) / 3)
        assert report[name]["low"] <= report[name]["mean"] <= report[name]["high"]
        assert report[name]["n"] == 3
    assert [clip["name"] for clip in report["clips"]] == ["item 0", "item 1", "item 2"]
    assert report["skipped"] == {}


def test_a_latent_has_a_known_size(report: dict[str, Any]) -> None:
    """17 x 64 x 96 pixels of three values, one byte each; 3 x 2 x 3 cells of 128 float32."""
    ratio = 3 * 17 * 64 * 96 / (128 * 3 * 2 * 3)
    assert report["values_to_one"]["mean"] == pytest.approx(ratio)
    assert report["bytes_to_one"]["mean"] == pytest.approx(ratio / 4)
    assert report["bytes_to_one_h264"]["mean"] > 10


def test_a_causal_decoder_streams_without_seams_but_does_not_tile(report: dict[str, Any]) -> None:
    assert report["seams"]["chunks"]["mean"] < 1e-3
    assert report["seams"]["tiles"]["mean"] > 0.1


def test_channels_and_grids_belong_to_the_network(report: dict[str, Any]) -> None:
    assert len(report["channels"]["normalised"]["std"]) == 128
    assert sum(report["channels"]["raw"]["share"]) == pytest.approx(1)
    assert list(report["grid"]) == ["32", "16", "8", "4", "2"]
    assert all(grid["rms"] >= 0 for grid in report["grid"].values())


def test_speed_is_counted_in_frames_and_pixels(report: dict[str, Any]) -> None:
    for stage in ("encode", "decode"):
        speed = report["speed"][stage]
        ratio = speed["pixels_per_second"] / speed["frames_per_second"]
        assert ratio == pytest.approx(64 * 96)
        assert speed["seconds"] > 0


def test_each_trip_is_shown_with_the_clip_it_is_of(pipe: Pipeline) -> None:
    """So that other measures can see them: here the same decibels, to the rounding of pixels."""
    seen: list[float] = []

    def look(clip: Any, output: Tensor) -> None:
        pair = (x.float().movedim(-1, 0)[None] / 127.5 - 1 for x in (output, clip.frames))
        seen.append(float(psnr(*pair)))

    found = vae_report(pipe, [Rendered(bench()[5], SIZE, 24.0)], quiet, on_trip=look)
    assert seen == pytest.approx([found["clips"][0]["psnr"]], abs=0.02)


def test_features_are_compared_where_some_are_given(pipe: Pipeline) -> None:
    clips = [Rendered(bench()[0], SIZE, 24.0)]
    found = vae_report(pipe, clips, quiet, features=lambda x: [x])
    assert 0 < found["perceptual"]["mean"] < 4
    assert "perceptual" not in vae_report(pipe, clips, quiet)


def test_a_decoder_that_draws_cells_has_a_grid() -> None:
    """A bias for each pixel of a patch of 4 x 4, and nothing else."""
    pipe = nano_pipeline()
    patch = pipe.vae.config.patch_size
    with torch.no_grad():
        pipe.vae.get_parameter("decoder.conv_out.conv.weight").zero_()
        bias = pipe.vae.get_parameter("decoder.conv_out.conv.bias")
        bias.copy_(torch.linspace(-0.2, 0.2, patch**2).repeat(3))
    grid = flat_field(pipe)
    assert patch == 4
    assert grid["4"]["decibels"] > 40
    assert grid["32"]["decibels"] < 4


def test_video_files_of_any_size_are_cut_to_the_grid(pipe: Pipeline, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=22, height=78, width=128)
    (tmp_path / "deep").mkdir()
    film(tmp_path / "deep" / "b.mp4")
    (tmp_path / "notes.txt").write_text("not a video")
    found = vae_report(pipe, find_clips([tmp_path]), quiet)
    assert [(clip["name"], clip["size"]) for clip in found["clips"]] == [
        ("a.mp4", [17, 64, 128]),
        ("deep/b.mp4", [17, 64, 96]),
    ]
    assert "psnr_actors" not in found


def test_the_middle_of_a_large_frame_is_kept(tmp_path: Path) -> None:
    frames = torch.zeros(9, 40, 320, 3, dtype=torch.uint8)
    frames[:, 4:36, 32:288] = 255
    write_mp4(tmp_path / "a.mp4", [frames], 24.0, metadata={})
    (clip,) = find_clips([tmp_path / "a.mp4"])
    assert clip.open().frames.shape == (9, 32, 256, 3)
    assert clip.open().frames.min() > 200


def test_what_cannot_be_read_is_named_and_passed_over(pipe: Pipeline, tmp_path: Path) -> None:
    film(tmp_path / "good.mp4")
    film(tmp_path / "short.mp4", frames=5)
    film(tmp_path / "tiny.mp4", height=30)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    told: list[tuple[int, int]] = []
    found = vae_report(pipe, find_clips([tmp_path]), lambda *step: told.append(step))
    assert [clip["name"] for clip in found["clips"]] == ["good.mp4"]
    assert found["skipped"].keys() == {"broken.mp4", "short.mp4", "tiny.mp4"}
    assert "damaged or not a video" in found["skipped"]["broken.mp4"]
    assert "at least 9 frames of 32 x 32" in found["skipped"]["short.mp4"]
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]  # the last: fields of one colour


def test_a_folder_without_a_video_is_refused(pipe: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"without any: give files, or a folder with some"):
        find_clips([tmp_path])
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"no clip could be measured, got 1; the first: .*damaged"):
        vae_report(pipe, find_clips([tmp_path]), quiet)
    with pytest.raises(MediaError, match="there is no"):
        vae_report(pipe, find_clips([tmp_path / "none.mp4"]), quiet)


def test_a_feature_network_that_is_not_installed_is_told_in_the_report(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = replace(mobilenet.PINNED, package="no_such_package")
    monkeypatch.setattr(mobilenet, "PINNED", missing)
    suite = chosen("quick", 1)
    studio = Studio(pipe, Setting(model="nano"))
    (tmp_path / "report").mkdir()
    parts = Parts(studio, suite, tmp_path / "report", Recogniser.load(), Given(), lambda _: None)
    found = parts.vae()
    assert "pip install" in found["perceptual"]
    assert "perceptual" not in found["clips"][0]
    assert found["facts"]["colour"]["total"] == 1
    assert (tmp_path / "report" / "vae.png").exists()


def test_weights_that_give_no_numbers_are_told() -> None:
    pipe = nano_pipeline()
    with torch.no_grad():
        pipe.vae.get_parameter("decoder.conv_out.conv.bias").fill_(float("nan"))
    with pytest.raises(RunError, match="a round trip must be finite, got: .* none or infinite"):
        trip(pipe, torch.zeros(9, 32, 32, 3, dtype=torch.uint8))


def test_a_round_trip_has_the_form_of_the_frames(pipe: Pipeline) -> None:
    frames = render(bench()[0].scene, SIZE, 24.0)
    output = as_frames(trip(pipe, frames).output_BCFHW)
    assert (output.shape, output.dtype) == (frames.shape, torch.uint8)
