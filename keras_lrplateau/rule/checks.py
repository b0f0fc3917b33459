"""Checks of settings and of stored states: each raises an error that names what was expected and what was received.

A stored state is read strictly. A reader is a function of the name of a value, for the error, and the value. Readers of
a whole are made of the readers of its parts: `record`, `listed`, `optional`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from keras_lrplateau.rule.decision import Rule, RuleState
from keras_lrplateau.settings import RuleName, check_choice, check_flag, check_integer, check_number, rule_settings

T = TypeVar("T")


def check_settings(rule: Rule[Any]) -> None:
    """Check the settings of a rule by the table of settings, and keep its numbers as Python's floats."""
    check_choice("mode", rule.mode, ("min", "max"))
    for name, setting in rule_settings(rule.name).items():
        object.__setattr__(rule, name, setting.check(getattr(rule, name)))  # It is frozen.
    if rule.max_lr is not None and rule.max_lr < rule.min_lr:
        raise ValueError(f"max_lr must not be below min_lr. Received: max_lr={rule.max_lr!r}, min_lr={rule.min_lr!r}")


def check_start(rule: Rule[Any], rate: float) -> float:
    """The rate that training starts with, as a float."""
    rate = check_number("rate", rate, "a finite number >= 0", lambda x: x >= 0)
    if rule.max_lr is not None and rate > rule.max_lr:
        raise ValueError(
            "max_lr must not be below the learning rate that training starts with. Received: "
            f"max_lr={rule.max_lr!r} and a learning rate of {rate!r}; raise max_lr or start lower"
        )
    return rate


# --- stored states ---------------------------------------------------------------------------------------------------

Reader = Callable[[str, Any], T]


def real(name: str, value: Any) -> float:
    """A finite number."""
    return _plain(check_number, name, value, "a finite number", lambda x: True)


def at_least_0(name: str, value: Any) -> float:
    """A finite number, not negative."""
    return _plain(check_number, name, value, "a finite number >= 0", lambda x: x >= 0)


def positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    return _plain(check_number, name, value, "a finite number > 0", lambda x: x > 0)


def number_or_inf(name: str, value: Any) -> float:
    """A finite number; null stands for infinity, for which JSON has no word."""
    return math.inf if value is None else real(name, value)


def count(name: str, value: Any) -> int:
    """An integer, not negative."""
    return _plain(check_integer, name, value, 0)


def positive_count(name: str, value: Any) -> int:
    """An integer above 0."""
    return _plain(check_integer, name, value, 1)


def whole(name: str, value: Any) -> int:
    """An integer of either sign, such as a number of half decades."""
    return _plain(check_integer, name, value, -(10**6))


def flag(name: str, value: Any) -> bool:
    """True or false."""
    return _plain(check_flag, name, value)


def nothing(name: str, value: Any) -> None:
    """Null."""
    if value is not None:
        raise ValueError(f"{name} must be null. Received: {value!r}")


def within(most: float) -> Reader[float]:
    """A reader of numbers that are at most so far from 0."""

    def read(name: str, value: Any) -> float:
        return _plain(check_number, name, value, f"a number from {-most:g} to {most:g}", lambda x: abs(x) <= most)

    return read


def word(*words: str) -> Reader[Any]:
    """A reader of one of these words."""

    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}. Received: {value!r}")
        return value

    return read


def optional(reader: Reader[T]) -> Reader[T | None]:
    """A reader of the same, or null."""

    def read(name: str, value: Any) -> T | None:
        return None if value is None else reader(name, value)

    return read


def listed(reader: Reader[T], least: int = 0, *, most: int) -> Reader[tuple[T, ...]]:
    """A reader of a list of such, of this many items."""

    def read(name: str, value: Any) -> tuple[T, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"{name} must be a list of {least} to {most} items. Received: {value!r}")
        return tuple(reader(name, each) for each in value)

    return read


def pair(first: Reader[Any], second: Reader[Any]) -> Reader[tuple[Any, Any]]:
    """A reader of a list of two."""

    def read(name: str, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"{name} must be a list of 2 items. Received: {value!r}")
        return first(name, value[0]), second(name, value[1])

    return read


def record(cls: type[T], **readers: Reader[Any]) -> Reader[T]:
    """A reader of a dataclass from an object with its fields: all of them, and no others."""
    assert readers.keys() == {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # is one

    def read(name: str, value: Any) -> T:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be an object with fields. Received: a {type(value).__name__}")
        if value.keys() != readers.keys():
            missing, unknown = sorted(readers.keys() - value.keys()), sorted(value.keys() - readers.keys(), key=repr)
            raise ValueError(f"{name} does not have the expected fields. Missing: {missing}; unknown: {unknown}")
        return cls(**{field: reader(f"{name}.{field}", value[field]) for field, reader in readers.items()})

    return read


def one_of(readers: Mapping[str, Reader[Any]]) -> Reader[Any]:
    """A reader of an object that says by its field "name" which of several it is."""

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be an object with fields. Received: a {type(value).__name__}")
        fields = dict(value)
        return readers[word(*readers)(f"{name}.name", fields.pop("name", None))](name, fields)

    return read


def stored_fields(data: object, rule: RuleName, version: int) -> dict[str, Any]:
    """The fields of a stored state, if it is of this rule and version."""
    if not isinstance(data, Mapping):
        raise ValueError(f"state must be an object with fields. Received: a {type(data).__name__}")
    fields = dict(data)
    if (found := fields.pop("rule", None)) != rule:
        raise ValueError(f"state is of the rule {found!r}; this one reads those of {rule!r}")
    found = fields.pop("version", None)
    if found != version or isinstance(found, bool):
        raise ValueError(f"state has version {found!r}; this release reads version {version}")
    return fields


def refuse(contradictions: Iterator[str]) -> None:
    """Refuse a stored state whose fields are fine one by one, but that no training brings together."""
    for contradiction in contradictions:
        raise ValueError(f"state contradicts itself: {contradiction}")


def too_many(state: RuleState, counts: Mapping[str, int]) -> Iterator[str]:
    """Which of these counts exceed the number of observations, though each of them is of some of these."""
    for name, count_ in counts.items():
        if count_ > state.observations:
            yield f"{name}={count_} in {state.observations} observations"


def _plain(check: Callable[..., T], *arguments: Any) -> T:
    """What a check takes; a value of a wrong type is a wrong value here."""
    try:
        return check(*arguments)
    except TypeError as error:
        raise ValueError(str(error)) from None
