"""What the event file holds for our own tab: one record an epoch, with all that was decided in it.

A record holds all decisions of its epoch, rather than one decision, because TensorBoard's data server keeps only the
last value of a tag and step, and an epoch can have several: an override and a cut, or a cut and the rollback at the end
of training. So each further decision writes the record of its epoch anew, and *the last record of an epoch counts*. A
record without decisions takes back what an interrupted training had decided from that epoch on.

Used by the writer and by the tab, so it imports only TensorBoard's protos and the policy.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata

from keras_lrplateau.policy import Decision, Kind, Snapshot

PLUGIN_NAME = "lr_plateau"

TAG = "lr_plateau/decisions"
"""The tag of the records."""

VERSION = 1
"""Of the plugin content and of each record. A change of `Decision`'s fields needs a new one."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was decided in one epoch.

    Attributes:
        epoch: The epoch, from 0, at the end of which it was decided.
        decisions: In the order in which they were made; empty when training was resumed at this epoch.
    """

    epoch: int
    decisions: tuple[Decision, ...]


def summary_metadata() -> SummaryMetadata:
    """What tells TensorBoard that a tag is ours."""
    content = json.dumps({"version": VERSION}).encode()
    return SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content),
        # Without a class, both loaders drop the values of a plugin that is not TensorBoard's own.
        data_class=DATA_CLASS_TENSOR,
    )


def check_plugin_content(content: bytes) -> None:
    """Check that the plugin content of a tag is of this version.

    Args:
        content: As TensorBoard hands it out with the tag.

    Raises:
        ValueError: It is not.
    """
    _check_version("plugin content", _object("plugin content", _parse(content)), {"version"})


def encode(record: Record) -> str:
    """A record as strict JSON, which has no NaN: non-finite numbers become "nan", "inf" and "-inf".

    Args:
        record: Its numbers may be numpy scalars.

    Returns:
        The text; `decode` gives the same record back, with plain Python numbers.
    """
    decisions = [
        {name: _encode_value(name, value) for name, value in decision.to_dict().items()}
        for decision in record.decisions
    ]
    return json.dumps({"version": VERSION, "epoch": int(record.epoch), "decisions": decisions}, allow_nan=False)


def decode(payload: str | bytes) -> Record:
    """The record that `encode` wrote.

    Args:
        payload: The text, or its UTF-8 bytes as TensorBoard hands them out.

    Raises:
        ValueError: It is not JSON, has another version or other fields, or a value that no decision has.
    """
    data = _object("record", _parse(payload))
    _check_version("record", data, {"version", "epoch", "decisions"})
    _require(isinstance(data["decisions"], list), "decisions", "a list", data["decisions"])
    return Record(_integer("epoch", data["epoch"]), tuple(_decode_decision(item) for item in data["decisions"]))


_NON_FINITE = ("nan", "inf", "-inf")
_NUMBERS = ("value", "best", "rate_before", "rate")
_INTEGERS = ("observation", "epoch")
_MAY_BE_NONE = ("value", "best", "save", "restore", "epoch")
_WORDS = {"kind": get_args(Kind), "save": get_args(Snapshot), "restore": get_args(Snapshot)}


def _encode_value(name: str, value: Any) -> str | int | float | None:
    if value is None:
        return None
    if name in _INTEGERS:
        return int(value)
    if name in _NUMBERS:
        return float(value) if math.isfinite(value) else str(float(value))
    return str(value)


def _decode_decision(item: Any) -> Decision:
    data = _object("decision", item)
    _check_fields("decision", data, {field.name for field in dataclasses.fields(Decision)})
    return Decision(**{name: _decode_value(name, value) for name, value in data.items()})


def _decode_value(name: str, value: Any) -> Any:
    if value is None and name in _MAY_BE_NONE:
        return None
    if name in _INTEGERS:
        return _integer(name, value)
    if name in _NUMBERS:
        return _number(name, value)
    words = _WORDS.get(name)
    _require(isinstance(value, str), name, "a string", value)
    _require(words is None or value in words, name, f"one of {words}", value)
    return value


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    _require(is_number or (isinstance(value, str) and value in _NON_FINITE), name, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is an integer too long for a float") from None


def _integer(name: str, value: Any) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool), name, "an integer", value)
    return int(value)


def _parse(text: str | bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"strict JSON has no {constant}")

    return json.loads(text, parse_constant=refuse)


def _object(what: str, data: Any) -> dict[str, Any]:
    _require(isinstance(data, dict), what, "a JSON object", data)
    return dict(data)


def _require(holds: bool, what: str, expected: str, received: Any) -> None:
    if not holds:
        raise ValueError(f"{what} must be {expected}. Received: {received!r}")


def _check_version(what: str, data: dict[str, Any], fields: set[str]) -> None:
    # The version first: another one is why the fields differ.
    if data.get("version") != VERSION or isinstance(data["version"], bool):
        raise ValueError(f"{what} has version {data.get('version')!r}; this release reads version {VERSION}")
    _check_fields(what, data, fields)


def _check_fields(what: str, data: dict[str, Any], fields: set[str]) -> None:
    if data.keys() != fields:
        missing, unknown = sorted(fields - data.keys()), sorted(data.keys() - fields)
        raise ValueError(f"{what} does not have the expected fields. Missing: {missing}; unknown: {unknown}")
