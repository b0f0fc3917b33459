"""What does auto mode make of small jobs as people run them, and what do the usual callbacks?

Measured with real fits of models as their users write them: batch normalisation, dropout, augmentation, embeddings,
recurrent layers, attention, a U-Net, fine-tuning. A job is trained for its natural length and for ten epochs; with
`--lengths medium` for eight epochs of 100 steps, and with `long` for three of 400, for which its rows are repeated. It
begins from its tuned rate and from rates up to a hundred times lower and higher, with

    fixed      no callback
    cosine     the rate annealed to zero over all steps (keras.optimizers.schedules.CosineDecay)
    keras      ReduceLROnPlateau, factor 0.2 and patience 3
    default    AdaptLROnPlateau with the same two settings
    auto       AdaptLROnPlateau.auto(), which is told nothing

All methods of a run start from the same weights and see the same batches. What counts is the job's metric on a test
set: of the weights that the user is left with, and of the best epoch by validation, as ModelCheckpoint keeps them. The
tuned rate is the best power of ten for a fixed rate over the natural length. "behind" is by how much a metric is worse,
as a share of what it is compared with: at each rate the better of fixed and keras from there; and, "of tuned", the
better of the two from the tuned rate.

The TUNING jobs and MORE are those that auto mode was made on; REPORTING decides nothing. What is measured is kept in
`--folder`, as lines of JSON, and not measured again: the fits with our callback until its code changes, the others for
good. So it may be interrupted, and `--only`, `--lengths`, `--rates`, `--methods` and `--seeds` do it in parts.

    python examples/benchmarks/jobs.py --only conv
    python examples/benchmarks/jobs.py --jobs reporting

It needs scikit-learn, and runs on the backend that KERAS_BACKEND names, by default on JAX, which is the fastest here.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # Sums end the same on any number of cores.

import keras
import numpy as np
from measured import Measured, Row
from more_jobs import MORE
from small_jobs import REPORTING, TUNING, Arrays, Job
from tables import table

from keras_lrplateau import AdaptLROnPlateau

LENGTHS = {"long": (3, 400), "medium": (8, 100), "short": (10, 0)}
"""Epochs, and the steps that each has at least. No two have as many epochs, and none as many as a job's natural length:
what was measured is known by that."""
SEEDS = 3
FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
METHODS = ("fixed", "cosine", "keras", "default", "auto")
OURS = ("default", "auto", "auto, max_lr")
RIVALS = ("fixed", "keras")
KEPT = {"last": "the weights left", "best": "the best epoch's weights"}
FOLDER = Path(__file__).resolve().parents[2] / "logs" / "jobs"
SETS = {"tuning": TUNING, "more": MORE, "reporting": REPORTING}

# --- fits ------------------------------------------------------------------------------------------------------------


def repeated(rows: Arrays, times: int) -> Arrays:
    """The same rows again and again, for a long epoch."""
    x, y = rows
    x = {name: np.concatenate([column] * times) for name, column in x.items()} if isinstance(x, dict) else x
    return x if isinstance(x, dict) else np.concatenate([x] * times), np.concatenate([y] * times)


class KeepBest(keras.callbacks.Callback):
    """The weights of the best epoch by validation, as ModelCheckpoint(save_best_only=True) keeps them."""

    def __init__(self, monitor: str, sign: int):
        super().__init__()
        self._monitor, self._sign, self._best = monitor, sign, np.inf
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights if they are better."""
        cost = self._sign * (logs or {})[self._monitor]
        if cost < self._best:
            self._best, self.weights = cost, self.model.get_weights()


class Bench:
    """A job whose compiled models are set back before each fit, so that they are compiled once."""

    def __init__(self, job: Job, least_steps: int = 0):
        self.job = job
        self.data = job.load()
        times = -(-least_steps * job.batch // len(self.data.train[1])) or 1
        self.data = replace(self.data, train=repeated(self.data.train, times))
        self.steps = -(-len(self.data.train[1]) // job.batch)
        self._first: dict[int, list[np.ndarray]] = {}
        self._model = functools.cache(self._compiled)
        self._memory: dict[Any, list[np.ndarray]] = {}

    def _compiled(self, schedule: tuple[float, int] | None) -> Any:
        model = self.job.build()
        rate = keras.optimizers.schedules.CosineDecay(*schedule) if schedule else 1.0
        model.compile(self.job.optimizer(rate), loss=self.job.loss, metrics=self.job.metrics())
        model.optimizer.build(model.trainable_variables)
        first = [np.array(each) for each in model.optimizer.variables]
        # The first fit of a model draws random numbers for itself, so that its batches would be others.
        batch = keras.tree.map_structure(lambda rows: rows[: self.job.batch], self.data.train)
        model.fit(*batch, batch_size=self.job.batch, verbose=0)
        self._memory[schedule] = first
        return model

    def _first_weights(self, seed: int) -> list[np.ndarray]:
        if seed not in self._first:
            keras.utils.set_random_seed(seed)
            self._first[seed] = self.job.pretrained(seed) if self.job.pretrained else [*self.job.build().get_weights()]
        return self._first[seed]

    def _reset(self, schedule: tuple[float, int] | None, seed: int) -> Any:
        """The model as it is before training: weights, optimizer and random numbers."""
        model = self._model(schedule)
        model.set_weights(self._first_weights(seed))
        for variable, value in zip(model.optimizer.variables, self._memory[schedule], strict=True):
            variable.assign(value)
        for variable in model.non_trainable_variables:
            if keras.backend.standardize_dtype(variable.dtype) == "uint32":
                variable.assign([seed, 0])  # That of a layer's random numbers.
        keras.utils.set_random_seed(seed)
        model.stop_training = False
        return model

    def fit(self, method: str, rate: float, epochs: int, seed: int) -> Row:
        """Train, and say what came of it."""
        model = self._reset((rate, epochs * self.steps) if method == "cosine" else None, seed)
        if method != "cosine":
            model.optimizer.learning_rate = rate
        sign = -1 if self.job.is_higher_better else 1
        callbacks = callbacks_of(method, f"val_{self.job.metric}", "max" if sign < 0 else "min", rate)
        best = KeepBest(f"val_{self.job.metric}", sign)
        began = time.perf_counter()
        history = model.fit(
            *self.data.train,
            validation_data=self.data.validation,
            validation_batch_size=100,
            epochs=epochs,
            batch_size=self.job.batch,
            verbose=0,
            callbacks=[best, *callbacks],  # Before ours, as our README says: it may go back to other weights.,
        ).history
        seconds = time.perf_counter() - began
        steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
        last = self._tested(model)
        if best.weights is not None:
            model.set_weights(best.weights)
        return {
            "last": last,
            "best": self._tested(model),
            "seconds": seconds,
            "rolled back": 1 - steps / (epochs * self.steps),
            "losses": history["loss"],
            "metrics": history[f"val_{self.job.metric}"],
            "decisions": [
                (each.epoch + 1, each.kind, each.rate, each.restore, each.reason)
                for each in getattr(callbacks[0] if callbacks else None, "decisions", [])
            ],
        }

    def _tested(self, model: Any) -> float:
        return float(model.evaluate(*self.data.test, batch_size=100, verbose=0, return_dict=True)[self.job.metric])


def callbacks_of(method: str, monitor: str, mode: Any, rate: float) -> list[Any]:
    """The callbacks of a method."""
    settings = {"monitor": monitor, "mode": mode, "factor": 0.2, "patience": 3}
    match method:
        case "keras":
            return [keras.callbacks.ReduceLROnPlateau(**settings)]
        case "default":
            return [AdaptLROnPlateau(**settings)]
        case "auto":
            return [AdaptLROnPlateau.auto(monitor, mode=mode)]
        case "auto, max_lr":
            return [AdaptLROnPlateau.auto(monitor, mode=mode, max_lr=rate)]
    return []


# --- what is measured ------------------------------------------------------------------------------------------------


def measure(job: Job, arguments: argparse.Namespace) -> list[Measurement]:
    """All runs of a job, with a line of progress for each rate."""
    store, began = Measured(arguments.folder), time.perf_counter()
    bench = functools.cache(lambda least_steps: Bench(job, least_steps))  # Compiled where something is to be measured.
    measured = []
    lengths = {**LENGTHS, "natural": (job.epochs, 0)}
    for length in (length for length in lengths if length in arguments.lengths):
        (epochs, least_steps), rows = lengths[length], {}
        for factor in arguments.rates:
            rate = job.tuned * factor
            for method, seed in itertools.product(arguments.methods, range(arguments.seeds)):
                name = json.dumps([job.name, method, epochs, rate, seed])
                fit = functools.partial(
                    lambda least, *run: bench(least).fit(*run), least_steps, method, rate, epochs, seed
                )
                rows[method, factor, seed] = store.get(name, method in OURS, fit)
            progress = f"{time.perf_counter() - began:5.0f} s: {job.name}, {epochs} epochs, x{factor:g}"
            print(progress, file=sys.stderr, flush=True)
        measured.append(Measurement(job, epochs, rows))
    return measured


# --- tables ----------------------------------------------------------------------------------------------------------


def behind(job: Job, ours: float, theirs: float) -> float:
    """By how much ours is worse, as a share of theirs; at most 1. Where only theirs is not finite it is -1."""
    if not (np.isfinite(ours) and np.isfinite(theirs)):
        return float(np.isfinite(theirs)) - float(np.isfinite(ours))
    worse = (theirs - ours) if job.is_higher_better else (ours - theirs)
    return min(worse / max(abs(theirs), 1e-9), 1.0)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a job at one length, by method, factor of the rate, and seed."""

    job: Job
    epochs: int
    rows: dict[tuple[str, float, int], Row]

    def metrics(self, method: str, factor: float, kept: str) -> list[float]:
        """The test metric of each seed, the worst one first; what is no number is worst."""
        worst = -np.inf if self.job.is_higher_better else np.inf
        rows = [row for (name, at, _), row in self.rows.items() if (name, at) == (method, factor)]
        found = [float(row[kept]) if np.isfinite(row[kept]) else worst for row in rows]
        return sorted(found, reverse=not self.job.is_higher_better)

    def rival(self, factor: float, kept: str) -> float:
        """The better median of fixed and keras."""
        better = max if self.job.is_higher_better else min
        methods = {method for method, *_ in self.rows} & {*RIVALS}
        return better(float(np.median(self.metrics(method, factor, kept))) for method in methods)


def print_metrics(measured: Sequence[Measurement], methods: Sequence[str], rates: Sequence[float], kept: str) -> None:
    """The metric by job, length, rate and method."""
    rows = []
    for one, factor in itertools.product(measured, rates):
        found = [one.metrics(method, factor, kept) for method in methods]
        shown = [f"{np.median(each):.3f} ({each[0]:.3f})" for each in found]
        rows.append([f"{one.job.name}, {one.job.metric}", str(one.epochs), f"x{factor:g}", *shown])
    title = f"Test metric of {KEPT[kept]}: median over the seeds (worst)"
    table(title, ("job", "epochs", "rate", *methods), rows)


def print_behind(measured: Sequence[Measurement], methods: Sequence[str], rates: Sequence[float], kept: str) -> None:
    """How far behind each method is."""
    rows = []
    for method, factor in itertools.product(methods, rates):
        here, tuned, runs = [], [], []
        for one in measured:
            found = one.metrics(method, factor, kept)
            here.append(behind(one.job, float(np.median(found)), one.rival(factor, kept)))
            tuned.append(behind(one.job, float(np.median(found)), one.rival(1.0, kept)))
            runs += [behind(one.job, each, one.rival(1.0, kept)) for each in found]
        figures = (np.median(here), max(here), np.median(tuned), np.mean(tuned), max(tuned), max(runs))
        rows.append([method, f"x{factor:g}", *(f"{figure:+.1%}" for figure in figures)])
    header = ("method", "rate", "behind, median", "worst job", "of tuned, median", "mean", "worst job", "worst run")
    table(f"How far behind, by {KEPT[kept]}", header, rows)


def print_costs(measured: Sequence[Measurement], methods: Sequence[str]) -> None:
    """What each method costs."""
    rows = []
    for method in methods:
        of_method = [row for one in measured for (name, _, _), row in one.rows.items() if name == method]
        means = [float(np.mean([row[name] for row in of_method])) for name in ("rolled back", "seconds")]
        rows.append([method, f"{means[0]:.1%}", f"{means[1]:.2f}"])
    table("What it costs", ("method", "epochs rolled back", "seconds of a fit"), rows)


def print_worst(measured: Sequence[Measurement], count: int) -> None:
    """The runs of auto mode that are farthest behind the tuned rate, with what was decided and why."""
    found = [
        (behind(one.job, row["last"], one.rival(1.0, "last")), one, factor, seed, row)
        for one in measured
        for (method, factor, seed), row in one.rows.items()
        if method == "auto"
    ]
    for share, one, factor, seed, row in sorted(found, key=lambda each: -each[0])[:count]:
        run = f"{one.job.name}, {one.epochs} epochs, x{factor:g}, seed {seed}"
        print(f"\n{run}: {row['last']:.4g}, {share:.1%} behind the tuned rate")
        for title, values in (("losses", row["losses"]), ("metric", row["metrics"])):
            print(f"    {title} " + " ".join(f"{each:.3g}" for each in values))
        for epoch, kind, rate, restore, reason in row["decisions"]:
            print(f"    epoch {epoch}: {kind}, rate {rate:.3g}{f', back to {restore}' if restore else ''}: {reason}")


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", choices=SETS, default="tuning", help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="JOB", help="names of jobs (default: all)")
    parser.add_argument("--lengths", nargs="+", choices=(*LENGTHS, "natural"), default=["short", "natural"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(FACTORS), help="multiples of the tuned rate")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, "auto, max_lr"), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per rate (default: %(default)s)")
    parser.add_argument("--worst", type=int, default=0, help="runs of auto mode to describe (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to keep what was measured")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Of broken trainings: overflows.
    jobs = SETS[arguments.jobs]
    unknown = set(arguments.only or ()) - {job.name for job in jobs}
    if unknown:
        parser.error(f"--only must name {arguments.jobs} jobs: {', '.join(job.name for job in jobs)}")
    if not {*RIVALS} & set(arguments.methods) or 1.0 not in arguments.rates:
        parser.error(f"--methods must have {' or '.join(RIVALS)}, and --rates must have 1, to compare with")
    chosen = [job for job in jobs if arguments.only is None or job.name in arguments.only]
    measured = [one for job in chosen for one in measure(job, arguments)]
    print(f"{arguments.jobs} jobs, {arguments.seeds} seeds, on {keras.backend.backend()}")
    for kept in KEPT:
        print_metrics(measured, arguments.methods, arguments.rates, kept)
    for kept in KEPT:
        print_behind(measured, arguments.methods, arguments.rates, kept)
    print_costs(measured, arguments.methods)
    print_worst(measured, arguments.worst)


if __name__ == "__main__":
    main()
