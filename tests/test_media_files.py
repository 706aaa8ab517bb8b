"""An output that cannot be written is refused before any work is done for it."""

import os
from pathlib import Path
from typing import Any

import pytest

from overcrank.errors import MediaError, RequestError
from overcrank.media import check_output
from overcrank.media.files import readable_file


def test_a_good_output_is_accepted_and_nothing_is_left_behind(tmp_path: Path) -> None:
    assert check_output(tmp_path / "clip.mp4") == tmp_path / "clip.mp4"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match=r"got 'a b/c/x\.mp4': make .* mkdir -p 'a b/c'$"):
        check_output("a b/c/x.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "gone" / "clip.mp4")
    with pytest.raises(MediaError, match=f"mkdir -p {tmp_path.resolve()}/gone$"):
        check_output("link.mp4")
    assert list(tmp_path.iterdir()) == [tmp_path / "link.mp4"]


@pytest.mark.parametrize("path", [None, 3, b"clip.mp4"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(RequestError, match=r"got .*: try 'clip\.mp4'"):
        check_output(path)


def test_an_existing_clip_is_accepted_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"before")
    check_output(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"before"


@pytest.mark.parametrize("name", ["clip.gif", "clip", "clip.mp4.txt", ".mp4", ""])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"written as mp4, got .*: give .*, such as clip\.mp4"):
        check_output(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(MediaError, match=r"got the folder .*: try .*clip\.mp4"):
        check_output(tmp_path / "clip.mp4")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match="regular file"):
        check_output(tmp_path / "clip.mp4")


def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    assert check_output(tmp_path / "link.mp4") == (tmp_path / "clip.mp4").resolve()


def test_a_folder_where_nobody_can_write_is_refused() -> None:
    """Root has permission everywhere, so only trying tells."""
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    with pytest.raises(MediaError, match=r"cannot be written, got '/proc/.*: give a path"):
        check_output("/proc/clip.mp4")


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(MediaError, match="cannot be written"):
        check_output(tmp_path / "clip.mp4")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        check_output(tmp_path / "file" / "clip.mp4")


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "\0.mp4"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        check_output(tmp_path / name)


def test_an_empty_path_is_named_as_such() -> None:
    with pytest.raises(MediaError, match="got an empty path; give the path of"):
        readable_file("", "a picture")
