"""A real training that is killed at each nasty moment, and one whose disk fails: `torture.py`, in short."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

posix = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it counts its threads by /proc")


def torture(backend: str, *arguments: str) -> str:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, Path(__file__).with_name("torture.py"), "--backend", backend, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@posix
def test_kills_at_every_nasty_moment_leave_no_trace() -> None:
    found = torture("jax", "--quick", "--only", "kills")
    for place in ("between", "in the last epoch", "at the end", "in the backup", "SIGKILL", "SIGTERM", "Ctrl-C"):
        assert f"1 {place}" in found or f"2 {place}" in found
    assert "all is as if nothing had happened" in found


@posix
def test_faults_of_the_disk_and_second_trainings_leave_no_trace() -> None:
    found = torture("torch", "--quick", "--only", "faults")
    for fault in ("full disk", "read-only log dir", "removed log dir", "two trainings", "a second training by mistake"):
        assert fault in found
    assert "all is as if nothing had happened" in found
