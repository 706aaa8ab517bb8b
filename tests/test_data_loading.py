"""What goes wrong in a process that prepares batches is said as if it had gone wrong here."""

import multiprocessing
import signal
import time

import pytest
from torch.utils.data import DataLoader, Dataset

from overcrank.data.loading import loaded, stay
from overcrank.errors import MediaError


class Broken(Dataset[int]):
    def __init__(self, *, slow: bool = False) -> None:
        self.slow = slow

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2:
            if self.slow:
                time.sleep(3)
            raise MediaError("the clip cannot be read: got 0 bytes: prepare it again")
        return index


def batches(processes: int, *, slow: bool = False) -> DataLoader[int]:
    clips = Broken(slow=slow)
    return DataLoader(clips, batch_size=None, num_workers=processes, worker_init_fn=stay)


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_in_another_process_is_the_same_error(processes: int) -> None:
    given = loaded(batches(processes))
    assert [next(given), next(given)] == [0, 1]
    with pytest.raises(MediaError) as refused:
        next(given)
    assert str(refused.value) == "the clip cannot be read: got 0 bytes: prepare it again"
    assert not multiprocessing.active_children(), "this process could not end"


def test_an_interruption_leaves_no_process() -> None:
    """They ignore the signals that python ends them with: one that is left is waited for."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    given = loaded(batches(1, slow=True))
    assert [next(given), next(given)] == [0, 1]
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt) as stopped:
            next(given)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stopped.value.__traceback__ is not None
    assert not multiprocessing.active_children(), "this process could not end"
