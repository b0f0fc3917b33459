"""The entries of a state file: how things stood after each epoch of a training, as short texts.

All entries are kept, because a training may resume at any epoch: a backup may be older than the state file (another
callback had not saved yet), and a checkpoint as old as the user likes. A few numbers of each entry stay decoded, to
find it by. The rest is decoded on request, and then checked strictly.

A text holds only what has changed since the previous entry. Each `WHOLE`th text holds everything, so reading an entry
takes few others. Nothing here knows Keras.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, final, get_args, overload

from keras_lrplateau.history.codec import (
    as_object,
    check_fields,
    decode_best,
    decode_decision,
    encode_decision,
    encode_number,
    finite,
    integer,
    number,
    parse,
    require,
    text,
    word,
)
from keras_lrplateau.history.run import Observation
from keras_lrplateau.rule.decision import Decision, Snapshot
from keras_lrplateau.rule.stored import read_state

WHOLE = 64
"""The distance between two entries that are kept whole."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How things stood at the end of an epoch, or after some steps of it.

    Attributes:
        epoch: From 0.
        is_over: Whether the epoch was over. If not, the entry describes its first moment, or an observation within it.
        iterations_before: The optimizer's count of steps before the decisions.
        iterations: The same count after them; a rollback lowers it.
        has_observation: Whether there was a value of the metric.
        decisions: The decisions that changed something.
        rates_before: What the optimizers held before them: rates, or multipliers of schedules.
        rates: What the optimizers held after them.
        bases: What the optimizers held when the callback last adopted their rates.
        adopted: The rule's rate at that time.
        mode: The direction of the metric; None while it is not known.
        best: The best observation so far.
        steps: Optimizer steps so far, including those that were rolled back.
        epochs_in_search: Epochs so far at whose end a search by steps was not over: they were no observations.
        snapshots: The file names of the copies for rollbacks.
        window: `StepCadence.numbers` if there is a step cadence; else empty.
        state: The rule's state, from its `to_dict`.
    """

    epoch: int
    is_over: bool
    iterations_before: int
    iterations: int
    has_observation: bool
    decisions: tuple[Decision, ...]
    rates_before: tuple[float, ...]
    rates: tuple[float, ...]
    bases: tuple[float, ...]
    adopted: float
    mode: Literal["min", "max"] | None
    best: Observation | None
    steps: int
    epochs_in_search: int
    snapshots: Mapping[Snapshot, str]
    window: tuple[float, ...]
    state: Mapping[str, Any]


@final
class Entries(Sequence[Entry]):
    """The entries of a training, in the order of time. They are added and removed at the end only.

    Args:
        texts: The texts of other `Entries`.

    Attributes:
        texts: One for each entry; JSON in one line.

    Raises:
        ValueError: A text is clearly not an entry. It is not decoded for this.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts: list[str] = []
        # The fields that need no decoding, by the names of `Entry`. In lists: objects would slow garbage collection.
        self._epochs: list[int] = []
        self._is_over: list[bool] = []
        self._iterations_before: list[int] = []
        self._iterations: list[int] = []
        self._has_observation: list[bool] = []
        self._has_decisions: list[bool] = []
        self._snapshots: list[Mapping[Snapshot, str]] = []
        self._last: dict[str, Any] | None = None  # The last entry as plain values, if it is known.
        self._files: dict[int, set[str]] = {}  # By epoch, the files of copies; the last two epochs.
        for each in texts:
            self.take(each, parse("entry", each))

    # --- as a sequence ---

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        """Decode an entry.

        Raises:
            ValueError: It has a value that no entry can have.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return decode_entry(self._plain(range(len(self))[index]))

    def __iter__(self) -> Iterator[Entry]:
        plain: dict[str, Any] = {}
        for index, each in enumerate(self.texts):
            plain = _apply(plain if index % WHOLE else {}, parse("entry", each))
            yield decode_entry(plain)

    def _plain(self, index: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for each in self.texts[index - index % WHOLE : index + 1]:
            plain = _apply(plain, parse("entry", each))
        return plain

    # --- how it grows ---

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        plain = as_plain(entry)
        before: dict[str, Any] = {}
        if len(self) % WHOLE:
            before = self._plain(len(self) - 1) if self._last is None else self._last
        changes = _changes(before, plain)
        self.take(json.dumps(changes, allow_nan=False), changes)
        self._last = plain

    def take(self, text: str, changes: dict[str, Any]) -> None:
        """Add an entry by its text.

        Args:
            text: The text.
            changes: The same text, parsed.

        Raises:
            ValueError: The text is clearly not an entry. It is not decoded for this.
        """
        try:
            epoch, is_over = changes["epoch"], changes["is_over"]
            before, after = changes["iterations_before"], changes["iterations"]
            has_observation, has_decisions = changes["has_observation"], bool(changes["decisions"])
        except KeyError:
            missing = [name for name in _OF_ONE_ENTRY if name not in changes]
            raise ValueError(f"entry must be complete. Received: an entry without {missing}") from None
        # Without `require`, whose calls would take most of the time with a hundred thousand entries.
        if not type(epoch) is type(before) is type(after) is int:
            raise ValueError(f"entry must have integers for epoch and iterations. Received: {changes!r}")
        if type(is_over) is not bool:
            raise ValueError(f"is_over must be true or false. Received: {is_over!r}")
        if self.texts and epoch < self._epochs[-1]:
            raise ValueError(f"epochs of entries must be in order. Received: {epoch!r}")
        if not self.texts or changes.get("snapshots") is not None:
            snapshots = _snapshots(changes.get("snapshots"))
        else:
            snapshots = self._snapshots[-1]
        self.texts.append(text)
        self._epochs.append(epoch)
        self._is_over.append(is_over)
        self._iterations_before.append(before)
        self._iterations.append(after)
        self._has_observation.append(has_observation)
        self._has_decisions.append(has_decisions)
        self._snapshots.append(snapshots)
        self._last = None
        self._note_files(epoch, snapshots)

    def keep(self, count: int) -> None:
        """Forget all entries but the first `count`."""
        if count >= len(self):
            return
        del self.texts[count:], self._epochs[count:], self._is_over[count:], self._snapshots[count:]
        del self._iterations_before[count:], self._iterations[count:]
        del self._has_observation[count:], self._has_decisions[count:]
        self._last = None
        self._files = {}
        for index in range(bisect.bisect_left(self._epochs, self.last_epoch - 1), count):
            self._note_files(self._epochs[index], self._snapshots[index])

    def _note_files(self, epoch: int, snapshots: Mapping[Snapshot, str]) -> None:
        if epoch not in self._files:
            before = self._files.get(epoch - 1)
            self._files = {} if before is None else {epoch - 1: before}
            self._files[epoch] = set()
        if snapshots:
            self._files[epoch].update(snapshots.values())

    # --- questions that need no decoding ---

    @property
    def first_epoch(self) -> int:
        """The epoch of the first one; 0 if there is none."""
        return self._epochs[0] if self._epochs else 0

    @property
    def last_epoch(self) -> int:
        """The epoch of the last one; 0 if there is none."""
        return self._epochs[-1] if self._epochs else 0

    @property
    def next_epoch(self) -> int:
        """The first epoch that is not known to be over."""
        return self._epochs[-1] + self._is_over[-1] if self._epochs else 0

    @property
    def observed(self) -> list[int]:
        """The epoch of each observation."""
        return list(itertools.compress(self._epochs, self._has_observation))

    @property
    def recent_files(self) -> set[str]:
        """The files of copies that the entries of the last two epochs name."""
        return {file for files in self._files.values() for file in files}

    def snapshots_at(self, index: int) -> Mapping[Snapshot, str]:
        """The `snapshots` of an entry."""
        return self._snapshots[index]

    def until(self, epoch: int, iterations: int, held: Sequence[float] | None = None) -> int:
        """Return how many entries to keep when training goes on with this epoch and this count of steps.

        They are all entries of earlier epochs and, with a step cadence, those of this epoch that the weights have seen.

        Args:
            epoch: From 0.
            iterations: The optimizer's count of steps.
            held: What the optimizers hold; None if not known.
        """
        first = last = bisect.bisect_left(self._epochs, epoch)
        while last < len(self) and self._epochs[last] == epoch and not self._is_over[last]:
            last += 1
        fitting = []
        for kept in range(first, last + 1):
            # Weights from between two entries have a count of steps from between, or that from before the first of them
            # went back.
            low, also = (self._iterations[kept - 1], self._iterations_before[kept - 1]) if kept else (0, 0)
            high = self._iterations_before[kept] if kept < last else math.inf
            if low <= iterations < high or iterations == also:
                fitting.append(kept)
        # The count may come again later in the epoch, as in each trial of a search. Then the rate tells which time is
        # meant. If it does not (the model was compiled again), most checkpoints are of the end of an epoch: the first.
        if len(fitting) > 1 and held is not None:
            fitting = [kept for kept in fitting if kept and self._has_held(kept - 1, iterations, held)] or fitting
        return fitting[0] if fitting else first

    def _has_held(self, index: int, iterations: int, held: Sequence[float]) -> bool:
        """Whether the optimizers held this after an entry, or before it at this count of steps."""
        entry = self[index]
        before = entry.rates_before if iterations == entry.iterations_before else entry.rates
        return tuple(held) in (entry.rates, before)

    def ends(self, epoch: int, iterations: int) -> bool:
        """Whether this epoch ended with this many steps, before or after what was decided then."""
        first, behind = bisect.bisect_left(self._epochs, epoch), bisect.bisect_right(self._epochs, epoch)
        return any(
            self._is_over[index] and iterations in (self._iterations_before[index], self._iterations[index])
            for index in range(first, behind)
        )

    # --- questions about decisions ---

    @property
    def decisions(self) -> list[Decision]:
        """All decisions that changed something.

        Raises:
            ValueError: One has a value that no decision can have.
        """
        found: list[Decision] = []
        for each in itertools.compress(self.texts, self._has_decisions):
            found += _decisions(parse("entry", each)["decisions"])
        return found


# --- entries as JSON -------------------------------------------------------------------------------------------------

_OF_ONE_ENTRY = ("epoch", "is_over", "iterations_before", "iterations", "has_observation", "decisions")
"""The fields in every text. A text leaves out the others, and fields of the rule's state, if they have not changed."""


def as_plain(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain values for strict JSON, from which `decode_entry` makes it again."""
    plain = {each.name: getattr(entry, each.name) for each in fields(entry)}
    for name in ("rates_before", "rates", "bases", "window"):
        plain[name] = [encode_number(each) for each in plain[name]]
    best = entry.best
    return plain | {
        "decisions": [encode_decision(decision) for decision in entry.decisions],
        "best": None if best is None else [best.epoch, best.value],
        "snapshots": dict(entry.snapshots),
        "state": dict(entry.state),
    }


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in after.items() if name in _OF_ONE_ENTRY or _differs(before, name, value)}
    if "state" in found and "state" in before:
        old = before["state"]
        found["state"] = {name: value for name, value in after["state"].items() if _differs(old, name, value)}
    return found


def _differs(before: dict[str, Any], name: str, value: Any) -> bool:
    # By their texts: 0.0 equals -0.0, and 1 equals True.
    return name not in before or repr(before[name]) != repr(value)


def _apply(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    after = {**before, **changes}
    if "state" in changes and "state" in before:
        after["state"] = {**before["state"], **as_object("state", changes["state"])}
    return after


def decode_entry(plain: dict[str, Any]) -> Entry:
    """Make the entry with these plain values.

    Raises:
        ValueError: A value is one that no entry can have.
    """
    check_fields("entry", plain, {each.name for each in fields(Entry)})
    for name in ("is_over", "has_observation"):
        require(isinstance(plain[name], bool), name, "true or false", plain[name])
    for name in ("rates_before", "rates", "bases", "window"):
        require(isinstance(plain[name], list), name, "a list", plain[name])
    state = as_object("state", plain["state"])
    # Strictly, because the rest of the program trusts it.
    read_state(state)
    numbers = {
        name: tuple(number(name, each) for each in plain[name]) for name in ("rates_before", "rates", "bases", "window")
    }
    require(len(numbers["rates"]) == len(numbers["bases"]) > 0, "rates", "as many as bases", plain["rates"])
    require(len(numbers["window"]) in (0, 4), "window", "four numbers or none", plain["window"])
    counts = numbers["window"][1::2]
    require(all(0 <= each < math.inf for each in counts), "window", "with numbers of batches", plain["window"])
    return Entry(
        epoch=integer("epoch", plain["epoch"]),
        is_over=plain["is_over"],
        iterations_before=integer("iterations_before", plain["iterations_before"]),
        iterations=integer("iterations", plain["iterations"]),
        has_observation=plain["has_observation"],
        decisions=_decisions(plain["decisions"]),
        adopted=finite("adopted", plain["adopted"]),
        mode=None if plain["mode"] is None else word("mode", plain["mode"], ("min", "max")),
        best=decode_best(plain["best"]),
        steps=integer("steps", plain["steps"]),
        epochs_in_search=integer("epochs_in_search", plain["epochs_in_search"]),
        snapshots=_snapshots(plain["snapshots"]),
        state=state,
        **numbers,
    )


def _decisions(items: Any) -> tuple[Decision, ...]:
    require(isinstance(items, list), "decisions", "a list", items)
    return tuple(decode_decision(item) for item in items)


def _snapshots(data: Any) -> Mapping[Snapshot, str]:
    snapshots: dict[Any, str] = as_object("snapshots", data)
    for name, file in snapshots.items():
        word("name of a snapshot", name, get_args(Snapshot))
        # A damaged file must not lead out of our own folder.
        is_name = text(name, file) == os.path.basename(file) and file not in ("", ".", "..")
        require(is_name, name, "the name of a file", file)
    return snapshots
