"""A stored state says which rule wrote it; this reads one of either rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lrplateau.rule import auto, plateau
from keras_lrplateau.rule.decision import Rule, RuleState

RULES: Mapping[str, type[Rule[Any]]] = {rule.name: rule for rule in (plateau.Config, auto.Config)}
"""By name, as stored states have it."""


def read_state(data: Mapping[str, Any]) -> RuleState:
    """The state whose `to_dict` wrote this, of either rule.

    Raises:
        ValueError: No such rule, another version, a missing or unknown field, or a value that no state can have.
    """
    name = data.get("rule")
    if not isinstance(name, str) or name not in RULES:
        raise ValueError(f"state must be of one of the rules {', '.join(map(repr, RULES))}. Received: {name!r}")
    state: RuleState = RULES[name].read_state(data)
    return state
