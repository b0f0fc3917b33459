"""Checks of settings and of stored states: each raises an error that names what was expected and what was received."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from keras_lrplateau.rule.decision import RuleName, RuleState


def check_number(name: str, value: object, expected: str, accepts: Callable[[float], bool]) -> None:
    """Refuse what is not a finite number that `accepts` takes; `expected` says what one would be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {expected}. Received: {name}={value!r}, a {type(value).__name__}")
    try:
        accepted = math.isfinite(value) and accepts(value)
    except OverflowError:  # An integer too long for a float.
        accepted = False
    if not accepted:
        raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}")


def check_integer(name: str, value: object, minimum: int) -> None:
    """Refuse what is not an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer >= {minimum}. Received: {name}={value!r}, a {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}. Received: {name}={value!r}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} must be an integer that a float can hold. Received: {name}={value!r}") from None


def as_floats(config: object, names: Collection[str]) -> None:
    """Keep the numbers of a configuration, None excepted, as Python's floats.

    A rate may come to be one of them. An integer would be stored as one, and NumPy's floats warn of overflow.
    """
    for name in names:
        value = getattr(config, name)
        object.__setattr__(config, name, None if value is None else float(value))  # It is frozen.


def stored_fields(state: type[Any], data: object, rule: RuleName, version: int) -> dict[str, Any]:
    """The fields of a stored state, if all are there and no others, and if it is of this rule and version."""
    if not isinstance(data, Mapping):
        raise ValueError(f"state must be an object with fields. Received: a {type(data).__name__}")
    fields = dict(data)
    if (found := fields.pop("rule", None)) != rule:
        raise ValueError(f"state is of the rule {found!r}; this one reads those of {rule!r}")
    found = fields.pop("version", None)
    if found != version or isinstance(found, bool):
        raise ValueError(f"state has version {found!r}; this release reads version {version}")
    known = {field.name for field in dataclasses.fields(state)}
    if fields.keys() != known:
        missing, unknown = sorted(known - fields.keys()), sorted(fields.keys() - known, key=repr)
        raise ValueError(f"state does not have the expected fields. Missing: {missing}; unknown: {unknown}")
    return fields


def stored_values(state: type[Any], fields: Mapping[str, Any], may_be_negative: Collection[str]) -> dict[str, Any]:
    """Some stored fields of a state, each checked by its annotation: an integer, a number or a boolean, or None."""
    annotations = {field.name: str(field.type) for field in dataclasses.fields(state)}
    return {
        name: _stored_value(name, annotations[name], value, name in may_be_negative) for name, value in fields.items()
    }


def _stored_value(name: str, annotation: str, value: Any, may_be_negative: bool) -> int | float | None:
    if value is None and annotation.endswith("| None"):
        return None
    if annotation == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"state field {name} must be true or false. Received: {value!r}")
        return value
    try:
        if annotation.startswith("int"):
            check_integer(name, value, minimum=0)
            return int(value)
        expected = "a finite number" if may_be_negative else "a finite number >= 0"
        check_number(name, value, expected, lambda x: may_be_negative or x >= 0)
        return float(value)
    except TypeError as error:
        raise ValueError(str(error)) from None


def refuse(contradictions: Iterator[str]) -> None:
    """Refuse a stored state whose fields are fine one by one, but that no training brings together."""
    for contradiction in contradictions:
        raise ValueError(f"state contradicts itself: {contradiction}")


def too_many(state: RuleState, names: Collection[str]) -> Iterator[str]:
    """Which of these counts exceed the number of observations, though each of them is of some of these."""
    for name in names:
        if getattr(state, name) > state.observations:
            yield f"{name}={getattr(state, name)} in {state.observations} observations"
