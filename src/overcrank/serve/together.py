"""One network for several clips that are made at the same time.

Axes: B batch, N video tokens, L text tokens, E text width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

PATIENCE = 0.004
"""Seconds that a call waits for others that came along the last time; a call takes 10 and more."""


@dataclass(eq=False, slots=True)
class _Call:
    """What one thread asks of the network."""

    tokens_BNC: Tensor
    sigma: Tensor
    positions_BNX: Tensor
    text_BLE: Tensor
    keep_BL: Tensor
    others: dict[str, Any]
    answer: Tensor | None = None
    error: Exception | None = None

    kind: tuple[object, ...] = field(init=False)
    """Calls of one kind fit into one batch."""

    def __post_init__(self) -> None:
        parts = (self.tokens_BNC, self.sigma, self.positions_BNX)
        sizes = (part.shape[1:] for part in parts)
        self.kind = (*sizes, tuple(sorted(self.others.items())))

    @property
    def open(self) -> bool:
        return self.answer is None and self.error is None


class Together:
    """Computes the calls of several threads in one pass, where they come at once and fit together.

    Called as a transformer is. A clip gets what it would have got alone, but for the rounding of
    sums in another order. A call that comes while another is computed waits for its turn with
    those that do the same; nobody waits long for anybody who does not come.
    """

    def __init__(self, network: Callable[..., Tensor], most: int) -> None:
        """At most so many calls in one pass."""
        self._network, self._most = network, most
        self._changed = Condition()
        self._waiting: list[_Call] = []
        self._busy = False
        self._expected = 1

    def __call__(
        self,
        tokens_BNC: Tensor,
        sigma: Tensor,
        positions_BNX: Tensor,
        text_BLE: Tensor,
        keep_BL: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """Velocity (B, N, C), as of `Transformer`."""
        if keep_BL is None:
            keep_BL = torch.ones(text_BLE.shape[:2], dtype=torch.bool, device=text_BLE.device)
        call = _Call(tokens_BNC, sigma, positions_BNX, text_BLE, keep_BL, others)
        with self._changed:
            self._waiting.append(call)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not call.open or not self._busy)
            if call.open:
                self._busy = True
                self._changed.wait_for(lambda: len(self._waiting) >= self._expected, PATIENCE)
                batch = self._take(call)
        if call.open:
            try:
                self._compute(batch)
            finally:
                with self._changed:
                    self._busy = False
                    self._expected = min(self._most, len(batch) + len(self._waiting))
                    self._changed.notify_all()
        if call.error is not None:
            raise call.error
        assert call.answer is not None
        return call.answer

    def _take(self, call: _Call) -> list[_Call]:
        """This call and others like it, which wait no longer."""
        alike = [each for each in self._waiting if each is not call and each.kind == call.kind]
        batch = [call, *alike[: self._most - 1]]
        self._waiting = [each for each in self._waiting if each not in batch]
        return batch

    def _compute(self, batch: list[_Call]) -> None:
        try:
            answers = _in_one(self._network, batch)
        except Exception as error:
            for call in batch:
                call.error = error
            raise
        for call, answer in zip(batch, answers, strict=True):
            call.answer = answer


def _in_one(network: Callable[..., Tensor], batch: list[_Call]) -> list[Tensor]:
    """The velocity of each call."""
    longest = max(call.text_BLE.shape[1] for call in batch)
    missing = [longest - call.text_BLE.shape[1] for call in batch]
    keep_BL = torch.cat(
        [pad(call.keep_BL, (0, some)) for call, some in zip(batch, missing, strict=True)]
    )
    velocity_BNC = network(
        torch.cat([call.tokens_BNC for call in batch]),
        torch.cat([call.sigma for call in batch]),
        torch.cat([call.positions_BNX.expand(len(call.tokens_BNC), -1, -1) for call in batch]),
        torch.cat(
            [pad(call.text_BLE, (0, 0, 0, some)) for call, some in zip(batch, missing, strict=True)]
        ),
        None if keep_BL.all() else keep_BL,  # a mask takes longer
        **batch[0].others,
    )
    return list(velocity_BNC.split([len(call.tokens_BNC) for call in batch]))
