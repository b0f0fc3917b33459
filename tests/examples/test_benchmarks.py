"""The benchmarks of big models, the GPU, plateau detectors, recovery, jobs and excursions run, at a tiny size."""

import importlib
import importlib.util
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import keras_lrplateau

BENCHMARKS = Path(__file__).resolve().parents[2] / "examples" / "benchmarks"


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


@pytest.mark.long
def test_the_benchmark_of_big_models_tells_costs_and_counts(tmp_path: Path) -> None:
    done = run("snapshots.py", "--parameters", "1M", "--ways", "disk", "--repeats", "1", "--folder", str(tmp_path))

    assert done.returncode == 0, done.stdout
    (costs,) = cells(done.stdout, "1M, adam")
    assert costs[1] == '"disk"'
    assert costs[2] == costs[-1] == "0.01", "of three float32 for each parameter"
    # A copy at the start and one for each new best, none of which is taken where nobody would go back to it.
    assert [row[1:5] for row in cells(done.stdout, "10")] == [
        ["the defaults", "1", "1", "10"],
        ["recover=False", "1", "0", "0"],
        ["rollback=False", "1", "0", "0"],
    ]
    assert not list(tmp_path.iterdir())


def test_a_model_too_big_for_this_machine_is_left_out_with_the_reason() -> None:
    done = run("snapshots.py", "--parameters", "1000B", "--ways", "memory", "--no-counts")

    assert done.returncode == 0, done.stdout
    assert "1e+03B with sgd, rollback=True, is left out: it needs 8" in done.stdout


@pytest.mark.long
def test_the_benchmark_of_the_gpu_runs_on_the_cpu() -> None:
    done = run("gpu.py", "--cpu")

    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("On the CPU, small, to test the script. No figure says anything about a GPU.")
    for setting in ("float32", 'mixed_float16, rollback="disk"'):
        row = re.search(rf"^{re.escape(setting)} +31 +17 +yes +4 +yes$", done.stdout, re.MULTILINE)
        assert row, f"{setting} in {done.stdout}"
    for start in ("2. Steps of 32 rows", "AdaptLROnPlateau, frequency=100 ", "3. 1M parameters", "Snapshots, on disk "):
        assert f"\n{start}" in done.stdout


def test_the_benchmark_of_the_gpu_names_the_backends_that_it_measures() -> None:
    done = run("gpu.py", backend="tensorflow")

    assert done.returncode == 1
    assert "gpu.py measures JAX and PyTorch: set KERAS_BACKEND=jax or torch." in done.stdout


def test_the_benchmark_of_plateau_detectors_reads_curves_and_judges_calls(tmp_path: Path) -> None:
    # Both rates have a plateau of 60 epochs after 30 of steady progress; of tiny losses 1e-4 sees no progress.
    falling = [0.95**epoch for epoch in range(30)] + [0.95**29] * 60
    rows = [f"{rate},{scale * value}" for rate, scale in ((0.1, 1.0), (0.01, 0.1)) for value in falling]
    (tmp_path / "settled-1.csv").write_text("lr,val_loss\n" + "\n".join(rows) + "\n")
    tiny = [f"{1e-5 * 0.99**epoch}" for epoch in range(120)]
    (tmp_path / "little-1.csv").write_text("loss\n" + "\n".join(tiny) + "\n")
    (tmp_path / "no_curve.csv").write_text("some,words\nand,more\n")
    (tmp_path / "INDEX.csv").write_text("file,source_repo\nsettled-1.csv,somebody/settled\n")

    done = run("detection.py", str(tmp_path), "--repeats", "1", "-o", str(tmp_path / "picture.html"))

    assert done.returncode == 0, done.stdout
    assert "2 files with a loss, 3 stretches\n" in done.stdout
    assert "For tuning: 1 from little (1)\nFor reporting: 2 from somebody/settled (2)\n" in done.stdout
    assert (tmp_path / "picture.html").stat().st_size > 1000
    calls = re.search(r"^patience +10 (.*)$", done.stdout, re.MULTILINE)
    assert calls
    # False ones, of how many, the rate, the mean and the median delay: of the tiny losses, then of the settled ones.
    assert calls[1].split()[:10] == ["1", "1", "100%", "nan", "nan", "0", "2", "0%", "10.0", "10"]


def test_the_benchmark_of_plateau_detectors_needs_no_curves() -> None:
    done = run("detection.py", "--repeats", "1")

    assert done.returncode == 0, done.stdout
    assert "Synthetic: 24; " in done.stdout
    assert "reporting" not in done.stdout
    assert re.search(r"^evidence +1000 ", done.stdout, re.MULTILINE)


def test_the_benchmark_of_long_replays_runs() -> None:
    done = run("replay.py", "--rows", "2000", "--repeats", "1")

    assert done.returncode == 0, done.stdout
    assert re.fullmatch(
        r"read 2,000 rows: \d+\.\d\d s\nreplay, default rule: \d+\.\d\d s\nreplay, auto mode: \d+\.\d\d s\n",
        done.stdout,
    )


def in_table(output: str, row: str, title: str) -> list[str]:
    """The cells after the first one, in the row of that name of the table with that title."""
    found = re.search(rf"^{re.escape(row)} .*", output.partition(f"\n{title}")[2], re.MULTILINE)
    assert found, output
    return re.split("  +", found[0])[1:]


@pytest.mark.long
def test_the_benchmark_of_recovery_counts_harm_and_rescue_and_measures_nothing_twice(tmp_path: Path) -> None:
    few = ("--only", "linear", "--monitors", "val_loss", "--rates", "0.1", "100", "--seeds", "1")
    done = run("recovery.py", *few, "--epochs", "20", "--folder", str(tmp_path))

    assert done.returncode == 0, done.stdout
    assert "tuning tasks, 20 epochs, patience 3, factor 0.1\n" in done.stdout
    # At 0.1 all is well; at 100 training breaks, with Keras' callback, too.
    assert in_table(done.stdout, "all", "ours: ") == ["0 of 1", "0 of 1", "0 of 2", "0 of 2", "50.0%", "1 of 1"]
    assert in_table(done.stdout, "all", "no recovery: ")[-1] == "0 of 1"
    written = {path: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(len(text.splitlines()) for text in written.values()) == [4, 4], "without our callback, and with it"

    again = run("recovery.py", *few, "--epochs", "20", "--folder", str(tmp_path))

    assert again.stdout.partition("tuning tasks")[2] == done.stdout.partition("tuning tasks")[2]
    assert {path: path.read_text() for path in tmp_path.iterdir()} == written


@pytest.mark.long
def test_the_benchmark_of_recovery_names_the_tasks_that_there_are(tmp_path: Path) -> None:
    done = run("recovery.py", "--only", "nothing", "--folder", str(tmp_path))

    assert done.returncode == 2
    assert "--only must name tuning tasks: linear, dense, deep, conv, shifted, imbalanced, float16" in done.stdout


@pytest.mark.long
def test_the_benchmark_of_recovery_repeats_keras_own_fits() -> None:
    done = run("recovery.py", "--keras-fits", "2")

    assert done.returncode == 0, done.stdout
    for fit, epochs in (("model fit", "2"), ("min_lr", "4"), ("cooldown", "4")):
        assert in_table(done.stdout, fit, "Keras' own fits, on jax") == [epochs, "2", "0", "0"]


@pytest.mark.long
def test_the_benchmark_of_jobs_compares_by_test_metric_and_measures_nothing_twice(tmp_path: Path) -> None:
    few = ("--only", "fine-tuning", "--lengths", "short", "--rates", "1", "--seeds", "1", "--worst", "1")
    done = run("jobs.py", *few, "--methods", "fixed", "keras", "auto", "--folder", str(tmp_path))

    assert done.returncode == 0, done.stdout
    epochs, rate, *metrics = in_table(done.stdout, "fine-tuning, accuracy", "Test metric of the weights left")
    assert (epochs, rate) == ("10", "x1")
    for each in metrics:
        median, worst = re.fullmatch(r"(\d\.\d{3}) \((\d\.\d{3})\)", each).groups()
        assert median == worst, "of a single seed"
        assert float(median) > 0.3, "it has learned: there are five classes"
    assert in_table(done.stdout, "fixed", "What it costs")[0] == "0.0%", "nothing is rolled back"
    assert "settle, rate 0.01" in done.stdout
    written = {path: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(len(text.splitlines()) for text in written.values()) == [1, 2], "with our callback, and without it"

    again = run("jobs.py", *few, "--methods", "fixed", "keras", "auto", "--folder", str(tmp_path))

    assert again.stdout.partition("tuning jobs")[2] == done.stdout.partition("tuning jobs")[2]
    assert {path: path.read_text() for path in tmp_path.iterdir()} == written


@pytest.mark.long
def test_the_benchmark_by_steps_searches_in_a_small_part_of_one_epoch() -> None:
    few = ("--only", "perceptron, momentum", "--rates", "1", "10", "--seeds", "1", "--steps", "400")
    done = run("steps.py", *few)

    assert done.returncode == 0, done.stdout
    row = " ".join(in_table(done.stdout, "x10", "perceptron, momentum, x1 is 0.1"))
    *_, to_best_fixed, _ = (float(figure) for figure in re.findall(r"(\d\.\d{3}) \(", row))
    assert to_best_fixed < 1.3
    searched, rolled_back = (float(share) for share in re.findall(r"([\d.]+)%", row))
    assert 0 < searched <= 5
    assert searched <= rolled_back


@pytest.mark.long
@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ("tuning", "conv, GRU, text, embeddings, U-Net, shapes, fine-tuning"),
        ("more", "noisy labels, factorization, autoencoder, VAE, raw targets"),
    ],
)
def test_the_benchmark_of_jobs_names_the_jobs_that_there_are(jobs: str, names: str, tmp_path: Path) -> None:
    done = run("jobs.py", "--jobs", jobs, "--only", "nothing", "--folder", str(tmp_path))

    assert done.returncode == 2
    assert f"--only must name {jobs} jobs: {names}" in done.stdout


@pytest.fixture(scope="module")
def excursions() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("excursions")
    sys.path.remove(str(BENCHMARKS))


def rates(rule: Any, values: Iterable[float], start: float) -> list[float]:
    """The rate after each value."""
    state, followed = rule.start(start), []
    for value in values:
        state, decision = rule.step(state, value)
        followed.append(decision.rate)
    return followed


def test_a_design_without_excursions_is_the_plain_plateau_rule(excursions: ModuleType) -> None:
    random = np.random.default_rng(0)
    cuts = 0
    for factor, patience in ((0.1, 10), (0.5, 2)):
        plain = keras_lrplateau.Config(factor=factor, patience=patience, max_raises=0, recover=False)
        design = excursions.Design(name="none", epochs=60, times=0, factor=factor, patience=patience)
        for _ in range(20):
            values = np.cumsum(random.normal(-0.1, 1, 60)).tolist()
            assert rates(design, values, 0.1) == rates(plain, values, 0.1)
            cuts += rates(design, values, 0.1)[-1] < 0.1
    assert cuts > 20


@pytest.mark.parametrize(("level", "kind"), [(0.5, "success"), (1.0, "rollback")])
def test_a_design_raises_a_stalled_rate_comes_back_by_a_cosine_and_judges_at_the_end(
    excursions: ModuleType, level: float, kind: str
) -> None:
    design = excursions.Design(
        name="", epochs=14, factor=0.1, patience=2, after=2, depth=0.01, height=10.0, length=None, judge="both"
    )
    stalled = [1.0] * 7  # The best; then two cuts and a stall, of two values each.
    state, decisions = design.start(1.0), []
    for value in stalled + [level] * 7:
        state, decision = design.step(state, value)
        decisions.append(decision)

    assert [decision.kind for decision in decisions[:7]] == ["best", "hold", "cut", "hold", "cut", "hold", "raise"]
    assert decisions[6].save == "raise"
    cosine = [0.01 + 9.99 * (1 + math.cos(math.pi * epoch / 7)) / 2 for epoch in range(7)]
    assert [decision.rate for decision in decisions[6:]] == pytest.approx([*cosine, 0.01])
    assert decisions[-1].kind == kind
    assert decisions[-1].restore == (None if kind == "success" else "raise")
    assert [decision.kind for decision in decisions[7:-1]].count("best") == (kind == "success")


@pytest.mark.long
def test_the_benchmark_of_excursions_compares_them_by_pairs() -> None:
    done = run("raise_defaults.py", "--tasks", "reporting", "--only", "cancer", "--seeds", "1", "--epochs", "6")

    assert done.returncode == 0, done.stdout
    # In six epochs nothing stalls.
    title = "Reporting tasks: designs of an excursion, against the plain plateau"
    assert in_table(done.stdout, "chosen", title)[0] == "0 of 42"
