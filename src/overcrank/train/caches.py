"""The latents that a run learns from: what they show, who makes them, where they lie."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from overcrank.data.buckets import PreparedOriginals, check_captions, sort_clips
from overcrank.data.fitting import Fit
from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.originals import Originals, ToyOriginals
from overcrank.data.prepared import Prepared
from overcrank.data.world import World
from overcrank.shapes import ClipSize
from overcrank.text import T5Encoder, TextEncoder
from overcrank.train.config import Latents, RunConfig
from overcrank.train.pace import Pace
from overcrank.train.record import Event, make_writable
from overcrank.train.workers import Workers

Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class CacheMakers:
    """What encodes: `encode` as in `Makers`, of an autoencoder of that hash."""

    encode: Callable[[Tensor], Tensor]
    text: TextEncoder
    latent_hash: str
    processes: int
    one_by_one: bool


def make_caches(
    config: RunConfig,
    folder: Path,
    shown: Mapping[ClipSize, Originals],
    makers: CacheMakers,
    tell: Tell,
    workers: Workers,
) -> dict[ClipSize, LatentCache]:
    """The caches of what is `shown` by the size of its clips, made where they are not there yet."""
    caches = {}
    for latents in config.latents:
        place = Path(latents.folder or folder / "latents" / _name(config, latents))
        make_writable(place)
        clips = shown[latents.clip]
        spec = _spec(config, latents, clips, makers)
        at_once = 1 if makers.one_by_one else max(1, 2**25 // latents.pixels)
        make_cache(
            place,
            spec,
            Makers(clips, makers.encode, makers.text, makers.processes, at_once),
            Pace(tell, f"latents of {_shape(latents.clip)}"),
            (workers.rank, workers.count),
        )
        workers.wait()
        caches[latents.clip] = LatentCache(place, spec)
    if isinstance(makers.text, T5Encoder):
        makers.text.drop()  # what it had to say lies in the caches
    return caches


def originals(config: RunConfig, world: World, tell: Tell) -> dict[ClipSize, Originals]:
    """What the latents of each size show."""
    if config.clips is not None:
        return prepared_originals(config, [latents.clip for latents in config.latents], tell)
    return {
        latents.clip: ToyOriginals(
            world, latents.clip, seed=config.seed, first=latents.first, captions=latents.captions
        )
        for latents in config.latents
    }


def prepared_originals(
    config: RunConfig, sizes: Sequence[ClipSize], tell: Tell
) -> dict[ClipSize, Originals]:
    """The prepared clips of a run, sorted into sizes."""
    clips = config.clips
    assert clips is not None
    prepared = Prepared(clips.folder)
    pieces = sort_clips(prepared, sizes, Fit(clips.enlarge, clips.jitter), config.seed)
    used = [piece for some in pieces.values() for piece in some]
    check_captions(used, allow_empty=clips.allow_empty)
    for size, some in pieces.items():
        count = len({piece.clip.key for piece in some})
        tell({"latents": _shape(size), "clips": count, "pieces": len(some)})
    left_out = len(prepared.clips) - len({piece.clip.key for piece in used})
    if left_out:
        tell({"left_out": left_out, "of": len(prepared.clips), "because": "too short or too small"})
    return {
        size: PreparedOriginals(
            prepared,
            size,
            pieces[size],
            random_crop=clips.crop == "random",
            trigger=clips.trigger,
        )
        for size in sizes
    }


def _spec(config: RunConfig, latents: Latents, clips: Originals, makers: CacheMakers) -> CacheSpec:
    real = isinstance(clips, PreparedOriginals)
    return CacheSpec(
        size=latents.clip,
        clips=len(clips) if real else latents.clips or 0,
        first=0 if real else latents.first,
        captions=1 if real else latents.captions,
        seed=config.seed,
        latent_hash=makers.latent_hash,
        text=makers.text.identity if isinstance(makers.text, T5Encoder) else makers.text.name,
        world=clips.name,
        endings=config.conditions.ending > 0,
        control=config.conditions.control if config.conditions.reference > 0 else None,
        held_out=clips.held_out,
    )


def _shape(size: ClipSize) -> str:
    frames = "1 frame" if size.frames == 1 else f"{size.frames} frames"
    return f"{frames} of {size.width} x {size.height}"


def _name(config: RunConfig, latents: Latents) -> str:
    alone = sum(other.size == latents.size for other in config.latents) == 1
    return str(latents.size) if alone else f"{latents.size}x{latents.frames}"
