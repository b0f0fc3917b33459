"""Which excursion pays: how should a stalled training be raised, judged and given back? What does recovery bring?

Measured: small networks on scikit-learn's bundled data, each trained from starting rates over six decades, with SGD,
momentum and Adam. A starting rate, a seed and a method make a *lane*; all lanes of a task are trained side by side.
The methods meet the same initial weights, the same batches and the same starting rates:

    fixed, cosine       the rate as given; the rate annealed to zero over the known number of epochs
    plain plateau       our rule with `max_raises=0, recover=False`: what Keras' ReduceLROnPlateau does
    recovery only       `max_raises=0`: answers divergence, never raises
    raising only        `recover=False`: raises, never answers divergence
    ours                both, with the defaults of `keras_lrplateau.Config`
    designs             those of `excursions.py`, without recovery; each differs from the first one as its name says

A lane's score is the test loss of the weights that the user is left with, v, as a *regret*: (v + e) / (v* + e). Here v*
is the best that anybody could have had by choosing the starting rate well: the lowest median over the seeds, at any
starting rate, of fixed, cosine and both plain plateaus. e is 0.5 % of the loss before training, so that a loss near
zero does not turn trifles into factors. 1 is perfect; a non-finite loss or a regret above 100 counts as 100.

A design is judged by pairs: its regret over that of the plain plateau in the same lane, once in the lanes in which it
opened an excursion, once in all. Since the lanes of one cell (a task with an optimizer) are far from independent, the
95 % interval comes from drawing whole cells again and again. "no raise" is the control: all that the chosen design
does, but for the raise.

The design is chosen on the TUNING tasks alone. REPORTING has other data or another target, and decides nothing.

Run it, about twelve minutes on one core for either; the last line prints what the constants in plateau.py rest on:

    python examples/benchmarks/raise_defaults.py --tasks tuning
    python examples/benchmarks/raise_defaults.py --tasks reporting
    python examples/benchmarks/raise_defaults.py --constants

It needs jax, numpy and scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from excursions import Design
from lanes import (
    ADAM,
    MOMENTUM,
    RATES,
    SETTINGS,
    SGD,
    Method,
    Result,
    Task,
    cancer,
    classes,
    cosine,
    diabetes,
    digit_halves,
    digits,
    train,
)
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs
from tables import geometric_mean, ratio, table

from keras_lrplateau.rule import plateau

EPOCHS = 120
SEEDS = 3

wine = partial(classes, datasets.load_wine)

TUNING = (
    Task("digits", digits, (32,), train=480, validate=300, batch=32),
    Task("digits, 20 % wrong labels", digits, (32,), train=480, validate=300, batch=32, label_noise=0.2),
    Task("diabetes", diabetes, (16, 16), train=192, validate=100, batch=16),
    Task("wine, deep", wine, (16, 16, 16, 16), train=80, validate=40, batch=8, activation="tanh"),
    # Sigmoid layers learn nothing for many epochs before they find a way: plateaus that are no end.
    Task("digits, deep sigmoid", digits, (32, 32, 32), train=480, validate=300, batch=32, activation="sigmoid"),
    Task("wine, deep sigmoid", wine, (16, 16, 16), train=80, validate=40, batch=8, activation="sigmoid"),
)
REPORTING = (
    Task("cancer", cancer, (16,), train=192, validate=120, batch=16, activation="tanh"),
    Task("cancer, deep", cancer, (16, 16, 16, 16), train=192, validate=120, batch=16),
    Task("lower half of digits from upper", digit_halves, (32,), train=480, validate=300, batch=32),
    Task("cancer, deep sigmoid", cancer, (16, 16, 16), train=192, validate=120, batch=16, activation="sigmoid"),
    Task("halves, deep sigmoid", digit_halves, (32, 32, 32), train=480, validate=300, batch=32, activation="sigmoid"),
)


# --- methods ---------------------------------------------------------------------------------------------------------


BASELINES = (Method("fixed"), Method("cosine", schedule=cosine))
PLAIN, RECOVERY, RAISING, OURS = "plain plateau", "recovery only", "raising only", "ours"


def policies(name: str, **changes: Any) -> list[Method]:
    """The same policy with each of SETTINGS."""
    return [Method(name, plateau.Config(**setting, **changes)) for setting in SETTINGS]


def compared() -> list[Method]:
    """The methods of the reporting tasks."""
    return [
        *BASELINES,
        *policies(PLAIN, max_raises=0, recover=False),
        *policies(RECOVERY, max_raises=0),
        *policies(RAISING, recover=False),
        *policies(OURS),
    ]


CHOSEN: dict[str, Any] = {
    "height": 10.0,
    "length": 6.0,
    "leaves": 1.0,
    "depth": 0.01,
    "judge": "both",
    "noise": 2.0,
    "asks_loss": True,
    "unlearned": 0.5,
}
"""The design that did best on the tuning tasks: see `excursions.Design`."""

VARIANTS: dict[str, dict[str, Any]] = {
    "3x": {"height": 3.0},
    "30x": {"height": 30.0},
    "2 plateaus long": {"length": 2.0},
    "all the epochs left": {"length": None},
    "3x, 2 plateaus, held": {"height": 3.0, "length": 2.0, "shape": "held"},
    "after 3 cuts of any depth": {"depth": 1.0},
    "however much is learned": {"unlearned": 0.0},
    "judged by one value": {"judge": "best"},
    "from the best weights": {"origin": "best", "back": "best"},
    "ends on the best": {"end": "best"},
    "no raise, ends on the best": {"end": "best", "height": 0.0},
}
"""What was tried besides: in what each differs from the chosen one."""


def designs(epochs: int, *, all_of_them: bool) -> list[Method]:
    """The chosen design, the same without a raise, and all others that were tried, each with both SETTINGS."""
    changes = {"chosen": {}, "no raise": {"height": 0.0}, **(VARIANTS if all_of_them else {})}
    return [
        Method(name, Design(name=name, epochs=epochs, **setting, **{**CHOSEN, **change}))
        for name, change in changes.items()
        for setting in SETTINGS
    ]


# --- training --------------------------------------------------------------------------------------------------------


def train_all(tasks: Sequence[Task], methods: list[Method], seeds: int, epochs: int) -> list[Result]:
    """The cells of these tasks, one after the other."""
    began = time.perf_counter()
    results = []
    for task, optimizer in itertools.product(tasks, (SGD, MOMENTUM, ADAM)):
        keys = jax.random.split(jax.random.key(1), seeds)
        results.append(train(task, optimizer, methods, RATES[optimizer.name], epochs, keys))
        print(f"{time.perf_counter() - began:.0f} s: {task.name}, {optimizer.name}", file=sys.stderr)
    return results


# --- scores ----------------------------------------------------------------------------------------------------------


def regrets(result: Result) -> np.ndarray:
    """The regret of every lane. Axes: method, starting rate, seed."""
    tolerance = 0.005 * result.test_before
    rivals = [i for i, method in enumerate(result.methods) if method.rule is None or method.name == PLAIN]
    medians = np.median(np.nan_to_num(result.test[rivals], nan=np.inf), axis=-1)
    regret = (result.test + tolerance) / (medians.min() + tolerance)
    bounded: np.ndarray = np.nan_to_num(regret, nan=100.0).clip(max=100.0)
    return bounded


def from_best_fixed(result: Result) -> np.ndarray:
    """How many decades each starting rate is above the best one for a fixed rate."""
    (fixed,) = (result.test[i] for i, method in enumerate(result.methods) if method.name == "fixed")
    best = np.median(np.nan_to_num(fixed, nan=np.inf), axis=-1).argmin()
    decades: np.ndarray = np.round(np.log10(result.rates / result.rates[best])).astype(int)
    return decades


def pick(results: list[Result], name: str, setting: dict[str, Any] | None = None) -> list[np.ndarray]:
    """The regrets of the methods of that name, one array for each cell. Axes: setting, starting rate, seed."""

    def wanted(method: Method) -> bool:
        config = method.rule
        return method.name == name and (
            setting is None or config is None or all(getattr(config, k) == v for k, v in setting.items())
        )

    return [regrets(r)[[i for i, method in enumerate(r.methods) if wanted(method)]] for r in results]


# --- tables ----------------------------------------------------------------------------------------------------------


def print_summary(
    title: str, results: list[Result], names: Sequence[str], setting: dict[str, Any] | None = None
) -> None:
    """Every method over all cells, starting rates and seeds."""
    plain, recovery = pick(results, PLAIN, setting), pick(results, RECOVERY, setting)
    rows = []
    for name in names:
        chosen = pick(results, name, setting)
        lanes = np.concatenate([cell.ravel() for cell in chosen])
        shares = [f"{np.mean(lanes <= bound):.0%}" for bound in (1.1, 1.5)]
        rivals = [ratio(chosen, plain), ratio(chosen, recovery)]
        rows.append([name, f"{geometric_mean(lanes):.3f}", *rivals, *shares, f"{lanes.max():.1f}", str(lanes.size)])
    header = ("method", "regret", f"/ {PLAIN}", f"/ {RECOVERY}", "<= 1.1", "<= 1.5", "worst", "lanes")
    table(title, header, rows)


def print_by_rate(title: str, results: list[Result], names: Sequence[str]) -> None:
    """Every method, by how far the starting rate is from the best fixed one."""
    edges = range(-3, 3)
    offsets = [np.clip(from_best_fixed(r), edges[0], edges[-1]) for r in results]
    rows = []
    for name in names:
        cells = pick(results, name)
        pairs = list(zip(cells, offsets, strict=True))
        chosen = [np.concatenate([cell[:, offset == edge].ravel() for cell, offset in pairs]) for edge in edges]
        rows.append([name, *(f"{geometric_mean(lanes):.3f}" if lanes.size else "-" for lanes in chosen)])
    labels = [f"{'<=' if edge == edges[0] else '>=' if edge == edges[-1] else ''}{edge:+d}" for edge in edges]
    table(title, ("method", *labels), rows)


def print_excursions(title: str, results: list[Result], pairs: Sequence[tuple[str, str]]) -> None:
    """What raising does, lane by lane: methods against rivals that differ in nothing else. Better and worse: by 2 %."""
    rows = []
    for name, rival in pairs:
        changes = [
            np.log(chosen) - np.log(other)
            for chosen, other in zip(pick(results, name), pick(results, rival), strict=True)
        ]
        opened, kept = (counts(results, name, kind) for kind in ("raise", "success"))
        fired = [change[count > 0] for change, count in zip(changes, opened, strict=True)]
        lanes, everywhere = np.concatenate(fired), np.concatenate([change.ravel() for change in changes])
        if not lanes.size:
            rows.append([name, f"0 of {everywhere.size}", *["-"] * 6])
            continue
        low, high = interval(fired)
        rows.append(
            [
                name,
                f"{lanes.size} of {everywhere.size}",
                str(sum(int(np.sum(count > 0)) for count in kept)),
                f"{math.exp(lanes.mean()):.3f} [{low:.3f}, {high:.3f}]",
                f"{np.mean(lanes < -0.02):.0%}",
                f"{np.mean(lanes > 0.02):.0%}",
                f"{math.exp(lanes.max()):.2f}",
                f"{math.exp(everywhere.mean()):.4f}",
            ]
        )
    header = (
        "method",
        "fired in",
        "kept in",
        "ratio where it fired",
        "2 % better",
        "2 % worse",
        "worst",
        "ratio in all",
    )
    table(title, header, rows)


def counts(results: list[Result], name: str, kind: str) -> list[np.ndarray]:
    """How many decisions of a kind each lane of the methods of that name has. Axes as those of `pick`."""
    count = np.frompyfunc(lambda decisions: sum(decision.kind == kind for decision in decisions), 1, 1)
    return [count(r.decisions[[i for i, method in enumerate(r.methods) if method.name == name]]) for r in results]


def interval(cells: list[np.ndarray], draws: int = 2000) -> tuple[float, float]:
    """Where the geometric mean of all lanes lies in 95 % of this many draws of as many cells."""
    random = np.random.default_rng(0)
    sums, sizes = np.array([cell.sum() for cell in cells]), np.array([cell.size for cell in cells])
    drawn = random.integers(0, len(cells), (draws, len(cells)))
    means = sums[drawn].sum(1) / np.maximum(sizes[drawn].sum(1), 1)
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)


def print_constants(tasks: Sequence[Task], seeds: int, epochs: int) -> None:
    """How far the training loss rises, and what a divergence had better cut by."""
    peaks, scores = [], []
    for result in train_all(tasks, compared(), seeds, epochs):
        fixed = [i for i, method in enumerate(result.methods) if method.name == "fixed"]
        losses = np.nan_to_num(result.losses[:, fixed], nan=np.inf)
        peaks.append((losses.max(axis=0) / result.loss_before[fixed]).ravel())
        scores.append(regrets(result)[fixed].ravel())
    peak, score = np.concatenate(peaks), np.concatenate(scores)
    rows = []
    for name, chosen in (("regret < 1.5", peak[score < 1.5]), ("regret > 20", peak[score > 20])):
        shares = [f"{np.mean(chosen > bound):.0%}" for bound in (1.5, 3, 10, 30, 100)]
        rows.append([name, str(chosen.size), f"{chosen.max():.3g}", *shares])
    header = ("fixed rates with a", "lanes", "highest", "> 1.5", "> 3", "> 10", "> 30", "> 100")
    table("Highest training loss of an epoch / loss on the first batch", header, rows)

    rows = []
    for hard_cut in (0.3, 0.1, plateau.HARD_CUT, 0.01):
        plateau.HARD_CUT = hard_cut
        results = train_all(tasks, compared(), seeds, epochs)
        high = [cell[:, from_best_fixed(r) >= 1] for r, cell in zip(results, pick(results, RECOVERY), strict=True)]
        rows.append([f"{hard_cut:g}", f"{geometric_mean(np.concatenate([cell.ravel() for cell in high])):.3f}"])
    table("Regret of recovery only from rates at least a decade too high, by HARD_CUT", ("HARD_CUT", "regret"), rows)


def main() -> None:
    """Train everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", choices=("tuning", "reporting"), default="tuning", help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="TASK", help="names of tasks (default: all)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per starting rate (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="(default: %(default)s)")
    parser.add_argument("--constants", action="store_true", help="print what the constants in plateau.py rest on")
    arguments = parser.parse_args()
    tasks = TUNING if arguments.tasks == "tuning" else REPORTING
    unknown = set(arguments.only or ()) - {task.name for task in tasks}
    if unknown:
        parser.error(f"--only must name {arguments.tasks} tasks: {', '.join(task.name for task in tasks)}")
    tasks = tuple(task for task in tasks if arguments.only is None or task.name in arguments.only)
    if arguments.constants:
        print_constants(tasks, arguments.seeds, arguments.epochs)
        return
    tried = designs(arguments.epochs, all_of_them=arguments.tasks == "tuning")
    results = train_all(tasks, compared() + tried, arguments.seeds, arguments.epochs)

    names = [*(method.name for method in BASELINES), PLAIN, RECOVERY, RAISING, OURS]
    found = f"{arguments.tasks.capitalize()} tasks"
    for setting in SETTINGS:
        print_summary(f"{found}, {setting}", results, names, setting)
    print_by_rate(f"{found}: regret, by decades above the best fixed rate", results, names)
    print_excursions(
        f"{found}: raising in ours, against the same without", results, [(RAISING, PLAIN), (OURS, RECOVERY)]
    )
    pairs = [(name, PLAIN) for name in dict.fromkeys(method.name for method in tried)]
    print_excursions(f"{found}: designs of an excursion, against the plain plateau", results, pairs)


if __name__ == "__main__":
    main()
