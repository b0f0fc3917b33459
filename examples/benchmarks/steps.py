"""What does auto mode make of a training of a single epoch, with `frequency=N`?

Small language models foretell the next letter of texts that come with Python: its documentation, or the source of its
library. Each example is seen once, so the training loss is as honest as a validation. A job is trained from its tuned
rate, which is about the best for a fixed rate, and from a third, a tenth, three times and ten times that rate, with

    fixed      no callback
    cosine     the rate annealed to zero over all steps (keras.optimizers.schedules.CosineDecay)
    auto       AdaptLROnPlateau.auto(frequency=N), where N is a two-hundredth of the steps

All methods of a run start from the same weights and see the same batches. What counts is the loss on text held out, of
the weights that the user is left with; "/ best fixed" compares auto mode with the best of the fixed rates here, and
"searched" is the share of the steps before it has settled. The constants of auto mode by steps were chosen on the
TUNING jobs; the REPORTING ones decided nothing.

    python examples/benchmarks/steps.py

It runs on the backend that KERAS_BACKEND names, by default on JAX, which is the fastest here.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from tables import table
from texts import LETTERS, coded, documentation

from keras_lrplateau import AdaptLROnPlateau

FACTORS = (0.1, 1 / 3, 1.0, 3.0, 10.0)
METHODS = ("fixed", "cosine", "auto")
HELD_OUT = 0.1
Arrays = tuple[np.ndarray, np.ndarray]

# --- data and models -------------------------------------------------------------------------------------------------


def source() -> np.ndarray:
    """A million letters of the standard library."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    return coded("\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)[:1_000_000])


def sequences(codes: np.ndarray, length: int = 24) -> Arrays:
    """Pieces of a text in random order, and for each letter the next one."""
    count = len(codes) // (length + 1)
    pieces = codes[: count * (length + 1)].reshape(count, length + 1)[np.random.default_rng(0).permutation(count)]
    return pieces[:, :-1], pieces[:, 1:]


def contexts(codes: np.ndarray, length: int = 8) -> Arrays:
    """Pieces of a text in random order, and for each the letter behind it."""
    starts = np.random.default_rng(0).permutation(len(codes) - length)[:150_000]
    return codes[starts[:, None] + np.arange(length)], codes[starts + length]


def gru() -> Any:
    """A GRU."""
    inputs = keras.Input((24,), dtype="int32")
    x = layers.GRU(48, return_sequences=True)(layers.Embedding(LETTERS, 16)(inputs))
    return keras.Model(inputs, layers.Dense(LETTERS)(x))


def transformer() -> Any:
    """Two layers of causal attention."""
    inputs = keras.Input((24,), dtype="int32")
    x = layers.Embedding(LETTERS, 32)(inputs) + layers.Embedding(24, 32)(keras.ops.arange(24)[None])
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 8)(y, y, use_causal_mask=True)
        x = x + layers.Dense(32)(layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x)))
    return keras.Model(inputs, layers.Dense(LETTERS)(layers.LayerNormalization()(x)))


def perceptron() -> Any:
    """Embeddings of eight letters, and two dense layers."""
    inputs = keras.Input((8,), dtype="int32")
    x = layers.Dense(128, activation="relu")(layers.Flatten()(layers.Embedding(LETTERS, 16)(inputs)))
    return keras.Model(inputs, layers.Dense(LETTERS)(x))


def momentum(rate: Any) -> Any:
    """SGD with momentum."""
    return keras.optimizers.SGD(rate, momentum=0.9)


# --- jobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A model, its text, and how it is trained.

    Attributes:
        name: What the tables call it.
        load: Gives inputs and targets.
        build: Gives the model.
        optimizer: Makes the optimizer from a rate or a schedule.
        tuned: About the best fixed rate.
        batch: The size of a batch.
    """

    name: str
    load: Callable[[], Arrays]
    build: Callable[[], Any]
    optimizer: Callable[[Any], Any]
    tuned: float
    batch: int


ADAM = keras.optimizers.Adam
TUNING = (
    Job("GRU, Adam", lambda: sequences(documentation()), gru, ADAM, 1e-2, 16),
    Job("perceptron, momentum", lambda: contexts(documentation()), perceptron, momentum, 0.1, 64),
)
REPORTING = (
    Job("transformer, Adam", lambda: sequences(documentation()), transformer, ADAM, 3e-3, 16),
    Job("perceptron, Adam, source", lambda: contexts(source()), perceptron, ADAM, 3e-3, 64),
)


@dataclass(frozen=True)
class Fit:
    """What came of a training: the loss on text held out, and what auto mode has spent, as shares of all steps."""

    loss: float
    searched: float = 0.0
    rolled_back: float = 0.0
    seconds: float = 0.0


def fit(job: Job, data: Arrays, method: str, rate: float, seed: int, most: int | None) -> Fit:
    """Train for one epoch.

    Args:
        job, method, rate, seed: What to train, and how.
        data: Inputs and targets.
        most: The most steps; None for all there are.
    """
    x, y = data
    held_out = int(HELD_OUT * len(x))
    steps = min((len(x) - held_out) // job.batch, most or len(x))
    order = held_out + np.random.default_rng(seed).permutation(len(x) - held_out)[: steps * job.batch]
    keras.utils.set_random_seed(seed)
    model = job.build()
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps) if method == "cosine" else rate
    model.compile(job.optimizer(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    adapt = AdaptLROnPlateau.auto(frequency=max(steps // 200, 2))
    began = time.perf_counter()
    model.fit(
        x[order],
        y[order],
        batch_size=job.batch,
        shuffle=False,
        verbose=0,
        callbacks=[adapt] if method == "auto" else [],
    )
    seconds = time.perf_counter() - began
    loss = float(model.evaluate(x[:held_out], y[:held_out], batch_size=500, verbose=0))
    if method != "auto":
        return Fit(loss, seconds=seconds)
    searched = next((each.step for each in adapt.decisions if each.kind == "settle"), steps)
    kept = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    return Fit(loss, searched / steps, 1 - kept / steps, seconds)


def measure(job: Job, rates: tuple[float, ...], seeds: int, most: int | None) -> dict[tuple[str, float], list[Fit]]:
    """All trainings of a job by method and factor of the tuned rate, with a line of progress for each."""
    data, began, found = job.load(), time.perf_counter(), {}
    for method, factor in itertools.product(METHODS, rates):
        found[method, factor] = [fit(job, data, method, job.tuned * factor, seed, most) for seed in range(seeds)]
        losses = " ".join(f"{each.loss:.3f}" for each in found[method, factor])
        progress = f"{time.perf_counter() - began:5.0f} s: {job.name}, {method}, x{factor:.2g}: {losses}"
        print(progress, file=sys.stderr, flush=True)
    return found


def report(job: Job, found: dict[tuple[str, float], list[Fit]], rates: tuple[float, ...]) -> None:
    """Print the tables of a job."""

    def losses(method: str, factor: float) -> list[float]:
        return sorted(each.loss for each in found[method, factor])

    def mean(method: str, factor: float, name: str) -> float:
        return float(np.mean([getattr(each, name) for each in found[method, factor]]))

    best = {method: min(float(np.median(losses(method, factor))) for factor in rates) for method in METHODS}
    rows = []
    for factor in rates:
        ours = losses("auto", factor)
        rows.append(
            [
                f"x{factor:.2g}",
                *(f"{np.median(losses(method, factor)):.3f} ({losses(method, factor)[-1]:.3f})" for method in METHODS),
                *(f"{np.median(ours) / best[method]:.3f} ({ours[-1] / best[method]:.3f})" for method in METHODS[:2]),
                f"{max(each.searched for each in found['auto', factor]):.1%}",
                f"{mean('auto', factor, 'rolled_back'):.1%}",
                f"{mean('auto', factor, 'seconds') / mean('fixed', factor, 'seconds'):.2f}",
            ]
        )
    header = ("rate", *METHODS, "/ best fixed", "/ best cosine", "searched", "rolled back", "time / fixed")
    table(f"{job.name}, x1 is {job.tuned:g}: loss on text held out, median of the seeds (worst)", header, rows)


def main() -> None:
    """Measure all jobs, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="JOB", help="names of jobs (default: all)")
    parser.add_argument("--rates", nargs="+", type=float, default=list(FACTORS), help="multiples of the tuned rate")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per rate (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="the most steps of a training (default: the whole text)")
    arguments = parser.parse_args()
    jobs = {job.name: job for job in (*TUNING, *REPORTING)}
    unknown = set(arguments.only or ()) - set(jobs)
    if unknown or 1.0 not in arguments.rates:
        parser.error(f"--only must name jobs ({'; '.join(jobs)}), and --rates must have 1, to compare with")
    print(f"one epoch, {arguments.seeds} seeds, on {keras.backend.backend()}")
    for job in [jobs[name] for name in arguments.only or jobs]:
        rates = tuple(arguments.rates)
        report(job, measure(job, rates, arguments.seeds, arguments.steps), rates)


if __name__ == "__main__":
    main()
