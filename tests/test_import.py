"""Importing the package is fast, sets nothing, and the simulator needs torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy():
    code = """
import sys, rramsweep
print([m for m in ("torch", "pandas", "hydra", "matplotlib", "scipy", "pyarrow", "rich") if m in sys.modules])
"""
    assert python(code) == "[]"


def test_a_report_needs_neither_torch_nor_hydra():
    code = """
import sys, rramsweep.reporting.report
print([m for m in ("torch", "hydra", "omegaconf", "scipy.stats", "matplotlib.pyplot") if m in sys.modules])
"""
    assert python(code) == "[]"


def test_a_worker_loads_nothing_of_a_report_and_collects_garbage_after():
    code = """
import gc, sys, rramsweep.cli.worker
print([m for m in ("matplotlib", "jinja2", "rramsweep.reporting.report") if m in sys.modules], gc.isenabled())
"""
    assert python(code) == "[] True"


def test_a_command_waits_for_nothing_that_few_need_and_looks_for_no_garbage_among_its_imports(workdir):
    code = """
import gc, sys
from rramsweep.__main__ import main
sys.argv = ["rramsweep", "plan", "model=digits_mlp", "data=digits", "chips=1"]
main()
print([m for m in ("scipy.stats", "matplotlib.pyplot", "torchvision", "timm", "numba") if m in sys.modules])
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert python(code).splitlines()[-2:] == ["[]", "True True"]


def test_importing_everything_sets_no_global_state_and_hides_no_public_function():
    """Importing `rramsweep.sweep`, were it a package, would replace the function `rramsweep.sweep`."""
    code = """
import importlib, logging, pkgutil, random, warnings
# What the dependencies themselves set on import is not ours.
import hydra.plugins.sweeper, matplotlib.figure, numpy, omegaconf, pandas, pyarrow.parquet, rich.progress
import scipy.stats, torch.func, hydra._internal.hydra
before = (
    torch.initial_seed(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
    random.getstate(), dict(matplotlib.rcParams), logging.root.level, list(logging.root.handlers),
    str(numpy.random.get_state()), list(warnings.filters),
)
import rramsweep
for name in rramsweep.__all__:
    getattr(rramsweep, name)
for module in pkgutil.walk_packages(rramsweep.__path__, "rramsweep."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = (
    torch.initial_seed(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
    random.getstate(), dict(matplotlib.rcParams), logging.root.level, list(logging.root.handlers),
    str(numpy.random.get_state()), list(warnings.filters),
)
print([i for i, (b, a) in enumerate(zip(before, after)) if b != a])
print([n for n in rramsweep.__all__ if n != "__version__" and not callable(getattr(rramsweep, n))])
"""
    assert python(code).splitlines() == ["[]", "[]"]


def test_unknown_names_say_so():
    import rramsweep

    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        rramsweep.swep  # noqa: B018
    assert set(rramsweep.__all__) <= set(dir(rramsweep))
