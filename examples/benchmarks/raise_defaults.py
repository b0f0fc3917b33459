"""What are good values for `raise_factor`, `raise_after` and `max_raises`, and when does raising pay at all?

Measured: small networks on scikit-learn's bundled data, each trained from starting rates over six decades, with SGD,
momentum and Adam. A starting rate, a seed and a method make a *lane*; all lanes of a task are trained side by side.
The methods meet the same initial weights, the same batches and the same starting rates:

    fixed, cosine       the rate as given; the rate annealed to zero over the known number of epochs
    plain plateau       our rule with `max_raises=0, recover=False`: what Keras' ReduceLROnPlateau does
    recovery only       `max_raises=0`: answers divergence, never raises
    raising only        `recover=False`: raises, never answers divergence
    ours                both, with the defaults of `policy.Config`; and with one argument at a time changed

A lane's score is the test loss of the weights that the user is left with, v, as a *regret*: (v + e) / (v* + e). Here v*
is the best that anybody could have had by choosing the starting rate well: the lowest median over the seeds, at any
starting rate, of fixed, cosine and both plain plateaus. e is 0.5 % of the loss before training, so that a loss near
zero does not turn trifles into factors. 1 is perfect; a non-finite loss or a regret above 100 counts as 100.

The defaults are chosen on TUNING alone. REPORTING has other data or another target, and decides nothing. The error
given with a ratio is the standard error over the cells (a task with an optimizer), since the lanes of one cell are
far from independent; with so few cells it is itself rough.

Run it, about ten minutes on two cores; the second line prints what the constants in policy.py rest on:

    python examples/benchmarks/raise_defaults.py
    python examples/benchmarks/raise_defaults.py --constants

It needs jax, numpy and scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs

from keras_lrplateau import policy

EPOCHS = 120
SEEDS = 3
SETTINGS: tuple[dict[str, Any], ...] = ({"factor": 0.1, "patience": 10}, {"factor": 0.5, "patience": 5})
"""The plateau arguments that people use most; every policy is run with each of them."""

GRID = {"raise_factor": (2.0, 3.0, 10.0), "raise_after": (1, 2, 3), "max_raises": (1, 3, 6)}
"""What is tried, one argument at a time; the others keep their defaults."""

Arrays = tuple[np.ndarray, np.ndarray]
Tree = Any
"""A pytree of arrays whose first axes are the seed and the lane."""


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A network and its data: the first rows train, the next validate, the rest tests."""

    name: str
    load: Callable[[], Arrays]
    hidden: tuple[int, ...]
    train: int
    validate: int
    batch: int
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    label_noise: float = 0.0

    def split(self) -> tuple[Arrays, Arrays, Arrays]:
        """Training, validation and test data; inputs and real targets are scaled as the training rows say."""
        random = np.random.default_rng(0)
        x, y = self.load()
        order = random.permutation(len(x))
        x, y = x[order], y[order]
        # The bound is for pixels that are blank in almost all training rows, and not in the test rows.
        x = np.clip((x - x[: self.train].mean(0)) / (x[: self.train].std(0) + 1e-3), -3, 3)
        if y.dtype.kind == "f":
            y = ((y - y[: self.train].mean(0)) / (y[: self.train].std(0) + 1e-3)).astype(np.float32)
        else:
            wrong = random.random(self.train) < self.label_noise
            y[: self.train][wrong] = random.integers(0, y.max() + 1, wrong.sum())
        end = self.train + self.validate
        bounds = (slice(self.train), slice(self.train, end), slice(end, None))
        train, validate, test = ((x[rows].astype(np.float32), y[rows]) for rows in bounds)
        return train, validate, test


def _classes(load: Callable[..., Any]) -> Arrays:
    data = load()
    return data.data, data.target.astype(np.int32)


def _diabetes() -> Arrays:
    data = datasets.load_diabetes()
    return data.data * 20, data.target[:, None].astype(float)


def _digit_halves() -> Arrays:
    images = datasets.load_digits().data / 16
    return images[:, :32], images[:, 32:]


_digits, _wine, _cancer = (
    partial(_classes, load) for load in (datasets.load_digits, datasets.load_wine, datasets.load_breast_cancer)
)

TUNING = (
    Task("digits", _digits, (32,), train=480, validate=300, batch=32),
    Task("digits, 20 % wrong labels", _digits, (32,), train=480, validate=300, batch=32, label_noise=0.2),
    Task("diabetes", _diabetes, (16, 16), train=192, validate=100, batch=16),
    Task("wine, deep", _wine, (16, 16, 16, 16), train=80, validate=40, batch=8, activation="tanh"),
    # Sigmoid layers learn nothing for many epochs before they find a way: plateaus that are no end.
    Task("digits, deep sigmoid", _digits, (32, 32, 32), train=480, validate=300, batch=32, activation="sigmoid"),
    Task("wine, deep sigmoid", _wine, (16, 16, 16), train=80, validate=40, batch=8, activation="sigmoid"),
)
REPORTING = (
    Task("cancer", _cancer, (16,), train=192, validate=120, batch=16, activation="tanh"),
    Task("cancer, deep", _cancer, (16, 16, 16, 16), train=192, validate=120, batch=16),
    Task("lower half of digits from upper", _digit_halves, (32,), train=480, validate=300, batch=32),
    Task("cancer, deep sigmoid", _cancer, (16, 16, 16), train=192, validate=120, batch=16, activation="sigmoid"),
    Task("halves, deep sigmoid", _digit_halves, (32, 32, 32), train=480, validate=300, batch=32, activation="sigmoid"),
)

RATES = {
    "sgd": 10.0 ** np.arange(-4, 3),
    "momentum": 10.0 ** np.arange(-5, 2),
    "adam": 10.0 ** np.arange(-6, 1),
}
"""The starting rates of each optimizer: six decades around where people start."""


# --- networks and optimizers -----------------------------------------------------------------------------------------


def initial_weights(key: jax.Array, sizes: Sequence[int]) -> Tree:
    """Glorot's uniform weights and zero biases, as Keras has them."""
    layers = []
    for fan_in, fan_out, layer_key in zip(sizes, sizes[1:], jax.random.split(key, len(sizes) - 1), strict=False):
        bound = math.sqrt(6 / (fan_in + fan_out))
        weights = jax.random.uniform(layer_key, (fan_in, fan_out), minval=-bound, maxval=bound)
        layers.append((weights, jnp.zeros(fan_out)))
    return layers


def loss_of(activation: str, weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy for whole-number targets, mean squared error for real ones."""
    squash = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[activation]
    *hidden, (last_w, last_b) = weights
    for w, b in hidden:
        x = squash(x @ w + b)
    out = x @ last_w + last_b
    if jnp.issubdtype(y.dtype, jnp.floating):
        return jnp.mean((out - y) ** 2)
    # A one-hot product: a gather per lane is slow.
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(out) * jax.nn.one_hot(y, out.shape[-1]), axis=-1))


def update(optimizer: str, weights: Tree, memory: Tree, gradients: Tree, rate: jax.Array) -> tuple[Tree, Tree]:
    """One step of a Keras optimizer with its default arguments; "momentum" is SGD with momentum 0.9."""
    tree_map = jax.tree.map
    if optimizer == "sgd":
        return tree_map(lambda w, g: w - rate * g, weights, gradients), memory
    if optimizer == "momentum":
        velocity = tree_map(lambda v, g: 0.9 * v - rate * g, memory, gradients)
        return tree_map(jnp.add, weights, velocity), velocity
    count, mean, square = memory
    count = count + 1
    mean = tree_map(lambda m, g: m + 0.1 * (g - m), mean, gradients)
    square = tree_map(lambda s, g: s + 0.001 * (g * g - s), square, gradients)
    scale = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    return tree_map(lambda w, m, s: w - scale * m / (jnp.sqrt(s) + 1e-7), weights, mean, square), (count, mean, square)


def initial_memory(optimizer: str, weights: Tree) -> Tree:
    """What the optimizer remembers before its first step."""
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return {"sgd": (), "momentum": zeros, "adam": (jnp.zeros(()), zeros, zeros)}[optimizer]


# --- methods ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """How the rate goes: by the policy, or, without a config, along a schedule over the whole training."""

    name: str
    config: policy.Config | None = None
    schedule: Callable[[int], float] = lambda epoch: 1.0


BASELINES = (Method("fixed"), Method("cosine", schedule=lambda epoch: (1 + math.cos(math.pi * epoch / EPOCHS)) / 2))
PLAIN, RECOVERY, RAISING, OURS = "plain plateau", "recovery only", "raising only", "ours"


def policies(name: str, **changes: Any) -> list[Method]:
    """The same policy with each of SETTINGS."""
    return [Method(name, policy.Config(**setting, **changes)) for setting in SETTINGS]


def compared() -> list[Method]:
    """The methods of the reporting tasks."""
    return [
        *BASELINES,
        *policies(PLAIN, max_raises=0, recover=False),
        *policies(RECOVERY, max_raises=0),
        *policies(RAISING, recover=False),
        *policies(OURS),
    ]


def grid() -> list[Method]:
    """Ours with one argument at a time away from its default."""
    default = policy.Config()
    changes = [(name, value) for name, values in GRID.items() for value in values if value != getattr(default, name)]
    return [method for name, value in changes for method in policies(f"{name}={value:g}", **{name: value})]


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What came of one cell. Arrays have the axes method, starting rate, seed.

    Attributes:
        task: Name of the task.
        optimizer: Name of the optimizer.
        rates: The starting rates.
        methods: The methods, in the order of the first axis.
        test: The test loss of the weights left after training.
        test_before: The test loss before training, mean over the seeds.
        loss_before: The loss on the first batch before training.
        losses: The mean training loss of each epoch; the epoch is the first axis.
        decisions: The kinds of decision that each lane met, with their numbers.
    """

    task: str
    optimizer: str
    rates: np.ndarray
    methods: list[Method]
    test: np.ndarray
    test_before: float
    loss_before: np.ndarray
    losses: np.ndarray
    decisions: np.ndarray


def over_lanes(function: Callable[..., Any], lanes: Sequence[int | None]) -> Callable[..., Any]:
    """The function over (seed, lane); where `lanes` has None, the lanes of a seed share the argument."""
    return jax.vmap(jax.vmap(function, in_axes=tuple(lanes)))


def choose(mask: np.ndarray | jax.Array, chosen: Tree, other: Tree) -> Tree:
    """Lane by lane: `chosen` where the mask is set, `other` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 2)), a, b), chosen, other)


class Lanes:
    """The policy of every lane, and the snapshots that it asks for."""

    def __init__(self, configs: list[policy.Config | None], rates: np.ndarray, loss_before: np.ndarray, model: Tree):
        self.configs = configs
        self.rates = rates.copy()
        self.counts: list[list[dict[str, int]]] = [[{} for _ in configs] for _ in rates]
        self._choose = jax.jit(choose)
        self._snapshots: dict[str, Tree] = dict.fromkeys(("start", "best", "raise"), model)
        self._states: dict[tuple[int, int], policy.State] = {}
        for at in np.ndindex(*rates.shape):
            config = configs[at[1]]
            if config is not None:
                state = policy.start(config, float(rates[at]))
                self._states[at] = replace(state, loss_before=float(loss_before[at]))

    def observe(self, model: Tree, values: np.ndarray, losses: np.ndarray) -> Tree:
        """Let every policy see its epoch; returns weights and optimizer state with all rollbacks made."""
        return self._carry_out(
            model, lambda config, state, at: policy.step(config, state, float(values[at]), float(losses[at]))
        )

    def finish(self, model: Tree) -> Tree:
        """The end of training; returns the weights that the users keep."""
        return self._carry_out(model, lambda config, state, at: policy.finish(config, state))

    def _carry_out(self, model: Tree, decide: Callable[[Any, policy.State, tuple[int, int]], policy.Step]) -> Tree:
        saves: dict[str, np.ndarray] = {}
        restores: dict[str, np.ndarray] = {}
        for at, state in self._states.items():
            self._states[at], decision = decide(self.configs[at[1]], state, at)
            self.rates[at] = decision.rate
            counts = self.counts[at[0]][at[1]]
            counts[decision.kind] = counts.get(decision.kind, 0) + 1
            for masks, snapshot in ((saves, decision.save), (restores, decision.restore)):
                if snapshot is not None:
                    masks.setdefault(snapshot, np.zeros(self.rates.shape, bool))[at] = True
        # Saves first: what a decision saves is the model as it was before anything is restored.
        for name, mask in saves.items():
            self._snapshots[name] = self._choose(mask, model, self._snapshots[name])
        for name, mask in restores.items():
            model = self._choose(mask, self._snapshots[name], model)
        return model


def train(task: Task, optimizer: str, methods: list[Method], seeds: int = SEEDS) -> Result:
    """Train every method from every starting rate with every seed."""
    starts = RATES[optimizer]
    (x, y), validation, test = task.split()
    lanes = [(method, rate) for method in methods for rate in starts]
    outputs = y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    sizes = (x.shape[1], *task.hidden, outputs)
    loss = partial(loss_of, task.activation)
    keys = jax.random.split(jax.random.key(1), seeds)

    weights = jax.vmap(partial(initial_weights, sizes=sizes))(keys)
    weights = jax.tree.map(lambda a: jnp.repeat(a[:, None], len(lanes), axis=1), weights)
    model = (weights, over_lanes(partial(initial_memory, optimizer), (0,))(weights))

    def batches(epoch: int) -> jax.Array:
        """Rows of each batch, shuffled anew for every seed and epoch. Axes: batch, seed, row."""
        orders = jax.vmap(lambda key: jax.random.permutation(jax.random.fold_in(key, epoch), len(x)))(keys)
        rows = orders[:, : len(x) // task.batch * task.batch]
        return rows.reshape(seeds, -1, task.batch).swapaxes(0, 1)

    def lane_step(weights: Tree, memory: Tree, rate: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        return update(optimizer, weights, memory, gradients, rate), value

    all_step = over_lanes(lane_step, (0, 0, 0, None, None))

    @jax.jit
    def run_epoch(model: Tree, rates: jax.Array, epoch: int) -> tuple[Tree, jax.Array, jax.Array]:
        def step(model: Tree, rows: jax.Array) -> tuple[Tree, jax.Array]:
            stepped: tuple[Tree, jax.Array] = all_step(*model, rates, jnp.asarray(x)[rows], jnp.asarray(y)[rows])
            return stepped

        model, losses = jax.lax.scan(step, model, batches(epoch))
        values: jax.Array = evaluate(model[0], *validation)
        return model, losses.mean(0), values

    @jax.jit
    def evaluate(weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vmap(jax.vmap(loss, in_axes=(0, None, None)), in_axes=(0, None, None))(weights, x, y)

    first = batches(0)[0]
    loss_before = np.asarray(over_lanes(loss, (0, None, None))(weights, jnp.asarray(x)[first], jnp.asarray(y)[first]))
    test_before = float(evaluate(weights, *test).mean())
    rates = np.tile(np.array([rate for _, rate in lanes]), (seeds, 1))
    control = Lanes([method.config for method, _ in lanes], rates, loss_before, model)
    all_losses = []
    for epoch in range(EPOCHS):
        schedule = np.array([method.schedule(epoch) for method, _ in lanes])
        model, losses, values = run_epoch(model, (control.rates * schedule).astype(np.float32), epoch)
        all_losses.append(np.asarray(losses))
        model = control.observe(model, np.asarray(values, float), all_losses[-1])
    model = control.finish(model)

    def by_method(lanes: Any) -> np.ndarray:
        return np.moveaxis(np.asarray(lanes).reshape(seeds, len(methods), len(starts)), 0, -1)

    return Result(
        task.name,
        optimizer,
        starts,
        methods,
        by_method(evaluate(model[0], *test)),
        test_before,
        by_method(loss_before),
        np.stack([by_method(losses) for losses in all_losses]),
        by_method(control.counts),
    )


# --- scores ----------------------------------------------------------------------------------------------------------


def regrets(result: Result) -> np.ndarray:
    """The regret of every lane. Axes: method, starting rate, seed."""
    tolerance = 0.005 * result.test_before
    rivals = [i for i, method in enumerate(result.methods) if method.config is None or method.name == PLAIN]
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
        config = method.config
        return method.name == name and (
            setting is None or config is None or all(getattr(config, k) == v for k, v in setting.items())
        )

    return [regrets(r)[[i for i, method in enumerate(r.methods) if wanted(method)]] for r in results]


def geometric_mean(values: np.ndarray) -> float:
    """The geometric mean over all axes."""
    return float(np.exp(np.mean(np.log(values))))


def ratio(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    """The geometric mean of the lanes' paired ratios, with its standard error over the cells."""
    logs = [float(np.mean(np.log(a) - np.log(b))) for a, b in zip(ours, theirs, strict=True)]
    mean = math.exp(float(np.mean(logs)))
    return f"{mean:.3f} ± {mean * float(np.std(logs, ddof=1)) / math.sqrt(len(logs)):.3f}"


# --- tables ----------------------------------------------------------------------------------------------------------


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))


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


def print_raises(title: str, results: list[Result]) -> None:
    """Cell by cell, what raising did to the lanes that were raised: ours against recovery only, lane by lane."""
    rows = []
    for result in results:
        (ours,), (rival,) = pick([result], OURS), pick([result], RECOVERY)
        counts = result.decisions[[i for i, method in enumerate(result.methods) if method.name == OURS]]
        raises, successes = (
            np.array([lane.get(kind, 0) for lane in counts.flat]).reshape(counts.shape) for kind in ("raise", "success")
        )
        raised = raises > 0
        change = ours[raised] / rival[raised]
        better, worse = (int(np.sum(side)) for side in (change < 0.98, change > 1.02))
        rows.append(
            [
                f"{result.task}, {result.optimizer}",
                f"{raised.sum()} of {raised.size}",
                str(raises.sum()),
                str(successes.sum()),
                str(better),
                str(worse),
                f"{geometric_mean(change):.3f}" if change.size else "-",
            ]
        )
    table(title, ("cell", "raised lanes", "raises", "successes", "2 % better", "2 % worse", "ratio"), rows)


def print_constants(seeds: int) -> None:
    """On the tuning tasks: how far the training loss rises, and what a divergence had better cut by."""
    peaks, scores = [], []
    for result in (train(task, opt, list(compared()), seeds) for task in TUNING for opt in RATES):
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
    for hard_cut in (0.3, 0.1, policy.HARD_CUT, 0.01):
        policy.HARD_CUT = hard_cut
        results = [train(task, opt, compared(), seeds) for task in TUNING for opt in RATES]
        high = [cell[:, from_best_fixed(r) >= 1] for r, cell in zip(results, pick(results, RECOVERY), strict=True)]
        rows.append([f"{hard_cut:g}", f"{geometric_mean(np.concatenate([cell.ravel() for cell in high])):.3f}"])
    table("Regret of recovery only from rates at least a decade too high, by HARD_CUT", ("HARD_CUT", "regret"), rows)


def main() -> None:
    """Train everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds per starting rate (default: %(default)s)")
    parser.add_argument("--constants", action="store_true", help="print what the constants in policy.py rest on")
    arguments = parser.parse_args()
    if arguments.constants:
        print_constants(arguments.seeds)
        return
    began = time.perf_counter()

    def train_all(tasks: Sequence[Task], methods: list[Method]) -> list[Result]:
        results = []
        for task, optimizer in itertools.product(tasks, RATES):
            results.append(train(task, optimizer, methods, arguments.seeds))
            print(f"{time.perf_counter() - began:.0f} s: {task.name}, {optimizer}", file=sys.stderr)
        return results

    tuning = train_all(TUNING, compared() + grid())
    reporting = train_all(REPORTING, compared())

    default = policy.Config()
    names = [*(method.name for method in BASELINES), PLAIN, RECOVERY, RAISING, OURS]
    points = list(dict.fromkeys(method.name for method in grid()))
    chosen = ", ".join(f"{name}={getattr(default, name):g}" for name in GRID)
    print(f"ours: {chosen}")
    print_summary("Tuning tasks: one argument changed at a time", tuning, [*names, *points])
    print_by_rate("Tuning tasks: regret, by decades above the best fixed rate", tuning, [*names, *points])
    print_raises("Tuning tasks: what raising changes (ours against recovery only, raised lanes)", tuning)
    for setting in SETTINGS:
        print_summary(f"Reporting tasks, {setting}", reporting, names, setting)
    print_by_rate("Reporting tasks: regret, by decades above the best fixed rate", reporting, names)
    print_raises("Reporting tasks: what raising changes (ours against recovery only, raised lanes)", reporting)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
