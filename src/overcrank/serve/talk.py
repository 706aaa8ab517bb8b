"""What a viewer of a live session and the server say to each other, besides bytes of video.

start {prompt, size, fps, window, seed, steps, guidance}    begin a session
join {id}                                                   watch one that goes on
prompt {prompt}   seed {seed}   picture {data}   pause   resume   stop
credits {seconds}                      how many seconds from the beginning the player has room for

session {id, mime, fps}   window {number, prompt, seed, seconds}   ended {message}   error {...}
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from overcrank.serve.schema import LONGEST_PROMPT, VideoRequest

LONGEST_PICTURE = 12 << 20
"""Characters of base64."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Start(_Said):
    """Begin a session."""

    type: Literal["start"]
    prompt: str
    size: str | None = None
    fps: float | None = None
    window: int = Field(49, ge=17, le=257, description="Frames of a window, 8n + 1.")
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None

    def wish(self) -> VideoRequest:
        """Its first window."""
        same = self.model_dump(exclude={"type", "window"})
        return VideoRequest(num_frames=self.window, **same)


class Join(_Said):
    """Watch a session that goes on."""

    type: Literal["join"]
    id: str


class Prompt(_Said):
    """What is shown from the next window on."""

    type: Literal["prompt"]
    prompt: str = Field(min_length=1, max_length=LONGEST_PROMPT, pattern=r"\S")


class Seed(_Said):
    """Of the next window."""

    type: Literal["seed"]
    seed: int = Field(ge=0, lt=2**63 - 2**31)


class Picture(_Said):
    """The next window begins with it."""

    type: Literal["picture"]
    data: str = Field(max_length=LONGEST_PICTURE, description="base64")


class Credits(_Said):
    """Seconds of video, from the beginning, that the player has room for."""

    type: Literal["credits"]
    seconds: float = Field(ge=0, le=1e9)


class Turn(_Said):
    """Without anything more to say."""

    type: Literal["pause", "resume", "stop"]


FIRST = TypeAdapter[Start | Join](Annotated[Start | Join, Field(discriminator="type")])
LATER = TypeAdapter[Prompt | Seed | Picture | Credits | Turn](
    Annotated[Prompt | Seed | Picture | Credits | Turn, Field(discriminator="type")]
)
LONGEST = LONGEST_PICTURE + 1024
"""Characters of a message."""
