"""Memory thresholds are raised for the command and its children, and never by importing the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rramsweep.simulation.allocator import SETTINGS

# Page faults of taking and freeing a block of 40 MiB twenty times: 10,240 pages each time if it goes to the kernel.
# Up to 32 MiB glibc learns by itself.
FAULTS = """
import resource, ctypes
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def once():
    block = libc.malloc(40 << 20); ctypes.memset(block, 1, 40 << 20); libc.free(block)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

KEEP = "import rramsweep.simulation.allocator; rramsweep.simulation.allocator.keep_memory()\n"
CHILD = KEEP + f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {FAULTS!r}], text=True))"


def faults(code: str, **variables: str) -> int:
    environment = {"PATH": "/usr/bin:/bin", **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_blocks_are_kept_by_the_command_and_its_children_alone():
    few, many = 2000, 10 * 10240
    assert faults(KEEP + FAULTS) < few
    assert faults(CHILD) < few
    assert faults("import rramsweep, rramsweep.network.simulator\n" + FAULTS) > many


def test_a_users_own_threshold_stays():
    code = KEEP + "import os; print(len([v for v in os.environ if v.startswith('MALLOC_')]))"
    own = dict.fromkeys(SETTINGS.values(), "131072")
    assert faults(code, **own) == 2
    assert faults(KEEP + FAULTS, **own) > 10 * 10240
