"""What the event file holds for our own tab: `run.Record`s, as JSON.

A record holds all decisions of its epoch, rather than one decision, because TensorBoard's data server keeps only the
last value of a tag and step, and an epoch can have several: an override and a cut, or a cut and the rollback at the end
of training. So a further decision writes the record of its epoch anew, and *the last record of an epoch counts*. The
first record of a training that was resumed takes back what was decided from its epoch on before the interruption.

Used by the writer and by the tab, so it imports only TensorBoard's protos, the policy and `run`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, NoReturn, get_args

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata

from keras_lrplateau.policy import Decision, Kind, Snapshot, Status
from keras_lrplateau.run import Observation, Record

PLUGIN_NAME = "lr_plateau"

PREFIX = "lr_plateau/"
"""Before every tag of ours; Time Series makes it the name of their group."""

TAG = PREFIX + "decisions"
"""The tag of the records."""

VERSION = 1
"""Of the plugin content and of each record. A change of the fields of `Record` or `Decision` needs a new one."""


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
    fields = {
        "epoch": int(record.epoch),
        "decisions": [
            {name: _encode_value(name, value) for name, value in decision.to_dict().items()}
            for decision in record.decisions
        ],
        "status": str(record.status),
        "steps": int(record.steps),
        "monitor": str(record.monitor),
        "mode": record.mode,
        "quantity": str(record.quantity),
        "best": None if record.best is None else [int(record.best.epoch), float(record.best.value)],
    }
    return json.dumps({"version": VERSION, **fields}, allow_nan=False)


def decode(payload: str | bytes, time: float) -> Record:
    """The record that `encode` wrote.

    Args:
        payload: The text, or its UTF-8 bytes as TensorBoard hands them out.
        time: The wall time of the event, which the payload leaves to it.

    Raises:
        ValueError: It is not JSON, has another version or other fields, or a value that no record has.
    """
    data = _object("record", _parse(payload))
    _check_version("record", data, {field.name for field in dataclasses.fields(Record)} - {"time"} | {"version"})
    _require(isinstance(data["decisions"], list), "decisions", "a list", data["decisions"])
    best = data["best"]
    _require(best is None or (isinstance(best, list) and len(best) == 2), "best", "null or a pair", best)
    return Record(
        epoch=_integer("epoch", data["epoch"]),
        decisions=tuple(_decode_decision(item) for item in data["decisions"]),
        status=_word("status", data["status"], get_args(Status)),
        steps=_integer("steps", data["steps"]),
        monitor=_text("monitor", data["monitor"]),
        mode=None if data["mode"] is None else _word("mode", data["mode"], ("min", "max")),
        quantity=_text("quantity", data["quantity"]),
        best=None if best is None else Observation(_integer("epoch of best", best[0]), _finite("best", best[1])),
        time=float(time),
    )


MOST = 2**53
"""No integer of ours is larger; a float can hold all up to this."""

_NON_FINITE = ("nan", "inf", "-inf")
_NUMBERS = ("value", "best", "rate_before", "rate")
_INTEGERS = ("observation", "since", "epoch", "since_epoch")
_MAY_BE_NONE = ("value", "best", "save", "restore", "since", "epoch", "since_epoch")
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
    return _word(name, value, _WORDS[name]) if name in _WORDS else _text(name, value)


def _word(name: str, value: Any, words: tuple[str, ...]) -> Any:
    _require(_text(name, value) in words, name, f"one of {words}", value)
    return value


def _text(name: str, value: Any) -> str:
    _require(isinstance(value, str), name, "a string", value)
    return str(value)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    _require(is_number or (isinstance(value, str) and value in _NON_FINITE), name, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is an integer too long for a float") from None


def _finite(name: str, value: Any) -> float:
    number = _number(name, value)
    _require(math.isfinite(number), name, "a finite number", value)
    return number


def _integer(name: str, value: Any) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool), name, "an integer", value)
    # Others are none of ours, and would make whoever draws them fail.
    _require(0 <= value <= MOST, name, f"from 0 to {MOST}", value)
    return int(value)


def _parse(text: str | bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"strict JSON has no {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _object(what: str, data: Any) -> dict[str, Any]:
    _require(isinstance(data, dict), what, "a JSON object", data)
    return dict(data)


def _require(holds: bool, what: str, expected: str, received: Any) -> None:
    if not holds:
        raise ValueError(f"{what} must be {expected}. Received: {received!r}")


def _check_version(what: str, data: dict[str, Any], fields: set[str]) -> None:
    # The version first: another one is why the fields differ.
    if data.get("version") != VERSION or isinstance(data["version"], bool):
        raise ValueError(
            f"{what} has version {data.get('version')!r}; this release of keras-lrplateau reads version {VERSION}: "
            "look at it with the release that wrote it"
        )
    _check_fields(what, data, fields)


def _check_fields(what: str, data: dict[str, Any], fields: set[str]) -> None:
    if data.keys() != fields:
        missing, unknown = sorted(fields - data.keys()), sorted(data.keys() - fields)
        raise ValueError(f"{what} does not have the expected fields. Missing: {missing}; unknown: {unknown}")
