"""docs/pictures/eval-adherence.png: a true clip, what spoils it, and what the recogniser reads.

`python examples/measures_pictures_adherence.py docs/pictures/eval-adherence.png`
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from overcrank.evaluate.adherence import match
from overcrank.evaluate.shown import questions
from overcrank.shapes import ClipSize
from overcrank.toybox.recogniser import Recogniser
from overcrank.toybox.render import render
from overcrank.toybox.truth import actor_mask

SIZE = ClipSize(49, 128, 128)
NUMBER = 4
"""Of the question that is asked."""
SIDE, FRAMES, WIDTH, LINE = 96, 4, 640, 14


def main() -> None:
    """Read each version of the clip and write what is found beside it."""
    recogniser = Recogniser.load()
    question = questions(NUMBER + 1)[NUMBER]
    scene = question.item.scene
    true = render(scene, SIZE)
    order = torch.randperm(SIZE.frames, generator=torch.Generator().manual_seed(0))
    versions = {
        "true clip": true,
        "wrong colour": torch.where(actor_mask(scene, SIZE)[..., None], 255 - true, true),
        "frozen": true[24:25].expand_as(true),
        "shuffled": true[order],
        "blurred": _blurred(true),
    }
    page = Image.new("RGB", (WIDTH, LINE + 6 + (SIDE + 4) * len(versions)), "white")
    pen = ImageDraw.Draw(page)
    pen.text((4, 2), f"asked: {question.caption}", "black")
    for row, (name, frames) in enumerate(versions.items()):
        top = LINE + 6 + (SIDE + 4) * row
        chosen = torch.linspace(0, SIZE.frames - 1, FRAMES).round().long()
        for column, frame in enumerate(frames[chosen]):
            picture = Image.fromarray(frame.numpy()).resize((SIDE, SIDE))
            page.paste(picture, (column * SIDE, top))
        found = match(question, recogniser.read(frames, 24.0))
        pen.text((FRAMES * SIDE + 8, top), name, "black")
        for line, (fact, answer) in enumerate(found.items(), 1):
            said = "nobody" if answer is None else answer.name or "unsure"
            right = said == fact.value
            text = f"{fact.name}: {said}" + (f" ({answer.probability:.2f})" if answer else "")
            place = (FRAMES * SIDE + 8, top + line * (SIDE - LINE) // (len(found) + 1) + 6)
            pen.text(place, text, (0, 110, 0) if right else (190, 0, 0))
    page.quantize(96).save(Path(sys.argv[1]), optimize=True)


def _blurred(frames: Tensor) -> Tensor:
    video = frames.float().movedim(-1, 1)
    small = F.interpolate(video, (7, 7), mode="bilinear", antialias=True)
    return F.interpolate(small, (SIZE.height, SIZE.width), mode="bilinear").movedim(1, -1).byte()


if __name__ == "__main__":
    main()
