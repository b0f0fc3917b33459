"""Small networks trained side by side, for the benchmarks in this folder; nothing to run here.

A method, a starting rate and a seed make a *lane*. All lanes of a task are trained at once under `jax.vmap`, and meet
the same initial weights, the same batches and the same data. After each epoch every lane's policy sees its own metric,
and what it decides is carried out: the rate, and the snapshots of weights and optimizer state.

Needs jax, numpy and scikit-learn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import datasets  # type: ignore[import-untyped]  # scikit-learn has no stubs

from keras_lrplateau.rule.decision import Evidence, Rule

Arrays = tuple[np.ndarray, np.ndarray]
Tree = Any
"""A pytree of arrays whose first axes are the seed and the lane."""

# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A network and its data: the first rows train, the next validate, the rest tests.

    Attributes:
        name: What the tables call it.
        load: Gives inputs and targets: whole numbers are classes, floats are to be predicted.
        hidden: Widths of the hidden layers.
        train: Rows to train on.
        validate: Rows to validate on.
        batch: Rows in a batch.
        activation: Of the hidden layers.
        label_noise: Share of the training rows that get a random class.
        monitor: The validation metric that the policies see.
        filters: 3x3 filters of a convolution with 2x2 max pooling, in front of the hidden layers; 0 for none.
    """

    name: str
    load: Callable[[], Arrays]
    hidden: tuple[int, ...]
    train: int
    validate: int
    batch: int
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    label_noise: float = 0.0
    monitor: Literal["loss", "accuracy"] = "loss"
    filters: int = 0

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
        if self.filters:
            x = _patches(x)
        end = self.train + self.validate
        bounds = (slice(self.train), slice(self.train, end), slice(end, None))
        train, validate, test = ((x[rows].astype(np.float32), y[rows]) for rows in bounds)
        return train, validate, test


def _patches(x: np.ndarray) -> np.ndarray:
    """The 3x3 neighbourhoods of 8x8 images, for a convolution by matrix product. Axes: image, place, pixel."""
    images = x.reshape(-1, 8, 8)
    shifted = [images[:, i : i + 6, j : j + 6].reshape(-1, 36) for i in range(3) for j in range(3)]
    return np.stack(shifted, axis=-1)


def classes(load: Callable[..., Any]) -> Arrays:
    """A classification set of scikit-learn."""
    data = load()
    return data.data, data.target.astype(np.int32)


def digit_halves() -> Arrays:
    """The lower half of each digit, to be predicted from the upper one."""
    images = datasets.load_digits().data / 16
    return images[:, :32], images[:, 32:]


def diabetes() -> Arrays:
    """The progress of the disease."""
    data = datasets.load_diabetes()
    return data.data * 20, data.target[:, None].astype(float)


def column(load: Callable[[], Any], index: int) -> Arrays:
    """One measurement, to be predicted from all others."""
    data = load().data
    return np.delete(data, index, axis=1), data[:, [index]]


def odd_digits() -> Arrays:
    """Whether a digit is odd."""
    x, y = classes(datasets.load_digits)
    return x, y % 2


# The classes of the wines are left out: with so few rows, one odd wine among them decides the test loss.
alcohol = partial(column, datasets.load_wine, 0)
proline = partial(column, datasets.load_wine, 12)
body_mass = partial(column, datasets.load_diabetes, 2)
digits, cancer = (partial(classes, load) for load in (datasets.load_digits, datasets.load_breast_cancer))

# --- networks and optimizers -----------------------------------------------------------------------------------------


def initial_weights(key: jax.Array, task: Task, inputs: int, outputs: int) -> Tree:
    """Glorot's uniform weights and zero biases, as Keras has them."""
    shapes = [(9, task.filters, 9 * task.filters)] if task.filters else []
    sizes = (9 * task.filters if task.filters else inputs, *task.hidden, outputs)
    shapes += [(before, after, after) for before, after in itertools.pairwise(sizes)]
    layers = []
    for (fan_in, fan_out, reach), layer_key in zip(shapes, jax.random.split(key, len(shapes)), strict=True):
        bound = math.sqrt(6 / (fan_in + reach))
        weights = jax.random.uniform(layer_key, (fan_in, fan_out), minval=-bound, maxval=bound)
        layers.append((weights, jnp.zeros(fan_out)))
    return layers


def output_of(task: Task, weights: Tree, x: jax.Array) -> jax.Array:
    """Logits, or predictions."""
    squash = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[task.activation]
    *hidden, (last_w, last_b) = weights
    if task.filters:
        (w, b), *hidden = hidden
        places = squash(x @ w + b).reshape(-1, 3, 2, 3, 2, task.filters)
        x = places.max(axis=(2, 4)).reshape(len(x), -1)
    for w, b in hidden:
        x = squash(x @ w + b)
    out: jax.Array = x @ last_w + last_b
    return out


def loss_of(task: Task, weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy for classes, mean squared error for real targets."""
    out = output_of(task, weights, x)
    if jnp.issubdtype(y.dtype, jnp.floating):
        return jnp.mean((out - y) ** 2)
    # A one-hot product: a gather per lane is slow.
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(out) * jax.nn.one_hot(y, out.shape[-1]), axis=-1))


def accuracy_of(task: Task, weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
    """The share of right classes."""
    return jnp.mean(jnp.argmax(output_of(task, weights, x), axis=-1) == y)


@dataclass(frozen=True)
class Optimizer:
    """`start` gives the memory for weights, `update` one step, `weights` what is evaluated and kept."""

    name: str
    start: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, jax.Array], tuple[Tree, Tree]]
    evaluated: Callable[[Tree, Tree], Tree] = lambda weights, memory: weights


def _sgd(weights: Tree, memory: Tree, gradients: Tree, rate: jax.Array) -> tuple[Tree, Tree]:
    return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), memory


def _momentum(weights: Tree, memory: Tree, gradients: Tree, rate: jax.Array) -> tuple[Tree, Tree]:
    velocity = jax.tree.map(lambda v, g: 0.9 * v - rate * g, memory, gradients)
    return jax.tree.map(jnp.add, weights, velocity), velocity


def _adam(weights: Tree, memory: Tree, gradients: Tree, rate: jax.Array) -> tuple[Tree, Tree]:
    count, mean, square = memory
    count = count + 1
    mean = jax.tree.map(lambda m, g: m + 0.1 * (g - m), mean, gradients)
    square = jax.tree.map(lambda s, g: s + 0.001 * (g * g - s), square, gradients)
    scale = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(lambda w, m, s: w - scale * m / (jnp.sqrt(s) + 1e-7), weights, mean, square)
    return weights, (count, mean, square)


def _zeros(weights: Tree) -> Tree:
    return jax.tree.map(jnp.zeros_like, weights)


SGD = Optimizer("sgd", lambda weights: (), _sgd)
MOMENTUM = Optimizer("momentum", _zeros, _momentum)
ADAM = Optimizer("adam", lambda weights: (jnp.zeros(()), _zeros(weights), _zeros(weights)), _adam)
"""Keras' optimizers with their default arguments; "momentum" is SGD with momentum 0.9."""

RATES = {
    "sgd": 10.0 ** np.arange(-4, 3),
    "momentum": 10.0 ** np.arange(-5, 2),
    "adam": 10.0 ** np.arange(-6, 1),
}
"""The starting rates of each optimizer: six decades around where people start."""

# --- methods ---------------------------------------------------------------------------------------------------------

SETTINGS: tuple[dict[str, Any], ...] = ({"factor": 0.1, "patience": 10}, {"factor": 0.5, "patience": 5})
"""The plateau arguments that people use most."""


def constant(epoch: int, epochs: int) -> float:
    """Always 1."""
    return 1.0


def cosine(epoch: int, epochs: int) -> float:
    """From 1 to 0."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


@dataclass(frozen=True)
class Method:
    """How the rate goes.

    Attributes:
        name: What the tables call it.
        rule: `keras_lrplateau.Config`, or anything else with its methods; None for a schedule.
        schedule: The share of the starting rate that is used in an epoch, from its number and that of all epochs.
    """

    name: str
    rule: Any = None
    schedule: Callable[[int, int], float] = constant

    def for_length(self, epochs: int) -> Method:
        """The method for a training of this many epochs."""
        return replace(self, rule=self.rule.for_length(epochs)) if isinstance(self.rule, Rule) else self


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What came of one cell. Arrays have the axes method, starting rate, seed; curves have the epoch in front.

    Attributes:
        task: The task.
        optimizer: Name of the optimizer.
        rates: The starting rates.
        methods: The methods.
        test: The test loss of the weights left after training.
        test_at_best: The test loss of the weights with the best validation metric.
        test_before: The test loss before training, mean over the seeds.
        loss_before: The loss on the first batch before training.
        tests: The test loss after each epoch.
        losses: The mean training loss of each epoch.
        values: The monitored metric after each epoch.
        decisions: All decisions of each lane, in a list.
    """

    task: Task
    optimizer: str
    rates: np.ndarray
    methods: list[Method]
    test: np.ndarray
    test_at_best: np.ndarray
    test_before: float
    loss_before: np.ndarray
    tests: np.ndarray
    losses: np.ndarray
    values: np.ndarray
    decisions: np.ndarray


def over_lanes(function: Callable[..., Any], lanes: Sequence[int | None]) -> Callable[..., Any]:
    """The function over (seed, lane); where `lanes` has None, the lanes of a seed share the argument."""
    return jax.vmap(jax.vmap(function, in_axes=tuple(lanes)))


def choose(mask: np.ndarray | jax.Array, chosen: Tree, other: Tree) -> Tree:
    """Lane by lane: `chosen` where the mask is set, `other` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 2)), a, b), chosen, other)


class Lanes:
    """The policy of every lane, and the snapshots that it asks for."""

    def __init__(self, methods: list[Method], rates: np.ndarray, loss_before: np.ndarray, model: Tree):
        self.methods = methods
        self.rates = rates.copy()
        self.decisions = np.frompyfunc(lambda _: [], 1, 1)(rates)
        self._choose = jax.jit(choose)
        self._snapshots: dict[str, Tree] = {"start": model}
        self._states: dict[tuple[int, int], Any] = {}
        for at in np.ndindex(*rates.shape):
            method = methods[at[1]]
            if method.rule is not None:
                state = method.rule.start(float(rates[at]))
                known = {"loss_before": float(loss_before[at])} if hasattr(state, "loss_before") else {}
                self._states[at] = replace(state, **known)

    def observe(
        self,
        model: Tree,
        values: np.ndarray,
        losses: np.ndarray,
        firsts: np.ndarray,
        finite: np.ndarray,
        val_losses: np.ndarray | None,
    ) -> Tree:
        """Let every policy see its epoch; returns weights and optimizer state with all rollbacks made.

        Args:
            model: Weights and optimizer state.
            values: The monitored metric.
            losses: The mean training loss.
            firsts: The loss on the first batch of the epoch.
            finite: Whether all weights are finite.
            val_losses: The validation's loss, where the metric is another one; None where it is the metric.
        """

        def decide(method: Method, state: Any, at: tuple[int, int]) -> Any:
            # The first batch of a training gives the loss before it, and speaks of no observation.
            first = float(firsts[at]) if self.decisions[at] else None
            val_loss = float((values if val_losses is None else val_losses)[at])
            evidence = Evidence(first, bool(finite[at]), val_loss=val_loss)
            return method.rule.step(state, float(values[at]), float(losses[at]), evidence)

        return self._carry_out(model, decide)

    def finish(self, model: Tree) -> Tree:
        """The end of training; returns the weights that the users keep."""
        return self._carry_out(model, lambda method, state, at: method.rule.finish(state))

    def _carry_out(self, model: Tree, decide: Callable[[Method, Any, tuple[int, int]], Any]) -> Tree:
        keeps: dict[str, np.ndarray] = {}
        saves: dict[str, np.ndarray] = {}
        restores: dict[str, np.ndarray] = {}
        for at, state in self._states.items():
            self._states[at], decision = decide(self.methods[at[1]], state, at)
            self.rates[at] = decision.rate
            self.decisions[at].append(decision)
            kept = getattr(decision, "keep", None)
            for masks, snapshot in ((keeps, kept), (saves, decision.save), (restores, decision.restore)):
                if snapshot is not None:
                    masks.setdefault(snapshot, np.zeros(self.rates.shape, bool))[at] = True
        for name, mask in keeps.items():
            self._snapshots["best"] = self._choose(mask, self._snapshots[name], self._snapshots.get("best", model))
        # Saves first: what a decision saves is the model as it was before anything is restored.
        for name, mask in saves.items():
            self._snapshots[name] = self._choose(mask, model, self._snapshots.get(name, model))
        for name, mask in restores.items():
            model = self._choose(mask, self._snapshots[name], model)
        return model


def _batches(task: Task, key: jax.Array, epoch: int) -> jax.Array:
    """Rows of each batch of an epoch; what does not fill a batch is left out. Axes: batch, row."""
    order = jax.random.permutation(jax.random.fold_in(key, epoch), task.train)
    return order[: task.train // task.batch * task.batch].reshape(-1, task.batch)


def lane_of(task: Task, seed: int) -> tuple[Tree, Callable[[int], jax.Array]]:
    """The initial weights of the lanes with that seed, and the rows of each batch by epoch, to train one elsewhere."""
    (x, y), _, _ = task.split()
    key = jax.random.key(seed)
    return initial_weights(key, task, x.shape[-1], outputs_of(y)), partial(_batches, task, key)


def outputs_of(y: np.ndarray) -> int:
    """How many outputs a network needs for these targets."""
    return y.shape[1] if y.ndim == 2 else int(y.max()) + 1


def train(
    task: Task,
    optimizer: Optimizer,
    methods: list[Method],
    starts: np.ndarray,
    epochs: int,
    seeds: Sequence[int] | jax.Array,
) -> Result:
    """Train every method from every starting rate with every seed; instead of whole numbers, seeds may be jax' keys."""
    (x, y), validation, test = task.split()
    lanes = [(method, rate) for method in methods for rate in starts]
    outputs = outputs_of(y)
    loss = partial(loss_of, task)
    monitored = {"loss": loss, "accuracy": partial(accuracy_of, task)}[task.monitor]
    keys = seeds if isinstance(seeds, jax.Array) else jax.vmap(jax.random.key)(jnp.asarray(seeds))

    weights = jax.vmap(partial(initial_weights, task=task, inputs=x.shape[-1], outputs=outputs))(keys)
    weights = jax.tree.map(lambda a: jnp.repeat(a[:, None], len(lanes), axis=1), weights)
    model = (weights, over_lanes(optimizer.start, (0,))(weights))

    def batches(epoch: int) -> jax.Array:
        """Rows of each batch, shuffled again for every seed and epoch. Axes: batch, seed, row."""
        return jax.vmap(lambda key: _batches(task, key, epoch))(keys).swapaxes(0, 1)

    def lane_step(weights: Tree, memory: Tree, rate: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        return optimizer.update(weights, memory, gradients, rate), value

    all_step = over_lanes(lane_step, (0, 0, 0, None, None))

    def over_model(function: Callable[..., jax.Array], model: Tree, x: np.ndarray, y: np.ndarray) -> jax.Array:
        def one(weights: Tree, memory: Tree) -> jax.Array:
            return function(optimizer.evaluated(weights, memory), x, y)

        return over_lanes(one, (0, 0))(*model)  # type: ignore[no-any-return]

    @jax.jit
    def run_epoch(model: Tree, rates: jax.Array, epoch: int) -> tuple[Tree, ...]:
        def step(model: Tree, rows: jax.Array) -> tuple[Tree, jax.Array]:
            stepped: tuple[Tree, jax.Array] = all_step(*model, rates, jnp.asarray(x)[rows], jnp.asarray(y)[rows])
            return stepped

        model, losses = jax.lax.scan(step, model, batches(epoch))
        weights, _ = model
        finite = jnp.stack([jnp.isfinite(w).all(axis=range(2, w.ndim)) for w in jax.tree.leaves(weights)]).all(axis=0)
        values = over_model(monitored, model, *validation)
        others = () if monitored is loss else (over_model(loss, model, *validation),)
        return model, losses.mean(0), values, test_loss(model), losses[0], finite, *others

    @jax.jit
    def test_loss(model: Tree) -> jax.Array:
        # Lane after lane: all at once are too much for the cache, and take up to four times as long.
        flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), model)
        x, y = map(jnp.asarray, test)
        losses: jax.Array = jax.lax.map(lambda lane: loss(optimizer.evaluated(*lane), x, y), flat)
        return losses.reshape(len(keys), len(lanes))

    first = batches(0)[0]
    loss_before = np.asarray(over_lanes(loss, (0, None, None))(weights, jnp.asarray(x)[first], jnp.asarray(y)[first]))
    test_before = float(test_loss(model).mean())
    rates = np.tile(np.array([rate for _, rate in lanes], float), (len(seeds), 1))
    control = Lanes([method.for_length(epochs) for method, _ in lanes], rates, loss_before, model)
    curves: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for epoch in range(epochs):
        schedule = np.array([method.schedule(epoch, epochs) for method, _ in lanes])
        model, *curve = run_epoch(model, (control.rates * schedule).astype(np.float32), epoch)
        losses, values, tests, firsts, finite, *others = (np.asarray(numbers, float) for numbers in curve)
        curves.append((losses, values, tests))
        model = control.observe(model, values, losses, firsts, finite, *(others or [None]))
    model = control.finish(model)
    losses, values, tests = (np.stack(numbers) for numbers in zip(*curves, strict=True))
    signed = -values if task.monitor == "accuracy" else values
    best = np.where(np.isfinite(signed), signed, np.inf).argmin(axis=0)

    def by_method(lanes: Any) -> np.ndarray:
        lanes = np.asarray(lanes)
        return np.moveaxis(lanes.reshape(*lanes.shape[:-1], len(methods), len(starts)), -3, -1)

    return Result(
        task,
        optimizer.name,
        starts,
        methods,
        by_method(test_loss(model)),
        by_method(np.take_along_axis(tests, best[None], axis=0)[0]),
        test_before,
        by_method(loss_before),
        by_method(tests),
        by_method(losses),
        by_method(values),
        by_method(control.decisions),
    )
