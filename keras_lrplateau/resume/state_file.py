"""What a training must not lose when its process dies: the state after each epoch, in one JSON file.

The file is replaced whole, so that at any moment there is either the one before or the one after. It keeps the state
after every epoch, not only the last, because whoever resumes chooses the epoch: a backup may be older than our file
(another callback had not saved yet), and a checkpoint as old as the user likes. So that it stays small, an entry holds
only what has changed since the one before it.

It also holds an observation that is made but not yet decided upon. A callback in front of ours may save its backup of
an epoch before ours is asked about it, and a process may die in between: then the resumed one decides.

A training is found by the number of its next epoch and the optimizer's count of steps. Nothing here knows Keras.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, final, get_args

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

VERSION = 1
"""Of the file. A change of its fields needs a new one."""

_held: dict[str, tuple[int, int]] = {}
"""The locks of this process: the open file of each, and how many have claimed it."""


def _let_go() -> None:
    """A lock belongs to the open file, and so to each process that has it: a forked one would keep it for its parent.

    Such are the workers of data loaders, which may outlive a killed training by seconds.
    """
    for handle, _ in _held.values():
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class StateFileError(ValueError):
    """A state file cannot be used; the text says which, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How things stood at the end of an epoch, or after some steps of it.

    Attributes:
        epoch: From 0.
        is_over: Whether the epoch was over; else it is of its first moment, or of an observation within it.
        iterations_before: The optimizer's count of steps before anything was decided.
        iterations: The same afterwards; going back takes it back.
        has_observation: Whether there was a value of the metric.
        decisions: Those that changed something.
        rates_before: What the optimizers held before: rates, or multipliers of schedules.
        rates: What they held afterwards.
        bases: What they held when the callback last took their rates for the ones to go on from.
        adopted: The rule's rate at that time.
        mode: The direction of the metric; None while it is not known.
        best: The best observation so far.
        steps: Optimizer steps so far, those that were rolled back included.
        snapshots: The names of the files of the copies to go back to.
        window: Of a step cadence, what `StepCadence.numbers` is; else empty.
        state: The rule's state, as `to_dict` makes it.
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
    snapshots: Mapping[Snapshot, str]
    window: tuple[float, ...]
    state: Mapping[str, Any]

    def is_over_at(self, epoch: int) -> bool:
        """Whether it is of the end of this epoch."""
        return self.is_over and self.epoch == epoch


@dataclass(frozen=True)
class Pending:
    """The numbers of an epoch that is over and not yet decided upon.

    Attributes:
        epoch: From 0.
        iterations: The optimizer's count of steps.
        first_loss: The loss of the first batch of the training, if it is the first epoch and it is known; else None.
        logs: By name; may be non-finite.
    """

    epoch: int
    iterations: int
    first_loss: float | None
    logs: Mapping[str, float]


@final
class StateFile:
    """What is remembered of one training, and the file that it is written to.

    Args:
        path: Of the file. Its directory is made when it is needed.
        settings: What must be the same for a training to go on: the arguments that decide, and the model's size.

    Attributes:
        path, settings: As above.
        entries: In the order of time.
        pending: An observation that was not decided upon; None if there is none.
        is_finished: Whether training ended.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.entries: list[Entry] = []
        self.pending: Pending | None = None
        self.is_finished = False
        self._encoded: list[Entry] = []
        self._content = bytearray()  # These as JSON, and where each of them ends.
        self._ends: list[int] = []

    def until(self, epoch: int, iterations: int) -> int:
        """How many entries a training keeps that goes on with this epoch and so many steps.

        All of earlier epochs; and of a step cadence those of the same epoch that its weights have seen.
        """
        first = sum(entry.epoch < epoch for entry in self.entries)
        last = first + sum(entry.epoch == epoch and not entry.is_over for entry in self.entries[first:])
        for kept in range(first, last + 1):
            # Weights from between two entries have a count of steps from between, or that from before the first of them
            # went back. It may come again later in the epoch; but most checkpoints are of the end of an epoch, so the
            # first time is meant.
            before = self.entries[kept - 1] if kept else None
            low, also = (before.iterations, before.iterations_before) if before is not None else (0, 0)
            high = self.entries[kept].iterations_before if kept < last else math.inf
            if low <= iterations < high or iterations == also:
                return kept
        return first

    def knows(self, epoch: int, iterations: int) -> bool:
        """Whether a training with so many steps may go on with this epoch, and nothing is missing."""
        if self.pending is not None and (self.pending.epoch, self.pending.iterations) == (epoch - 1, iterations):
            return True
        ends = [(each.iterations_before, each.iterations) for each in self.entries if each.is_over_at(epoch - 1)]
        return any(iterations in end for end in ends)

    @property
    def is_young(self) -> bool:
        """Whether it knows of one epoch at most, and the training had not ended."""
        return not self.is_finished and all(entry.epoch == self.entries[0].epoch for entry in self.entries)

    @property
    def next_epoch(self) -> int:
        """The first epoch that it does not know to be over."""
        return self.entries[-1].epoch + self.entries[-1].is_over if self.entries else 0

    @property
    def recent_snapshots(self) -> set[str]:
        """The files that a training may need which goes on with the last epoch, or after it."""
        if self.is_finished:
            # Only what was restored in the last epoch: the weights of a backup may be from before.
            last = [each.restore for each in self.entries[-1].decisions if each.restore is not None]
            return {file for entry in self.entries[-2:] for name, file in entry.snapshots.items() if name in last[-1:]}
        latest = self.entries[-1].epoch if self.entries else 0
        recent = itertools.takewhile(lambda entry: entry.epoch >= latest - 1, reversed(self.entries))
        return {file for entry in recent for file in entry.snapshots.values()}

    def is_of(self, settings: dict[str, Any]) -> bool:
        """Whether it is of a training with these settings."""
        return not self._differing(settings)

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Check that it is of a training with these settings.

        Raises:
            StateFileError: It is not.
        """
        names = self._differing(settings)
        if names:
            differences = ", ".join(f"{name}={self.settings.get(name)!r}, now {settings.get(name)!r}" for name in names)
            raise StateFileError(f"the state file {self.path} is of a training with other settings: {differences}")

    def _differing(self, settings: dict[str, Any]) -> list[str]:
        both = settings, self.settings
        names = [name for name in settings | self.settings if settings.get(name) != self.settings.get(name)]
        # How many weights there are is not known of a model that was not built when its training began.
        return [name for name in names if name != "weights" or all(each.get(name) is not None for each in both)]

    def write(self) -> None:
        """Replace the file. When this returns, not even a crash of the whole machine loses anything of it.

        Raises:
            OSError: It cannot be written; then the file from before is still there.
        """
        # Entries do not change, and come and go at the end of the list, so only what is new there is encoded.
        same = min(len(self._encoded), len(self.entries))
        while same and self._encoded[same - 1] is not self.entries[same - 1]:
            same -= 1
        del self._encoded[same:], self._ends[same:]
        del self._content[self._ends[-1] if same else 0 :]
        before = _plain(self._encoded[-1]) if same else {}
        for entry in self.entries[same:]:
            plain = _plain(entry)
            separator = ",\n" if self._encoded else "\n"
            self._content += (separator + json.dumps(_changes(before, plain), allow_nan=False)).encode()
            self._ends.append(len(self._content))
            self._encoded.append(entry)
            before = plain
        head = {
            "version": VERSION,
            "settings": self.settings,
            "is_finished": self.is_finished,
            "pending": None if self.pending is None else _plain_pending(self.pending),
        }
        start = json.dumps(head, allow_nan=False).removesuffix("}") + ', "entries": ['
        replace_file(self.path, lambda stream: stream.writelines([start.encode(), self._content, b"\n]}\n"]))


def load(path: Path) -> StateFile:
    """Read a state file.

    Args:
        path: Its path.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: There is none.
        StateFileError: It cannot be read, is not whole, is of another version, or holds what no training has.
    """
    try:
        data = parse("state file", path.read_bytes())
        check_fields("state file", data, {"version", "settings", "is_finished", "pending", "entries"}, VERSION)
        require(isinstance(data["is_finished"], bool), "is_finished", "true or false", data["is_finished"])
        require(isinstance(data["entries"], list), "entries", "a list", data["entries"])
        found = StateFile(path, as_object("settings", data["settings"]))
        found.is_finished = data["is_finished"]
        found.pending = None if data["pending"] is None else _pending(as_object("pending", data["pending"]))
        found.entries = entries_from_json(data["entries"])
        for entry in found.entries:
            is_auto = entry.state["rule"] == "auto"
            require(is_auto == ("budget" in found.settings), "state", "of the rule of the settings", entry.state)
        return found
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no state file {path}") from None
    except (OSError, ValueError) as error:
        raise StateFileError(f"the state file {path} cannot be used: {error}") from error


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment, also after a crash of the machine, there is the old one or the whole new one.

    Args:
        path: Its path. The directory is made if need be.
        write: Writes the content to the stream that it is given.

    Raises:
        OSError: It cannot be written; then the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".tmp")
    try:
        with part.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if os.name == "posix":  # Elsewhere a directory cannot be opened.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def set_aside(path: Path) -> Path:
    """Give a state file and its copies another name, so that it is kept; returns the name.

    Raises:
        OSError: It cannot be renamed.
    """
    taken = 1
    while (aside := path.with_name(f"{path.name}.{taken}")).exists():
        taken += 1
    path.replace(aside)
    if (folder := snapshot_folder(path)).exists():
        folder.replace(snapshot_folder(aside))
    return aside


def snapshot_folder(path: Path) -> Path:
    """Where the copies are that belong to a state file."""
    return path.with_name(path.name + ".snapshots")


def hold(lock: Path) -> bool:
    """Claim something for this process, until `release` or as long as it lives; False if another process has it.

    Where there are no locks (Windows, some network file systems) the claim always succeeds.

    Args:
        lock: The file that stands for it, made with its directory if need be. It stays.

    Raises:
        OSError: It cannot be made.
    """
    key = str(lock.resolve())
    if key in _held:
        handle, claims = _held[key]
        # Somebody may have removed the file, and another process made a new one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                _held[key] = handle, claims + 1
                return True
        os.close(_held.pop(key)[0])
    try:
        import fcntl
    except ImportError:
        return True
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for patience in (0.05, 0.0):
            try:
                # The system lets go of it when the process dies, however it dies.
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(patience)  # Another process may only have looked, see `is_held_elsewhere`.
        else:
            os.close(handle)
            return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # No locks on this file system.
            os.close(handle)
            raise
    _held[key] = handle, 1
    return True


def is_held_elsewhere(lock: Path) -> bool:
    """Whether another process has claimed it; False where that cannot be told."""
    if str(lock.resolve()) in _held:
        return False
    try:
        import fcntl

        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


def release(locks: list[Path]) -> None:
    """Give up what `hold` has claimed, each claim once; nothing where it was not claimed.

    Args:
        locks: It is empty afterwards, so to release it again does nothing.
    """
    while locks:
        key = str(locks.pop().resolve())
        handle, claims = _held.get(key, (-1, 0))
        if claims > 1:
            _held[key] = handle, claims - 1
        elif claims:
            del _held[key]
            os.close(handle)


# --- entries as JSON -------------------------------------------------------------------------------------------------


def entries_to_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Entries as plain values for strict JSON."""
    plain: list[dict[str, Any]] = [{}, *map(_plain, entries)]
    return [_changes(before, after) for before, after in itertools.pairwise(plain)]


def entries_from_json(items: Iterable[Any]) -> list[Entry]:
    """The entries that `entries_to_json` made plain.

    Raises:
        ValueError: They are not such.
    """
    entries: list[Entry] = []
    plain: dict[str, Any] = {}
    for item in items:
        plain = _apply(plain, as_object("entry", item))
        entry = _entry(plain)
        require(not entries or entries[-1].epoch <= entry.epoch, "epochs of entries", "in order", entry.epoch)
        entries.append(entry)
    return entries


_OF_ONE_ENTRY = ("epoch", "is_over", "iterations_before", "iterations", "has_observation", "decisions")
"""These are in every entry; of the others, what has not changed is left out, field by field of the rule's state."""


def _plain(entry: Entry) -> dict[str, Any]:
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


def _plain_pending(pending: Pending) -> dict[str, Any]:
    logs = {name: encode_number(value) for name, value in pending.logs.items()}
    plain = {"epoch": pending.epoch, "iterations": pending.iterations, "first_loss": pending.first_loss}
    return {**plain, "logs": logs}


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
    missing = [name for name in _OF_ONE_ENTRY if name not in changes]
    require(not missing, "entry", "complete", f"an entry without {missing}")
    after = {**before, **changes}
    if "state" in changes and "state" in before:
        after["state"] = {**before["state"], **as_object("state", changes["state"])}
    return after


def _entry(plain: dict[str, Any]) -> Entry:
    check_fields("entry", plain, {each.name for each in fields(Entry)})
    for name in ("is_over", "has_observation"):
        require(isinstance(plain[name], bool), name, "true or false", plain[name])
    for name in ("decisions", "rates_before", "rates", "bases", "window"):
        require(isinstance(plain[name], list), name, "a list", plain[name])
    snapshots: dict[Any, str] = as_object("snapshots", plain["snapshots"])
    for name, file in snapshots.items():
        word("name of a snapshot", name, get_args(Snapshot))
        # It is a name in our own folder, whatever a file may say.
        is_name = text(name, file) == os.path.basename(file) and file not in ("", ".", "..")
        require(is_name, name, "the name of a file", file)
    state = as_object("state", plain["state"])
    # As strict as it can be: what is read here is trusted from now on.
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
        decisions=tuple(decode_decision(item) for item in plain["decisions"]),
        adopted=finite("adopted", plain["adopted"]),
        mode=None if plain["mode"] is None else word("mode", plain["mode"], ("min", "max")),
        best=decode_best(plain["best"]),
        steps=integer("steps", plain["steps"]),
        snapshots=snapshots,
        state=state,
        **numbers,
    )


def _pending(data: dict[str, Any]) -> Pending:
    check_fields("pending", data, {"epoch", "iterations", "first_loss", "logs"})
    loss = None if data["first_loss"] is None else finite("first_loss", data["first_loss"])
    logs = {name: number(name, value) for name, value in as_object("logs", data["logs"]).items()}
    return Pending(integer("epoch", data["epoch"]), integer("iterations", data["iterations"]), loss, logs)
