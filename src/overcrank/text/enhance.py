"""Short prompts made long by a language model: a plug, off unless it is asked for.

Source: LTX-Video's own inference, which enhances prompts of fewer than 120 words.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.text.named import UNUSABLE, check_there, refusal
from overcrank.text.t5_files import quiet_hub

LONG_ENOUGH = 120
"""Words; such a prompt is left as it is."""

MAX_NEW_TOKENS = 256

INSTRUCTIONS = (
    "Rewrite the user's idea as one flowing paragraph of at most 150 words that describes a short "
    "video clip. Begin with what happens. Then tell, in the order of time, how people and things "
    "look and move, what lies behind them, where the camera stands and how it moves, and what the "
    "light and the colours are like. Keep every detail the user gave and contradict none. Write "
    "plainly, without a title, a list or a comment."
)

_WHAT = "language model"
_RIGHT = (
    "give a folder, or the hub id OWNER/NAME, of a causal model in safetensors, such as a small "
    "instruct model"
)


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A prompt as it was given and as it goes on; `recipe` says how it came about."""

    prompt: str
    original: str
    recipe: dict[str, object]


class PromptEnhancer:
    """Any causal language model that `transformers` knows, by hub id or folder.

    Weights in safetensors only, and no code that comes with a model is run.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        instructions: str = INSTRUCTIONS,
        max_new_tokens: int = MAX_NEW_TOKENS,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        import transformers

        check_there(source, _WHAT, _RIGHT)
        model_class: Any = transformers.AutoModelForCausalLM
        options = {"trust_remote_code": False, "local_files_only": Path(source).is_dir()}
        try:
            with quiet_hub():
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, **options)
                self._model = model_class.from_pretrained(
                    source, use_safetensors=True, dtype=dtype, **options
                )
        except UNUSABLE as error:
            raise refusal(source, error, _WHAT, _RIGHT) from error
        self._model.eval().requires_grad_(False).to(device)
        self.name = Path(source).name if Path(source).is_dir() else str(source)
        self.instructions, self.max_new_tokens = instructions, max_new_tokens

    def enhance(self, prompt: str, seed: int = 0) -> Enhanced:
        """The same words for the same seed; nobody else's random numbers are touched.

        A model that says nothing leaves the prompt as it was.
        """
        if len(prompt.split()) >= LONG_ENOUGH:
            return Enhanced(prompt, prompt, {})
        ids = self._ids(prompt)
        devices = [ids.device] if ids.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(seed)
            output = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.max_new_tokens,
                do_sample=True,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
            )
        said = self._tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        text = " ".join(str(said).split())
        recipe = {"model": self.name, "seed": seed, "original": prompt}
        return Enhanced(text, prompt, recipe) if text else Enhanced(prompt, prompt, {})

    def _ids(self, prompt: str) -> Tensor:
        """Token ids (1, L) of instructions and prompt, in the model's own form of a talk."""
        if not prompt.strip():
            raise RequestError(
                f"a prompt must say something, got {prompt!r}: try 'a red ball bounces'"
            )
        if self._tokenizer.chat_template:
            talk = [
                {"role": "system", "content": self.instructions},
                {"role": "user", "content": prompt},
            ]
            text = self._tokenizer.apply_chat_template(
                talk, tokenize=False, add_generation_prompt=True
            )
            batch = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        else:
            text = f"{self.instructions}\n\nIdea: {prompt}\n\nVideo:"
            batch = self._tokenizer(text, return_tensors="pt")
        ids: Tensor = batch["input_ids"].to(self._model.device)
        return ids
