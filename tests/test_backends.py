"""The tests that depend on Keras' backend, run on each backend that is installed."""

import os
import subprocess
import sys
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

FILES = [
    "training/test_callback.py",
    "training/test_rates.py",
    "training/test_migration.py",
    "training/test_peer_defects.py",
    "training/test_auto_callback.py",
    "training/test_snapshots.py",
    "training/test_ecosystem.py",
]

OTHERS = [backend for backend in ("tensorflow", "jax", "torch") if backend != keras.backend.backend()]


def run_tests(backend: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parent
    # Keras takes its backend once, when it is first imported.
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(here / name) for name in FILES)],
        cwd=here.parent,
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1500,
    )


def installed() -> list[str]:
    return [backend for backend in OTHERS if find_spec(backend) is not None]


@pytest.mark.parametrize("backend", OTHERS)
def test_the_backend_dependent_tests_pass(
    backend: str, other_backends: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    if backend not in other_backends:
        pytest.skip(f"{backend} is not installed")
    done = other_backends[backend].result()
    assert done.returncode == 0, done.stdout
