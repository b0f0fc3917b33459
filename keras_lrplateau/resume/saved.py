"""The state of a training as one plain dict, for checkpoints that users write themselves.

It says what an entry of the state file says about the last moment, and what the entries before it say in sum. The
copies for rollbacks are not in it: they are files, if there is a place for them, and the dict names them. Nothing here
knows Keras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from keras_lrplateau.history.codec import (
    as_object,
    check_fields,
    decode_decision,
    encode_decision,
    integer,
    require,
    text,
)
from keras_lrplateau.resume.entries import Entry, as_plain, decode_entry
from keras_lrplateau.rule.decision import Decision

VERSION = 2
"""The version of the dict. A change of its fields needs a new one."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The state of a training at one moment.

    Attributes:
        settings: What must be the same for a training to go on; see `keras_lrplateau.resume.state_file.StateFile`.
        first_epoch: The epoch, from 0, with which the training began.
        observed: The epoch of each observation.
        decisions: Every decision that changed something.
        entry: How things stand.
        folder: The directory of the copies that the entry names; None if they are in memory only.
    """

    settings: Mapping[str, Any]
    first_epoch: int
    observed: Sequence[int]
    decisions: Sequence[Decision]
    entry: Entry
    folder: str | None

    @property
    def next_epoch(self) -> int:
        """The first epoch that is not over, from 0."""
        return self.entry.epoch + self.entry.is_over

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Check that a training with these settings can go on from here. What they do not mention is not checked.

        Raises:
            ValueError: One of them is another one.
        """
        wrong = [
            f"{name}={self.settings.get(name)!r}, now {value!r}"
            for name, value in settings.items()
            if self.settings.get(name) != value and not (name == "weights" and None in (value, self.settings.get(name)))
        ]
        if wrong:
            raise ValueError(
                f"load_state_dict: the state is of a training with other settings: {', '.join(wrong)}. Match them to "
                "go on with that training, or leave load_state_dict out to begin a new one"
            )


def encode(saved: Saved) -> dict[str, Any]:
    """Return the dict of a state. It is the same after a way through JSON."""
    plain = {
        "version": VERSION,
        "settings": dict(saved.settings),
        "first_epoch": saved.first_epoch,
        "observed": list(saved.observed),
        "decisions": [encode_decision(decision) for decision in saved.decisions],
        "entry": as_plain(saved.entry),
        "folder": saved.folder,
    }
    found: dict[str, Any] = json.loads(json.dumps(plain, allow_nan=False))
    return found


def decode(data: Mapping[str, Any]) -> Saved:
    """Return the state of a dict that `encode` has made.

    Raises:
        ValueError: It is no such dict, is of another version, or has a value that no training can have.
    """
    try:
        # What JSON cannot hold is no state; and what it can hold is as after a way through it.
        return _decoded(json.loads(json.dumps(dict(data), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load_state_dict needs what state_dict returned: {error}") from None


def _decoded(data: dict[str, Any]) -> Saved:
    check_fields("state_dict", data, {"version", *(each.name for each in fields(Saved))}, VERSION)
    for name in ("observed", "decisions"):
        require(isinstance(data[name], list), name, "a list", data[name])
    settings = as_object("settings", data["settings"])
    entry = decode_entry(as_object("entry", data["entry"]))
    require((entry.state["rule"] == "auto") == ("budget" in settings), "entry", "of the rule of the settings", entry)
    return Saved(
        settings=settings,
        first_epoch=integer("first_epoch", data["first_epoch"]),
        observed=tuple(integer("observed", each) for each in data["observed"]),
        decisions=tuple(decode_decision(each) for each in data["decisions"]),
        entry=entry,
        folder=None if data["folder"] is None else text("folder", data["folder"]),
    )
