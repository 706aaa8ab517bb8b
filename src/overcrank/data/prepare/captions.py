"""Captions of clips that have none, by a vision-language model of `transformers`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from overcrank.data.prepare.shards import Sample
from overcrank.errors import ModelError, RequestError
from overcrank.media import open_frames, published, read_image
from overcrank.text.named import UNUSABLE, check_there, refusal
from overcrank.text.t5_files import quiet_hub

PROMPT = (
    "These are frames of one video clip, in the order of time. Describe the clip in one or two "
    "plain sentences: who or what is seen, what happens, where, and how the camera moves. Do not "
    "mention the frames."
)
SHOWN = 4
"""Frames of a clip that the model sees, evenly spaced."""

OnClip = Callable[[int, int], None]
"""Clips that have a caption now, of those that had none."""

_WHAT = "vision-language model"
_RIGHT = (
    "give a folder, or the hub id OWNER/NAME, of an image-text-to-text model in safetensors with a "
    "chat template"
)


class Captioner:
    """Any image-text-to-text model that `transformers` knows, by hub id or folder.

    The processor is loaded at once, the weights when they are needed: in safetensors only, and no
    code that comes with a model is run. The most likely word is taken each time.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        prompt: str = PROMPT,
        batch: int = 4,
        longest: int = 96,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch < 1 or longest < 1 or not prompt.strip():
            raise RequestError(
                f"captions cannot be written, got batch {batch}, longest {longest}, prompt "
                f"{prompt!r}: give numbers of at least 1 and words"
            )
        import transformers

        check_there(model, _WHAT, _RIGHT)
        self.source, self.prompt, self.batch, self.longest = str(model), prompt, batch, longest
        self.device, self.dtype = device, dtype
        self.name = Path(model).name if Path(model).is_dir() else str(model)
        self._options = {"trust_remote_code": False, "local_files_only": Path(model).is_dir()}
        processor_class: Any = transformers.AutoProcessor
        try:
            with quiet_hub():
                self._processor = processor_class.from_pretrained(self.source, **self._options)
        except UNUSABLE as error:
            raise refusal(model, error, _WHAT, _RIGHT) from error
        if not getattr(self._processor, "chat_template", None):
            raise ModelError(f"{_WHAT} without a chat template: got {self.source!r}: {_RIGHT}")
        self._processor.tokenizer.padding_side = "left"  # what is generated follows the prompt

    @property
    def said(self) -> dict[str, Any]:
        """What a caption depends on, for `prepare.json` and the names of cached captions."""
        return {"model": self.name, "prompt": self.prompt, "longest": self.longest}

    @cached_property
    def _model(self) -> Any:
        import transformers

        model_class: Any = transformers.AutoModelForImageTextToText
        try:
            with quiet_hub():
                model = model_class.from_pretrained(
                    self.source, use_safetensors=True, dtype=self.dtype, **self._options
                )
        except UNUSABLE as error:
            raise refusal(self.source, error, _WHAT, _RIGHT) from error
        return model.eval().requires_grad_(False).to(self.device)

    def describe(self, clips: Sequence[list[Image.Image]]) -> list[str]:
        """One caption for each clip, of which some frames are given; it may be empty."""
        text = {"type": "text", "text": self.prompt}
        talks = [
            [{"role": "user", "content": [{"type": "image"} for _ in frames] + [text]}]
            for frames in clips
        ]
        prompts = self._processor.apply_chat_template(talks, add_generation_prompt=True)
        begins = self._processor.tokenizer.bos_token
        inputs = self._processor(
            text=prompts,
            images=list(clips),
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (begins and prompts[0].startswith(begins)),
        ).to(self.device, dtype=self.dtype)
        with torch.no_grad():
            output = self._model.generate(**inputs, max_new_tokens=self.longest, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        told = self._processor.batch_decode(new, skip_special_tokens=True)
        return [" ".join(str(each).split()) for each in told]


def write_captions(
    samples: Sequence[Sample], captioner: Captioner, on_clip: OnClip | None = None
) -> None:
    """Give a caption to each sample without one.

    Each is kept beside the clip, so that a run that was stopped goes on: batches are always the
    same ones, as a batch's other clips may change a last digit, and with it a word.
    """
    todo = [sample for sample in samples if sample.entry["caption"] is None]
    mark = hashlib.sha256(json.dumps(captioner.said).encode()).hexdigest()[:16]
    for begin in range(0, len(todo), captioner.batch):
        batch = todo[begin : begin + captioner.batch]
        kept = [sample.pixels.with_suffix(f".caption-{mark}") for sample in batch]
        if not all(file.is_file() for file in kept):
            told = captioner.describe([list(_shown(sample)) for sample in batch])
            for file, caption in zip(kept, told, strict=True):
                with published(file) as temporary:
                    temporary.write_text(caption, encoding="utf-8")
        for sample, file in zip(batch, kept, strict=True):
            sample.entry["caption"] = file.read_text(encoding="utf-8") or None
            sample.entry["captioned_by"] = captioner.name
        if on_clip is not None:
            on_clip(begin + len(batch), len(todo))


def _shown(sample: Sample) -> Iterator[Image.Image]:
    """Up to SHOWN frames of a clip, or a picture, as they are stored."""
    if sample.pixels.suffix == ".webp":
        yield read_image(sample.pixels)
        return
    count = sample.entry["frames"]
    places = sorted({count * (2 * i + 1) // (2 * SHOWN) for i in range(SHOWN)})
    with open_frames(sample.pixels) as (frames_HW3, _, _):
        for before, place in zip([-1, *places], places, strict=False):
            frame_HW3 = next(islice(frames_HW3, place - before - 1, None))
            yield Image.fromarray(frame_HW3.numpy())
