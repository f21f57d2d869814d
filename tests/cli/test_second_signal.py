"""A second SIGTERM ends a command at once, but not while its tables are still to be written."""

from __future__ import annotations

import os
import signal

import pytest

from rramsweep.cli import signals
from rramsweep.cli.main import main
from rramsweep.cli.signals import Stopped, signals_as_interrupts, tables_come_first

SWEEP = ["-m", "model=digits_mlp", "data=digits", "data.limit=20", "drift.relative_drift=0.1,0.2", "chips=3"]


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def ended(monkeypatch):
    """What a second signal would end, instead of this process."""
    calls = []
    monkeypatch.setattr(signals, "REPEAT_S", 0.0)
    monkeypatch.setattr(signals, "end_workers", lambda spare: calls.append(spare))
    # What the process is sent once its handler is gone, which would end the tests.
    kill = os.kill
    monkeypatch.setattr(signals.os, "kill", lambda pid, number: calls.append(number) if calls else kill(pid, number))
    return calls


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_waits_for_the_tables(ended, number):
    with signals_as_interrupts():
        with tables_come_first():
            with pytest.raises(Stopped):
                send(number)
            send(number)
            assert not ended
        with pytest.raises(Stopped):
            send(number)
        assert ended[1:] == [number]


def test_a_sweep_that_is_sent_a_second_signal_writes_its_tables(workdir, ended, monkeypatch, capsys):
    from rramsweep.cli import driver

    write = driver.report.write

    def interrupted(folder):
        signal.raise_signal(signal.SIGTERM)
        return write(folder)

    def launch():
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(driver.report, "write", interrupted)
    monkeypatch.setattr(driver, "workers_end_with_us", lambda: _Then(launch))
    with pytest.raises(SystemExit) as exit_:
        main([*SWEEP, "name=a"])
    assert exit_.value.code == 143
    assert not ended
    assert "ended by SIGTERM, with 0 kept" not in capsys.readouterr().err
    assert list(workdir.glob("outputs/a/*/results.parquet"))


class _Then:
    """A context that is left by a signal."""

    def __init__(self, leave):
        self._leave = leave

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._leave()
