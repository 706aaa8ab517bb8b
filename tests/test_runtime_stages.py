"""What a run is said to cost."""

import subprocess
import sys

import pytest

MUCH = 1 << 30


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_memory_is_not_that_of_the_process_before() -> None:
    ask = """
import torch
from overcrank.runtime import choose, peak_memory
print(peak_memory(choose("cpu", "float32")))
"""
    fill = f"""
import os
x = b'1' * {MUCH}
os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {ask!r}])
"""
    done = subprocess.run([sys.executable, "-c", fill], capture_output=True, text=True, check=True)
    assert 1 << 24 < int(done.stdout) < MUCH
