"""The tests that depend on Keras' backend, run on each backend that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

FILES = ["test_callback.py", "test_optimizer.py", "test_migration.py", "test_peer_defects.py", "test_auto_callback.py"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_backend_dependent_tests_pass(backend: str) -> None:
    if backend == keras.backend.backend():
        pytest.skip(f"{backend} is the backend that the tests run on already")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    here = Path(__file__).parent
    # Keras takes its backend once, when it is first imported.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(here / name) for name in FILES)],
        cwd=here.parent,
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
