"""From a folder or list to shards: the flow of `overcrank prepare`."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overcrank.data.cuts import check_detector
from overcrank.data.prepare.captions import Captioner, OnClip, write_captions
from overcrank.data.prepare.cluster import check_ray, on_ray
from overcrank.data.prepare.parts import Judge, key_of
from overcrank.data.prepare.pool import in_processes
from overcrank.data.prepare.scores import sharpness
from overcrank.data.prepare.settings import Scorer, Settings
from overcrank.data.prepare.shards import assemble, sort_out
from overcrank.data.prepare.sources import Source, find_sources, is_known, is_picture
from overcrank.data.prepare.tally import OnFile, Tally
from overcrank.errors import MediaError, RequestError
from overcrank.media import published

SUMMARY = "prepare.json"
PARTS = ".parts"
FORMAT_VERSION = 1

Engine = Callable[[dict[Path, Source], Judge, int, Tally], None]
ENGINES: dict[str, Engine] = {"processes": in_processes, "ray": on_ray}


def prepare(  # noqa: PLR0913  two of them only tell
    source: Path | str,
    out: Path | str,
    settings: Settings | None = None,
    *,
    scorer: Scorer = sharpness,
    captioner: Captioner | None = None,
    engine: str = "processes",
    processes: int = 1,
    on_file: OnFile | None = None,
    on_clip: OnClip | None = None,
) -> dict[str, Any]:
    """Prepare the videos and pictures of a folder or list; what is in `prepare.json` comes back.

    The same call again goes on after a run that was stopped. What comes out does not depend on
    the engine and the number of processes. Raises RequestError for what cannot be asked,
    MediaError for a folder that cannot be written; a file that cannot be read is a line of the
    manifest.
    """
    settings = settings or Settings()
    if processes < 1:
        raise RequestError(f"processes are at least 1, got {processes}: try one a core")
    if engine not in ENGINES:
        raise RequestError(f"no engine has this name, got {engine!r}: there are {[*ENGINES]}")
    if engine == "ray":
        check_ray()
    if captioner is not None and settings.require_captions:
        raise RequestError(
            f"clips without a caption are dropped or get one, got require_captions and the "
            f"captioner {captioner.name}: choose one"
        )
    if not getattr(scorer, "__qualname__", "<").isidentifier():
        raise RequestError(
            f"a scorer is a function that other processes can import, got {scorer!r}: "
            "define it with a name at the top of a module"
        )
    target = Path(out)
    sources = find_sources(Path(source))
    if any(is_known(each.path) and not is_picture(each.path) for each in sources):
        check_detector()
    keys = [key_of(each, settings, scorer) for each in sources]
    summary = {
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "captioner": captioner and captioner.said,
        "input": _hash_of([*keys, *(str(each.caption) for each in sources)]),
        "files": len(sources),
    }
    done = _opened(target, Path(source), summary)
    if done is not None:
        return done
    # A file that a list names twice is one part; the second is found to look like the first.
    parts = [(target / PARTS / key, each) for key, each in zip(keys, sources, strict=True)]
    todo = dict(parts)
    ENGINES[engine](todo, (settings, scorer), processes, Tally(todo, on_file))
    lines, samples = sort_out(parts)
    if captioner is not None:
        write_captions(samples, captioner, on_clip)
    summary |= assemble(lines, samples, target, settings.shard_mib << 20)
    with published(target / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target / PARTS)
    return summary


def _hash_of(words: list[str]) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _opened(out: Path, source: Path, summary: dict[str, Any]) -> dict[str, Any] | None:
    """Make the folder, or see that it is ours; what is in it, if the same was prepared before."""
    if out.resolve().is_relative_to(source.resolve()):
        raise RequestError(
            f"clips go outside of the folder they come from, got {out} inside {source}: "
            "give another folder"
        )
    try:
        if (out / SUMMARY).is_file():
            before: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
            if {name: before.get(name) for name in summary} == summary:
                return before
            raise RequestError(
                f"{out} holds clips of other files or settings, got those of {source}: "
                "give a new folder, or remove that one"
            )
        if out.exists() and not (out / PARTS).is_dir() and any(out.iterdir()):
            raise RequestError(
                f"clips go to a folder of their own, got {out} with other files in it: "
                "give a new one"
            )
        (out / PARTS).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise MediaError(
            f"clips cannot be written, got {out} ({error}): give a folder that can be made and used"
        ) from error
    return None
