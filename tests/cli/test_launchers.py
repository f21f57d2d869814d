"""One sweep under every launcher: the same rows, nothing lost to a killed worker, and a plain word for a missing extra.

The network under test is a user's own (`allow_targets`), so that its forward can stand in the way: it tells where it
ran, and kills its own process once if a test asks for it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

import rramsweep as rs
from rramsweep.analysis import frames, schema
from rramsweep.cli.catalog import CONFIG_NAME, EXTRAS, conf_dir
from rramsweep.cli.composing import loader
from rramsweep.cli.main import main
from rramsweep.cli.sweeper import PlanSweeper, register
from tests.forked import Command

for plugin in ("hydra_joblib_launcher", "hydra_submitit_launcher", "hydra_ray_launcher"):
    pytest.importorskip(f"hydra_plugins.{plugin}", reason="needs the extras joblib, slurm and ray")

pytestmark = pytest.mark.waits

SWEEP = [
    *("model=custom", "model._target_=victim.digits_mlp", "model.checkpoint=embedded", "allow_targets=[victim]"),
    *("data=digits", "data.limit=100", "drift.relative_drift=0.1,0.3", "threads=1", "batch_size=250"),
]
CHIPS = ["chips=6", "shards=2"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
WORKERS = ["hydra/launcher=workers", "hydra.launcher.n_jobs=2"]
RAY = ["hydra/launcher=ray_local", "hydra.launcher.ray.init.num_cpus=2"]
PLAIN_RAY = ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"]
LAUNCHERS = {
    "basic": [],
    "joblib": JOBLIB,
    "workers": WORKERS,
    "submitit_local": ["hydra/launcher=submitit_local"],
    "slurm_local": ["hydra/launcher=slurm_local"],
    "ray": PLAIN_RAY,
    "ray_local": RAY,
}
FACTS = [name for name in schema.FACTS if name != "seconds"]
# Against a process that hangs: Ray on two nodes took 120 s where six others ran on two cores.
TIMEOUT_S = 300.0

VICTIM = '''
"""The package's digits_mlp, with a forward that a test can follow and stop; the files that steer it are in HERE."""

import os
import signal
import time
from pathlib import Path

from rramsweep import models

HERE = Path(__file__).parent


def digits_mlp():  # under this name the package has weights
    model = models.digits_mlp()
    model.register_forward_pre_hook(on_forward)
    return model


def on_forward(model, args):
    if str(os.getpid()) == os.environ.get("DRIVER_PID"):
        return
    if (HERE / "where").is_dir():
        import ray

        (HERE / "where" / ray.get_runtime_context().get_node_id()).touch()
    if (HERE / "armed").exists():
        time.sleep(0.2)  # a sweep long enough for rows to reach the store before the kill
        if any((HERE / "killed").rglob("facts-*.parquet")):
            try:
                (HERE / "armed").unlink()
            except FileNotFoundError:
                return  # another worker was quicker
            os.kill(os.getpid(), signal.SIGKILL)
'''

# `hydra_plugins` is where Hydra looks for plugins, 1.4 at entry points too: without them none is installed.
NO_PLUGINS = """
import importlib.metadata
import sys

entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **given: [] if given.get("group") == "hydra.plugins" else entry_points(**given)


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "hydra_plugins":
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, Hide())
from rramsweep.cli.main import main

for launcher in sys.argv[1:]:
    try:
        main(["-m", f"hydra/launcher={launcher}", "chips=1"])
    except SystemExit as exit_:
        print(launcher, exit_.code)
"""

# Two nodes of one CPU each: two shards cannot but run on both. Each has a loopback address of its own; 127.0.0.1 will
# not do, because Ray takes it for the machine's outer address. Lives until its standard input is closed.
CLUSTER = """
import sys

from ray.cluster_utils import Cluster

cluster = Cluster()
try:
    for address in ("127.0.0.2", "127.0.0.3"):
        cluster.add_node(num_cpus=1, node_ip_address=address, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    print("ADDRESS", cluster.address, flush=True)
    sys.stdin.read()
finally:
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder that every command of this file runs in: a user's package lies there."""
    folder = tmp_path_factory.mktemp("launchers")
    (folder / "victim.py").write_text(VICTIM)
    return folder


@pytest.fixture
def environment(tmp_path):
    """Ray without its reports to the makers, and with a token of this test's own instead of one in the home folder."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }


@pytest.fixture
def start(package, environment):
    """Start the command in a process group of its own, whose last member is gone when the test is over."""
    started = []

    def start(*arguments: str, **more: str) -> Command:
        process = Command(["-m", *SWEEP, *arguments], package, {**environment, **more})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def run(start):
    """Run the command to its end: exit code, standard output, standard error."""

    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, out, err

    return run


@pytest.fixture
def run_here(package, monkeypatch, capfd):
    """Run the command in this process, where no other one takes part: exit code, standard output, standard error."""

    def run_here(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(package)
        monkeypatch.syspath_prepend(str(package))
        code = 0
        try:
            main(["-m", *SWEEP, *arguments])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capfd.readouterr()

    return run_here


@pytest.fixture(scope="module")
def reference(package):
    """The rows of the sweep, from this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(package)
        patch.syspath_prepend(str(package))
        return rs.sweep([*SWEEP, "chips=6", "store=reference"])


def table(package: Path, name: str) -> pd.DataFrame:
    """The frame that the newest command of a name left."""
    return rs.load(max((package / "outputs" / name).iterdir(), key=lambda folder: folder.stat().st_mtime_ns))


def same(frame: pd.DataFrame, reference: pd.DataFrame) -> None:
    both = [f[FACTS].sort_values(["point_id", "seed"]).reset_index(drop=True) for f in (frame, reference)]
    pd.testing.assert_frame_equal(*both, check_exact=True)


def gone(group: int) -> bool:
    """Whether every process of a group ends within a while: helpers of joblib see a moment later that they may."""
    until = time.monotonic() + TIMEOUT_S / 4
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def complaints(err: str) -> list[str]:
    """Lines of standard error that are not progress."""
    return [line for line in err.splitlines() if line.strip() and " trials, " not in line]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_gives_the_same_rows(package, reference, run, launcher):
    code, out, err = run(*CHIPS, *LAUNCHERS[launcher], f"store={launcher}", f"name={launcher}")
    assert code == 0, err
    same(table(package, launcher), reference)
    assert "12/12 trials" in err
    if not launcher.startswith("ray"):  # Ray says what it starts, unless told not to as in our presets
        assert not complaints(err), err
    assert "Traceback" not in out + err


def test_hydras_own_sweeper_gives_the_same_rows(package, reference, run_here):
    code, _, err = run_here(*CHIPS, "hydra/sweeper=basic", "store=hydra", "name=hydra")
    assert code == 0, err
    same(table(package, "hydra"), reference)


EXPERIMENT = """
# @package _global_
defaults:
  - override /hydra/launcher: workers
hydra:
  launcher: {n_jobs: 2}
  sweeper: {params: {drift.relative_drift: "0.1,0.3"}}
"""


def test_an_experiment_that_sets_launcher_and_axes_gives_the_same_rows(package, reference, run):
    (package / "options" / "experiment").mkdir(parents=True)
    (package / "options" / "experiment" / "own.yaml").write_text(EXPERIMENT)
    code, _, err = run("experiment=own", *CHIPS, "store=experiment", "name=experiment", "--config-dir=options")
    assert code == 0, err
    same(table(package, "experiment"), reference)


@pytest.mark.slow
def test_ray_on_a_running_cluster_of_two_nodes_gives_the_same_rows(package, reference, run, environment):
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    try:
        for line in cluster.stdout:
            seen.append(line)
            if line.startswith("ADDRESS"):
                break
        else:
            pytest.fail("".join(seen))
        (package / "where").mkdir()
        address = line.split()[1]
        code, _, err = run(
            *CHIPS, "hydra/launcher=ray_cluster", f"hydra.launcher.ray.init.address={address}", "store=c", "name=c"
        )
        nodes = len(list((package / "where").iterdir()))
    finally:
        shutil.rmtree(package / "where", ignore_errors=True)
        cluster.stdin.close()
        cluster.wait(60)
    assert code == 0, err
    assert not complaints(err), err
    assert nodes == 2
    same(table(package, "c"), reference)


@pytest.mark.parametrize(("launcher", "says"), [(WORKERS, "TerminatedWorkerError"), (RAY, "WorkerCrashedError")])
def test_a_killed_worker_loses_nothing_that_was_kept(package, run, launcher, says):
    for earlier in (package / "killed", package / "outputs" / "killed"):
        shutil.rmtree(earlier, ignore_errors=True)
    (package / "killed").mkdir()
    (package / "armed").touch()
    ask = ["chips=16", "shards=2", "store=killed", "name=killed", *launcher]
    code, out, err = run(*ask)
    assert not (package / "armed").exists(), "a worker was killed"
    assert code == 1
    assert "Traceback" not in out + err
    (line,) = complaints(err)
    (folder,) = (package / "outputs" / "killed").iterdir()
    kept = len(frames.read(folder / "results.parquet"))
    assert 0 < kept < 32
    assert line.startswith(f"rramsweep: the launcher gave up ({says}")
    assert line.endswith(f"{kept} of 32 trials kept; run the same command to go on")
    code, out, err = run(*ask)
    assert code == 0, err
    # Ray's other worker may have kept more after the table was written, until the command ended.
    assert kept <= int(re.search(r"in the store already (\d+)", out)[1]) < 32
    assert not complaints(err), err
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(package)
        patch.syspath_prepend(str(package))
        same(table(package, "killed"), rs.sweep([*SWEEP, "chips=16", "store=whole"]))


def test_a_sweep_goes_on_under_another_launcher(package, reference, run):
    code, _, err = run("chips=3", "shards=2", *WORKERS, "store=on", "name=on")
    assert code == 0, err
    code, out, err = run(*CHIPS, "hydra/launcher=slurm_local", "store=on", "name=on")
    assert code == 0, err
    assert "in the store already 6" in out
    assert "6/6 trials" in err
    same(table(package, "on"), reference)


def test_an_interrupt_ends_the_workers_too_and_keeps_what_they_did(package, start):
    (package / "killed").mkdir(exist_ok=True)
    shutil.rmtree(package / "killed")
    (package / "armed").touch()  # slows trials down; nothing is killed while `killed` holds no rows
    try:
        process = start("chips=200", "shards=2", *WORKERS, "store=interrupted", "name=interrupted")
        until = time.monotonic() + TIMEOUT_S
        while not list((package / "interrupted").rglob("facts-*.parquet")):
            assert time.monotonic() < until
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
        err = process.communicate(timeout=TIMEOUT_S)[1]
    finally:
        (package / "armed").unlink()
    kept = len(table(package, "interrupted"))
    assert process.returncode == 130
    assert complaints(err) == [f"rramsweep: interrupted, with {kept} of 400 trials kept: run the same command to go on"]
    assert 0 < kept < 400
    assert gone(process.pid), "no worker goes on computing"


def test_workers_take_one_thread_each_unless_told_otherwise(package, run, run_here):
    for command, name, more, threads in ((run, "one", WORKERS, 1), (run_here, "own", [], None)):
        code, _, err = command("threads=null", "chips=1", "shards=2", *more, "store=t", f"name={name}")
        assert code == 0, err
        (plan,) = (package / "outputs" / name).rglob("plan.json")
        assert json.loads(plan.read_text())["settings"]["threads"] == threads


def test_more_shards_than_trials_is_refused_in_one_line(run_here):
    code, _, err = run_here("chips=3", "shards=7", *WORKERS, "store=none", "name=none")
    assert code == 1
    assert err == (
        "rramsweep: shards must be at most the number of trials, got 7 for 6: lower shards or ask for more chips\n"
    )


def test_a_launcher_that_is_not_installed_names_its_extra(tmp_path):
    wanted = {**EXTRAS, "workers": "joblib", "slurm": "slurm", "slurm_local": "slurm"}
    wanted |= {"ray_local": "ray", "ray_cluster": "ray"}
    done = subprocess.run(
        [sys.executable, "-c", NO_PLUGINS, *wanted], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.stdout.split("\n")[:-1] == [f"{launcher} 1" for launcher in wanted], done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(wanted), done.stderr
    for line, extra in zip(lines, wanted.values(), strict=True):
        assert line.endswith(f"pip install -e '{Path(__file__).parents[2]}[{extra}]'")
    assert not list(tmp_path.iterdir()), "nothing has begun"


def test_a_launcher_that_does_not_exist_gets_the_nearest_name(tmp_path):
    command = [sys.executable, "-m", "rramsweep", "-m", "hydra/launcher=joblob"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 1
    assert done.stderr == "rramsweep: hydra/launcher has no option 'joblob': did you mean joblib?\n"


PRESETS = sorted(path.stem for path in (conf_dir() / "hydra" / "launcher").glob("*.yaml"))


@pytest.mark.parametrize("name", [*PRESETS, *EXTRAS])
def test_every_preset_composes_to_a_launcher(name):
    register(PlanSweeper)
    master = loader().load_configuration(CONFIG_NAME, [f"hydra/launcher={name}"], RunMode.MULTIRUN, from_shell=False)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=loader(), callbacks=None), task_function=lambda _: None, config=master
    )
    plugin = {"joblib": "joblib", "workers": "joblib", "slurm_local": "submitit", "slurm": "submitit"}.get(name)
    assert f"hydra_{plugin or name.split('_')[0]}_launcher" in type(launcher).__module__


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_how_to_use_it(name):
    text = (conf_dir() / "hydra" / "launcher" / f"{name}.yaml").read_text()
    comment = text.split("defaults:")[0]
    assert f"rramsweep -m hydra/launcher={name} " in comment
    assert "Needs rramsweep[" in comment


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "launcher", "code"),
    [
        *(("SIGTERM", launcher, 143) for launcher in ("basic", "workers", "submitit_local", "ray_local")),
        ("SIGHUP", "basic", 129),
        ("SIGKILL", "workers", -9),
    ],
)
def test_a_signal_to_the_command_alone_ends_its_workers_too(package, start, name, launcher, code):
    label = f"{name}_{launcher}"
    process = start("chips=20000", "shards=2", *LAUNCHERS[launcher], f"store={label}", f"name={label}")
    until = time.monotonic() + TIMEOUT_S
    while not list((package / label).rglob("facts-*.parquet")):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(process.pid, getattr(signal, name))
    err = process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == code, err
    assert gone(process.pid), "no worker goes on computing"
    if name != "SIGKILL":
        kept = len(table(package, label))
        assert 0 < kept < 40000
        *others, line = complaints(err)
        assert line == f"rramsweep: ended by {name}, with {kept} of 40000 trials kept: run the same command to go on"
        assert not others or launcher.startswith("ray"), others  # Ray has words of its own for what it was doing
