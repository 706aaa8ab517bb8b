"""What two runs left becomes a model that can be asked for clips."""

from dataclasses import replace
from pathlib import Path

from overcrank.errors import RequestError
from overcrank.text import SmallEncoder
from overcrank.train.config import RunConfig, read_config
from overcrank.vae.linear_upsampler import LinearUpsampler
from overcrank.vae.upsampler import load_upsampler
from overcrank.weights import Card, Defaults, load_component, load_network, save_model
from overcrank.weights.card import CARD_FILE, TRANSFORMER_FILE
from overcrank.weights.presets import find_model, preset_names
from overcrank.weights.store import latent_hash, read_metadata

FRAME_RATE = 24.0
"""Of a run that does not say at which rate most of its clips are played."""
STEPS, GUIDANCE, DECODE_SIGMA = 20, 3.0, 0.05
SECOND = (0.6, 0.43, 0.25)
"""Where the steps of a second pass begin."""


def pack(
    run: Path,
    folder: Path,
    vae: str | None = None,
    upscaler: Path | None = None,
    student: Path | None = None,
) -> Card:
    """Write a model folder: a run's transformer, and the autoencoder that it was trained with.

    `vae` names another one, whose encoder is the same. The card recommends the shape and rate of
    most clips, and the steps of a student. With an `upscaler`, that `examples/fit_upsampler.py`
    made, clips are made in two passes, as large as the largest that the run knows. A `student` is
    a run that distilled this one's transformer: it lies beside it then, for clips in few steps.
    """
    learnt = None if student is None else _student(student)
    enlarging = None if upscaler is None else _upscaler(upscaler)
    weights, config = run / "transformer.safetensors", _config(run)
    if folder.exists():
        raise RequestError(f"nothing is overwritten, got {folder}: give the name of a new folder")
    coder = load_network(_autoencoder(run, config, vae), "vae")
    said = read_metadata(weights)
    for each in filter(None, (run, student)):
        knows = read_metadata(each / TRANSFORMER_FILE).get("latent_hash")
        if knows == latent_hash(coder):
            continue
        raise RequestError(
            f"{each} was trained on other latents, got the autoencoder {vae or config.vae}: give "
            "the one of that run, or one with its encoder (freeze: [encoder])"
        )
    defaults = _defaults(config, float(said.get("frame_rate", FRAME_RATE)))
    if enlarging is not None:
        clips = [stage.clip for stage in config.stages_at(config.steps)]
        large = max(clips, key=lambda clip: clip.height * clip.width)
        defaults = replace(defaults, second=SECOND, height=large.height, width=large.width)
    if not coder.config.denoises:
        defaults = replace(defaults, decode_sigma=None)
    few = None
    if student is not None and learnt is not None:
        few = load_component(student / TRANSFORMER_FILE, "transformer")
        defaults = replace(defaults, student=tuple(learnt.distil.levels))
    card = Card(
        name=folder.name,
        text_encoder=_text_encoder(config),
        defaults=defaults,
    )
    network = load_component(weights, "transformer")
    save_model(folder, card, coder, network, upsampler=enlarging, student=few)
    return card


def _student(run: Path) -> RunConfig:
    config = _config(run)
    if config.kind != "distil":
        raise RequestError(
            f"a student is a run of kind distil, got {run}, of kind {config.kind}: give the folder "
            "of one, such as runs/pocket-distil"
        )
    return config


def _upscaler(path: Path) -> LinearUpsampler:
    found = load_upsampler(path)
    if not isinstance(found, LinearUpsampler):
        raise RequestError(
            f"a model of ours has an upscaler of ours, got a published one: {path}: make one with "
            "examples/fit_upsampler.py"
        )
    return found


def _text_encoder(config: RunConfig) -> str:
    return SmallEncoder.name if config.text == SmallEncoder.name else "t5"


def _config(run: Path) -> RunConfig:
    if (run / "lora.safetensors").is_file():
        raise RequestError(
            f"a LoRA is no model of its own: got {run}, with lora.safetensors: {_use_of_lora(run)}"
        )
    if (run / CARD_FILE).is_file():
        raise RequestError(
            f"there is nothing to pack: got {run}, which is a model already: "
            f"overcrank generate PROMPT -o clip.mp4 --model {run}"
        )
    if not (run / "transformer.safetensors").is_file():
        raise RequestError(
            f"there is no run of a transformer: got {run}, without transformer.safetensors: give "
            "the folder of one that saved at least once, such as runs/nano-transformer"
        )
    return read_config(run / "config.yaml")


def _use_of_lora(run: Path) -> str:
    """What makes clips with it."""
    config = read_config(run / "config.yaml")
    base, first = Path(config.start_from or ""), ""
    if base.name == TRANSFORMER_FILE:  # one network of two
        if (base.parent / CARD_FILE).is_file():
            base = base.parent
        else:
            base, first = Path("MODEL"), f"overcrank pack {base.parent} MODEL, then "
    words = [f"{first}overcrank generate PROMPT -o clip.mp4 --model {base}"]
    if config.vae not in (config.start_from, None) and not first:
        words.append(f"--vae {config.vae}")
    if _text_encoder(config) == "t5":
        words.append(f"--text-encoder {config.text}")
    words.append(f"--lora {run / 'lora.safetensors'}")
    if config.conditions.reference > 0:
        words.append("--reference CONTROL.mp4")
    return "use it with the model that it was trained on: " + " ".join(words)


def _autoencoder(run: Path, config: RunConfig, given: str | None) -> str:
    source = given or config.vae
    if source in preset_names():
        return str(find_model(source) / "vae.safetensors")
    if source is None or not (source.startswith("hf://") or Path(source).exists()):
        raise RequestError(
            f"the autoencoder of {run} is not there: got {source}: name it: --vae FILE"
        )
    return source


def _defaults(config: RunConfig, frame_rate: float) -> Defaults:
    """The longest clips of the last stages; of several sizes the one that is named first."""
    size = max(config.stages_at(config.steps), key=lambda stage: stage.frames).clip
    levels = tuple(config.distil.levels) if config.kind == "distil" else ()
    return Defaults(
        frames=size.frames,
        height=size.height,
        width=size.width,
        frame_rate=frame_rate,
        steps=len(levels) or STEPS,
        guidance=1.0 if levels else GUIDANCE,
        decode_sigma=config.distil.end if levels else DECODE_SIGMA,
        negative_prompt="",
        levels=levels,
    )
