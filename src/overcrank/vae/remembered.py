"""A bounded memory of pictures and clips that were already encoded.

Axes: B batch, C channels, F frames, H W pixels, T latent frames.
"""

import hashlib
from collections import OrderedDict
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

DEFAULT_MAX_BYTES = 64 * 2**20


class Encodes(Protocol):
    """What makes latents of pixels: an autoencoder, or one that remembers."""

    def encode(self, video_BCFHW: Tensor, /) -> Tensor:
        """Pixels (B, 3, F, H, W) in [-1, 1] -> normalised latents (B, C, T, H / 32, W / 32)."""
        ...


class RememberingEncoder:
    """Encodes each video once, for it takes longer than to look at every pixel; the least recently
    used go first.

    Its answers are those of the encoder, bit for bit; nobody may write into them. Threads may share
    one.
    """

    def __init__(self, encoder: Encodes, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """`max_bytes` of latents are kept; a picture of 256 x 256 has 32 KiB."""
        self.encoder, self.max_bytes = encoder, max_bytes
        self._latents: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._latents)

    def encode(self, video_BCFHW: Tensor, /) -> Tensor:
        """As the encoder does; only videos not seen before reach it."""
        key = _key(video_BCFHW)
        with self._lock:
            known = self._latents.get(key)
        latent_BCTHW = self.encoder.encode(video_BCFHW) if known is None else known
        with self._lock:
            self._latents[key] = latent_BCTHW
            self._latents.move_to_end(key)
            while sum(latent.nbytes for latent in self._latents.values()) > self.max_bytes:
                self._latents.popitem(last=False)
        return latent_BCTHW


def _key(video: Tensor) -> str:
    """The same for the same pixels in the same precision."""
    kind = video.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else video.dtype
    said = hashlib.blake2b(f"{video.shape} {video.dtype} {video.device} {precision}".encode())
    said.update(video.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return said.hexdigest()
