"""An output that cannot be written is refused before any work is done for it."""

import os
from pathlib import Path

import pytest

from overcrank.errors import MediaError
from overcrank.media import check_output


def test_a_good_output_is_accepted_and_nothing_is_left_behind(tmp_path: Path) -> None:
    assert check_output(tmp_path / "clip.mp4") == tmp_path / "clip.mp4"
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_accepted_and_not_yet_made(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b" / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("path", ["/proc/clip.mp4", "/proc/self/no/such/clip.mp4"])
def test_a_folder_where_nobody_can_write_is_refused(path: str) -> None:
    """Root has permission everywhere, so only trying tells."""
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    with pytest.raises(MediaError, match=r"cannot be written, got '/proc/.*: give a path"):
        check_output(path)


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
