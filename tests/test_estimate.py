"""What a clip will cost is said before, and what cannot fit is refused."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nano_model import embeds, nano_model, nano_pipeline
from overcrank import transformer
from overcrank.cli.generate import LONG, _announce
from overcrank.errors import SizeError
from overcrank.estimate import Estimate, _needed, _operations, check_memory
from overcrank.plan import Plan
from overcrank.request import Request
from overcrank.runtime import choose, free_memory
from overcrank.transformer.ops import Ops
from overcrank.weights import Model

CPU = choose("cpu", "float32")
LARGEST = {"num_frames": 99_993, "height": 128, "width": 128}


def request(**wishes: int) -> Request:
    return Request(prompt_embeds=embeds(), **wishes)  # type: ignore[arg-type]


def widest_model() -> Model:
    """Its clips need terabytes; it has no memory itself."""
    config = replace(
        transformer.PRESETS["nano"], layers=1, heads=1000, head_width=1000, text_width=48
    )
    with torch.device("meta"):
        return replace(nano_model(), transformer=transformer.Transformer(config))


def test_a_clip_that_cannot_fit_is_refused_before_it_is_begun() -> None:
    pipe = nano_pipeline()
    pipe.model = widest_model()
    match = "got 99993 frames of 128 x 128, at least .* GB where .* GB are free: make it smaller"
    with pytest.raises(SizeError, match=match):
        pipe.stream(prompt_embeds=embeds(), **LARGEST)
    with pytest.raises(SizeError, match=match):
        pipe(prompt_embeds=embeds(), **LARGEST)


def test_a_small_clip_fits() -> None:
    free = free_memory(CPU.device)
    assert free is None or free > 1 << 20
    model = nano_model()
    check_memory(Plan.make(request(), model), model, CPU, kept=True)


def test_a_stream_does_not_hold_all_frames() -> None:
    model = nano_model()
    plan = Plan.make(request(**LARGEST), model)
    kept, streamed = (_needed(plan, model, CPU, kept=kept)["cpu"] for kept in (True, False))
    assert kept >= 2 * 99_993 * 128 * 128 * 3 > 4 * streamed


@pytest.mark.parametrize("tokens", [64, 512])
def test_the_operations_of_a_block_are_those_it_makes(tokens: int) -> None:
    network = transformer.Transformer(transformer.PRESETS["nano"])
    # Fused attention is not counted on every device.
    network.use(Ops(attention=lambda q, k, v, *_: (q @ k.mT).softmax(-1) @ v))
    width = network.config.width
    x_BND, modulation = torch.zeros(1, tokens, width), torch.zeros(1, 1, 6, width)
    rotation = torch.zeros(1, tokens, width // 2, 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.transformer_blocks[0](
            x_BND, modulation, x_BND[:, :8], rotation, keep_BL=None, skip=None
        )
    assert _operations(network, tokens) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_an_estimate_grows_with_the_clip_and_leaves_chance_alone() -> None:
    pipe, before = nano_pipeline(), torch.get_rng_state()
    small, large = pipe.estimate(request()), pipe.estimate(request(**LARGEST))
    assert 0 < small.seconds < large.seconds / 1000
    assert 0 < small.memory < large.memory / 1000
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("seconds", "said"), [(LONG, ""), (45.2, "about 45 s and"), (90, "1.5 min"), (7e4, "19 h")]
)
def test_what_takes_long_is_announced(
    capsys: pytest.CaptureFixture[str], seconds: float, said: str
) -> None:
    _announce(Estimate(seconds=seconds, memory=12 * 10**9))
    told = capsys.readouterr().err
    assert said in told
    assert told.endswith("at least 12.0 GB of memory\n") == bool(said)
