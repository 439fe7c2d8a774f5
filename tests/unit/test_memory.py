from __future__ import annotations

import subprocess
import sys

MANY_TIMES = """
import resource
import numpy as np
import pyarrow as pa
from compactor.memory import keep_memory

keep_memory()
assert pa.default_memory_pool().backend_name == "system", pa.default_memory_pool().backend_name

def round_() -> None:
    parts = [np.ones(1 << 20, np.uint8) for _ in range(64)]
    parts.clear()

round_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    round_()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
assert faults < 64 * 256, faults
"""
"""Ten more rounds of 64 MiB take fewer new pages than a single one has."""


def test_the_memory_of_one_round_serves_the_next() -> None:
    subprocess.run([sys.executable, "-c", MANY_TIMES], check=True, timeout=120)
