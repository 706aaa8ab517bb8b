"""Numbers of Lightricks' own functions, written down: they need nothing installed.

Source: Lightricks LTX-Video, its functions run once in float32.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor

from overcrank.flow import linear_quadratic, shifted
from overcrank.flow.tone import tone_map
from overcrank.transformer.rope import rotation_table, sigma_features
from overcrank.vae.ops import patchify

COS_2048 = (
    *(1.0, 0.0565185, 0.0980171, 0.1467305, 0.0149677, 0.0577052),
    *(0.0002566, -0.7070464),
)
SIN_2048 = (0.0, -0.9984015, -0.9951847, -0.9891765, 1.0, 0.7071671)
COS_4096 = (1.0, 1.0, 0.0565185, 0.0980171, 0.1467305, 0.0359220)
FEATURES_50 = (
    *(0.9649661, -0.8279875, 0.7749988, 0.9999856),
    *(-0.2623748, 0.5607466, -0.6319628, 0.0053730),
)
FEATURES_1000 = (
    *(0.5623791, 0.7896267, 0.4399279, 0.9942316),
    *(0.8268796, 0.6135876, -0.8980331, 0.1072541),
)
QUADRATIC_8 = (1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
QUADRATIC_20 = (
    *(1, 0.9975, 0.995, 0.9925, 0.99, 0.9875, 0.985, 0.9825, 0.98, 0.9775),
    *(0.975, 0.963, 0.932, 0.882, 0.813, 0.725, 0.618, 0.492, 0.347, 0.183),
)
SHIFTED_20_1024 = (
    *(1, 0.9796, 0.95787, 0.93468, 0.90986, 0.88324, 0.85462, 0.82377, 0.79041, 0.75423),
    *(0.71485, 0.67182, 0.62461, 0.5726, 0.51499, 0.45084, 0.37897, 0.29789, 0.20572, 0.1),
)
TONES = (-1.9487246, -0.82, -0.4479709, 0, 0.4479709, 0.82, 1.9487246)


def golden_rows() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Stage, our numbers, and the right ones."""
    place_BNX = torch.tensor([[[0.36, 64.0, 96.0]]])
    ends = (20.0, 2048.0, 2048.0)
    small, large = (
        rotation_table(place_BNX, width, 10_000.0, ends)[0, 0].unbind(-1) for width in (2048, 4096)
    )
    cos = torch.cat((small[0][:6], small[0][-2:]))
    sin = torch.cat((small[1][:4], small[1][-2:]))
    yield "rotary embedding, 2048 wide", torch.cat((cos, sin)), torch.tensor(COS_2048 + SIN_2048)
    yield "rotary embedding, 4096 wide", large[0][:6], torch.tensor(COS_4096)
    shown = [0, 1, 2, 127, 128, 129, 130, 255]
    features = [sigma_features(torch.tensor(level))[shown] for level in (0.05, 1.0)]
    yield "noise level features", torch.cat(features), torch.tensor(FEATURES_50 + FEATURES_1000)
    levels = [linear_quadratic(8)[:-1], linear_quadratic(20)[:-1]]
    right = torch.tensor(QUADRATIC_8 + QUADRATIC_20)
    yield "schedule, linear-quadratic", torch.cat(levels), right
    got = shifted(20, tokens=1024, terminal=0.1)[:-1]
    yield "schedule, shifted", got, torch.tensor(SHIFTED_20_1024)
    tones = tone_map(torch.tensor([-3, -1, -0.5, 0, 0.5, 1, 3]), 0.6)
    yield "tone map", tones, torch.tensor(TONES)
    pixels = rearrange(torch.arange(192.0), "(c h w) -> 1 c 1 h w", c=3, h=8)
    boxes = patchify(pixels, 4)[0, :, 0, 0, 0]
    expected = torch.tensor([0.0, 8, 16, 24, 1, 9, 17, 25, 64])
    yield "patches of pixels", boxes[[*range(8), 16]], expected
