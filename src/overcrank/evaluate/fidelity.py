"""What a model keeps of what it is given: pictures, and the beginning of a clip."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from overcrank.conditioning import Clip, Image
from overcrank.evaluate.adherence import Ledger, match
from overcrank.evaluate.shown import OnClip, Question
from overcrank.evaluate.suites import Studio
from overcrank.metrics import mean_of, psnr
from overcrank.metrics.seam import seam
from overcrank.shapes import FRAMES_PER_CELL
from overcrank.toybox.recogniser import Recogniser
from overcrank.toybox.render import render

OnPair = Callable[[Tensor, Tensor], None]
"""Called with the true clip and the one that was made, uint8 (F, H, W, 3)."""


def picture_kept(
    studio: Studio,
    recogniser: Recogniser,
    asked: Sequence[Question],
    on_clip: OnClip,
    on_pair: OnPair,
) -> dict[str, Any]:
    """Clips from a first frame and a caption: is the picture their first frame, do they move?

    `psnr` compares the clip's first frame with the picture, `psnr_round_trip` the picture with
    itself after the VAE alone; `change` is the mean difference of neighbouring frames in [0, 1];
    `facts` is what the recogniser finds of the caption.
    """
    found = _Numbers("psnr", "psnr_round_trip", "below_round_trip", "change", "true_change")
    facts = Ledger()
    for number, question in enumerate(asked):
        frames = _true(studio, question)
        video = studio.make(question.caption, question.seed, conditions=[Image(image=frames[0])])
        first = decibels(video.frames[:1], frames[:1])
        limit = decibels(studio.round_trip(frames[:1]), frames[:1])
        found.add(first, limit, limit - first, frame_change(video.frames), frame_change(frames))
        facts.add(question, match(question, recogniser.read(video.frames, video.frame_rate)))
        on_pair(frames, video.frames)
        on_clip(number + 1, len(asked))
    means = found.means()
    ratio = means["change"]["mean"] / max(means["true_change"]["mean"], 1e-6)
    return {"items": len(asked), **means, "change_ratio": ratio, "facts": facts.table()}


def keyframes_kept(
    studio: Studio, asked: Sequence[Question], on_clip: OnClip, on_pair: OnPair
) -> dict[str, Any]:
    """Clips from a caption, a picture for the middle and one for the last frame: are they there?

    For `middle` and `last`, as in `picture_kept`: `psnr` of the clip's frame with the picture,
    `psnr_round_trip` of the picture after the VAE alone. RequestError from a model that was
    trained with pictures at frame 0 only: `pipe.model.advice.keyframes` says so.
    """
    count = studio.own_size.frames
    places = {"middle": count // 2, "last": count - 1}
    found = {name: _Numbers("psnr", "psnr_round_trip", "below_round_trip") for name in places}
    for number, question in enumerate(asked):
        frames = _true(studio, question)
        pictures = [Image(at=at, image=frames[at]) for at in places.values()]
        video = studio.make(question.caption, question.seed, conditions=pictures)
        for name, at in places.items():
            picture = frames[at : at + 1]
            there = decibels(video.frames[at : at + 1], picture)
            limit = decibels(studio.round_trip(picture), picture)
            found[name].add(there, limit, limit - there)
        on_pair(frames, video.frames)
        on_clip(number + 1, len(asked))
    return {"items": len(asked), **{name: each.means() for name, each in found.items()}}


def beginning_kept(
    studio: Studio, asked: Sequence[Question], on_clip: OnClip, on_pair: OnPair
) -> dict[str, Any]:
    """Clips that go on from the first third of the true one: is it kept, is there a seam?

    `psnr` compares the frames that were given with those of the clip, `psnr_round_trip` with
    themselves after the VAE alone. `seam` is `metrics.seam` at the first new frame, `seam_vae`
    there in the whole true clip after the VAE, `seam_true` in the true clip; `change_ratio` how
    much the new frames move, of what the true ones do.
    """
    given = studio.own_size.frames // 3 // FRAMES_PER_CELL * FRAMES_PER_CELL + 1
    found = _Numbers("psnr", "psnr_round_trip", "seam", "seam_vae", "seam_true", "change_ratio")
    for number, question in enumerate(asked):
        frames = _true(studio, question)
        beginning = [Clip(frames=frames[:given])]
        video = studio.make(question.caption, question.seed, conditions=beginning)
        seen = studio.round_trip(frames)
        found.add(
            decibels(video.frames[:given], frames[:given]),
            decibels(studio.round_trip(frames[:given]), frames[:given]),
            *(seam(clip, given) for clip in (video.frames, seen, frames)),
            frame_change(video.frames[given:]) / max(frame_change(seen[given:]), 1e-6),
        )
        on_pair(frames, video.frames)
        on_clip(number + 1, len(asked))
    return {"items": len(asked), "frames_given": given, **found.means()}


class _Numbers:
    """Some numbers of each clip, by name."""

    def __init__(self, *names: str) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in names}

    def add(self, *numbers: float) -> None:
        for values, number in zip(self.values.values(), numbers, strict=True):
            values.append(number)

    def means(self) -> dict[str, dict[str, float]]:
        return {name: mean_of(values) for name, values in self.values.items()}


def _true(studio: Studio, question: Question) -> Tensor:
    """The scene in the model's own size: uint8 (F, H, W, 3)."""
    return render(question.item.scene, studio.own_size, studio.frame_rate)


def decibels(frames: Tensor, reference: Tensor, mask_FHW: Tensor | None = None) -> float:
    """PSNR in dB of uint8 frames (F, H, W, 3), over all pixels or those of a mask."""
    mask = None if mask_FHW is None else mask_FHW[None, ..., None]
    return float(psnr(_video(frames)[None], _video(reference)[None], mask))


def frame_change(frames: Tensor) -> float:
    """Mean absolute difference of neighbouring frames, in [0, 1]."""
    pixels = frames.float() / 255
    return float((pixels[1:] - pixels[:-1]).abs().mean())


def _video(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1
