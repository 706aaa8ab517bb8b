"""What an autoencoder loses, clip by clip: of rendered clips, and of real ones.

Axes: B batch, C channels, F H W frames and pixels, T H W cells of a latent.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from overcrank.errors import MediaError, RunError
from overcrank.evaluate.shown import OnClip
from overcrank.evaluate.true_clips import Source, TrueClip
from overcrank.media import write_mp4
from overcrank.metrics import Features, mean_of, perceptual_distance, psnr
from overcrank.metrics.artefacts import not_finite
from overcrank.metrics.channels import Channels
from overcrank.metrics.grid import grid_peaks
from overcrank.metrics.seam import seam_of_parts
from overcrank.metrics.ssim import ssim
from overcrank.metrics.temporal import ends, flicker
from overcrank.pipeline import Pipeline
from overcrank.runtime import Stages, precision
from overcrank.shapes import FRAMES_PER_CELL, PIXELS_PER_CELL

SEEN = 16
"""Every so many frames are compared by what a feature network sees."""
SEAMED = 8
"""Clips that are decoded in parts, too."""
FLAT_SIDE, FLAT_FRAMES, MARGIN = 192, 9, 32
FLAT_COLOURS = (
    *((-0.75, -0.75, -0.75), (0.0, 0.0, 0.0), (0.75, 0.75, 0.75)),
    *((0.6, -0.4, -0.4), (-0.4, 0.5, -0.4), (-0.3, -0.2, 0.6), (0.7, 0.6, -0.2)),
)

OnTrip = Callable[[TrueClip, Tensor], None]
"""Called with each clip and its round trip, uint8 (F, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class Trip:
    """Pixels (1, 3, F, H, W) in [-1, 1] before and after, the latent between, and the seconds."""

    video_BCFHW: Tensor
    output_BCFHW: Tensor
    latent_BCTHW: Tensor
    seconds: dict[str, float]


def vae_report(
    pipe: Pipeline,
    clips: Sequence[Source],
    on_clip: OnClip,
    *,
    features: Features | None = None,
    on_trip: OnTrip = lambda *_: None,
) -> dict[str, Any]:
    """Means over clips with their intervals, values of each clip, and what belongs to the network.

    Clips that cannot be read are named in `skipped`; raises MediaError if that is all of them.
    Without `features` there is no perceptual distance. `on_clip` hears of each clip that is done
    or skipped, and, as one more, of the fields of one colour.
    """
    named: list[dict[str, Any]] = []
    seams: dict[str, list[float]] = {"tiles": [], "chunks": []}
    skipped, normalised, raw = {}, Channels(), Channels()
    parts = len(clips) + 1
    for number, source in enumerate(clips):
        try:
            clip = source.open()
        except MediaError as error:
            skipped[source.name] = str(error)
            on_clip(number + 1, parts)
            continue
        there = trip(pipe, clip.frames)
        named.append({"name": clip.name, **_measured(clip, there, features)})
        normalised.add(there.latent_BCTHW)
        raw.add(pipe.vae.per_channel_statistics.restore(there.latent_BCTHW))
        if len(named) <= SEAMED:
            for name, value in _seams(pipe, there):
                seams[name].append(value)
        on_trip(clip, as_frames(there.output_BCFHW))
        on_clip(number + 1, parts)
    if not named:
        first = next(iter(skipped.values()), "no clips at all")
        raise MediaError(f"no clip could be measured, got {len(skipped)}; the first: {first}")
    grid = flat_field(pipe)
    on_clip(parts, parts)
    numbers = dict.fromkeys(n for each in named for n in each if n not in ("name", "size"))
    means = {n: mean_of([each[n] for each in named if n in each]) for n in numbers}
    return {
        "items": len(named),
        **{name: mean for name, mean in means.items() if "seconds" not in name},
        "seams": {name: mean_of(values) for name, values in seams.items() if values},
        "grid": grid,
        "speed": _speed(named),
        "channels": {"normalised": normalised.result(), "raw": raw.result()},
        "skipped": skipped,
        "clips": named,
    }


def trip(pipe: Pipeline, frames: Tensor) -> Trip:
    """Frames, uint8 (F, H, W, 3), through the model's VAE. Raises RunError if that is no video."""
    video_BCFHW = (frames.float() / 127.5 - 1).movedim(-1, 0)[None].to(pipe.hardware.device)
    stages = Stages(pipe.hardware, ("encode", "decode"))
    with stages.stage("encode"):
        latent_BCTHW = pipe.vae.encode(video_BCFHW)
    with stages.stage("decode"):
        output_BCFHW = _decode(pipe, latent_BCTHW)
    wrong = not_finite(output_BCFHW)
    if wrong is not None:
        raise RunError(
            f"a round trip must be finite, got: {wrong.message}: the weights of the autoencoder "
            "cannot be right, or try dtype='float32'"
        )
    return Trip(video_BCFHW, output_BCFHW, latent_BCTHW, stages.seconds)


def as_frames(video_BCFHW: Tensor) -> Tensor:
    """The one clip of a batch as uint8 (F, H, W, 3) on the host."""
    pixels_FHWC = (video_BCFHW[0].float().movedim(0, -1) + 1) * 127.5
    return pixels_FHWC.round().clamp(0, 255).to("cpu", torch.uint8).contiguous()


def flat_field(pipe: Pipeline) -> dict[str, dict[str, float]]:
    """Grids on clips of one colour, without their margins: by period in pixels."""
    fields = []
    for colour in FLAT_COLOURS:
        video = torch.tensor(colour, device=pipe.hardware.device)[None, :, None, None, None]
        with precision(pipe.hardware):
            video = video.expand(1, 3, FLAT_FRAMES, FLAT_SIDE, FLAT_SIDE)
            output_BCFHW = _decode(pipe, pipe.vae.encode(video))
        fields.append(output_BCFHW[..., MARGIN:-MARGIN, MARGIN:-MARGIN])
    peaks = grid_peaks(torch.cat(fields))
    return {str(p): {"decibels": peak, "rms": rms} for p, (peak, rms) in peaks.items()}


def _decode(pipe: Pipeline, latent_BCTHW: Tensor) -> Tensor:
    # A generator for decoders that inject noise.
    return pipe.vae.decode(latent_BCTHW, generator=torch.Generator().manual_seed(0)).float()


def _measured(clip: TrueClip, trip: Trip, features: Features | None) -> dict[str, Any]:
    output, video = trip.output_BCFHW, trip.video_BCFHW
    change, share = flicker(output, video)
    first, last = ends(output, video)
    height, width = clip.frames.shape[1:3]
    pixels = len(clip.frames) * height * width
    values = trip.latent_BCTHW.numel()
    found: dict[str, Any] = {
        "size": [len(clip.frames), height, width],
        "psnr": float(psnr(output, video)),
        "ssim": float(ssim(output, video)),
        "flicker": float(change),
        "flicker_share": float(share),
        "first_delta": float(first),
        "last_delta": float(last),
        "values_to_one": 3 * pixels / values,
        "bytes_to_one": 3 * pixels / (values * trip.latent_BCTHW.element_size()),
        "bytes_to_one_h264": 3 * pixels / _h264_bytes(clip),
        **{f"{stage}_seconds": seconds for stage, seconds in trip.seconds.items()},
    }
    if clip.actors_FHW is not None and clip.actors_FHW.any():
        mask = clip.actors_FHW.to(video.device)[None, None]
        found["psnr_actors"] = float(psnr(output, video, mask))
    if features is not None:
        pairs = (x[0, :, ::SEEN].movedim(1, 0).clamp(-1, 1) for x in (output, video))
        with torch.no_grad():
            found["perceptual"] = float(perceptual_distance(features, *pairs).mean())
    return found


def _h264_bytes(clip: TrueClip) -> int:
    """As large as the file that `write_mp4` makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        write_mp4(file, [clip.frames], clip.frame_rate, metadata={})
        return file.stat().st_size


def _seams(pipe: Pipeline, trip: Trip) -> Iterator[tuple[str, float]]:
    """Decoded in a left and a right half that know nothing of each other; and streamed.

    Of decoders that draw noise no two runs in parts are alike, and of others than causal ones parts
    in time do not fit together: nothing then.
    """
    latent, whole = trip.latent_BCTHW, trip.output_BCFHW
    config = pipe.vae.config
    if any(block.noise for block in config.decoder_blocks):
        return
    if latent.shape[4] > 1:
        half = latent.shape[4] // 2
        with precision(pipe.hardware):
            sides = [_decode(pipe, part) for part in (latent[..., :half], latent[..., half:])]
        yield "tiles", seam_of_parts(torch.cat(sides, 4), whole, [half * PIXELS_PER_CELL], 4)
    if config.causal_decoder:
        with precision(pipe.hardware):
            parts = [part.float() for part in pipe.vae.decode_stream(latent)]
        borders = list(range(1, whole.shape[2], FRAMES_PER_CELL))
        yield "chunks", seam_of_parts(torch.cat(parts, 2), whole, borders, 2)


def _speed(named: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians; the first clip is left out, as it warms up, unless it is the only one."""
    warm = named[1:] or named
    found = {}
    for stage in ("encode", "decode"):
        seconds = [each[f"{stage}_seconds"] for each in warm]
        sizes = [each["size"] for each in warm]
        frames = [f / s for (f, _, _), s in zip(sizes, seconds, strict=True)]
        pixels = [f * h * w / s for (f, h, w), s in zip(sizes, seconds, strict=True)]
        found[stage] = {
            "seconds": median(seconds),
            "frames_per_second": median(frames),
            "pixels_per_second": median(pixels),
        }
    return found
