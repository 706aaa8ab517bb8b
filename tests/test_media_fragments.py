"""Fragmented mp4: bytes that play before the clip is complete."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from overcrank.errors import MediaError
from overcrank.media import fragments, read_frames, read_metadata

TAGS = {"overcrank": "generated", "comment": '{"seed": 7}'}


def moving(frames: int) -> Tensor:
    """A smooth clip, uint8 (F, 64, 96, 3)."""
    noise = torch.rand(1, 3, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    clip = interpolate(noise, size=(frames, 64, 96), mode="trilinear")[0]
    return (255 * clip).permute(1, 2, 3, 0).to(torch.uint8)


def sent(frames: Tensor, rate: float = 12.0) -> list[bytes]:
    return list(fragments(frames.split([9, *[8] * (len(frames) // 8 - 1)]), rate, metadata=TAGS))


def test_all_parts_together_are_the_clip(tmp_path: Path) -> None:
    clip, file = moving(25), tmp_path / "clip.mp4"
    file.write_bytes(b"".join(sent(clip)))
    frames, rate = read_frames(file)
    assert frames.shape == clip.shape
    assert rate == 12
    assert (frames.float() - clip.float()).abs().mean() < 3
    assert read_metadata(file).items() >= TAGS.items()


def test_what_has_been_sent_plays_but_for_its_last_frame(tmp_path: Path) -> None:
    clip, file = moving(25), tmp_path / "clip.mp4"
    parts = sent(clip)
    whole = b"".join(parts)
    for count, there in ((1, 8), (2, 16), (4, 25)):
        file.write_bytes(b"".join(parts[:count]))
        frames, _ = read_frames(file)
        assert len(frames) == there
    assert whole.count(b"moof") == 25


def test_equal_frames_give_equal_bytes() -> None:
    assert sent(moving(17)) == sent(moving(17))


def test_a_player_can_join_every_second(tmp_path: Path) -> None:
    import av

    file = tmp_path / "clip.mp4"
    file.write_bytes(b"".join(sent(moving(33), rate=8.0)))
    with av.open(str(file)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert [place for place, key in enumerate(keys) if key] == [0, 8, 16, 24, 32]


def test_frames_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(MediaError, match="got none"):
        list(fragments([], 24, metadata={}))
    with pytest.raises(MediaError, match="frame rate"):
        list(fragments([moving(9)], 0, metadata={}))
    with pytest.raises(MediaError, match="even width and height"):
        list(fragments([moving(9)[:, :, :31]], 24, metadata={}))
