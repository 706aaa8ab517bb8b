"""What the autoencoder keeps of a clip, and what the model keeps of pictures and of a beginning."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from overcrank.conditioning import Clip, Image
from overcrank.errors import ModelError
from overcrank.evaluate.adherence import Tally, clip_size, true_frames
from overcrank.evaluate.shown import OnClip
from overcrank.evaluate.true_clips import Rendered, TrueClip
from overcrank.evaluate.vae_report import as_frames, trip, vae_report
from overcrank.metrics import load_features, mean_of, psnr
from overcrank.metrics.seam import seam
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.shapes import FRAMES_PER_CELL
from overcrank.toybox.bench import BenchItem
from overcrank.toybox.recogniser import Recogniser


def vae_keeps(
    pipe: Pipeline,
    recogniser: Recogniser,
    items: Sequence[BenchItem],
    on_clip: OnClip,
    sheet: list[Tensor],
    rows: int,
) -> dict[str, Any]:
    """`vae_report` on items of the benchmark in the model's own size, and what the recogniser
    finds in round trips with one actor. The first `rows` items go to `sheet`, true clip first.
    Where the feature network is not installed, `perceptual` says so."""
    found = Tally()

    def look(clip: TrueClip, output: Tensor) -> None:
        assert clip.item is not None
        if len(clip.item.scene.actors) == 1:
            found.add(clip.item.scene, recogniser.read(output, clip.frame_rate))
        if len(sheet) < 2 * rows:
            sheet.extend([clip.frames, output])

    rate = pipe.model.defaults.frame_rate
    clips = [Rendered(item, clip_size(pipe), rate) for item in items]
    try:
        features, lacking = load_features(), {}
    except ModelError as error:
        features, lacking = None, {"perceptual": str(error)}
    report = vae_report(pipe, clips, on_clip, features=features, on_trip=look)
    return {**report, **lacking, "round_trips": found.rates()}


def picture_kept(
    pipe: Pipeline, items: Sequence[BenchItem], on_clip: OnClip, sheet: list[Tensor], rows: int
) -> dict[str, Any]:
    """Clips from a first frame and a caption: is the picture their first frame, do they move?

    `psnr` compares the clip's first frame with the picture, `psnr_round_trip` the picture with
    itself after the VAE alone; `change` is the mean difference of neighbouring frames in [0, 1].
    """
    first, limit, change, true_change = [], [], [], []
    for i, item in enumerate(items):
        frames = true_frames(pipe, item.scene)
        video = pipe.generate(Request(prompt=item.caption, seed=item.seed, image=frames[0]))
        first.append(decibels(video.frames[:1], frames[:1]))
        limit.append(decibels(round_trip(pipe, frames[:1]), frames[:1]))
        change.append(frame_change(video.frames))
        true_change.append(frame_change(frames))
        if i < rows:
            sheet += [frames, video.frames]
        on_clip(i + 1, len(items))
    return {
        "items": len(first),
        "psnr": fmean(first),
        "psnr_round_trip": fmean(limit),
        "below_round_trip": fmean(limit) - fmean(first),
        "change": fmean(change),
        "true_change": fmean(true_change),
        "change_ratio": fmean(change) / fmean(true_change),
    }


def keyframes_kept(
    pipe: Pipeline, items: Sequence[BenchItem], on_clip: OnClip, sheet: list[Tensor], rows: int
) -> dict[str, Any]:
    """Clips from a caption, a picture for the middle and one for the last frame: are they there?

    For `middle` and `last`, as in `picture_kept`: `psnr` of the clip's frame with the picture,
    `psnr_round_trip` of the picture after the VAE alone. RequestError from a model that was
    trained with pictures at frame 0 only: `pipe.model.advice.keyframes` says so.
    """
    count = clip_size(pipe).frames
    places = {"middle": count // 2, "last": count - 1}
    found: dict[str, list[float]] = {name: [] for name in places}
    limit: dict[str, list[float]] = {name: [] for name in places}
    for i, item in enumerate(items):
        frames = true_frames(pipe, item.scene)
        pictures = [Image(at=at, image=frames[at]) for at in places.values()]
        video = pipe.generate(_request(pipe, item, pictures))
        for name, at in places.items():
            picture = frames[at : at + 1]
            found[name].append(decibels(video.frames[at : at + 1], picture))
            limit[name].append(decibels(round_trip(pipe, picture), picture))
        if i < rows:
            sheet += [frames, video.frames]
        on_clip(i + 1, len(items))
    return {
        "items": len(items),
        **{
            name: {"psnr": mean_of(found[name]), "psnr_round_trip": mean_of(limit[name])}
            for name in places
        },
    }


def beginning_kept(
    pipe: Pipeline, items: Sequence[BenchItem], on_clip: OnClip, sheet: list[Tensor], rows: int
) -> dict[str, Any]:
    """Clips that go on from the first third of the true one: is it kept, is there a seam?

    `psnr` compares the frames that were given with those of the clip, `psnr_round_trip` with
    themselves after the VAE alone. `seam` is `metrics.seam` at the first new frame, `seam_vae`
    there in the whole true clip after the VAE, `seam_true` in the true clip; `change_ratio` how
    much the new frames move, of what the true ones do.
    """
    given = clip_size(pipe).frames // 3 // FRAMES_PER_CELL * FRAMES_PER_CELL + 1
    found: dict[str, list[float]] = {
        name: []
        for name in ("psnr", "psnr_round_trip", "seam", "seam_vae", "seam_true", "change_ratio")
    }
    for i, item in enumerate(items):
        frames = true_frames(pipe, item.scene)
        video = pipe.generate(_request(pipe, item, [Clip(frames=frames[:given])]))
        seen = round_trip(pipe, frames)
        found["psnr"].append(decibels(video.frames[:given], frames[:given]))
        found["psnr_round_trip"].append(decibels(round_trip(pipe, frames[:given]), frames[:given]))
        for name, clip in (("seam", video.frames), ("seam_vae", seen), ("seam_true", frames)):
            found[name].append(seam(clip, given))
        found["change_ratio"].append(
            frame_change(video.frames[given:]) / max(frame_change(seen[given:]), 1e-6)
        )
        if i < rows:
            sheet += [frames, video.frames]
        on_clip(i + 1, len(items))
    return {
        "items": len(items),
        "frames_given": given,
        **{name: mean_of(values) for name, values in found.items()},
    }


def round_trip(pipe: Pipeline, frames: Tensor) -> Tensor:
    """Frames through the model's VAE: uint8 (F, H, W, 3) in and out."""
    return as_frames(trip(pipe, frames).output_BCFHW)


def decibels(frames: Tensor, reference: Tensor, mask_FHW: Tensor | None = None) -> float:
    """PSNR in dB of uint8 frames (F, H, W, 3), over all pixels or those of a mask."""
    mask = None if mask_FHW is None else mask_FHW[None, ..., None]
    return float(psnr(_video(frames)[None], _video(reference)[None], mask))


def frame_change(frames: Tensor) -> float:
    """Mean absolute difference of neighbouring frames, in [0, 1]."""
    pixels = frames.float() / 255
    return float((pixels[1:] - pixels[:-1]).abs().mean())


def _request(pipe: Pipeline, item: BenchItem, conditions: Sequence[Image | Clip]) -> Request:
    """For a clip of the size and rate of the true one."""
    size = clip_size(pipe)
    return Request(
        prompt=item.caption,
        seed=item.seed,
        conditions=conditions,
        num_frames=size.frames,
        height=size.height,
        width=size.width,
        frame_rate=pipe.model.defaults.frame_rate,
    )


def _video(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1
