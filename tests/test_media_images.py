"""Pictures come in upright, opaque and of a sane size, or are refused in three parts."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from overcrank.errors import MediaError
from overcrank.media import fit_image, read_image
from overcrank.media.images import as_video_frame


def test_a_picture_comes_back_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (6, 4), 7).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (6, 4), (7, 7, 7))


def test_the_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned, so the stored left edge is the top of the scene."""
    stored = Image.new("RGB", (32, 16), "black")
    stored.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (16, 32)
    assert upright.getpixel((8, 4)) == (255, 255, 255)
    assert upright.getpixel((8, 28)) == (0, 0, 0)


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_transparent_parts_are_white(tmp_path: Path, mode: str, clear: tuple[int, ...]) -> None:
    Image.new(mode, (4, 4), clear).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").getpixel((1, 1)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.full((4, 4), 128 * 257, dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)


def test_a_missing_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"there is no file .*gone\.png; give the path"):
        read_image(tmp_path / "gone.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="not a regular file; give"):
        read_image(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(MediaError, match="is empty; give"):
        read_image(tmp_path / "empty.png")


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture at all")
    with pytest.raises(MediaError, match="damaged or not a picture; give"):
        read_image(tmp_path / "text.png")


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 4)).save(tmp_path / "float.tiff")
    with pytest.raises(MediaError, match="floating point"):
        read_image(tmp_path / "float.tiff")


@pytest.mark.parametrize("suffix", ["avif", "png", "jpg", "webp", "gif", "bmp"])
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    generator = np.random.default_rng(0)
    whole = Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    file = tmp_path / f"cut.{suffix}"
    whole.save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(MediaError, match="damaged or not a picture; give"):
        read_image(file)


@pytest.mark.parametrize("side", [8_100, 10_000, 14_000])
def test_a_huge_picture_is_refused_without_a_warning(tmp_path: Path, side: int) -> None:
    """Above our limit, above Pillow's warning, above Pillow's error: one refusal for all three."""
    Image.new("1", (side, side)).save(tmp_path / "huge.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match="more than 64 megapixels .* scale it down"):
            read_image(tmp_path / "huge.png")


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.ppm").write_bytes(b"P6 0 4 255\n")
    with pytest.raises(MediaError, match=r"give|at least one pixel"):
        read_image(tmp_path / "none.ppm")


def test_a_fitted_picture_spans_minus_one_to_one() -> None:
    image = Image.new("RGB", (10, 10), "black")
    image.paste("white", (0, 0, 5, 10))
    pixels = fit_image(image, 64, 64)
    assert pixels.shape == (3, 64, 64)
    assert pixels.dtype == torch.float32
    assert (pixels.min().item(), pixels.max().item()) == (-1.0, 1.0)


def test_fitting_keeps_the_middle() -> None:
    """A wide picture loses both sides alike: red and blue go, green stays."""
    image = Image.new("RGB", (300, 100), "lime")
    image.paste("red", (0, 0, 100, 100))
    image.paste("blue", (200, 0, 300, 100))
    pixels = fit_image(image, 32, 32)
    red, green, blue = pixels[:, :, 4:-4]  # the filter sees a little of what lies beyond the cut
    assert red.max() < -0.95
    assert green.min() > 0.95
    assert blue.max() < -0.95


def test_shrinking_does_not_alias() -> None:
    """One-pixel stripes become an even grey; picking single pixels would give black or white."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = fit_image(Image.fromarray(stripes), 32, 32)
    assert pixels.abs().max() < 0.1


def scene() -> torch.Tensor:
    """A soft gradient with a hard edge, (3, 64, 96) in [-1, 1]."""
    pixels = torch.linspace(-1, 1, 96).expand(3, 64, 96).clone()
    pixels[:, 20:40, 30:60] = torch.tensor([0.8, -0.5, 0.1])[:, None, None]
    return pixels


def test_a_picture_made_a_video_frame_stays_nearly_the_same_picture() -> None:
    treated = as_video_frame(scene())
    assert (treated.shape, treated.dtype) == (scene().shape, torch.float32)
    assert 0.01 < (treated - scene()).square().mean().sqrt() < 0.15
    assert torch.equal(treated, as_video_frame(scene()))


def test_a_picture_made_a_video_frame_loses_its_sharp_edges() -> None:
    def steepest(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.diff(dim=-1).abs().max()

    assert steepest(as_video_frame(scene(), crf=1)) < 0.8 * steepest(scene())


def test_a_coarser_quality_loses_more() -> None:
    fine, coarse = (as_video_frame(scene(), crf) for crf in (10, 45))
    assert (coarse - scene()).norm() > (fine - scene()).norm()
