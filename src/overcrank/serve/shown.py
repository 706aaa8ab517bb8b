"""The pictures that a clip shows: read from a request, kept beside the job."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from overcrank.conditioning import Image
from overcrank.errors import RequestError
from overcrank.serve.files import JobFiles
from overcrank.serve.uploads import as_png

MOST = 8
"""Pictures of one clip."""


class Condition(BaseModel):
    """A picture that the clip shows at one of its frames."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="Base64, or a data URL of it.")
    at: int = Field(0, ge=0, description="The frame.")
    strength: Annotated[float, Field(ge=0, le=1, description="1 keeps it; less may change it.")] = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture, and where."""

    png: bytes
    at: int = 0
    strength: float = 1.0

    @classmethod
    def of(cls, condition: Condition) -> Self:
        """Decoded; refused if it is no picture."""
        _, _, coded = condition.image.rpartition(",")
        try:
            content = base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(
                f"the picture of a condition is base64, got {condition.image[:40]!r} ({error}): "
                "encode the file's bytes"
            ) from None
        return cls(as_png(content, "conditions"), condition.at, condition.strength)

    @property
    def name(self) -> str:
        """Of its content, so that the same picture has the same."""
        return hashlib.sha256(self.png).hexdigest()

    def described(self) -> dict[str, Any]:
        """For the row of a job."""
        return {"at": self.at, "strength": self.strength, "picture": self.name}


def check_places(shown: list[Shown], frames: int) -> None:
    """Refuse what lies beyond the clip, and two pictures at one frame."""
    places = [each.at for each in shown]
    if len(places) > MOST or len(set(places)) < len(places):
        raise RequestError(
            f"a clip shows at most {MOST} pictures, each at a frame of its own, got them at "
            f"{', '.join(map(str, places[:20]))}: leave some out"
        )
    if max(places, default=0) >= frames:
        raise RequestError(
            f"a picture stands at a frame of the clip, got at={max(places)} of {frames} frames: "
            f"try at={frames - 1}, its last"
        )


def conditions(described: list[dict[str, Any]], files: JobFiles) -> list[Image]:
    """What `Shown.described` wrote, for the pipeline."""
    return [
        Image(image=files.shown(each["picture"]), at=each["at"], strength=each["strength"])
        for each in described
    ]
