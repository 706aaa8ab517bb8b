"""Networks that look at clips, so that sets of clips can be compared by what they see.

`toybox-FD` is the recogniser, which was trained here and is pinned by the hash of its weights;
`transnet-FD` is a network that nobody here has trained; and any file of Python that defines
`features(video)` is a third. Distances of two networks, or of two versions of one, are different
measures. Axes: B clips, C channels, F frames, H W pixels or cells, D width, N features.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from overcrank.errors import ModelError, RequestError
from overcrank.metrics.transnet import PINNED, load_transnet
from overcrank.metrics.wavelet import band_energies
from overcrank.shapes import ClipSize
from overcrank.toybox.recogniser import Recogniser, prepare

TOYBOX = "toybox-FD"
TRANSNET = "transnet-FD"
TOYBOX_SHA256 = "a3f8f8f4e85f777a045a52cbb8fa00a7e9be72e2374d2b04b3c61813bbee01da"
"""Of the tensors of the recogniser that make its cells. Others make another measure: when they are
replaced, this changes with them, and earlier numbers of toybox-FD are no longer comparable."""

FAINT = 1e-3
"""Added to what a band holds, before its logarithm: an eighth of a grey level."""
SHORTEST = 9
"""Frames of a clip, at least."""

Look = Callable[[Tensor, float], Tensor]
"""uint8 (F, H, W, 3) and a frame rate -> features (N,)."""


@dataclass(frozen=True, slots=True)
class Space:
    """A network, the hash of its weights or of its file, and how many features it has."""

    name: str
    sha256: str
    width: int
    look: Look

    def features(self, frames: Tensor, frame_rate: float) -> Tensor:
        """Of one clip, uint8 (F, H, W, 3): (N,), float64."""
        with torch.no_grad():
            features_N = self.look(frames, frame_rate).double()
        if features_N.shape != (self.width,):
            raise ModelError(
                f"the feature network {self.name} must give {self.width} numbers a clip, got "
                f"{tuple(features_N.shape)} for a clip of {tuple(frames.shape)}: mend it"
            )
        lost = int((~features_N.isfinite()).sum())
        if lost:
            raise ModelError(
                f"the feature network {self.name} must give finite numbers, got {lost} of "
                f"{self.width} that are not for a clip of {tuple(frames.shape)}: mend it"
            )
        return features_N


def open_space(source: str, size: ClipSize, frame_rate: float) -> Space:
    """By name, or by the path of a Python file; tried on a grey and a random clip of that size.

    Such a file is run as it is, and belongs to whoever names it. It defines `features(video)`:
    float32 (B, 3, F, H, W) in [-1, 1] -> (B, N). ModelError if a network is not there, is not
    the pinned one, or does not do that.
    """
    if size.frames < SHORTEST:
        raise RequestError(
            f"feature networks look at clips of {SHORTEST} frames and more, got {size.frames}: "
            "make longer clips"
        )
    if source == TOYBOX:
        recogniser = Recogniser.load()
        name, digest, look = TOYBOX, _toybox_hash(recogniser), _toybox(recogniser)
    elif source == TRANSNET:
        name, digest, look = TRANSNET, PINNED.sha256, _transnet()
    else:
        path = Path(source)
        if path.suffix != ".py" or not path.is_file():
            raise ModelError(
                f"there is no such feature network: got {source}: right are {TOYBOX}, {TRANSNET}, "
                "or the path of a Python file that defines features(video)"
            )
        name, digest = path.name, hashlib.sha256(path.read_bytes()).hexdigest()
        look = _given(path)
    blank = torch.full((size.frames, size.height, size.width, 3), 128, dtype=torch.uint8)
    with torch.no_grad():
        space = Space(name, digest, len(look(blank, frame_rate)), look)
    dice = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, blank.shape, dtype=torch.uint8, generator=dice)
    for clip in (blank, noise):
        space.features(clip, frame_rate)
    return space


def left_out() -> dict[str, str]:
    """Networks that cannot be used here, by name, and why not."""
    if PINNED.path() is None:
        return {TRANSNET: f"not installed: run `{PINNED.install}`"}
    return {}


def _toybox(recogniser: Recogniser) -> Look:
    """What the recogniser sees, how it changes, and, since it looks past blur and noise, how much
    light the Haar bands of three sizes hold, as natural logarithms."""

    def look(frames: Tensor, frame_rate: float) -> Tensor:
        cells_FDHW = recogniser.cells(prepare(frames, frame_rate)[None])[0]
        bands_N = band_energies(_video(frames))[0]
        change_FDHW = cells_FDHW.diff(dim=0).abs()
        means = (cells_FDHW.mean((0, 2, 3)), change_FDHW.mean((0, 2, 3)))
        return torch.cat([*means, (bands_N + FAINT).log()])

    return look


def _toybox_hash(recogniser: Recogniser) -> str:
    """Of the tensors that make its cells: what it answers from them may be learnt again."""
    digest = hashlib.sha256()
    for name, tensor in sorted(recogniser.state_dict().items()):
        if name.startswith(("stem.", "time.")):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    found = digest.hexdigest()
    if found != TOYBOX_SHA256:
        raise ModelError(
            f"{TOYBOX} is not the pinned network: got a recogniser whose cells have sha256 "
            f"{found}, right is {TOYBOX_SHA256[:16]}...: install overcrank again, or pin the "
            "new network"
        )
    return found


def _transnet() -> Look:
    network = load_transnet()
    return lambda frames, _rate: network(_video(frames))[0]


def _given(path: Path) -> Look:
    spec = importlib.util.spec_from_file_location("overcrank_given_features", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.features
    except Exception as error:
        raise ModelError(
            f"the feature network cannot be used: got {path}: {type(error).__name__}: {error}: "
            "right is a Python file that defines features(video)"
        ) from error

    def look(frames: Tensor, _frame_rate: float) -> Tensor:
        video_BCFHW = _video(frames)
        try:
            found = function(video_BCFHW)
        except Exception as error:
            raise ModelError(
                f"the feature network {path} failed on a clip of {tuple(video_BCFHW.shape)}: "
                f"{type(error).__name__}: {error}: it must take any float32 (B, 3, F, H, W)"
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(
                f"the feature network {path} gives another shape: got {shape} for one clip of "
                f"{tuple(video_BCFHW.shape)}: right is (1, features)"
            )
        return found[0].float().cpu()

    return look


def _video(frames: Tensor) -> Tensor:
    """(1, 3, F, H, W) in [-1, 1]."""
    return frames.movedim(-1, 0)[None].float() / 127.5 - 1
