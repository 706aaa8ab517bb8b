"""Build a figure pack from a download of Microsoft's 3-D emoji: see docs/figures.md.

The source is the folder or .tgz that `npm pack` of @lobehub/fluent-emoji-3d leaves behind. File
names are code points; the names below are those of the Unicode standard.
"""

import argparse
import json
import sys
import tarfile
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from overcrank.errors import MediaError, OvercrankError
from overcrank.toybox.figure_pack import PICTURE_SIDE, FigurePack
from overcrank.weights.files import write_atomically

LICENCE = "MIT, Copyright (c) Microsoft Corporation (github.com/microsoft/fluentui-emoji)"

CAST = {
    "hopper": "RABBIT, KANGAROO, FROG FACE, FOX FACE",
    "walker": "CAT, DOG, COW, ELEPHANT, SAUROPOD, PENGUIN, TURTLE, DUCK",
    "vehicle": "AUTOMOBILE, BUS, TRACTOR, STEAM LOCOMOTIVE",
    "flyer": "BUTTERFLY, HONEYBEE, HELICOPTER, FLYING SAUCER, GHOST",
    "swimmer": "WHALE, OCTOPUS, TROPICAL FISH",
    "roller": "SOCCER BALL, DOUGHNUT",
    "thing": "BIRTHDAY CAKE, CACTUS, SNOWMAN WITHOUT SNOW, TEDDY BEAR, ROBOT FACE, SUNFLOWER",
}
"""Kind of figure -> Unicode names. These are shipped."""

MORE = {
    "hopper": "PANDA FACE, LION FACE, KOALA, MONKEY, BABY CHICK, CRICKET",
    "walker": "HORSE, SHEEP, GOAT, PIG, TIGER, DROMEDARY CAMEL, DEER, GIRAFFE FACE, ZEBRA FACE, "
    "GORILLA, RHINOCEROS, HIPPOPOTAMUS, HEDGEHOG, T-REX, LLAMA, ROOSTER, FLAMINGO, "
    "CRAB",
    "vehicle": "FIRE ENGINE, TAXI, DELIVERY TRUCK, PICKUP TRUCK, POLICE CAR, AMBULANCE, MOTOR "
    "SCOOTER",
    "flyer": "LADY BEETLE, EAGLE, BALLOON",
    "swimmer": "DOLPHIN, FISH, BLOWFISH, SHARK",
    "roller": "BASKETBALL AND HOOP, VOLLEYBALL, TANGERINE, RED APPLE, TOMATO, COOKIE, KIWIFRUIT",
    "thing": "HAMBURGER, STRAWBERRY, PINEAPPLE, PEAR, BANANA, SOFT ICE CREAM, MUSHROOM, TULIP, "
    "WRAPPED PRESENT, TOP HAT, TEAPOT, BUCKET, GUITAR, CARROT, BROCCOLI, AVOCADO, "
    "CHRISTMAS TREE, ALARM CLOCK",
}
"""As many as three times more, for a pack of your own."""

SPOKEN = {
    "AUTOMOBILE": "red car",
    "BABY CHICK": "chick",
    "BASKETBALL AND HOOP": "basketball",
    "CHRISTMAS TREE": "Christmas tree",
    "DROMEDARY CAMEL": "camel",
    "HONEYBEE": "bee",
    "KIWIFRUIT": "kiwi",
    "LADY BEETLE": "ladybug",
    "SAUROPOD": "dinosaur",
    "SNOWMAN WITHOUT SNOW": "snowman",
    "SOFT ICE CREAM": "ice cream cone",
    "STEAM LOCOMOTIVE": "steam engine",
    "TANGERINE": "orange",
    "WRAPPED PRESENT": "present",
}
"""Where people say it otherwise than the standard."""


def spoken(name: str) -> str:
    """FOX FACE -> fox."""
    return SPOKEN.get(name, name.lower().removesuffix(" face").replace("t-rex", "T-rex"))


def open_package(path: Path) -> Callable[[str], bytes | None]:
    """A reader of files inside the package, by their path in it; None where there is no such."""
    if path.is_dir():
        root = path / "package" if (path / "package").is_dir() else path

        def from_folder(name: str) -> bytes | None:
            return (root / name).read_bytes() if (root / name).is_file() else None

        return from_folder
    try:
        with tarfile.open(path) as archive:
            held = {
                member.name.removeprefix("package/"): file.read()
                for member in archive
                if member.isfile() and (file := archive.extractfile(member))
            }
    except (OSError, tarfile.TarError) as error:
        raise MediaError(
            f"the package cannot be read: got {path} ({error}): right is the .tgz of npm pack, or "
            f"a folder it was unpacked into"
        ) from error
    return held.get


def stand(image: Image.Image) -> Image.Image:
    """The picture without its empty border, as large as fits, in the middle of the lower edge."""
    image = image.convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    image = ImageOps.contain(
        image.crop(box), (PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS
    )
    square = Image.new("RGBA", (PICTURE_SIDE, PICTURE_SIDE))
    square.paste(image, ((PICTURE_SIDE - image.width) // 2, PICTURE_SIDE - image.height))
    return square


def picture(read: Callable[[str], bytes | None], name: str) -> torch.Tensor:
    """The picture of a Unicode name: uint8 RGBA (128, 128, 4)."""
    code = f"{ord(unicodedata.lookup(name)):x}"
    data = read(f"assets/{code}.webp") or read(f"assets/{code}-fe0f.webp")
    if data is None:
        raise MediaError(
            f"the package has no picture of {name}: got no assets/{code}.webp, right is "
            f"@lobehub/fluent-emoji-3d 1.1.0"
        )
    try:
        with Image.open(BytesIO(data), formats=["WEBP"]) as image:
            return torch.from_numpy(np.array(stand(image)))
    except (OSError, UnidentifiedImageError) as error:
        raise MediaError(f"assets/{code}.webp is damaged: {error}: download it anew") from error


def build(source: Path, *, more: bool = False) -> FigurePack:
    """The pack of the cast above; with `more`, of both."""
    read = open_package(source)
    about = json.loads(read("package.json") or b"{}")
    if about.get("name") != "@lobehub/fluent-emoji-3d":
        raise MediaError(
            f"{source} is another package: got {about.get('name')}, right is "
            f"@lobehub/fluent-emoji-3d"
        )
    tables = (CAST, MORE) if more else (CAST,)
    cast = [
        (name, kind)
        for table in tables
        for kind, names in table.items()
        for name in names.split(", ")
    ]
    return FigurePack(
        names=tuple(spoken(name) for name, _ in cast),
        kinds=tuple(kind for _, kind in cast),
        pictures_NHWC=torch.stack([picture(read, name) for name, _ in cast]),
        source=f"npm {about['name']} {about['version']}",
        licence=LICENCE,
    )


def main() -> None:
    """Build and write the pack in one step."""
    parser = argparse.ArgumentParser(description="Build a figure pack: see docs/figures.md.")
    parser.add_argument("package", type=Path, help=".tgz of npm pack, or the unpacked folder")
    parser.add_argument("-o", "--output", type=Path, default=Path("assets/figures.safetensors"))
    parser.add_argument("--more", action="store_true", help="95 figures, not the 32 shipped ones")
    arguments = parser.parse_args()
    try:
        pack = build(arguments.package, more=arguments.more)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(arguments.output) as temporary:
            pack.save(temporary)
    except (OvercrankError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {len(pack.names)} figures")


if __name__ == "__main__":
    main()
