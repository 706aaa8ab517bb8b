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

from overcrank.errors import ModelError
from overcrank.text.encoder import TextEmbedding, tokenize

OFFICIAL = "PixArt-alpha/PixArt-XL-2-1024-MS"
LONGEST = 256


class T5Encoder:
    """Per-token last hidden states of a T5 encoder, at most 256 tokens, float32 on `device`.

    `source` is a hub id or a folder, with the sub-folders `text_encoder` and `tokenizer` as
    diffusers keeps them; a local folder may also hold all files side by side.
    """

    def __init__(
        self,
        source: str | Path = OFFICIAL,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        import transformers

        model_class: Any = transformers.T5EncoderModel

        local = Path(source).is_dir()
        flat = local and not (Path(source) / "text_encoder").is_dir()
        model_folder, tokenizer_folder = ("", "") if flat else ("text_encoder", "tokenizer")
        try:
            with _quiet_transformers():
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                    source, subfolder=tokenizer_folder, local_files_only=local
                )
                # safetensors only: what comes from outside is never unpickled
                self._model = model_class.from_pretrained(
                    source,
                    subfolder=model_folder,
                    local_files_only=local,
                    use_safetensors=True,
                    dtype=dtype,
                )
        except (OSError, ValueError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"no T5 can be loaded: got {str(source)!r} ({reason}): give a folder or hub id "
                f"with text_encoder/ in safetensors and tokenizer/, such as {OFFICIAL}"
            ) from error
        self._model.eval().requires_grad_(False).to(device)
        self.name = "t5"
        self.width: int = self._model.config.d_model

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Embed the prompts; float32 on the encoder's device, whatever it computes in."""
        ids_BL, keep_BL = tokenize(self._tokenizer, prompts, LONGEST)
        ids_BL, keep_BL = ids_BL.to(self._model.device), keep_BL.to(self._model.device)
        hidden_BLD = self._model(input_ids=ids_BL, attention_mask=keep_BL.long()).last_hidden_state
        return TextEmbedding(hidden_BLD.float() * keep_BL.unsqueeze(-1), keep_BL)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence loading reports and progress bars, and leave the settings as they were."""
    import transformers

    logging: Any = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
