"""The wheel, installed in an environment of its own and run from another folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.waits


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The `rramsweep` command of a fresh environment that holds the wheel and nothing else of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("rramsweep-*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    # The dependencies come from this environment: gigabytes of torch are not copied for a test. Its editable
    # install stays behind, because .pth files are not followed from a .pth file.
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env" / "bin" / "rramsweep"


def test_a_sweep_runs_from_another_folder(command, tmp_path):
    axes = ["model=digits_mlp", "data=digits", "data.limit=50", "drift.relative_drift=0,0.2", "chips=2"]
    done = subprocess.run([command, "-m", *axes], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "sweep").iterdir()
    made = {p.name for p in folder.iterdir()}
    assert {"plan.json", "results.parquet", "summary.csv", "robustness.png", "report.html"} <= made
    style = "import rramsweep.reporting.style as s; print(s.COLOURS[0])"
    drawn = subprocess.run([command.parent / "python", "-c", style], cwd=tmp_path, capture_output=True, text=True)
    assert drawn.stdout.strip() == "#0072B2", drawn.stderr
    again = subprocess.run([command, "report", folder], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


def test_the_package_is_the_wheels(command, tmp_path):
    code = "import rramsweep, rramsweep.cli.catalog as c; print(rramsweep.__file__); print(c.conf_dir())"
    python = [command.parent / "python", "-c", code]
    out = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(ROOT) not in out
    assert "site-packages/rramsweep/conf" in out
