from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from edgeglm_agent.worker.memory import settle
if sys.argv[1] == "settled":
    settle()
image = np.zeros((224, 224, 3), np.uint8)
def prepare():
    one = np.multiply(image, np.float32(2), dtype=np.float32)
    return np.ascontiguousarray(one.transpose(2, 0, 1)), one
for _ in range(20):
    prepare()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    prepare()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="is about glibc")
def test_arrays_of_the_last_sample_serve_the_next_one_without_the_kernel() -> None:
    left, settled = (
        int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)
        for how in ("left", "settled")
    )
    assert settled < 100  # pages, over a hundred samples
    assert settled < left
