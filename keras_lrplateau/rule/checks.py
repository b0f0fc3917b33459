"""Checks of settings and of stored states: each raises an error that names what was expected and what was received."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from keras_lrplateau.rule.decision import Rule, RuleState
from keras_lrplateau.settings import RuleName, check_choice, check_integer, check_number, rule_settings


def check_settings(config: Rule[Any]) -> None:
    """Check the fields of a rule by the table of settings, and keep its numbers as Python's floats.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: A field is out of its range, or two contradict each other.
    """
    check_choice("mode", config.mode, ("min", "max"))
    for name, setting in rule_settings(config.name).items():
        object.__setattr__(config, name, setting.check(getattr(config, name)))  # It is frozen.
    if config.max_lr is not None and config.max_lr < config.min_lr:
        raise ValueError(
            f"max_lr must not be below min_lr. Received: max_lr={config.max_lr!r}, min_lr={config.min_lr!r}"
        )


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
