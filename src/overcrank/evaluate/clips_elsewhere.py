"""The same clips through diffusers' and Lightricks' own pipelines.

Axes as in `clips.py`; N video tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from overcrank.evaluate.clips import Case, Made, Studio, replaced
from overcrank.evaluate.twins import Diffusers, Official
from overcrank.flow import Guidance, GuidanceByLevel


@torch.no_grad()
def through_diffusers(studio: Studio) -> Made:
    """The same clip through diffusers' pipelines, skip guidance put into its transformer."""
    import diffusers

    case, twin = studio.case, Diffusers(studio.model.transformer, studio.model.vae)
    kinds: Any = diffusers
    late = studio.model.transformer.config.causal_positions
    shifted = {"use_dynamic_shifting": True, "shift_terminal": 0.1}
    shifted |= {"base_shift": 0.95, "max_shift": 2.05}
    shifted |= {"base_image_seq_len": 1024, "max_image_seq_len": 4096}
    scheduler = kinds.FlowMatchEulerDiscreteScheduler(**({} if late else shifted))
    kind = kinds.LTXConditionPipeline if late else kinds.LTXImageToVideoPipeline
    pipe = kind(
        scheduler=scheduler,
        vae=twin.vae,
        text_encoder=None,
        tokenizer=None,
        transformer=twin.transformer,
    )
    pipe.set_progress_bar_config(disable=True)
    pictures = [rearrange(each, "h w c -> 1 c h w") / 255 for each in studio.pictures]
    condition = import_module("diffusers.pipelines.ltx.pipeline_ltx_condition").LTXVideoCondition
    given = (
        {
            "conditions": [
                condition(image=each, frame_index=at)
                for at, each in zip(case.places, pictures, strict=True)
            ]
        }
        if late
        else {"image": pictures[0]}
    )
    request = {
        **given,
        **_asked(studio, case),
        "num_inference_steps": case.steps,
        "guidance_scale": case.guidance.entries[0].scale,
        **({"decode_timestep": 0.05, "decode_noise_scale": 0.0} if late else {}),
    }
    seen: list[Tensor] = []

    def keep(_: object, __: int, ___: object, values: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(values["latents"])
        return values

    home = type(pipe).__module__
    first, *_ = studio.noise()
    with replaced(home, "randn_tensor", _in_turn([first])), _skip_guided(twin, case):
        video = pipe(**request, output_type="pt", callback_on_step_end=keep).frames[0]
    latent = case.size.latent
    own = seen[-1][:, -latent.tokens :]
    latents = rearrange(own, "b (t h w) c -> b c t h w", t=latent.frames, h=latent.height)
    return Made(latents, video)


@torch.no_grad()
def through_official(studio: Studio) -> Made:
    """The same clip through Lightricks' own pipeline."""
    case, release = studio.case, studio.release
    twin = Official(studio.model.transformer, studio.model.vae)
    home = import_module("ltx_video.pipelines.pipeline_ltx_video")
    patchifier = import_module("ltx_video.models.transformers.symmetric_patchifier")
    nobody = dict.fromkeys(
        (
            *("tokenizer", "text_encoder", "prompt_enhancer_image_caption_model"),
            *("prompt_enhancer_image_caption_processor", "prompt_enhancer_llm_model"),
            "prompt_enhancer_llm_tokenizer",
        )
    )
    pipe = home.LTXVideoPipeline(
        vae=twin.vae,
        transformer=twin.transformer,
        scheduler=twin.scheduler(release.one.schedule),
        patchifier=patchifier.SymmetricPatchifier(1),
        **nobody,
    )
    pipe.set_progress_bar_config(disable=True)
    denoises = studio.model.vae.config.denoises
    request = {
        "negative_prompt": None,
        **_asked(studio, case),
        "is_video": True,
        "vae_per_channel_normalize": True,
        "conditioning_items": [
            home.ConditioningItem(_as_video(picture), at, 1.0)
            for at, picture in zip(case.places, studio.pictures, strict=True)
        ],
        **({"decode_timestep": 0.05, "decode_noise_scale": 0.0} if denoises else {}),
    }
    if not case.upscaled:
        noise = [rearrange(each, "b c t h w -> b (t h w) c") for each in studio.noise()]
        told = _official_guidance(twin, case.guidance) | {"num_inference_steps": case.steps}
        with replaced(home.__name__, "randn_tensor", _in_turn(noise)):
            latents = pipe(**request, **told, output_type="latent").images
        with replaced(home.__name__, "randn_tensor", _in_turn(noise)):
            video = pipe(**request, **told, output_type="pt").images
        return Made(latents, video[0].transpose(0, 1))
    assert release.two is not None
    upsampler = import_module("ltx_video.models.autoencoders.latent_upsampler").LatentUpsampler
    assert studio.model.upsampler is not None
    theirs = upsampler.from_config(studio.model.upsampler.config.to_dict()).eval()
    theirs.load_state_dict(studio.model.upsampler.state_dict())
    both = home.LTXMultiScalePipeline(pipe, theirs)
    first, second = release.two.first, release.two.second
    passes = {
        "downscale_factor": release.two.downscale,
        "first_pass": _official_guidance(twin, case.guidance)
        | {
            "num_inference_steps": case.steps,
            "skip_final_inference_steps": first.schedule.skip_final,
        },
        "second_pass": _official_guidance(twin, second.guidance)
        | {
            "num_inference_steps": second.steps,
            "skip_initial_inference_steps": second.schedule.skip_initial,
        },
    }
    noise = [rearrange(each, "b c t h w -> b (t h w) c") for each in studio.noise(2)]
    with replaced(home.__name__, "randn_tensor", _in_turn(noise)):
        latents = both(**passes, **request, output_type="latent").images
    with replaced(home.__name__, "randn_tensor", _in_turn(noise)):
        video = both(**passes, **request, output_type="pt").images
    return Made(latents, video[0].transpose(0, 1))


def _official_guidance(twin: Official, guidance: Guidance | GuidanceByLevel) -> dict[str, Any]:
    """As its configurations list it; there, rescale 1 is none."""
    entries = guidance.entries
    found: dict[str, Any] = {
        "guidance_scale": [float(each.scale) for each in entries],
        "stg_scale": [float(each.stg_scale) for each in entries],
        "rescaling_scale": [each.rescale or 1.0 for each in entries],
        "skip_block_list": [list(each.stg_layers) for each in entries],
        "skip_layer_strategy": twin.strategy(entries[-1].stg_mode),
        "cfg_star_rescale": entries[0].project,
    }
    levels = guidance.levels if isinstance(guidance, GuidanceByLevel) else (1.0,)
    return found | {"guidance_timesteps": list(levels)}


@contextmanager
def _skip_guided(twin: Diffusers, case: Case) -> Iterator[None]:
    """Its transformer adds s (v - v_perturbed) to both halves of a batch, as its pipeline asks.

    Then w + g (v - w) becomes w + g (v - w) + s (v - v_perturbed).
    """
    (entry,) = case.guidance.entries
    plain = twin.transformer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        both: Tensor = plain(*args, **kwargs)[0]
        with twin.skipping(entry.stg_mode, entry.stg_layers[0]):
            perturbed: Tensor = plain(*args, **kwargs)[0]
        steered = entry.stg_scale * (both - perturbed).chunk(2)[1]
        return (both + steered.repeat(2, 1, 1),)

    twin.transformer.forward = forward
    try:
        yield
    finally:
        del twin.transformer.forward


def _in_turn(noise: Sequence[Tensor]) -> Any:
    """Stands for a function that draws noise: gives these one after another, where a shape fits."""
    left = list(noise)

    def draw(shape: Sequence[int], **_: object) -> Tensor:
        if left and tuple(shape) == tuple(left[0].shape):
            return left.pop(0).clone()
        return torch.zeros(tuple(shape))  # of conditions at full strength, which drown none of it

    return draw


def _as_video(picture_HWC: Tensor) -> Tensor:
    return rearrange(picture_HWC / 127.5 - 1, "h w c -> 1 c 1 h w")


THROUGH: dict[str, Callable[[Studio], Made]] = {
    Diffusers.name: through_diffusers,
    Official.name: through_official,
}


def _asked(studio: Studio, case: Case) -> dict[str, Any]:
    """What both pipelines are asked in the same words."""
    ones = torch.ones(studio.text_BLE.shape[:2])
    return {
        "prompt_embeds": studio.text_BLE,
        "prompt_attention_mask": ones,
        "negative_prompt_embeds": studio.negative_BLE,
        "negative_prompt_attention_mask": ones,
        "height": case.size.height,
        "width": case.size.width,
        "num_frames": case.size.frames,
        "frame_rate": 25,
    }
