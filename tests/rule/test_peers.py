"""Coming from PyTorch or optax: the same cuts with the arguments that the guide on migrating gives."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from keras_lrplateau import Config, start, step

SERIES = 300


def ours(values: Sequence[float], **arguments: Any) -> list[float]:
    """The rate after each observation, from 1."""
    config = Config(factor=0.5, max_raises=0, recover=False, **arguments)
    state, rates = start(config, 1.0), []
    for value in values:
        state, decision = step(config, state, value)
        rates.append(decision.rate)
    return rates


def torchs(values: Sequence[float], patience: int, cooldown: int, threshold: float, threshold_mode: str) -> list[float]:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=0.5,
        patience=patience,
        cooldown=cooldown,
        threshold=threshold,
        threshold_mode=threshold_mode,
        eps=0.0,
    )
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def optaxs(values: Sequence[float], patience: int, cooldown: int, threshold: float, threshold_mode: str) -> list[float]:
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    tolerance = {"rtol": threshold, "atol": 0.0} if threshold_mode == "rel" else {"rtol": 0.0, "atol": threshold}
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=patience, cooldown=cooldown, **tolerance)
    update = jax.jit(lambda state, value: plateau.update({}, state, value=value)[1])
    state, rates = plateau.init({}), []
    for value in values:
        state = update(state, value)
        rates.append(float(state.scale))
    return rates


def series(rng: random.Random) -> list[float]:
    """Values on a coarse grid, so that ties and plateaus are common; exact in single precision."""
    level, values = 100.0, []
    for _ in range(rng.randint(5, 40)):
        level -= rng.choice((0, 0, 0, 1, 4))
        values.append(level + rng.choice((0, 0, 0.5, 2)))
    return values


@pytest.mark.parametrize("threshold_mode", ["abs", "rel"])
def test_pytorch_cuts_where_we_do_with_a_patience_more_by_one(threshold_mode: str) -> None:
    rng, cuts = random.Random(0), 0
    for _ in range(SERIES):
        values, patience, cooldown = series(rng), rng.randint(0, 4), rng.randint(0, 3)
        threshold = 0.75 if threshold_mode == "abs" else 1 / 64
        expected = torchs(values, patience, cooldown, threshold, threshold_mode)
        settings = {"min_delta": threshold, "threshold_mode": threshold_mode}
        found = ours(values, patience=patience + 1, cooldown=cooldown + 1 if cooldown else 0, **settings)
        assert found == expected, (values, patience, cooldown)
        cuts += expected[-1] < 1
    assert cuts > SERIES / 2


@pytest.mark.long  # JAX compiles the rule again for each series.
def test_optax_cuts_where_we_do() -> None:
    rng, cuts = random.Random(1), 0
    for _ in range(15):
        values, patience, cooldown = series(rng), rng.randint(1, 4), rng.randint(0, 3)
        expected = optaxs(values, patience, cooldown, 0.75, "abs")
        found = ours(values, patience=patience, cooldown=cooldown + 1 if cooldown else 0, min_delta=0.75)
        assert found == expected, (values, patience, cooldown)
        cuts += expected[-1] < 1
    assert cuts > 7
