"""T5, the text encoder of the published LTX-Video models.

Axes: B batch, L text tokens, D width.
Official behaviour: the prompt is stripped, EOS is added, at most 256 tokens are read, the padding
mask is given to T5 too, and the last hidden states are used as they are. With the mask, padding
to 256 and cutting to the longest prompt give the same embeddings.
Source: Raffel et al., arXiv:1910.10683; LTX-Video's own inference.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from overcrank.errors import ModelError
from overcrank.text.encoder import TextEmbedding, tokenize
from overcrank.text.t5_files import OFFICIAL, RIGHT, T5Files, quiet_hub

__all__ = ["OFFICIAL", "T5Encoder"]

LONGEST = 256


class T5Encoder:
    """Per-token last hidden states of a T5 encoder, at most `longest` tokens, float32.

    `source` is a hub id or a folder, with the sub-folders `text_encoder` and `tokenizer` as
    diffusers keeps them; a local folder may also hold all files side by side; or a single file,
    .safetensors or .gguf, whose tokenizer lies beside it or is the official one, if `tokenizer`
    names no other. The weights are read when they are first needed.
    """

    name = "t5"

    def __init__(
        self,
        source: str | Path = OFFICIAL,
        *,
        tokenizer: str | Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        longest: int = LONGEST,
    ) -> None:
        import transformers

        self.source, self.device, self.dtype, self.longest = source, device, dtype, longest
        self._model: Any = None
        with self._naming_what_is_wrong():
            self._files = T5Files.locate(source, tokenizer)
            self._files.check_packages()
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                self._files.tokenizer, local_files_only=True
            )
            self.width: int = self._files.config().d_model
        self.identity = f"t5 {self._files.identity} {dtype} {longest}"
        """What embeddings depend on, besides the prompt."""

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._model is not None

    def load(self) -> None:
        """Read the weights now, if they are not there."""
        if self._model is None:
            with self._naming_what_is_wrong():
                model = self._files.model(self.dtype)
            self._model = model.eval().requires_grad_(False).to(self.device)

    def drop(self) -> None:
        """Free the memory of the weights; they are read again when they are needed."""
        self._model = None

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Embed the prompts; float32 on the encoder's device, whatever it computes in."""
        self.load()
        ids_BL, keep_BL = tokenize(self._tokenizer, prompts, self.longest)
        ids_BL, keep_BL = ids_BL.to(self.device), keep_BL.to(self.device)
        hidden_BLD = self._model(input_ids=ids_BL, attention_mask=keep_BL.long()).last_hidden_state
        return TextEmbedding(hidden_BLD.float() * keep_BL.unsqueeze(-1), keep_BL)

    @contextmanager
    def _naming_what_is_wrong(self) -> Iterator[None]:
        try:
            with quiet_hub():
                yield
        except ModelError as error:
            name = str(self.source)
            named = "" if name in str(error) else f" from {name!r}"
            raise ModelError(f"no T5 can be loaded{named}: {error}") from error
        except ImportError as error:
            raise ModelError(
                f"no T5 can be loaded: {str(self.source)!r} needs a package that is missing "
                f"({error}): run `pip install gguf sentencepiece protobuf`"
            ) from error
        except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"no T5 can be loaded: got {str(self.source)!r} ({reason}): {RIGHT}"
            ) from error
