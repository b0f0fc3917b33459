"""Records and decisions as strict JSON, for event files and state files.

A record holds all decisions of its epoch, because TensorBoard's data server keeps only the last value of a tag and
step, and an epoch can have several decisions: an override and a cut, or a cut and the rollback at the end of training.
So a further decision writes the record of its epoch again, and *the last record of an epoch counts*. The first record
of a resumed training voids earlier records of its epoch and of later ones.

The input may come from anywhere: anything that these functions would not have written is refused with a ValueError.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Sequence
from typing import Any, NoReturn, get_args

from keras_lrplateau.history.run import Observation, Record
from keras_lrplateau.rule.decision import Decision, Kind, Snapshot, Status

VERSION = 4
"""The version of a record. A change of the fields of `Record` or `Decision` needs a new one."""


def encode(record: Record) -> str:
    """Encode a record as strict JSON, which has no NaN: non-finite numbers become "nan", "inf" and "-inf".

    Args:
        record: Its numbers may be numpy scalars.

    Returns:
        The text. `decode` makes the same record from it, with plain Python numbers.
    """
    fields = {
        "epoch": int(record.epoch),
        "decisions": [encode_decision(decision) for decision in record.decisions],
        "status": str(record.status),
        "steps": int(record.steps),
        "monitor": str(record.monitor),
        "mode": record.mode,
        "quantity": str(record.quantity),
        "best": None if record.best is None else [int(record.best.epoch), float(record.best.value)],
        "loss_before": None if record.loss_before is None else float(record.loss_before),
        "is_over": bool(record.is_over),
    }
    return json.dumps({"version": VERSION, **fields}, allow_nan=False)


def decode(payload: str | bytes, time: float) -> Record:
    """Decode a record that `encode` wrote.

    Args:
        payload: The text, or its UTF-8 bytes, which TensorBoard returns.
        time: The wall time of the event; the payload has none.

    Raises:
        ValueError: The payload is not JSON, has another version or other fields, or a value that no record can have.
    """
    data = parse("record", payload)
    check_fields("record", data, {field.name for field in dataclasses.fields(Record)} - {"time"} | {"version"}, VERSION)
    require(isinstance(data["decisions"], list), "decisions", "a list", data["decisions"])
    return Record(
        epoch=integer("epoch", data["epoch"]),
        decisions=tuple(decode_decision(item) for item in data["decisions"]),
        status=word("status", data["status"], get_args(Status)),
        steps=integer("steps", data["steps"]),
        monitor=text("monitor", data["monitor"]),
        mode=None if data["mode"] is None else word("mode", data["mode"], ("min", "max")),
        quantity=text("quantity", data["quantity"]),
        best=decode_best(data["best"]),
        time=float(time),
        loss_before=None if data["loss_before"] is None else finite("loss_before", data["loss_before"]),
        is_over=boolean("is_over", data["is_over"]),
    )


_NUMBERS = ("value", "best", "rate_before", "rate")
_INTEGERS = ("observation", "since", "epoch", "since_epoch", "step")
_MAY_BE_NONE = ("value", "best", "keep", "save", "restore", "since", "since_epoch", "step")
_WORDS = {"kind": get_args(Kind), "keep": ("candidate",), "save": get_args(Snapshot), "restore": get_args(Snapshot)}


def encode_decision(decision: Decision) -> dict[str, str | int | float | None]:
    """Encode a decision as plain values for strict JSON."""
    return {name: _encode_value(name, value) for name, value in decision.to_dict().items()}


def decode_decision(item: Any) -> Decision:
    """Decode a decision that `encode_decision` wrote.

    Raises:
        ValueError: It has other fields, or a value that no decision can have.
    """
    data = as_object("decision", item)
    check_fields("decision", data, {field.name for field in dataclasses.fields(Decision)})
    return Decision(**{name: _decode_value(name, value) for name, value in data.items()})


def decode_best(best: Any) -> Observation | None:
    """Decode the best observation: null, or a pair of epoch and value.

    Raises:
        ValueError: It is neither of these.
    """
    require(best is None or (isinstance(best, list) and len(best) == 2), "best", "null or a pair", best)
    return None if best is None else Observation(integer("epoch of best", best[0]), finite("best", best[1]))


def encode_number(value: float) -> str | float:
    """Encode a number for strict JSON; a non-finite one becomes text."""
    return float(value) if math.isfinite(value) else str(float(value))


def _encode_value(name: str, value: Any) -> str | int | float | None:
    if value is None:
        return None
    if name in _INTEGERS:
        return int(value)
    return encode_number(value) if name in _NUMBERS else str(value)


def _decode_value(name: str, value: Any) -> Any:
    if value is None and name in _MAY_BE_NONE:
        return None
    if name in _INTEGERS:
        return integer(name, value)
    if name in _NUMBERS:
        return number(name, value)
    return word(name, value, _WORDS[name]) if name in _WORDS else text(name, value)


# --- strict reading --------------------------------------------------------------------------------------------------
# Each of these returns the value, or raises a ValueError that names the field, what it must be and what it was.

MOST = 2**53
"""The largest integer allowed; a float holds every integer up to it exactly."""

_NON_FINITE = ("nan", "inf", "-inf")


def parse(what: str, content: str | bytes) -> dict[str, Any]:
    """Parse a JSON object from its text or UTF-8 bytes."""
    return as_object(what, _parsed(content))


def parse_all(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Parse a JSON object from each line of UTF-8. One call for all lines is faster than one for each."""
    found = _parsed(b"[%s]" % b",".join(lines))
    require(isinstance(found, list) and len(found) == len(lines), "lines", "JSON objects, one in each", len(found))
    return [as_object("a line", each) for each in found]


def _parsed(content: str | bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"strict JSON has no {constant}")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def as_object(what: str, data: Any) -> dict[str, Any]:
    """Check that parsed JSON is an object."""
    require(isinstance(data, dict), what, "a JSON object", data)
    return dict(data)


def check_fields(what: str, data: dict[str, Any], fields: Collection[str], version: int | None = None) -> None:
    """Check that an object has these fields and no others, and this version if one is given."""
    if version is not None and "version" not in data:
        raise ValueError(f"{what} is not one of keras-lrplateau, since it has no version. Its fields: {sorted(data)}")
    # The version first: if it differs, the fields differ for that reason.
    if version is not None and (data["version"] != version or isinstance(data["version"], bool)):
        raise ValueError(
            f"{what} has version {data['version']!r}; this release of keras-lrplateau reads version {version}: "
            "look at it with the release that wrote it"
        )
    if data.keys() != set(fields):
        missing, unknown = sorted(set(fields) - data.keys()), sorted(data.keys() - set(fields))
        raise ValueError(f"{what} does not have the expected fields. Missing: {missing}; unknown: {unknown}")


def word(name: str, value: Any, words: tuple[str, ...]) -> Any:
    """Check that a value is one of these words."""
    require(text(name, value) in words, name, f"one of {words}", value)
    return value


def text(name: str, value: Any) -> str:
    """Check that a value is a string."""
    require(isinstance(value, str), name, "a string", value)
    return str(value)


def boolean(name: str, value: Any) -> bool:
    """Check that a value is true or false."""
    require(isinstance(value, bool), name, "true or false", value)
    return bool(value)


def number(name: str, value: Any) -> float:
    """Decode a number, or the name of a non-finite one, as a float."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(is_number or (isinstance(value, str) and value in _NON_FINITE), name, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is an integer too long for a float") from None


def finite(name: str, value: Any) -> float:
    """Decode a finite number as a float."""
    found = number(name, value)
    require(math.isfinite(found), name, "a finite number", value)
    return found


def integer(name: str, value: Any) -> int:
    """Check that a value is an integer from 0 to `MOST`."""
    require(isinstance(value, int) and not isinstance(value, bool), name, "an integer", value)
    # We write no larger ones, and they would break a figure.
    require(0 <= value <= MOST, name, f"from 0 to {MOST}", value)
    return int(value)


def require(holds: bool, what: str, expected: str, received: Any) -> None:
    """Raise the ValueError unless the condition holds."""
    if not holds:
        raise ValueError(f"{what} must be {expected}. Received: {received!r}")
