"""What goes in and out over HTTP: the shape of OpenAI's videos API, and our fields beside it."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from overcrank.errors import SizeError
from overcrank.request import Request, check_number, check_size
from overcrank.serve.settings import Settings
from overcrank.serve.shown import MOST, Condition
from overcrank.serve.tables import Job, Status
from overcrank.shapes import nearest_frames
from overcrank.weights.advice import Advice
from overcrank.weights.card import MAX_FRAME_RATE, MIN_FRAME_RATE

LONGEST_PROMPT = 4000
"""Characters; no text encoder reads as much."""


def _from_form(value: object) -> object:
    """A list in a form is written as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


class VideoRequest(BaseModel):
    """A clip that is asked for. What is left out is what the model advises."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(max_length=LONGEST_PROMPT, description="What the clip shows.")
    model: str | None = Field(None, description="The name of the model that is served.")
    seconds: float | None = Field(
        None, gt=0, le=1e8, description="The nearest possible length is taken."
    )
    size: str | None = Field(None, description="WIDTHxHEIGHT, multiples of 32.")
    width: int | None = None
    height: int | None = None
    num_frames: int | None = Field(None, description="8n + 1; instead of seconds.")
    fps: float | None = Field(None, description="Frames a second.")
    steps: int | None = Field(None, description="Denoising steps.")
    guidance: float | None = Field(None, description="1 is off.")
    negative_prompt: str | None = Field(None, max_length=LONGEST_PROMPT)
    seed: int | None = Field(None, description="Drawn if it is left out, and told.")
    conditions: Annotated[list[Condition], BeforeValidator(_from_form)] = Field(
        [], max_length=MOST, description="Pictures that the clip shows."
    )
    priority: int = Field(0, ge=-100, le=100, description="Higher ones are made first.")
    deadline: float | None = Field(
        None, gt=0, le=1e8, description="Seconds by which it has to begin."
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.size is not None and (self.width, self.height) != (None, None):
            raise ValueError(f"size says width and height, got {self.size} and them: give one")
        if self.seconds is not None and self.num_frames is not None:
            raise ValueError("seconds and num_frames say the same: give one")
        return self

    def decided(self, advice: Advice) -> dict[str, Any]:
        """Fields of a `Request`, checked as far as they can be without the networks."""
        width, height = self._sides()
        rate = advice.frame_rate if self.fps is None else self.fps
        check_number("fps", rate, MIN_FRAME_RATE, MAX_FRAME_RATE, optional=False)
        frames = self.num_frames
        if self.seconds is not None:
            frames = nearest_frames(self.seconds * rate)
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "width": advice.size.width if width is None else width,
            "height": advice.size.height if height is None else height,
            "num_frames": advice.size.frames if frames is None else frames,
            "frame_rate": rate,
            "num_inference_steps": self.steps,
            "guidance": self.guidance,
            "seed": secrets.randbelow(2**31) if self.seed is None else self.seed,
        }
        Request(**fields)
        check_size(fields["num_frames"], fields["height"], fields["width"])
        return fields

    def _sides(self) -> tuple[int | None, int | None]:
        if self.size is None:
            return self.width, self.height
        try:
            width, height = map(int, self.size.lower().split("x"))
        except ValueError:
            raise SizeError(f"size is WIDTHxHEIGHT, got {self.size[:40]!r}: try 256x256") from None
        return width, height


class Problem(BaseModel):
    """What went wrong with a job, or with a request."""

    code: str
    message: str


class VideoJob(BaseModel):
    """A job as it is told."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int = Field(description="Percent.")
    created_at: int
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    error: Problem | None
    prompt: str
    seconds: str
    size: str
    num_frames: int
    width: int
    height: int
    fps: float
    seed: int
    steps: int | None
    guidance: float | None
    conditions: list[dict[str, Any]] = Field(description="Pictures, by the SHA-256 of their PNG.")
    stage: str
    eta: float | None = Field(description="Seconds until the end; null where nobody knows.")
    queue_position: int | None = Field(description="How many jobs come before; null once begun.")
    report: dict[str, Any] | None = Field(description="Seconds by stage, and the recipe.")

    @classmethod
    def of(cls, job: Job, settings: Settings, place: int | None = None) -> Self:
        """`place`: how many jobs come before."""
        asked, rate = job.request, job.request["frame_rate"]
        recipe = (job.report or {}).get("recipe", {})
        return cls(
            id=job.id,
            model=settings.name,
            status=Status(job.status),
            progress=int(100 * job.done),
            created_at=_unix(job.created_at),
            started_at=None if job.started_at is None else _unix(job.started_at),
            completed_at=None if job.ended_at is None else _unix(job.ended_at),
            expires_at=None if job.ended_at is None else _unix(job.ended_at + settings.keep),
            error=None if job.error is None else Problem(**job.error),
            prompt=asked["prompt"],
            seconds=f"{asked['num_frames'] / rate:g}",
            size=f"{asked['width']}x{asked['height']}",
            num_frames=asked["num_frames"],
            width=asked["width"],
            height=asked["height"],
            fps=rate,
            seed=asked["seed"],
            steps=recipe.get("num_inference_steps", asked["num_inference_steps"]),
            guidance=asked["guidance"],
            conditions=asked["conditions"],
            stage=job.stage,
            eta=job.eta,
            queue_position=place,
            report=job.report,
        )


class VideoPage(BaseModel):
    """Some of all jobs."""

    object: Literal["list"] = "list"
    data: list[VideoJob]
    first_id: str | None
    last_id: str | None
    has_more: bool


def new_job(fields: dict[str, Any], asked: VideoRequest, owner: str, key: str | None) -> Job:
    """A row that waits; a key is one of its owner alone."""
    now = datetime.now(UTC)
    deadline = None if asked.deadline is None else now + timedelta(seconds=asked.deadline)
    return Job(
        id=f"video_{secrets.token_hex(16)}",
        created_at=now,
        request=fields,
        priority=asked.priority,
        deadline=deadline,
        owner=owner,
        key=None if key is None else f"{owner}/{key}",
    )


def _unix(time: datetime) -> int:
    return int(time.timestamp())
