"""What goes wrong in a process that prepares batches is said as if it had gone wrong here."""

import pytest
from torch.utils.data import DataLoader, Dataset

from overcrank.data.loading import loaded, stay
from overcrank.errors import MediaError


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise MediaError("the clip cannot be read: got 0 bytes: prepare it again")
        return index


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_in_another_process_is_the_same_error(processes: int) -> None:
    batches = loaded(
        DataLoader(Broken(), batch_size=None, num_workers=processes, worker_init_fn=stay)
    )
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(MediaError) as refused:
        next(batches)
    assert str(refused.value) == "the clip cannot be read: got 0 bytes: prepare it again"
