"""Feeds bad input to every part of the package that takes input: `python tests/fuzz.py --cases 100000 --seed 0`.

A *kind* of cases is a function of a random generator: it makes one input, gives it to the package and checks the
result. It returns whether the package refused the input with the documented error; any other exception is a defect.
Every case has its own generator, so a failed one can run alone; the command for this is printed with the failure.

It is plain Python, so that the time goes into cases rather than bookkeeping. tests/test_fuzz.py runs a few thousand
cases, and lets hypothesis look for others and shrink them.
"""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import functools
import json
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import fuzz_recordings
import numpy as np

from keras_lrplateau.history import codec
from keras_lrplateau.history.run import Observation, Record
from keras_lrplateau.resume import saved
from keras_lrplateau.resume.entries import Entry
from keras_lrplateau.resume.state_file import Pending, StateFile, StateFileError, load
from keras_lrplateau.rule import auto, auto_state, plateau
from keras_lrplateau.rule.decision import Decision, Status
from keras_lrplateau.rule.decision import Kind as DecisionKind
from keras_lrplateau.rule.search import Search
from keras_lrplateau.rule.stored import RULES, read_state

NAN, INF, MOST, TINY = math.nan, math.inf, sys.float_info.max, 5e-324

# --- what input there is ---------------------------------------------------------------------------------------------

FINITE = (
    *(0.0, -0.0, 1.0, -1.0, 0.1, 0.5, 2.0, 1e-4, 1e-8, 3.0, 10.0),
    *(TINY, -TINY, 1e-310, sys.float_info.min, sys.float_info.epsilon),
    *(1e308, -1e308, MOST, -MOST, 1e100, -1e100, 1.1e100, 1e154, 1e200, -1e200, 2.0**53),
    *(math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)),
)
NUMBERS = (*FINITE, NAN, INF, -INF)

ANYTHING = (
    *NUMBERS,
    *(0, 1, -1, 2, 5, 10**18, -(10**18), 10**300, 10**400, -(10**400), True, False, None),
    *("", "min", "max", "auto", "rel", "0.1", "nan", "val_loss", "\ud800", "\x00", "a" * 1000, b"min", b""),
    *([], [1.0], (), (1.0, 2.0), {}, {"a": 1}, {1.0}, 1j, Decimal("0.1"), Decimal("nan"), Fraction(1, 3), object, len),
    *(np.float64(0.1), np.float32(0.5), np.float16(2), np.float64(NAN), np.float32(INF), np.longdouble(0.1)),
    *(np.int64(3), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.str_("min"), np.datetime64("2020-01-01")),
    *(np.array(0.1), np.array([0.1]), np.array([0.1, 0.2]), np.array(["min", "max"]), np.array([], "float32")),
    *(Path("logs"), range(3), slice(1)),
)
"""Values of all types that users may pass, and of some that they will not."""


def number(rng: random.Random) -> float:
    """Return any float, often one that breaks arithmetic."""
    if rng.random() < 0.6:
        return rng.choice(NUMBERS)
    return rng.choice((rng.uniform(-10, 10), rng.choice((-1, 1)) * 10 ** rng.uniform(-320, 308)))


def anything(rng: random.Random) -> Any:
    return rng.choice(ANYTHING) if rng.random() < 0.8 else number(rng)


def constant(rng: random.Random) -> Iterator[float]:
    level = number(rng)
    while True:
        yield level


def alternating(rng: random.Random) -> Iterator[float]:
    levels = [number(rng) for _ in range(rng.randint(2, 4))]
    while True:
        yield from levels


def wild(rng: random.Random) -> Iterator[float]:
    while True:
        yield number(rng)


def ties(rng: random.Random) -> Iterator[float]:
    while True:
        yield float(rng.randint(-2, 3))


def creeping(rng: random.Random) -> Iterator[float]:
    """Better by as little as there is."""
    level, goal = rng.choice(FINITE), rng.choice((-INF, INF))
    while True:
        yield level
        level = math.nextafter(level, goal)


def geometric(rng: random.Random) -> Iterator[float]:
    """Over all orders of magnitude."""
    level, ratio = rng.choice((1e308, 1.0, -1.0, TINY, -1e-300)), rng.choice((0.5, 1e-3, 1e-30, 10.0, 1e30))
    while True:
        yield level
        level *= ratio


def training(rng: random.Random) -> Iterator[float]:
    """A curve, sometimes with an odd value in between."""
    level, noise, strange = rng.uniform(-2, 5), rng.choice((0.0, 1e-3, 0.1)), rng.choice((0.0, 0.0, 0.02, 0.2))
    slopes, scale = (-0.1, -0.01, 0.0, 0.0, 0.05), rng.choice((1.0, 1.0, 1.0, 1e-300, 1e150, 1e307, TINY))
    while True:
        slope = rng.choice(slopes)
        for _ in range(rng.randint(1, 30)):
            level += slope
            yield number(rng) if rng.random() < strange else scale * (level + noise * rng.gauss(0, 1))


PATTERNS = (constant, alternating, wild, ties, creeping, geometric, training, training, training)


def take(count: int, values: Iterable[Any]) -> list[Any]:
    return [value for value, _ in zip(values, range(count), strict=False)]


def stream(rng: random.Random, most: int = 80) -> tuple[float | None, list[tuple[float, float | None]]]:
    """The training loss before training, and the metric and the training loss of each epoch."""
    size = rng.randint(0, rng.choice((8, most)))
    values = take(size, rng.choice(PATTERNS)(rng))
    losses: list[float | None] = rng.choice(
        (
            lambda: [None] * size,
            lambda: list(values),
            lambda: take(size, rng.choice(PATTERNS)(rng)),
            lambda: [rng.choice((None, *values)) for _ in range(size)],
        )
    )()
    if rng.random() < 0.3:
        # A first rate that does damage.
        losses[:1] = [20.0, 5.0, 4.0, 1.2][rng.randrange(4) :][: len(losses[:1])]
    loss_before = rng.choice((None, 1.0, 1.0, 0.01, 0.0, rng.choice(FINITE)))
    return loss_before, list(zip(values, losses, strict=True))


# --- arguments -------------------------------------------------------------------------------------------------------

RATES = (0.0, TINY, 1e-310, 1e-300, 1e-3, 0.01, 0.1, 0.1, 1.0, 1.0, 3.0, 1e100, 1e300, 1e308, MOST)

OF_BOTH: dict[str, tuple[Any, ...]] = {
    "mode": ("min", "max"),
    "min_lr": (0.0, 0.0, 0, *RATES),
    "max_lr": (None, None, None, *RATES[1:], 1, 10**300),
}
OF_POLICY: dict[str, tuple[Any, ...]] = {
    **OF_BOTH,
    "factor": (0.1, 0.5, 0.9, TINY, 1e-300, math.nextafter(1.0, 0.0)),
    "patience": (0, 1, 1, 2, 2, 3, 10**18),
    "min_delta": (0, 0.0, 1e-4, 0.5, TINY, 1e308, MOST),
    "threshold_mode": ("abs", "rel"),
    "cooldown": (0, 0, 1, 3, 10**18),
    "raise_factor": (1.5, 2, 2.0, 10.0, math.nextafter(1.0, 2.0), 1e300, MOST, 10**300),
    "raise_after": (1, 1, 2, 3, 10**18),
    "max_raises": (0, 1, 2, 3, 10**18),
    "recover": (True, True, False),
    "rollback": (True, True, False),
    "rollback_on_cut": (False, True),
}
OF_AUTO: dict[str, tuple[Any, ...]] = {
    **OF_BOTH,
    "budget": (0, 0.0, 0.1, 0.25, 1.0, 1, TINY),
    "observations": (None, None, 1, 2, 3, 10, 30, 100, 100, 1000, 10**18),
    "by_steps": (False, False, True),
}
SHARED_BY_CALLBACKS: dict[str, tuple[Any, ...]] = {
    **OF_BOTH,
    "mode": ("auto", "min", "max"),
    "monitor": ("val_loss", "loss", "acc"),
    "verbose": (0, 1, 2, True),
    "log_dir": (None, "logs", Path("logs")),
    "state_path": (None, False, "state.json", Path("state.json")),
    "rollback": (True, True, False, "disk"),
    "optimizer": (None, "optimizer"),
    "frequency": ("epoch", "epoch", 1, 2, 7),
}
OF_CALLBACK: dict[str, tuple[Any, ...]] = {
    **{name: values for name, values in OF_POLICY.items() if name not in OF_BOTH},
    **SHARED_BY_CALLBACKS,
    "stop_when_exhausted": (False, True),
    "reset_on_train_begin": (False, True),
}
OF_AUTO_CALLBACK: dict[str, tuple[Any, ...]] = {"budget": OF_AUTO["budget"], **SHARED_BY_CALLBACKS}
"""Values, most of them good, of all arguments."""


def arguments(rng: random.Random, good: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Return some arguments; any number of them may be wrong."""
    chosen = {name: rng.choice(good[name]) for name in rng.sample(sorted(good), rng.randint(1, len(good)))}
    for name in rng.choices(list(chosen), k=rng.choice((0, 1, 1, 1, 2, 3))):
        chosen[name] = anything(rng)
    return chosen


def construct(make: Callable[..., Any], chosen: dict[str, Any]) -> Any:
    """Make an object of these arguments; None if an error names the argument and the value received."""
    try:
        return make(**chosen)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert any(re.search(rf"\b{name}\b", message) for name in chosen), f"the message names no argument: {message!r}"
        assert "Received: " in message, f"the message does not say what was received: {message!r}"
        return None


def config_arguments(rng: random.Random, rule: Any) -> bool:
    made = construct(rule, arguments(rng, OF_POLICY if rule is plateau.Config else OF_AUTO))
    if made is None:
        return True
    assert rule(**dataclasses.asdict(made)) == made
    follower = begin(rng, made)
    for value, loss in stream(rng, most=8)[1]:
        follower.step(value, loss)
    follower.finish()
    return False


def callback_arguments(rng: random.Random, is_auto: bool) -> bool:
    from keras_lrplateau import AdaptLROnPlateau

    make = AdaptLROnPlateau.auto if is_auto else AdaptLROnPlateau
    callback = construct(make, arguments(rng, OF_AUTO_CALLBACK if is_auto else OF_CALLBACK))
    if callback is None:
        return True
    config = callback.get_config()
    assert AdaptLROnPlateau.from_config(config).get_config() == config
    stored = json.loads(json.dumps(config, allow_nan=False))
    assert stored == config
    assert AdaptLROnPlateau.from_config(stored).get_config() == config
    return False


# --- streams through the rules ---------------------------------------------------------------------------------------


def good_config(rng: random.Random, rule: Any) -> Any:
    """A configuration within the bounds, most often far from them."""
    good = OF_POLICY if rule is plateau.Config else OF_AUTO
    while True:
        chosen = {name: rng.choice(values) for name, values in good.items() if rng.random() < 0.6}
        low, high = chosen.get("min_lr", 0.0), chosen.get("max_lr")
        if chosen.get("rollback_on_cut"):
            chosen.pop("rollback", None)
        if high is None or low <= high:
            return rule(**chosen)


def rates_of(state: Any) -> list[float]:
    """Return all rates to which a state may go back."""
    names = {"rate", "start_rate", "rate_at_best", "rate_before", "rate_before_raise", "rate_before_recoveries"}
    names |= {"rate_too_high", "top"}
    found = [rate for part in parts_of(state) for name in names if (rate := getattr(part, name, None)) is not None]
    if isinstance(state, auto_state.State) and isinstance(state.stage, Search):
        found += [state.stage.rate_at(at) for at in (state.stage.at, *dict(state.stage.trials))]
    return found


def parts_of(value: Any) -> list[Any]:
    """A state, and all that it is made of."""
    if not dataclasses.is_dataclass(value):
        return []
    parts = [part for field in dataclasses.fields(value) for part in parts_of(getattr(value, field.name))]
    return [value, *parts]


def reload(state: Any) -> Any:
    """A state from its JSON, which is equal."""
    text = json.dumps(state.to_dict(), allow_nan=False)
    assert len(text) < 6000, "the state has grown"
    again = read_state(json.loads(text))
    assert again == state
    return again


class Follower:
    """Carries out what a rule decides, as the callback does, and checks all of it.

    Args:
        config: The rule; it may be changed in between.
        state: From here on. All snapshots that it needs are there.
    """

    def __init__(self, config: Any, state: Any) -> None:
        self.rule, self.config, self.state = type(config), config, state
        self.twin: Any = None
        self.stored: set[Any] = set(config.needed_snapshots(state))
        rates = rates_of(state)
        self.low = min(config.min_lr, *rates)
        self.high = max(INF if config.max_lr is None else config.max_lr, *rates)
        self.decisions: list[Decision] = []

    def step(self, value: float, loss: float | None) -> None:
        self._carry_out(lambda state: self.config.step(state, value, loss), value, observed=True)

    def override(self, rate: float) -> None:
        self.low, self.high = min(self.low, rate), max(self.high, rate)
        self._carry_out(lambda state: self.config.override(state, rate), None)
        assert self.state.rate == rate

    def finish(self) -> None:
        self._carry_out(lambda state: self.config.finish(state), None)
        assert not self.state.in_excursion
        assert self.config.finish(self.state).decision.kind == "hold"

    def fork(self) -> None:
        """From here on, also ask a stored state, which must decide the same."""
        self.twin = reload(self.state)

    def _carry_out(self, ask: Callable[[Any], Any], value: float | None, observed: bool = False) -> None:
        before = self.state
        after, decision = ask(before)
        if self.twin is not None:
            self.twin, again = ask(self.twin)
            assert self.twin == after
            assert replace(again, value=None) == replace(decision, value=None)
        self._check(before, after, decision, value, observed)
        self._keep(before, after, decision)
        self.state = after
        self.decisions.append(decision)

    def _check(self, before: Any, after: Any, decision: Decision, value: float | None, observed: bool) -> None:
        config, kind = self.config, decision.kind
        assert kind in get_args(DecisionKind)
        assert after.status in get_args(Status)
        assert bool(decision.reason) == decision.is_action
        assert decision.describe()
        is_settled = before.trial_steps is not None and after.trial_steps is None
        seen = 0 if is_settled else before.observations + observed  # Windows of steps do not count.
        assert after.observations == seen == decision.observation
        assert decision.value is (value if before.trial_steps is None else None)
        assert (decision.rate_before, decision.rate, decision.best) == (before.rate, after.rate, after.best)
        assert decision.since is None or 1 <= decision.since <= decision.observation

        assert math.isfinite(after.rate)
        assert after.rate >= 0
        assert self.low <= after.rate <= self.high, f"{after.rate} is not from {self.low} to {self.high}"
        if kind in ("hold", "best"):
            comes_back = self.rule is plateau.Config and before.in_excursion and after.in_excursion
            assert after.rate == before.rate or comes_back
            assert after.rate <= before.rate
        if kind == "cut":
            assert after.rate <= before.rate
        if kind == "search":
            assert config.min_lr <= after.rate
        if kind == "raise":
            assert after.rate > before.rate
        if kind in ("raise", "search") or (kind == "success" and after.rate > before.rate):
            assert config.max_lr is None or after.rate <= config.max_lr

        assert after.best is None or math.isfinite(after.best)
        if after.best != before.best:
            searched = self.rule is auto.Config and before.stage.name == "search"
            taken_back = kind in ("diverged", "restart", "rollback", "exhausted") and self.rule is plateau.Config
            if not (searched or taken_back):
                assert after.best == value
                sign = 1 if config.mode == "min" else -1
                assert before.best is None or sign * after.best < sign * before.best

    def _keep(self, before: Any, after: Any, decision: Decision) -> None:
        """In the order of AdaptLROnPlateau._carry_out."""
        needed = self.config.needed_snapshots(after)
        if decision.keep is not None:
            assert "candidate" in self.stored
            self.stored = self.stored - {"candidate"} | {"best"}
        if decision.save is not None:
            self.stored &= (needed | {decision.restore}) - {decision.save}
            self.stored.add(decision.save)
        assert decision.restore is None or decision.restore in self.stored, f"{decision.restore} was dropped"
        self.stored &= needed
        assert needed <= self.stored, f"there is no {set(needed) - self.stored}"
        assert len(self.stored) <= 3


def begin(rng: random.Random, config: Any, loss_before: float | None = None) -> Follower:
    """A training at a rate that fits the bounds."""
    low = 0.0 if isinstance(config, plateau.Config) else max(config.min_lr, TINY)
    high = INF if config.max_lr is None else config.max_lr
    fitting = [rate for rate in (*RATES, config.min_lr) if low <= rate <= high]
    rate = rng.choice(fitting or [high])
    state = config.searching_by(config.start(rate), rng.choice((None, None, 40)))
    return Follower(config, replace(state, loss_before=loss_before))


def streams(rng: random.Random, rule: Any, most: int = 80) -> bool:
    loss_before, values = stream(rng, most)
    follower = begin(rng, good_config(rng, rule), loss_before)
    length = rng.choice(("constant", "constant", "nearer", "moving", "unknown at last"))
    overrides, forks = rng.choice((0.0, 0.0, 0.05)), rng.choice((0.0, 0.02, 0.1))
    for i, (value, loss) in enumerate(values):
        if rule is auto.Config and follower.config.observations is not None and length != "constant":
            left = {"nearer": max(150 - i, 1), "moving": rng.choice((1, i + 1, i + 9, 10**18))}.get(length)
            if left is not None or rng.random() < 0.1:
                follower.config = replace(follower.config, observations=left)
        if rng.random() < overrides:
            follower.override(rng.choice(RATES))
        if rng.random() < forks:
            follower.fork()
        follower.step(value, loss)
    reload(follower.state)
    follower.finish()
    reload(follower.state)
    return False


# --- stored states ---------------------------------------------------------------------------------------------------


@functools.cache
def pool(rule: Any) -> list[dict[str, Any]]:
    """States as they are stored, of all sorts: the same whatever the seed."""
    found: dict[Any, list[dict[str, Any]]] = {}
    rng = random.Random(0)
    for _ in range(400):
        loss_before, values = stream(rng, most=120)
        follower = begin(rng, good_config(rng, rule), loss_before)
        for value, loss in values:
            follower.step(value, loss)
            state = follower.state
            sort = (state.status, state.best is None, state.exhausted, getattr(state, "aside", None) is None)
            some = found.setdefault(sort, [])
            if len(some) < 40 and rng.random() < 0.3:
                some.append(json.loads(json.dumps(state.to_dict(), allow_nan=False)))
    assert {sort[0] for sort in found} == set(get_args(Status)) - (
        {"searching", "annealing"} if rule is plateau.Config else set()
    )
    return [state for some in found.values() for state in some]


JSON_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 10**18, -(10**18), 10**400, 0.0, 0.5, -0.5, 1.5, TINY, 1e308, -1e308, 1e101),
    *(NAN, INF, -INF, "", "nan", "inf", "best", "hold", "excursion", "search", "\ud800", [], {}, [1.0], [[0, 1.0]]),
    *([[0, None], [1, 2.0]], [[10**6, 1.0]], [[0.5, 1.0]], [1, 2, 3, 4, 5], [0.1, 0.1, 1.0, -0.1, 6], {"version": 1}),
)


def damaged(rng: random.Random, data: dict[str, Any], others: Sequence[dict[str, Any]]) -> Any:
    """Damage the content of a file: other values, other fields, anything, or, most deceptive, values of `others`."""
    data = dict(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        name = rng.choice(list(data) or ["rate"])
        other = rng.choice(others)
        what = rng.random()
        if what < 0.35 and name in other:
            data[name] = other[name]
        elif what < 0.6:
            data[name] = rng.choice(JSON_VALUES)
        elif what < 0.7:
            data[name] = inside(rng, data.get(name))
        elif what < 0.75:
            data[name] = data.get(rng.choice(list(data) or ["rate"]))
        elif what < 0.8:
            data.pop(name, None)
        elif what < 0.83:
            data[rng.choice(("speed", "", "Rate", "versio", 1, None))] = data.pop(name, None)
        elif what < 0.87:
            data["version"] = rng.choice((0, 2, True, 1.0, "1", None, NAN))
        elif what < 0.97:
            data[name] = number(rng)
        else:
            return rng.choice((None, [], [data], "state", 1, list(data.items()), {**data, "aside": data}))
    return data


def inside(rng: random.Random, value: Any) -> Any:
    """Replace something inside the value."""
    if isinstance(value, list) and value:
        value = list(value)
        at = rng.randrange(len(value))
        if rng.random() < 0.3:
            return rng.choice((value[:at], value + value, [*value, *value, *value, *value]))
        value[at] = inside(rng, value[at])
        return value
    if isinstance(value, dict) and value:
        name = rng.choice(sorted(map(str, value)))
        return {**value, name: inside(rng, value.get(name))}
    return rng.choice((number(rng), rng.choice(JSON_VALUES), rng.choice(("nan", "inf"))))


def nested(depth: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return a state that has put aside a state, which has put aside another, and so on."""
    inner = {name: value for name, value in data.items() if name != "version"}
    whole = dict(inner)
    for _ in range(depth):
        whole = {**inner, "aside": whole}
    return whole


def stored_states(rng: random.Random, rule: Any) -> bool:
    data = damaged(rng, rng.choice(pool(rule)), pool(rule))
    if rng.random() < 0.02 and isinstance(data, dict):
        data["aside"] = nested(rng.choice((1, 2, 3, 50, 3000)), rng.choice(pool(rule)))
    try:
        state = rule.read_state(data)
    except ValueError:
        return True
    # Whatever is taken can be gone on from, also with another configuration.
    follower = Follower(good_config(rng, rule), state)
    reload(state)
    if rng.random() < 0.2:
        follower.finish()
    if rng.random() < 0.2:
        follower.override(rng.choice(RATES))
    values = stream(rng)[1] or [(1.0, None)]
    for i in range(50):
        if rng.random() < 0.03:
            follower.fork()
        follower.step(*values[i % len(values)])
    reload(follower.state)
    follower.finish()
    reload(follower.state)
    return False


# --- payloads --------------------------------------------------------------------------------------------------------


@functools.cache
def decisions() -> list[Decision]:
    """Of both rules, of all kinds."""
    found: dict[Any, list[Decision]] = {}
    rng = random.Random(0)
    for i in range(300):
        rule = (plateau.Config, auto.Config)[i % 2]
        follower = begin(rng, good_config(rng, rule), 1.0)
        for value, loss in stream(rng)[1]:
            follower.step(value, loss)
        follower.override(0.1)
        follower.finish()
        for decision in follower.decisions:
            found.setdefault(decision.kind, []).append(decision)
    # A phase is begun by the callback.
    assert set(found) == set(get_args(DecisionKind)) - {"phase"}, set(get_args(DecisionKind)) - set(found)
    return [decision for some in found.values() for decision in some[:50]]


def record(rng: random.Random) -> Record:
    epoch = rng.choice((0, 1, 99, 10**6))
    made = rng.sample(decisions(), rng.choice((0, 1, 1, 2, 3)))
    best = rng.choice((None, Observation(epoch, rng.choice(FINITE))))
    return Record(
        epoch=epoch,
        decisions=tuple(replace(each, epoch=epoch, since_epoch=None) for each in made),
        status=rng.choice(get_args(Status)),
        steps=rng.choice((0, 10, 2**40)),
        monitor=rng.choice(("val_loss", "", "ü\n\x00", "\ud800")),
        mode=rng.choice(("min", "max", None)),
        quantity="learning rate",
        best=best,
        time=1.5e9,
        loss_before=rng.choice((None, rng.choice(FINITE))),
        is_over=rng.random() < 0.5,
    )


def damaged_text(rng: random.Random, text: str | bytes) -> bytes:
    """Return the text with other, fewer or more bytes."""
    content = bytearray(text.encode() if isinstance(text, str) else text)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        what = rng.random()
        if what < 0.3:
            del content[at:]
        elif what < 0.5:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif what < 0.7:
            content[at : at + 1] = rng.choice((b"", b'"', b"0", b"-", b"}", b"[", b"null", b"NaN", b"1e999", b"\\"))
        elif what < 0.8:
            end = at + rng.randint(1, 30)
            content[at:at] = content[at:end]
        elif what < 0.9:
            del content[at : at + rng.randint(1, 30)]
        elif what < 0.97:
            content[at:at] = rng.choice((b"[" * 100_000, b"\xff\xfe", b"\xef\xbb\xbf", b"\x00" * 10, b"9" * 5000))
        else:
            content.reverse()
    return bytes(content)


def payloads(rng: random.Random) -> bool:
    text: str | bytes = codec.encode(record(rng))
    what = rng.random()
    if what < 0.1:
        damage = "none"
    elif what < 0.5:
        damage = "bytes"
        text = damaged_text(rng, text)
    else:
        damage = "values"
        data = json.loads(text)
        other = json.loads(codec.encode(record(rng)))
        made = data["decisions"]
        if made and rng.random() < 0.6:
            at = rng.randrange(len(made))
            made[at] = damaged(rng, made[at], other["decisions"] or [other])
            text = json.dumps(data)
        else:
            text = json.dumps(damaged(rng, data, [other]))
    try:
        found = codec.decode(text, 1.5e9)
    except ValueError:
        if damage == "none":
            raise
        return True
    again = codec.encode(found)
    assert codec.encode(codec.decode(again, 1.5e9)) == again
    if damage == "none":
        assert again == text
    return False


# --- state files -----------------------------------------------------------------------------------------------------


@functools.cache
def folder() -> Path:
    """For files, gone when the process ends."""
    place = tempfile.TemporaryDirectory(prefix="fuzz-")
    atexit.register(place.cleanup)
    return Path(place.name)


def entries(rng: random.Random, rule: Any, size: int) -> list[Entry]:
    """Return the entries that a training of this many epochs leaves in a state file."""
    loss_before, values = stream(rng)
    follower = begin(rng, good_config(rng, rule), loss_before)
    found, best = [], None
    for epoch in range(size):
        before = follower.state
        value, loss = values[epoch % len(values)] if values else (1.0, None)
        follower.step(value, loss)
        best = Observation(epoch, value) if math.isfinite(value) else best
        made = replace(follower.decisions[-1], epoch=epoch, step=epoch + 1)
        found.append(
            Entry(
                epoch=epoch,
                is_over=True,
                iterations_before=epoch + 1,
                iterations=epoch + 1,
                has_observation=True,
                decisions=(made,) if made.is_action else (),
                rates_before=(before.rate,),
                rates=(follower.state.rate,),
                bases=(before.rate,),
                adopted=before.rate,
                mode=follower.config.mode,
                best=best,
                steps=epoch + 1,
                epochs_in_search=0,
                snapshots={name: f"{name}-{epoch}" for name in sorted(follower.stored)},
                window=(),
                state=follower.state.to_dict(),
            )
        )
    return found


@functools.cache
def state_contents() -> list[bytes]:
    """State files, whole."""
    rng, found = random.Random(0), []
    for size in (0, 1, 2, 3, 5, 8) * 5:
        rule = rng.choice((plateau.Config, auto.Config))
        file = StateFile(
            folder() / "whole.json", {"monitor": "val_loss", ("factor", "budget")[rule is auto.Config]: 0.1}
        )
        for entry in entries(rng, rule, size):
            file.add(entry)
        if rng.random() < 0.3:
            file.pending = Pending(size, size, rng.choice((None, 1.0)), {"val_loss": number(rng)})
        file.is_finished = size > 0 and rng.random() < 0.2
        file.write()
        found.append(file.path.read_bytes())
    return found


def damaged_state_file(rng: random.Random, content: bytes) -> bytes:
    """Cut, or with other bytes; or, most deceptive, strict JSON with other values."""
    what = rng.random()
    if what < 0.25:
        return content[: rng.randrange(len(content))]
    if what < 0.5:
        return damaged_text(rng, content)
    lines, others = (
        [json.loads(line) for line in each.splitlines()] for each in (content, rng.choice(state_contents()))
    )
    at, another = rng.randrange(len(lines)), rng.choice(others)
    entry = lines[at].get("entry")
    if what < 0.7 and entry is not None and "entry" in another and isinstance(entry.get("state"), dict):
        entry["state"] = damaged(rng, entry["state"], [another["entry"].get("state", {})])
    elif what < 0.9 and entry is not None and "entry" in another:
        lines[at]["entry"] = damaged(rng, entry, [another["entry"]])
    elif what < 0.95:
        lines[at] = damaged(rng, lines[at], [another])
    else:
        lines.insert(at, another)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def state_files(rng: random.Random) -> bool:
    path = folder() / "state.json"
    path.write_bytes(damaged_state_file(rng, rng.choice(state_contents())))
    try:
        found = load(path)
    except StateFileError:
        return True
    # What is taken is written again as it is, and each of its states can be gone on from.
    found.write()
    again = load(path)
    assert again.entries.texts == found.entries.texts
    assert repr(again.pending) == repr(found.pending), "repr, since nan != nan"
    for entry in again.entries[-2:]:
        rule = RULES[entry.state["rule"]]
        follower = Follower(good_config(rng, rule), rule.read_state(entry.state))
        for value, loss in stream(rng, most=10)[1]:
            follower.step(value, loss)
        follower.finish()
    return False


@functools.cache
def state_dicts() -> list[dict[str, Any]]:
    """States as users keep them in checkpoints of their own."""
    rng, found = random.Random(0), []
    for size in (1, 2, 3, 5, 8) * 5:
        rule = rng.choice((plateau.Config, auto.Config))
        made = entries(rng, rule, size)
        state = saved.Saved(
            settings={"monitor": "val_loss", ("factor", "budget")[rule is auto.Config]: 0.1},
            first_epoch=0,
            observed=range(size),
            decisions=[decision for entry in made for decision in entry.decisions],
            entry=replace(made[-1], decisions=()),
            folder=rng.choice((None, "copies")),
        )
        found.append(saved.encode(state))
    return found


def user_checkpoints(rng: random.Random) -> bool:
    state, another = rng.sample(state_dicts(), 2)
    name = rng.choice((None, "entry", "entry", "settings"))
    data = (
        damaged(rng, state, [another]) if name is None else {**state, name: damaged(rng, state[name], [another[name]])}
    )
    if name == "entry" and isinstance(data[name], dict) and isinstance(data[name].get("state"), dict):
        data[name]["state"] = damaged(rng, data[name]["state"], [another[name]["state"]])
    if not isinstance(data, dict):
        return True
    try:
        found = saved.decode(data)
    except ValueError:
        return True
    # What is taken is kept as it is, and can be gone on from.
    assert repr(saved.decode(saved.encode(found))) == repr(found), "repr, since nan != nan"
    rule = RULES[found.entry.state["rule"]]
    follower = Follower(good_config(rng, rule), rule.read_state(found.entry.state))
    for value, loss in stream(rng, most=10)[1]:
        follower.step(value, loss)
    follower.finish()
    return False


# --- streams through the callback ------------------------------------------------------------------------------------

NO_NUMBERS = ("0.5", "", "nan", None, b"1", [], {}, [1.0, 2.0], object(), np.array([1.0, 2.0]), np.array([]), 1j, len)
"""What no metric can be."""

UNUSUAL = (True, 10**400, -(10**400), Decimal("0.5"), Decimal("nan"), Fraction(1, 3), [1.0], {"a": 1.0}, range(2))
UNUSUAL += ("\ud800", np.datetime64("2020-01-01"), np.array("a"), np.array([None]), np.array([[0.5]]), np.bool_(True))
"""What may pass for one, or not."""


@functools.cache
def trained_model() -> Any:
    """Anything with weights and an optimizer."""
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def as_logged(rng: random.Random, value: float) -> Any:
    """Return a number in a form that a custom training step may log."""
    import keras

    with np.errstate(over="ignore"):
        return rng.choice(
            (
                float,
                float,
                np.float64,
                np.float32,
                np.float16,
                np.array,
                lambda x: np.array([x], "float32"),
                lambda x: keras.ops.convert_to_tensor(x, "float32"),
                lambda x: keras.ops.convert_to_tensor(x, "bfloat16"),
                lambda x: keras.ops.convert_to_tensor([x], "float16"),
                lambda x: keras.Variable(x, dtype="float32", trainable=False),
                lambda x: int(x) if math.isfinite(x) else x,
            )
        )(value)


def in_float32(rate: float) -> float:
    """As the optimizer holds it: rounded, and finite."""
    return float(np.float32(min(rate, float(np.finfo("float32").max))))


class Hooks:
    """A training with the real callback, whose hooks are called by hand with invented logs.

    Args:
        rng: Chooses all that is not given.
        adapt: The callback.
        bounds: `min_lr` and `max_lr`.
    """

    def __init__(self, rng: random.Random, adapt: Any, bounds: tuple[float, float | None]) -> None:
        self.rng, self.adapt, self.model = rng, adapt, trained_model()
        rate = float(self.model.optimizer.learning_rate)
        self.low, self.high = min(bounds[0], rate), INF if bounds[1] is None else max(bounds[1], rate)
        self.missing, self.spoilt, self.overridden = rng.choice((0.0, 0.1)), rng.choice((0.0, 0.0, 0.1)), 0.0
        is_auto, by_steps = "budget" in adapt.get_config(), isinstance(adapt.frequency, int)
        self.monitor = adapt.monitor.removeprefix("val_") if is_auto and by_steps else adapt.monitor
        self.stepwise = by_steps and not self.monitor.startswith("val_")

    def begin(self, epochs: int | None) -> bool:
        """Return whether a training may begin like this."""
        self.adapt.set_model(self.model)
        self.adapt.set_params({"epochs": epochs, "steps": self.rng.choice((None, 1, 7)), "verbose": 0})
        try:
            self.adapt.on_train_begin()
        except ValueError as error:
            message = str(error)
            assert "Received: " in message, f"the message does not say what was received: {message!r}"
            return False
        return True

    def epoch(self, epoch: int, value: float, loss: Any, loss_before: float | None) -> bool:
        """Whether the logs of this epoch were taken."""
        rng, adapt, monitor = self.rng, self.adapt, self.monitor
        adapt.on_epoch_begin(epoch)
        if rng.random() < self.overridden:
            rate = rng.choice((1e-3, 0.1, 1.0))
            self.low, self.high = min(self.low, rate), max(self.high, rate)
            self.model.optimizer.learning_rate = rate
        for batch in range(3 if self.stepwise else 1):
            adapt.on_train_batch_begin(batch)
            self.model.optimizer.iterations.assign(self.model.optimizer.iterations + 1)
            logs = {"loss": loss_before, monitor: as_logged(rng, value)} if self.stepwise else {"loss": loss_before}
            adapt.on_train_batch_end(batch, rng.choice((logs, logs, logs, None, {})) if batch or epoch else logs)
        logs = {"loss": loss, monitor: as_logged(rng, value), "other": rng.choice(NO_NUMBERS + UNUSUAL)}
        if monitor != "loss" and loss is not None:
            logs["loss"] = as_logged(rng, loss)
        may_refuse = must_refuse = False
        if rng.random() < self.missing:
            del logs[monitor]
        elif rng.random() < self.spoilt:
            logs[monitor] = rng.choice(NO_NUMBERS + UNUSUAL)
            may_refuse, must_refuse = True, any(logs[monitor] is each for each in NO_NUMBERS)
        before = adapt.state
        try:
            adapt.on_epoch_end(epoch, logs)
        except TypeError as error:
            message = str(error)
            assert may_refuse, f"{logs.get(monitor)!r} is a number: {message}"
            assert f"'{monitor}' must be a number. Received: " in message
            assert adapt.state == before
            return False
        assert not must_refuse, f"{logs[monitor]!r} was taken for a number"
        self.check()
        return True

    def check(self) -> None:
        state, rate = self.adapt.state, float(self.model.optimizer.learning_rate)
        assert state.best is None or math.isfinite(state.best)
        assert math.isfinite(rate)
        assert rate == in_float32(state.rate)
        assert in_float32(self.low) <= rate <= in_float32(self.high), f"{rate} is not from {self.low} to {self.high}"
        reload(state)

    def end(self) -> None:
        self.adapt.on_train_end()
        self.adapt.finish()
        assert not self.adapt.state or not self.adapt.state.in_excursion


def callback_training(rng: random.Random, **given: Any) -> tuple[Callable[[], Any] | None, tuple[float, float | None]]:
    """Return a function that makes a callback of good arguments, and its bounds. The optimizer gets a rate."""
    from keras_lrplateau import AdaptLROnPlateau

    is_auto, monitor = rng.random() < 0.4, rng.choice(("val_loss", "loss", "acc"))
    good = OF_AUTO_CALLBACK if is_auto else OF_CALLBACK
    names = [name for name in good if name not in ("monitor", "log_dir", "verbose", "mode", "state_path")]
    chosen = {name: rng.choice(good[name]) for name in names if rng.random() < 0.5}
    chosen |= {"monitor": monitor, "mode": rng.choice(("min", "max")) if monitor == "acc" else "auto", **given}
    make = AdaptLROnPlateau.auto if is_auto else AdaptLROnPlateau
    optimizer = trained_model().optimizer
    rates = (0.0, 1e-30, 1e-3, 0.1, 0.1, 0.1, 1.0, 1e30)
    fitting = [rate for rate in rates[is_auto:] if chosen.get("min_lr", 0.0) <= rate <= (chosen.get("max_lr") or INF)]
    optimizer.learning_rate = rng.choice(fitting if fitting and rng.random() < 0.9 else rates)
    optimizer.iterations.assign(0)
    trained_model().stop_training = False
    bounds = chosen.get("min_lr", 0.0), chosen.get("max_lr")
    return None if construct(make, chosen) is None else functools.partial(make, **chosen), bounds


def without_advice(case: Callable[[random.Random], bool]) -> Callable[[random.Random], bool]:
    """Ignore the callback's warnings about missing metrics and the like."""

    @functools.wraps(case)
    def call(rng: random.Random) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return case(rng)

    return call


@without_advice
def callback_streams(rng: random.Random) -> bool:
    directory = folder() / f"run{rng.random()}" if rng.random() < 0.1 else None
    make, bounds = callback_training(rng, log_dir=directory)
    if make is None:
        return True
    hooks, epochs = Hooks(rng, make(), bounds), rng.choice((None, 1, 5, 30, 10**18))
    hooks.overridden = rng.choice((0.0, 0.0, 0.05))
    if not hooks.begin(epochs):
        return True
    loss_before, values = stream(rng, most=40)
    for epoch, (value, loss) in enumerate(values[: epochs or None]):
        if not hooks.epoch(epoch, value, loss, loss_before):
            return True
        if hooks.model.stop_training:
            break
    hooks.end()
    for path in () if directory is None else directory.rglob("state.json"):
        assert load(path).entries or not values
    return False


@without_advice
def resumed_streams(rng: random.Random) -> bool:
    """Run a training whose process dies, and resume it from its state file, which may be damaged."""
    path = folder() / "resumed" / "state.json"
    shutil.rmtree(path.parent, ignore_errors=True)
    make, bounds = callback_training(rng, state_path=path)
    if make is None:
        return True
    hooks = Hooks(rng, make(), bounds)
    hooks.spoilt = 0.0
    if not hooks.begin(30):
        return True
    (loss_before, values), at = stream(rng, most=20), 0
    for at, (value, loss) in enumerate(values[: rng.randint(0, 15)], 1):
        hooks.epoch(at - 1, value, loss, loss_before)
        if hooks.model.stop_training:
            return False
    is_damaged = path.exists() and rng.random() < 0.6
    if is_damaged:
        path.write_bytes(damaged_state_file(rng, path.read_bytes()))
    second = Hooks(rng, make(), bounds)
    second.low, second.high, second.spoilt = min(second.low, hooks.low), max(second.high, hooks.high), 0.0
    if not second.begin(30):
        return True
    try:
        second.adapt.on_epoch_begin(at)
    except StateFileError:
        assert is_damaged
        return True
    if is_damaged:
        # What was taken may be a whole state at other rates.
        rates = rates_of(second.adapt.state)
        second.low, second.high = min(second.low, *rates), max(second.high, *rates)
    if not is_damaged and at:
        assert second.adapt.state == hooks.adapt.state
        assert repr(second.adapt.decisions) == repr(hooks.adapt.decisions), "repr, since nan != nan"
    for epoch, (value, loss) in enumerate(values[:10], at):
        second.epoch(epoch, value, loss, loss_before)
    second.end()
    return False


# --- the command -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of cases.

    Attributes:
        name: For people, and for `--kind`.
        case: One case; whether its input was refused with the documented error.
        share: Of all cases.
        most: However many there are, no more of these, which take long.
    """

    name: str
    case: Callable[[random.Random], bool]
    share: float
    most: int | None = None


KINDS = (
    Kind("arguments of plateau.Config", lambda rng: config_arguments(rng, plateau.Config), 0.12),
    Kind("arguments of auto.Config", lambda rng: config_arguments(rng, auto.Config), 0.08),
    Kind("arguments of AdaptLROnPlateau", lambda rng: callback_arguments(rng, False), 0.12),
    Kind("arguments of AdaptLROnPlateau.auto", lambda rng: callback_arguments(rng, True), 0.08),
    Kind("streams through the default rule", lambda rng: streams(rng, plateau.Config), 0.15),
    Kind("streams through auto", lambda rng: streams(rng, auto.Config), 0.1),
    Kind("stored states of the default rule", lambda rng: stored_states(rng, plateau.Config), 0.1),
    Kind("stored states of auto", lambda rng: stored_states(rng, auto.Config), 0.1),
    Kind("event payloads", payloads, 0.1),
    Kind("state files", state_files, 0.05),
    Kind("checkpoints of users", user_checkpoints, 0.05),
    *(Kind(name, case, share) for name, case, share in fuzz_recordings.KINDS),
    Kind("streams through the callback", callback_streams, 0.01, most=500),
    Kind("streams resumed by a state file", resumed_streams, 0.01, most=300),
)


@dataclass
class Tally:
    """What came of the cases of one kind."""

    kind: Kind
    cases: int = 0
    refused: int = 0
    seconds: float = 0.0
    failed: list[tuple[int, str, str]] = field(default_factory=list)


def run_case(kind: Kind, seed: int, index: int) -> bool:
    """One case, always the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Keras' own; see pyproject.toml.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return kind.case(random.Random(f"{seed} {kind.name} {index}"))


def run(kind: Kind, cases: int, seed: int, first: int = 0) -> Tally:
    """Some cases of one kind; a failure is noted and does not end it."""
    tally, began = Tally(kind), time.perf_counter()
    for index in range(first, first + cases):
        tally.cases += 1
        try:
            tally.refused += run_case(kind, seed, index)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {where.filename}:{where.lineno}"
            tally.failed.append((index, place, traceback.format_exc()))
    tally.seconds = time.perf_counter() - began
    return tally


def count(kind: Kind, cases: int) -> int:
    """Return how many of all cases belong to a kind."""
    wanted = max(1, math.ceil(cases * kind.share))
    return wanted if kind.most is None else min(wanted, kind.most)


def report(tallies: Sequence[Tally], seed: int) -> str:
    lines = [f"{'kind of input':40}{'cases':>9}{'refused':>10}{'accepted':>10}{'failed':>8}{'seconds':>9}"]
    total = Tally(Kind("all", payloads, 1.0))
    for tally in tallies:
        total.cases += tally.cases
        total.refused += tally.refused
        total.seconds += tally.seconds
        total.failed += tally.failed
    for tally in (*tallies, total):
        accepted = tally.cases - tally.refused - len(tally.failed)
        numbers = f"{tally.cases:9,}{tally.refused:10,}{accepted:10,}{len(tally.failed):8,}{tally.seconds:9.1f}"
        lines.append(f"{tally.kind.name:40}{numbers}")
    lines.append(f"Refused: with the documented error. {'Failed: see below.' if total.failed else 'No other failure.'}")
    for tally in tallies:
        alike: dict[str, list[tuple[int, str]]] = {}
        for index, place, trace in tally.failed:
            alike.setdefault(place, []).append((index, trace))
        for place, cases in alike.items():
            index, trace = cases[0]
            lines.append(f"\n{len(cases)} x {place}, such as")
            lines.append(f"python tests/fuzz.py --kind '{tally.kind.name}' --seed {seed} --first {index} --cases 1")
            lines.append(trace)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Bad input, a lot of it, to all that takes any.")
    parser.add_argument("--cases", type=int, default=100_000, help="of all kinds together; with --kind, of that one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS])
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the first case of each kind")
    chosen = parser.parse_args(argv)
    kinds = [kind for kind in KINDS if chosen.kind in (None, kind.name)]
    tallies = []
    for kind in kinds:
        cases = chosen.cases if chosen.kind else count(kind, chosen.cases)
        tallies.append(run(kind, cases, chosen.seed, chosen.first))
    print(report(tallies, chosen.seed))
    return int(any(tally.failed for tally in tallies))


if __name__ == "__main__":
    # Keras is imported only in the cases that need it.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
