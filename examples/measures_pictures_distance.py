"""Draw the pictures of docs/evaluation.md: what distances, agreement, seams and permanence notice.

    python examples/measures_pictures_distance.py docs/pictures

Each shows true clips of the toybox beside spoilt ones, with the scores in words.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from spoilt import OTHERS, Scale, blurred, brighter, frozen, noisy, recoloured, shuffled
from torch import Tensor

from overcrank.data.controls import edges
from overcrank.evaluate.spaces import TOYBOX, open_space
from overcrank.metrics.agreement import depth_error, edge_match, mask_overlap, track_error
from overcrank.metrics.coverage import density_and_coverage
from overcrank.metrics.seam import seam
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Answer, Recogniser
from overcrank.toybox.truth import truth

WIDTH = 640
FONT = ImageFont.load_default(13)
SIZE, RATE = ClipSize(25, 96, 96), 12.0
COUNT = 96
COLUMNS = 5
Row = tuple[str, Sequence[Tensor]]
"""What stands on the left, and pictures, uint8 (H, W, 3)."""


def draw(rows: Sequence[Row], side: int, path: Path) -> None:
    """Rows of pictures of one height, a caption of some lines before each."""
    page = Image.new("RGB", (WIDTH, len(rows) * (side + 4)), "white")
    ink = ImageDraw.Draw(page)
    for number, (text, pictures) in enumerate(rows):
        top = number * (side + 4)
        ink.multiline_text((4, top + 4), text, "black", FONT)
        for place, picture in enumerate(pictures):
            shown = Image.fromarray(picture.contiguous().numpy()).resize((side, side))
            page.paste(shown, (WIDTH - (len(pictures) - place) * (side + 4), top))
    page.quantize(128).save(path, optimize=True)


def spread(frames: Tensor) -> list[Tensor]:
    """Some frames, from first to last."""
    return list(frames[torch.linspace(0, len(frames) - 1, COLUMNS).round().long()])


def distance(path: Path) -> None:
    """One clip, spoilt in turn, and how far such clips are from true ones."""
    scale = Scale(open_space(TOYBOX, SIZE, RATE), SIZE, RATE, COUNT)
    spoilt = (
        ("true clips", brighter, 0.0),
        ("one grey level brighter", brighter, 1.0),
        ("blurred by 1 pixel", blurred, 1.0),
        ("noise of 4 grey levels", noisy, 4.0),
        ("half of the frames shuffled", shuffled, 0.5),
        ("second half frozen", frozen, 0.5),
        ("a third towards other colours", recoloured, 0.33),
    )
    rows: list[Row] = []
    for name, spoil, by in spoilt:
        features_BN = scale.features(spoil, by)
        density, coverage = density_and_coverage(scale.reference_BN, features_BN)
        told = f"{name}\n{scale.times(features_BN):.2f} times the floor\n"
        told += f"coverage {coverage:.2f}, density {density:.2f}"
        clip = spoil(scale.clip(OTHERS + 2), by, torch.Generator().manual_seed(0))
        rows.append((told, spread(clip)))
    crowd_BN = scale.true_BN[:8].repeat(COUNT // 8, 1)
    density, coverage = density_and_coverage(scale.reference_BN, crowd_BN)
    told = f"the same 8 clips, {COUNT // 8} times\n{scale.times(crowd_BN):.2f} times the floor\n"
    told += f"coverage {coverage:.2f}, density {density:.2f}"
    rows.append((told, [scale.clip(OTHERS + n)[0] for n in range(COLUMNS)]))
    draw(rows, 64, path)


def agreement(path: Path) -> None:
    """Depth, edges and masks of a scene above, what becomes of them below."""
    scene, size = sample_scene(5, split="test", actors=2), ClipSize(9, 128, 128)
    frames, known = render(scene, size), truth(scene, size)
    dice = torch.Generator().manual_seed(0)
    depth = known.depth + 0.3 * torch.randn(known.depth.shape, generator=dice)
    soft = blurred(frames, 2.0, dice)
    found, true = (edges(each)[..., 0] > 64 for each in (soft, frames))
    match = edge_match(found, true)
    mask, moved = known.masks.any(0), known.masks.any(0).roll(8, 2)
    tracks = known.tracks + torch.tensor([4.0, 0.0])
    error = track_error(tracks, known.tracks, known.visible > 0.1, (size.height, size.width))
    told = (
        f"tracks 4 pixels off: {error.average:.2f}\n"
        f"depth with noise: error {depth_error(depth, known.depth):.2f}\n"
        f"blurred clip: F1 of edges {match.f1:.2f}\n"
        f"masks 8 pixels off: {mask_overlap(moved, mask):.2f}"
    )
    rows: list[Row] = [
        (
            "true: tracks, depth,\nedges, masks",
            [dotted(frames[0], known.tracks[:, 0]), *map(grey, (known.depth[0], true[0], mask[0]))],
        ),
        (told, [dotted(frames[0], tracks[:, 0]), *map(grey, (depth[0], found[0], moved[0]))]),
    ]
    draw(rows, 100, path)


def dotted(frame: Tensor, points: Tensor) -> Tensor:
    """With a cross at each (column, row)."""
    marked = frame.clone()
    for column, row in points.round().long().tolist():
        marked[row - 1 : row + 1, max(0, column - 6) : column + 6] = 255
        marked[max(0, row - 6) : row + 6, column - 1 : column + 1] = 255
    return marked


def grey(values_HW: Tensor) -> Tensor:
    """Any numbers as grey levels; what is infinite is white."""
    values = values_HW.float()
    known = values[values.isfinite()]
    shown = (values - known.min()) / (known.max() - known.min())
    return shown.clamp(0, 1).mul(255).byte()[..., None].expand(-1, -1, 3)


def seams(path: Path) -> None:
    """A clip about frame 25, and the same with something wrong there."""
    scene = sample_scene(10, split="test", actors=1)
    size = ClipSize(65, 128, 128)
    true, border = render(scene, size), 25
    late = torch.cat([true[:border], true[border + 6 :]])
    dim = torch.cat([true[:border], (true[border:].float() * 0.9).byte()])
    rows = [
        (f"{name}\nseam {seam(clip, border):.1f}", list(clip[border - 3 : border + 2]))
        for name, clip in (
            ("true clip", true),
            ("6 frames left out", late),
            ("darker by 10 % from there", dim),
        )
    ]
    draw(rows, 84, path)


def permanence(path: Path) -> None:
    """The recogniser's answers on both halves of true clips, and of clips that change halfway."""
    recogniser, size = Recogniser.load(), ClipSize(49, 128, 128)
    rows: list[Row] = []
    scene = bench()[4].scene
    (actor,) = scene.actors
    other = replace(actor, colour="blue" if actor.colour != "blue" else "red")
    shape = replace(actor, shape="ball" if actor.shape != "ball" else "cube")
    for name, late in (("true clip", actor), ("repainted", other), ("turned into another", shape)):
        first = render(scene, size)[:24]
        last = render(replace(scene, actors=(late,)), size)[24:]
        ends = [recogniser.read(part, 24.0) for part in (first, last)]
        told = "\n".join(f"{said(end.colour)} {said(end.shape)}" for end in ends)
        rows.append((f"{name}:\n{told}", spread(torch.cat([first, last]))))
    draw(rows, 84, path)


def said(answer: Answer) -> str:
    """Its name, or that it is not sure."""
    return answer.name or "(unsure)"


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    pictures = (
        ("agreement", agreement),
        ("beginning", seams),
        ("permanence", permanence),
        ("distance", distance),
    )
    for name, picture in pictures:
        picture(folder / f"eval-{name}.png")
        print(f"eval-{name}.png")


if __name__ == "__main__":
    main()
