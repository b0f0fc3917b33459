"""How close does each method come, from any starting rate, to what the best tuned one reaches?

Measured: small networks on scikit-learn's bundled data, each trained for 100 epochs from seven starting rates over six
decades, with SGD, momentum and Adam. A task with one of these optimizers is a *cell*; in it, a method, a starting rate
and a seed make a *lane*. The methods meet the same initial weights, the same batches and the same starting rates:

    fixed, cosine       the rate as given; the rate annealed to zero over the known number of epochs
    plateau             `max_raises=0, recover=False`: what Keras' ReduceLROnPlateau does, with factor/patience as named
    GreedyLR            the one of Hugging Face transformers, with its defaults
    default             our default mode, with the same two settings as plateau
    auto                our auto mode, told the number of epochs and nothing else

Others bring their own optimizer and need no starting rate, so they have one lane for each seed, and are held against
each of the task's cells: Adam at 1e-3, as people use it untuned; schedule-free AdamW, Prodigy and D-Adaptation's AdamW
from optax, with their defaults there.

A lane's score is the test loss of the weights that the user is left with, v, as a *regret*: (v + e) / (v* + e). Here v*
is the best that anybody could have had by choosing the starting rate well: the lowest median over the seeds, at any
starting rate, of fixed, cosine and both plateaus. It is chosen by the test loss itself, which nobody can do in earnest.
e is 0.5 % of the loss before training, so that a loss near zero does not turn trifles into factors. 1 is perfect; a
non-finite loss or a regret above 100 counts as 100. For those who use ModelCheckpoint or restore_best_weights there is
a second convention: every method, and those that v* is taken from, keeps the weights of its best validation epoch.

The split: everything in keras_lrplateau was chosen on TUNING alone. REPORTING has other data, another target or another
network, and decides nothing. The error given with a ratio is the standard error over the cells, since the lanes of one
cell are far from independent; the three cells of a task are not quite independent, either.

Run it, about eight minutes on two cores:

    python examples/benchmarks/convergence.py
    python examples/benchmarks/convergence.py --tuning
    python examples/benchmarks/convergence.py --ablations

The last one trains auto mode on the tuning tasks with one of its constants changed at a time, or one of its rules off.
It needs jax, numpy, optax and scikit-learn.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

import jax
import numpy as np
import optax  # type: ignore[import-untyped]  # it says nothing about its annotations
from greedy import GreedyLR
from lanes import (
    ADAM,
    MOMENTUM,
    RATES,
    SETTINGS,
    SGD,
    Method,
    Optimizer,
    Result,
    Task,
    Tree,
    alcohol,
    body_mass,
    cancer,
    cosine,
    diabetes,
    digit_halves,
    digits,
    odd_digits,
    proline,
    train,
)
from optax import contrib
from tables import geometric_mean, ratio, table

from keras_lrplateau.rule import auto, plateau, search, stretch
from keras_lrplateau.rule.decision import Decision

EPOCHS = 100
SEEDS = 5
WORST = 100.0
REACHED = 1.1
"""The regret that counts as having arrived."""

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
"""Several processes with one thread each are faster here than one process with several threads."""

# --- tasks -----------------------------------------------------------------------------------------------------------

TUNING = (
    Task("digits", digits, (32,), train=480, validate=300, batch=32),
    Task(
        "digits, 20 % wrong labels",
        digits,
        (32,),
        train=480,
        validate=100,
        batch=32,
        label_noise=0.2,
        monitor="accuracy",
    ),
    Task("digits, conv", digits, (32,), train=480, validate=100, batch=32, filters=8),
    Task("diabetes", diabetes, (16, 16), train=192, validate=100, batch=16),
    Task("alcohol of wine, deep", alcohol, (16,) * 4, train=80, validate=40, batch=8, activation="tanh"),
    # These two came later, after a first look at REPORTING: accuracy was where auto mode did worst.
    Task("digits, deep", digits, (16,) * 4, train=240, validate=100, batch=16, monitor="accuracy"),
    Task("odd digits", odd_digits, (32,), train=240, validate=100, batch=16, activation="tanh", monitor="accuracy"),
    # Sigmoid layers learn nothing for many epochs before they find a way: plateaus that are no end.
    Task("digits, deep sigmoid", digits, (32,) * 3, train=480, validate=300, batch=32, activation="sigmoid"),
)
REPORTING = (
    Task("cancer", cancer, (16,), train=192, validate=120, batch=16, activation="tanh"),
    Task("cancer, deep", cancer, (16,) * 4, train=192, validate=100, batch=16, monitor="accuracy"),
    Task("lower half of digits from upper", digit_halves, (32,), train=480, validate=300, batch=32),
    Task("odd digits, conv", odd_digits, (16,), train=480, validate=300, batch=32, filters=8),
    Task(
        "digits, conv tanh, 10 % wrong labels",
        digits,
        (32,),
        train=480,
        validate=100,
        batch=32,
        activation="tanh",
        label_noise=0.1,
        monitor="accuracy",
        filters=8,
    ),
    Task("proline of wine", proline, (32,), train=80, validate=40, batch=8),
    Task("body mass index", body_mass, (16, 16), train=192, validate=50, batch=16),
    Task("halves, deep sigmoid", digit_halves, (32,) * 3, train=480, validate=300, batch=32, activation="sigmoid"),
)

# --- methods ---------------------------------------------------------------------------------------------------------


def _by_setting(mode: str) -> list[str]:
    """The names of a mode's methods, in the order of SETTINGS."""
    return [f"{mode} {setting['factor']:g}/{setting['patience']}" for setting in SETTINGS]


PLATEAUS, DEFAULTS = _by_setting("plateau"), _by_setting("default")
PEERS = ("fixed", "cosine", *PLATEAUS)
"""What people tune the rate of."""


def all_methods(task: Task, epochs: int) -> list[Method]:
    """The methods that have a starting rate."""
    mode: Literal["min", "max"] = "max" if task.monitor == "accuracy" else "min"
    plateaus = [plateau.Config(mode=mode, max_raises=0, recover=False, **setting) for setting in SETTINGS]
    defaults = [plateau.Config(mode=mode, **setting) for setting in SETTINGS]
    return [
        Method("fixed"),
        Method("cosine", schedule=cosine),
        *(Method(name, config) for name, config in zip(PLATEAUS, plateaus, strict=True)),
        Method("GreedyLR", GreedyLR(mode=mode)),
        *(Method(name, config) for name, config in zip(DEFAULTS, defaults, strict=True)),
        Method("auto", auto.Config(mode=mode, observations=epochs)),
    ]


ABLATIONS: dict[str, dict[str, float]] = {
    "no search": {"MOST_TRIALS": 1},
    "no raise": {"RAISE": math.inf},
    "no restart": {"MOST_RESTARTS": 0},
    "no annealing": {"TAIL": 0.0},
    "the best of the search": {"ENOUGH": 1.0},
    "ENOUGH = 0.5": {"ENOUGH": 0.5},
    "RAISE = 2": {"RAISE": 2.0},
    "RAISE_LENGTH = 6": {"RAISE_LENGTH": 6},
    "CUT = 0.5": {"CUT": 0.5},
    "FLAT = -0.85": {"FLAT": -0.85},
    "SHORTEST_TREND = 8": {"SHORTEST_TREND": 8},
    "LONGEST_TREND = 16": {"LONGEST_TREND": 16},
    "TAIL = 0.5": {"TAIL": 0.5},
    "EVIDENCE = 0": {"EVIDENCE": 0.0},
    "EVIDENCE = 10": {"EVIDENCE": 10.0},
    "EVIDENCE = 25": {"EVIDENCE": 25.0},
}
"""Auto mode with other constants."""


@dataclass(frozen=True)
class Changed:
    """Auto mode with some of its constants changed, in each of its calls."""

    config: auto.Config
    constants: tuple[tuple[str, float], ...]

    def start(self, rate: float) -> Any:
        """The state before the first epoch."""
        with _changed(self.constants):
            return self.config.start(rate)

    def step(self, *seen: Any) -> Any:
        """The state after an epoch, and the decision about it."""
        with _changed(self.constants):
            return self.config.step(*seen)

    def finish(self, state: Any) -> Any:
        """The same at the end of training."""
        with _changed(self.constants):
            return self.config.finish(state)


@contextmanager
def _changed(constants: tuple[tuple[str, float], ...]) -> Iterator[None]:
    """The modules of auto mode with other constants, for a moment."""
    with ExitStack() as stack:
        for constant, value in constants:
            homes = [module for module in (auto, search, stretch) if hasattr(module, constant)]
            assert homes, constant
            for home in homes:
                stack.enter_context(mock.patch.object(home, constant, value))
        yield


def ablated_methods(task: Task, epochs: int) -> list[Method]:
    """What v* is taken from, auto mode, and auto mode with one thing changed."""
    methods = all_methods(task, epochs)
    rule = methods[-1].rule
    changed = [Method(name, Changed(rule, tuple(constants.items()))) for name, constants in ABLATIONS.items()]
    return [method for method in methods if method.name in (*PEERS, "auto")] + changed


def from_optax(
    name: str,
    transformation: optax.GradientTransformation,
    evaluated: Callable[[Tree, Tree], Tree] = lambda weights, memory: weights,
) -> Optimizer:
    """An optimizer of optax; the rate is its own."""

    def update(weights: Tree, memory: Tree, gradients: Tree, rate: jax.Array) -> tuple[Tree, Tree]:
        updates, memory = transformation.update(gradients, memory, weights)
        return optax.apply_updates(weights, updates), memory

    return Optimizer(name, transformation.init, update, evaluated)


def _schedule_free_weights(weights: Tree, memory: Tree) -> Tree:
    return contrib.schedule_free_eval_params(memory, weights)


RATED = {optimizer.name: (optimizer, RATES[optimizer.name]) for optimizer in (SGD, MOMENTUM, ADAM)}
"""The optimizers of the cells, with their starting rates."""

ADAM_UNTUNED, SCHEDULE_FREE, PRODIGY, D_ADAPTATION = "Adam 1e-3", "schedule-free AdamW", "Prodigy", "D-Adaptation"
RATELESS = {
    ADAM_UNTUNED: (ADAM, np.array([1e-3])),
    SCHEDULE_FREE: (
        from_optax(SCHEDULE_FREE, contrib.schedule_free_adamw(), _schedule_free_weights),
        np.array([0.0025]),
    ),
    PRODIGY: (from_optax(PRODIGY, contrib.prodigy()), np.array([1.0])),
    D_ADAPTATION: (from_optax(D_ADAPTATION, contrib.dadapt_adamw()), np.array([1.0])),
}
"""The methods without a starting rate: an optimizer, and the rate that it has by default."""

# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A task with an optimizer.

    Attributes:
        results: What came of its methods. The first has the peers; of the others only the seeds must be the same.
    """

    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.results[0].task.name}, {self.results[0].optimizer}"

    def of(self, method: str) -> tuple[Result, int]:
        """The result with that method, and its index there."""
        for result in self.results:
            for i, other in enumerate(result.methods):
                if other.name == method:
                    return result, i
        raise KeyError(method)


def cells(
    tasks: Iterable[Task],
    methods: Callable[[Task, int], list[Method]] = all_methods,
    rateless: Collection[str] = tuple(RATELESS),
    seeds: int = SEEDS,
    epochs: int = EPOCHS,
    workers: int | None = None,
) -> list[Cell]:
    """Train everything, in processes of their own.

    To try other methods without training the peers again, train them alone and put them in: `merge(cells(tasks),
    cells(tasks, others, ()))`. Results can be pickled.

    Args:
        tasks: The tasks; each makes a cell with each optimizer.
        methods: Gives the methods that have a starting rate, by task and number of epochs.
        rateless: The names of those without.
        seeds: How many seeds.
        epochs: How many epochs.
        workers: How many processes; None for one on each core.
    """
    began = time.perf_counter()
    # For the processes to come: jax reads it when it first computes something.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    jobs = [(task, name) for task in tasks for name in (*RATED, *rateless)]
    results: dict[tuple[str, str], Result] = {}
    with ProcessPoolExecutor(workers or os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        waiting = {}
        for task, name in jobs:
            chosen = methods(task, epochs) if name in RATED else [Method(name)]
            waiting[pool.submit(_train, task, name, chosen, seeds, epochs)] = (task.name, name)
        for done in as_completed(waiting):
            results[waiting[done]] = done.result()
            progress = f"{time.perf_counter() - began:.0f} s, {len(results)} of {len(jobs)}"
            print(f"{progress}: {', '.join(waiting[done])}", file=sys.stderr)
    names = dict.fromkeys(task.name for task, _ in jobs)
    return [Cell(tuple(results[task, name] for name in (rated, *rateless))) for task in names for rated in RATED]


def _train(task: Task, name: str, methods: list[Method], seeds: int, epochs: int) -> Result:
    optimizer, rates = (RATED | RATELESS)[name]
    return train(task, optimizer, methods, rates, epochs, range(seeds))


def merge(some: Sequence[Cell], others: Sequence[Cell]) -> list[Cell]:
    """The same cells with the methods of both. A method of the same name counts once, the first time."""
    assert [cell.name for cell in some] == [cell.name for cell in others]
    return [replace(cell, results=cell.results + other.results) for cell, other in zip(some, others, strict=True)]


# --- scores ----------------------------------------------------------------------------------------------------------

Kept = Literal["last", "best"]
"""Which weights a user keeps: those left after training, or those of the best validation epoch."""


def losses_left(result: Result, kept: Kept = "last") -> np.ndarray:
    """The test loss of every lane; infinite where it is not finite. Axes: method, starting rate, seed."""
    loss = {"last": result.test, "best": result.test_at_best}[kept]
    finite: np.ndarray = np.where(np.isfinite(loss), loss.astype(float), np.inf)
    return finite


def yardstick(peers: Result, kept: Kept = "last") -> tuple[float, float]:
    """v* and e."""
    rivals = [i for i, method in enumerate(peers.methods) if method.name in PEERS]
    return float(np.median(losses_left(peers, kept)[rivals], axis=-1).min()), 0.005 * peers.test_before


def score(result: Result, peers: Result, kept: Kept = "last") -> np.ndarray:
    """The regret of every lane. Axes: method, starting rate, seed."""
    best, tolerance = yardstick(peers, kept)
    regret: np.ndarray = ((losses_left(result, kept) + tolerance) / (best + tolerance)).clip(max=WORST)
    return regret


def regrets(cell: Cell, method: str, kept: Kept = "last") -> np.ndarray:
    """The regrets of one method. Axes: starting rate, seed."""
    result, i = cell.of(method)
    regret: np.ndarray = score(result, cell.results[0], kept)[i]
    return regret


def tuned(cell: Cell, method: str) -> int:
    """The index of the starting rate with the lowest median test loss."""
    result, i = cell.of(method)
    return int(np.median(losses_left(result)[i], axis=-1).argmin())


def from_best_fixed(cell: Cell) -> np.ndarray:
    """How many decades each starting rate is above the best one for a fixed rate."""
    rates = cell.results[0].rates
    decades: np.ndarray = np.round(np.log10(rates / rates[tuned(cell, "fixed")])).astype(int)
    return decades


def epochs_needed(cell: Cell, method: str) -> np.ndarray:
    """The first epoch after which the current weights have arrived; one more than there are if none did.

    Axes: starting rate, seed.
    """
    result, i = cell.of(method)
    best, tolerance = yardstick(cell.results[0])
    arrived = result.tests[:, i] + tolerance <= REACHED * (best + tolerance)
    needed: np.ndarray = np.where(arrived.any(axis=0), arrived.argmax(axis=0), len(arrived)) + 1
    return needed


def epochs_kept(decisions: list[Decision]) -> tuple[int, int]:
    """How many epochs of training are in the weights before `finish`, and in those after it."""
    age, before = 0, 0
    ages = {"start": 0}
    for epoch, decision in enumerate(decisions, start=1):
        before = age
        if epoch < len(decisions):  # The last decision is that of `finish`.
            age += 1
        if decision.save is not None:
            ages[decision.save] = age
        if decision.restore is not None:
            age = ages[decision.restore]
    return before, age


# --- tables ----------------------------------------------------------------------------------------------------------


def _geometric_mean(lanes: np.ndarray) -> str:
    return f"{geometric_mean(lanes):.3f}" if lanes.size else "-"


def _flat(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


def _names(trained: Sequence[Cell], rated_only: bool = False) -> list[str]:
    """The methods that there are, in order."""
    return list(
        dict.fromkeys(
            method.name
            for result in trained[0].results
            for method in result.methods
            if not (rated_only and method.name in RATELESS)
        )
    )


def print_summary(trained: Sequence[Cell]) -> None:
    """Every method over all cells, starting rates and seeds; and the peers at the starting rates best for them.

    Those are the rows to compare with: since v* is the lowest of many medians, no single peer reaches 1.
    """
    rows = []
    names = _names(trained)
    for name, is_tuned in [*((name, False) for name in names), *((name, True) for name in PEERS if name in names)]:
        lanes, at_best = (
            _flat(regrets(cell, name, kept)[tuned(cell, name) if is_tuned else ...] for cell in trained)
            for kept in ("last", "best")
        )
        shares = [f"{np.mean(lanes <= bound):.0%}" for bound in (1.1, 1.5)]
        means = (_geometric_mean(lanes), *shares, f"{lanes.max():.1f}", _geometric_mean(at_best))
        rows.append([f"{name}, tuned" if is_tuned else name, *means, str(lanes.size)])
    header = ("method", "regret", "<= 1.1", "<= 1.5", "worst", "best checkpoint", "lanes")
    table("Regret over all cells, starting rates and seeds", header, rows)


def print_by_rate(trained: Sequence[Cell]) -> None:
    """Every method, by how far the starting rate is from the best fixed one."""
    edges = range(-3, 4)
    offsets = [np.clip(from_best_fixed(cell), edges[0], edges[-1]) for cell in trained]
    rows = []
    for name in _names(trained, rated_only=True):
        pairs = [(regrets(cell, name), offset) for cell, offset in zip(trained, offsets, strict=True)]
        rows.append([name, *(_geometric_mean(_flat(lanes[at == edge] for lanes, at in pairs)) for edge in edges)])
    labels = [f"{'<=' if edge == edges[0] else '>=' if edge == edges[-1] else ''}{edge:+d}" for edge in edges]
    table("Regret by decades of the starting rate above the best fixed one", ("method", *labels), rows)


def print_by_cell(trained: Sequence[Cell]) -> None:
    """A few methods, cell by cell."""
    groups = {"plateau": PLATEAUS, "default": DEFAULTS}
    groups |= {name: [name] for name in ("auto", ADAM_UNTUNED, SCHEDULE_FREE, PRODIGY, D_ADAPTATION)}
    groups = {title: names for title, names in groups.items() if set(names) <= set(_names(trained))}
    rows = [
        [cell.name] + [f"{min(geometric_mean(regrets(cell, name)) for name in names):.3f}" for names in groups.values()]
        for cell in trained
    ]
    title = "Regret over all starting rates and seeds; of plateau and default, the setting that does better in the cell"
    table(title, ("cell", *groups), rows)


def print_at_tuned_rate(trained: Sequence[Cell]) -> None:
    """What is left to gain, or to lose, for those who have tuned the starting rate of a plateau."""
    rows = []
    for plain, default in zip(PLATEAUS, DEFAULTS, strict=True):
        theirs = [regrets(cell, plain)[tuned(cell, plain)] for cell in trained]
        for name in (plain, default, "auto"):
            if name not in _names(trained):
                continue
            ours = [regrets(cell, name)[tuned(cell, plain)] for cell in trained]
            changes = [geometric_mean(a / b) for a, b in zip(ours, theirs, strict=True)]
            sides = [f"{sum(change < 0.98 for change in changes)}", f"{sum(change > 1.02 for change in changes)}"]
            mean = _geometric_mean(_flat(ours))
            rows.append([name, plain, mean, ratio(ours, theirs), *sides, f"{min(changes):.3f}", f"{max(changes):.3f}"])
    header = ("method", "at the best rate of", "regret", "/ its regret", "2 % better", "2 % worse", "lowest", "highest")
    table("Regret at the starting rate that is best for a plateau, and cells by what changes", header, rows)


def print_epochs(trained: Sequence[Cell]) -> None:
    """How soon every method arrives."""
    fixed = [epochs_needed(cell, "fixed")[tuned(cell, "fixed")] for cell in trained]
    arrived = [needed <= len(cell.results[0].tests) for cell, needed in zip(trained, fixed, strict=True)]
    rows = []
    for name in _names(trained):
        needed = [epochs_needed(cell, name) for cell in trained]
        lanes = _flat(needed)
        ratios = _flat(n[:, at] / f[at] for n, f, at in zip(needed, fixed, arrived, strict=True))
        missed = np.mean(lanes > len(trained[0].results[0].tests))
        rows.append([name, f"{np.median(lanes):g}", f"{missed:.0%}", _geometric_mean(ratios)])
    title = (
        f"Epochs until the test loss of the current weights is within {REACHED:g} of v*, over all starting rates; "
        f"where it never is,\nthey count as all and one more. The ratio is to the best fixed rate, "
        f"where that arrives: {_flat(arrived).mean():.0%} of cells and seeds"
    )
    table(title, ("method", "median", "never", "/ best fixed"), rows)


def print_decisions(trained: Sequence[Cell]) -> None:
    """What the rules do, and what it costs them."""
    decided = {}
    for name in _names(trained, rated_only=True):
        lanes = [lane for cell in trained for result, i in [cell.of(name)] for lane in result.decisions[i].flat]
        if all(lanes):  # A schedule decides nothing.
            decided[name] = lanes
    kinds = list(dict.fromkeys(decision.kind for lanes in decided.values() for lane in lanes for decision in lane))
    epochs = len(trained[0].results[0].tests)
    rows = []
    for name, lanes in decided.items():
        counts = [sum(decision.kind == kind for lane in lanes for decision in lane) / len(lanes) for kind in kinds]
        kept = np.array([epochs_kept(lane) for lane in lanes])
        rows.append(
            [name, *(f"{count:.2f}" for count in counts), *(f"{1 - n / epochs:.1%}" for n in kept.mean(axis=0))]
        )
    header = ("method", *kinds, "lost", "at the end")
    table("Decisions per lane, and the share of epochs that was rolled back: in training; with its end", header, rows)


def print_raises(trained: Sequence[Cell]) -> None:
    """What raising did to the lanes that were raised; apart, those in which nothing else differs from a plateau."""
    rows = []
    for default, plain in zip(DEFAULTS, PLATEAUS, strict=True):
        if default not in _names(trained):
            continue
        pairs: list[tuple[set[str], float]] = []
        for cell in trained:
            result, i = cell.of(default)
            kinds = [{decision.kind for decision in lane} for lane in result.decisions[i].flat]
            pairs += zip(kinds, (regrets(cell, default) / regrets(cell, plain)).flat, strict=True)
        raised = np.array([change for kinds, change in pairs if "raise" in kinds])
        only_raised = [change for kinds, change in pairs if "raise" in kinds and not kinds & {"diverged", "restart"}]
        for title, changes in ((default, raised), ("  no recovery", np.array(only_raised))):
            sides = [str(int(np.sum(side))) for side in (changes < 0.98, changes > 1.02)]
            rows.append([title, f"{changes.size} of {len(pairs)}", *sides, _geometric_mean(changes)])
    header = ("method", "raised lanes", "2 % better", "2 % worse", "ratio")
    table("Default mode against the plateau with the same setting, where it raised", header, rows)


def print_tables(trained: Sequence[Cell]) -> None:
    """All of them."""
    print_summary(trained)
    print_by_rate(trained)
    print_by_cell(trained)
    print_at_tuned_rate(trained)
    print_epochs(trained)
    print_decisions(trained)
    print_raises(trained)


def main() -> None:
    """Train everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tuning", action="store_true", help="the tuning tasks instead of the reporting ones")
    parser.add_argument(
        "--ablations", action="store_true", help="auto mode with one thing changed, on the tuning tasks"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per starting rate (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of a training (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="only tasks with this in their name")
    parser.add_argument("--workers", type=int, help="processes to train in (default: one on each core)")
    arguments = parser.parse_args()
    began = time.perf_counter()
    is_tuning = arguments.tuning or arguments.ablations
    tasks = [task for task in (TUNING if is_tuning else REPORTING) if arguments.only in task.name]
    if not tasks:
        parser.error(f"no task has {arguments.only!r} in its name")
    size = {"seeds": arguments.seeds, "epochs": arguments.epochs, "workers": arguments.workers}
    trained = cells(tasks, ablated_methods, (), **size) if arguments.ablations else cells(tasks, **size)
    kind = "Tuning" if is_tuning else "Reporting"
    print(f"{kind} tasks: {len(trained)} cells, {arguments.seeds} seeds, {arguments.epochs} epochs")
    if arguments.ablations:
        print_summary(trained)
    else:
        print_tables(trained)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
