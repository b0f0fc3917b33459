"""The benchmarks of big models and of the GPU run, at a tiny size."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"


def run(script: str, *arguments: str, backend: str = "jax") -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


def cells(output: str, start: str) -> list[list[str]]:
    """The cells of the lines of a table of Rich that begin with `start`."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    return [line for line in lines if line and line[0] == start]


def test_the_benchmark_of_big_models_tells_costs_and_counts(tmp_path: Path) -> None:
    done = run("snapshots.py", "--parameters", "1M", "--ways", "disk", "--repeats", "1", "--folder", str(tmp_path))

    assert done.returncode == 0, done.stdout
    (costs,) = cells(done.stdout, "1M, adam")
    assert costs[1] == '"disk"'
    assert costs[2] == costs[-1] == "0.01", "of three float32 for each parameter"
    # A copy at the start and one for each new best, none of which is taken where nobody would go back to it.
    assert [row[1:5] for row in cells(done.stdout, "10")] == [
        ["the defaults", "2", "1", "10"],
        ["recover=False", "2", "0", "0"],
        ["rollback=False", "2", "0", "0"],
    ]
    assert not list(tmp_path.iterdir())


def test_a_model_too_big_for_this_machine_is_left_out_with_the_reason() -> None:
    done = run("snapshots.py", "--parameters", "1000B", "--ways", "memory", "--no-counts")

    assert done.returncode == 0, done.stdout
    assert "1e+03B with sgd, rollback=True, is left out: it needs 8" in done.stdout


def test_the_benchmark_of_the_gpu_runs_on_the_cpu() -> None:
    done = run("gpu.py", "--cpu")

    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("On the CPU, small, to test the script. No figure says anything about a GPU.")
    for setting in ("float32", 'mixed_float16, rollback="disk"'):
        row = re.search(rf"^{re.escape(setting)} +32 +15 +yes +4 +yes$", done.stdout, re.MULTILINE)
        assert row, f"{setting} in {done.stdout}"
    for start in ("2. Steps of 32 rows", "AdaptLROnPlateau, frequency=100 ", "3. 1M parameters", "Snapshots, on disk "):
        assert f"\n{start}" in done.stdout


def test_the_benchmark_of_the_gpu_names_the_backends_that_it_measures() -> None:
    done = run("gpu.py", backend="tensorflow")

    assert done.returncode == 1
    assert "gpu.py measures JAX and PyTorch: set KERAS_BACKEND=jax or torch." in done.stdout
