"""A clip as fragmented mp4: bytes that play while the rest is still being made.

Every frame is a fragment of its own, so that nothing waits for a frame that is not there yet; a
player can join at every key frame. Source: ISO/IEC 14496-12, section 8.8 (movie fragments).
"""

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from overcrank.media.encoder import Encoder, rational

MOVFLAGS = "empty_moov+default_base_moof+frag_every_frame+use_metadata_tags"


def fragments(
    chunks: Iterable[Tensor], frame_rate: float, *, metadata: Mapping[str, str], crf: int = 18
) -> Iterator[bytes]:
    """Bytes of one H.264 file from chunks of frames, uint8 (n, H, W, 3): some for each chunk.

    Equal frames give equal bytes. What is left of the last frame comes after the last chunk.
    """
    import av

    written, rate = _Written(), rational(frame_rate)
    with av.open(written, "w", format="mp4", options={"movflags": MOVFLAGS}) as container:
        container.metadata.update(metadata)
        key_every = max(1, round(rate))
        encoder = Encoder(
            container, rate, crf=crf, reproducible=True, key_every=key_every, at_once=True
        )
        for chunk in chunks:
            encoder.add(chunk)
            yield written.take()
        encoder.end()
    yield written.take()


def head_and_rest(first: bytes) -> tuple[bytes, bytes]:
    """The first bytes of a clip as what every player needs, and what is shown first."""
    place = 0
    while first[place + 4 : place + 8] not in (b"moof", b""):
        place += int.from_bytes(first[place : place + 4])
    return first[:place], first[place:]


def codec_of(head: bytes) -> str:
    """As browsers name it: avc1, profile, constraints and level. Source: RFC 6381, section 3.3."""
    place = head.index(b"avcC") + 5
    return f"avc1.{head[place : place + 3].hex().upper()}"


class _Written:
    """What a container writes, until it is taken."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, more: bytes) -> int:
        self._bytes += more
        return len(more)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken
