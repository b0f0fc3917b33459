"""How far from the best possible schedule does a training end, and how much does its starting rate matter?

Measured on a model of training whose best schedule can be computed: the noisy quadratic model (Zhang et al. 2019,
"Which algorithmic choices matter at which batch sizes?"). SGD walks down a quadratic bowl with the curvatures h_i = 1/i
in 1000 directions, and the noise of its gradients has the variance h_i. Only the mean squared distances s_i from the
optimum are followed, so nothing here is sampled: from s_i = 1, a step with the rate a makes

    s_i <- (1 - a h_i)^2 s_i + a^2 h_i,        and the loss is the sum of h_i s_i / 2.

A high rate is needed to get anywhere in the flat directions, a low one to get rid of the noise; above 2 it diverges.
A training has 100 epochs of 10 steps. After each epoch a method observes the loss, and may set the rate and save or
restore s. What it observes is off by a relative error, a new one each time, of 0 to 20 %. The training loss is the mean
over the steps of an epoch of the loss before each. Each of these has such an error of its own, so the mean is off by
less: by that error / sqrt(10). The methods meet the same errors:

    fixed, cosine       the rate as given; the rate annealed to zero over the known number of epochs
    plain plateau       our rule with `max_raises=0, recover=False`: what Keras' ReduceLROnPlateau does
    ours                our rule with its defaults
    GreedyLR            the one of Hugging Face transformers, with its defaults
    auto                our auto mode, told the number of epochs and nothing else

A score is the loss at the end / the loss at the end of the best schedule with one rate for each epoch. That schedule is
found by gradient descent through the recursion, from several starts; how far apart they end is printed, and a bound
that it must be above: with normal noise, no use of 1000 such gradients can bring the expected loss below the sum of
h_i / (1 + 1000 h_i) / 2, which is what they leave unknown of the optimum. 1 is perfect, 8.2 is the loss before
training; whatever is not finite or above 100 counts as 100.

Run it, about a minute:

    python examples/benchmarks/noisy_quadratic.py

It needs jax, numpy, scikit-learn and scipy.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from greedy import GreedyLR, SetRate
from lanes import SETTINGS
from scipy import optimize  # type: ignore[import-untyped]  # scipy has no stubs
from tables import geometric_mean, table

from keras_lrplateau.rule import auto, plateau

EPOCHS = 100
STEPS = 10
CURVATURES = 1 / np.arange(1.0, 1001.0)
RATES = 10.0 ** np.arange(-2, 2.5, 0.5)
TUNING_RATES = 10.0 ** np.arange(-2, 0.35, 0.1)
"""Where the best rate in hindsight is looked for: all that do not diverge."""

NOISES = (0.0, 0.01, 0.05, 0.2)
SEEDS = 20
WORST = 100.0


# --- the model -------------------------------------------------------------------------------------------------------


def loss_of(s: np.ndarray) -> np.ndarray:
    """The loss of every lane; the last axis of s is the direction."""
    loss: np.ndarray = s @ CURVATURES / 2
    return loss


def train_epoch(s: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One epoch of every lane: the new s, and the mean of the losses before each step."""
    keep = (1 - rates[:, None] * CURVATURES) ** 2
    add = rates[:, None] ** 2 * CURVATURES
    losses = np.zeros(len(rates))
    for _ in range(STEPS):
        losses += loss_of(s) / STEPS
        s = keep * s + add
    return s, losses


# --- the best schedule -----------------------------------------------------------------------------------------------


class Optimum(NamedTuple):
    """The best schedule with one rate for each epoch.

    Attributes:
        loss: The loss at its end.
        rates: Its rates.
        losses: The loss at the end of the schedule that each start led to.
        slope: The largest derivative of log(loss) by the log of one of its rates.
    """

    loss: float
    rates: np.ndarray
    losses: np.ndarray
    slope: float


@cache
def optimum() -> Optimum:
    """The best schedule, by L-BFGS on the logs of the rates from constant, cosine and random schedules."""

    def log_loss(log_rates: jax.Array) -> jax.Array:
        def epoch(s: jax.Array, rate: jax.Array) -> tuple[jax.Array, None]:
            for _ in range(STEPS):
                s = (1 - rate * CURVATURES) ** 2 * s + rate**2 * CURVATURES
            return s, None

        s, _ = jax.lax.scan(epoch, jnp.ones(CURVATURES.size), jnp.exp(log_rates))
        return jnp.log(s @ CURVATURES / 2)

    random = np.random.default_rng(0)
    cosine = (1 + np.cos(np.pi * np.arange(EPOCHS) / EPOCHS)) / 2
    starts = [*(np.full(EPOCHS, rate) for rate in (0.01, 0.1, 1.0)), 0.1 * cosine, cosine]
    starts += [10 ** random.uniform(-3, 0.3, EPOCHS) for _ in range(5)]

    def descend(start: np.ndarray) -> Any:
        return optimize.minimize(
            lambda x: tuple(map(np.asarray, slope(x))),
            np.log(start),
            jac=True,
            method="L-BFGS-B",
            # Above 2 the steepest direction diverges. The rates found are far from both bounds.
            bounds=[(math.log(1e-6), math.log(2))] * EPOCHS,
            options={"maxcor": 30, "maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-9},
        )

    slope = jax.jit(jax.value_and_grad(log_loss))
    # Only here: whoever imports this keeps the precision that they have.
    double = jnp.result_type(float) == np.float64
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # not annotated in jax
    try:
        found = [descend(start) for start in starts]
    finally:
        jax.config.update("jax_enable_x64", double)  # type: ignore[no-untyped-call]
    best = min(found, key=lambda result: float(result.fun))
    losses = np.exp([float(result.fun) for result in found])
    return Optimum(float(losses.min()), np.exp(best.x), losses, float(np.abs(best.jac).max()))


# --- methods ---------------------------------------------------------------------------------------------------------


class Rule(Protocol):
    """What every rule here has, ours among them."""

    def start(self, rate: float) -> Any:
        """The state before the first observation."""

    def step(self, state: Any, value: float, loss: float | None = None) -> Any:
        """The state after an observation, and a decision with `rate`, `save` and `restore`."""

    def finish(self, state: Any) -> Any:
        """The same at the end of training."""


@dataclass(frozen=True)
class Schedule:
    """A schedule as a rule: the multiplier of the starting rate, by epoch."""

    multiplier: Callable[[int], float]

    class State(NamedTuple):
        """The starting rate, and how many epochs are over."""

        rate: float
        epoch: int = 0

    def start(self, rate: float) -> State:
        """The state before the first epoch."""
        return Schedule.State(rate)

    def step(self, state: State, value: float, loss: float | None = None) -> tuple[State, SetRate]:
        """On to the next epoch, whatever was observed."""
        state = state._replace(epoch=state.epoch + 1)
        return state, SetRate(state.rate * self.multiplier(state.epoch))

    def finish(self, state: State) -> tuple[State, SetRate]:
        """Nothing to do."""
        return state, SetRate(state.rate * self.multiplier(state.epoch))


class Method(NamedTuple):
    """A rule, and what the tables call it."""

    name: str
    rule: Rule


def _constant(epoch: int) -> float:
    return 1.0


def _cosine(epoch: int) -> float:
    return (1 + math.cos(math.pi * epoch / EPOCHS)) / 2


def _with_settings(name: str, **changes: Any) -> list[Method]:
    """Our rule with each of the plateau arguments that people use most."""
    configs = [plateau.Config(**setting, **changes) for setting in SETTINGS]
    return [Method(f"{name} {config.factor:g}/{config.patience}", config) for config in configs]


RIVALS = (
    Method("fixed", Schedule(_constant)),
    Method("cosine", Schedule(_cosine)),
    *_with_settings("plain plateau", max_raises=0, recover=False),
)
"""What people tune the rate of."""

METHODS = (
    *RIVALS,
    *_with_settings("ours"),
    Method("GreedyLR", GreedyLR()),
    Method("auto", auto.Config(observations=EPOCHS)),
)


# --- training --------------------------------------------------------------------------------------------------------


def run(rule: Rule, rates: np.ndarray, noise: float, seeds: int) -> np.ndarray:
    """Train from every starting rate with every seed.

    Args:
        rule: What sets the rate.
        rates: The starting rates.
        noise: The relative standard error of the metric and of the training loss of one step.
        seeds: How many series of errors; the same for every rule and every rate.

    Returns:
        The scores. Axes: starting rate, seed.
    """
    lanes = [float(rate) for rate in rates for _ in range(seeds)]
    errors = np.stack([np.random.default_rng(seed).standard_normal((EPOCHS, 2)) for seed in range(seeds)], axis=1)
    errors = 1 + noise * np.array([1, 1 / math.sqrt(STEPS)]) * np.tile(errors, (1, len(rates), 1))

    s = np.ones((len(lanes), CURVATURES.size))
    snapshots = [{"start": s[0].copy()} for _ in lanes]
    states = [rule.start(rate) for rate in lanes]
    if hasattr(states[0], "loss_before"):
        states = [replace(state, loss_before=float(loss_of(s[0]))) for state in states]

    def carry_out(lane: int, step: Any) -> None:
        states[lane], decision = step
        lanes[lane] = decision.rate
        if decision.save is not None:
            snapshots[lane][decision.save] = s[lane].copy()
        if decision.restore is not None:
            s[lane] = snapshots[lane][decision.restore]

    # Where training diverges, s overflows, and what comes of that is not a number.
    with np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(EPOCHS):
            s, losses = train_epoch(s, np.array(lanes))
            values = loss_of(s) * errors[epoch, :, 0]
            losses = losses * errors[epoch, :, 1]
            for lane, state in enumerate(states):
                carry_out(lane, rule.step(state, float(values[lane]), float(losses[lane])))
        for lane, state in enumerate(states):
            carry_out(lane, rule.finish(state))
        scores = np.nan_to_num(loss_of(s) / optimum().loss, nan=WORST).clip(max=WORST)
    by_rate: np.ndarray = scores.reshape(len(rates), seeds)
    return by_rate


# --- tables ----------------------------------------------------------------------------------------------------------


def print_optimum() -> None:
    """The best schedule, and what says that it is the best."""
    best = optimum()
    bound = np.sum(CURVATURES / (1 + EPOCHS * STEPS * CURVATURES)) / 2
    s = np.ones((1, CURVATURES.size))
    for rate in best.rates:
        s, _ = train_epoch(s, np.array([rate]))
    print(f"Best schedule: loss {best.loss:.10f}, and {loss_of(s)[0]:.10f} when trained with; bound {bound:.4f}")
    print(f"{len(best.losses)} starts end within {np.ptp(best.losses) / best.loss:.0e} of it; slope {best.slope:.0e}")
    print("Its rates, every 11th: " + " ".join(f"{rate:.3g}" for rate in best.rates[::11]))


def print_scores(noise: float, seeds: int) -> None:
    """Every method from every starting rate, and from the rate that would have been best."""
    rows = []
    for method in METHODS:
        scores = run(method.rule, RATES, noise, seeds)
        cells = [geometric_mean(lanes) for lanes in scores]
        rows.append([method.name, *(f"{cell:.2f}" for cell in (*cells, geometric_mean(scores), max(cells)))])
    header = ("starting rate", *(f"{rate:.2g}" for rate in RATES), "all", "worst")
    table(f"Loss at the end / that of the best schedule, {noise:.0%} noise", header, rows)

    tuned = []
    for method in RIVALS:
        cells = [geometric_mean(lanes) for lanes in run(method.rule, TUNING_RATES, noise, seeds)]
        tuned.append(f"{method.name} {min(cells):.2f} (from {TUNING_RATES[np.argmin(cells)]:.2g})")
    print("With the best starting rate, known in hindsight: " + ", ".join(tuned))


def main() -> None:
    """Train everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="series of errors per rate (default: %(default)s)")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print_optimum()
    for noise in NOISES:
        print_scores(noise, arguments.seeds if noise else 1)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
