"""What a run is said to cost."""

import platform
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    ask = """
import ctypes, resource, torch
from overcrank.runtime import keep_freed_memory
ctypes.CDLL(None).mallopt(-3, 1 << 17)  # M_MMAP_THRESHOLD as it is at first, for good
keep_freed_memory()
def faults():
    for _ in range(20):
        large = [torch.ones(4 << 20) for _ in range(4)]
        large.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-faults() + faults())
"""
    kept, given_back = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for code in (ask, ask.replace("keep_freed_memory()\n", "\n"))
    )
    assert int(kept.stdout) < 3000 < int(given_back.stdout)
