from __future__ import annotations

import resource
import subprocess
import sys

COPIES, SIZE = 200, 1 << 20
CODE = f"""
import resource, sys
from hpcflow.farm.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
blob = bytes({SIZE})
bytes(bytearray(blob))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({COPIES}):
    bytes(bytearray(blob))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_copies_of_a_mebibyte_cost_no_pages_once_freed_memory_is_kept() -> None:
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", CODE, mode]
        return int(subprocess.check_output(command, text=True))

    pages = COPIES * SIZE // resource.getpagesize()
    assert faults("keep") < pages / 10
