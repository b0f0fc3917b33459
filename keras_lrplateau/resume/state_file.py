"""The state file, which keeps the state after each epoch, so that a training can go on when its process has died.

It is one file that grows by lines. The first line has the version and the settings. Each further line is one step of
the training, and is on disk before `write` returns:

    {"keep": 5, "entry": {...}, "pending": {...}, "is_finished": true}

`keep` is the number of earlier entries that still count after training has gone back; without it, all count. `entry` is
a new entry. `pending` is an observation on which the rule has not decided yet. `is_finished` means that training has
ended. Each of them may be missing.

If the last line is incomplete, the process died while it wrote that line. This is no error: the lines before it count.
Any other damage is an error. `replace_file` writes the whole file again when half of it is void, or when it is no
longer the file that was written last. So the time and the bytes per epoch do not grow with the number of epochs.

The epoch to go on with and the optimizer's count of steps tell where a training goes on. Nothing here knows Keras.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from keras_lrplateau.files.atomic import check_place, identity_of, remove_leftovers, replace_file
from keras_lrplateau.history.codec import (
    as_object,
    check_fields,
    encode_number,
    integer,
    number,
    parse,
    parse_all,
    require,
)
from keras_lrplateau.resume.entries import Entries, Entry

VERSION = 3
"""The version of the file. A change of its fields needs a new one."""

VOID_IS_FINE = 1000
"""The number of void entries and observations for which the file is not written again."""

_AT_ONCE = 4096
"""Lines to parse at once: faster than one by one, and with less memory than the whole file would need."""

_ENTRY = b'{"entry": '


class StateFileError(ValueError):
    """A state file cannot be used. The text names the file, the reason and the remedy."""


@dataclass(frozen=True)
class Pending:
    """The numbers of an epoch that is over, but on which the rule has not decided yet.

    An earlier callback in the list may save its backup of an epoch, and the process may die before our callback is
    called. Then the resumed process decides.

    Attributes:
        epoch: From 0.
        iterations: The optimizer's count of steps.
        first_loss: The loss of the first batch; may be non-finite. None if it is not known.
        logs: The numbers by name; may be non-finite.
    """

    epoch: int
    iterations: int
    first_loss: float | None
    logs: Mapping[str, float]


@final
class StateFile:
    """The state of one training, in memory and in its file.

    Args:
        path: The file. Its directory is made when it is needed.
        settings: What must be the same for a training to go on: the arguments that decide, and the model's size.

    Attributes:
        path, settings: As above.
        entries: In the order of time. Change them with `add` and `keep`.
        pending: An observation without a decision; None if there is none.
        is_finished: Whether training has ended.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.entries = Entries()
        self.pending: Pending | None = None
        self.is_finished = False

        # What is on disk.
        self._identity: tuple[int, int] | None = None  # None if not known.
        self._size = 0
        self._written = 0  # How many entries the file holds after its last line,
        self._kept = 0  # and how many of them still count.
        self._void = 0  # How many entries and observations in the file do not count any more.
        self._written_pending: Pending | None = None
        self._written_end = False
        self._written_settings: dict[str, Any] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry; nothing is pending then, and training has not ended."""
        self.entries.append(entry)
        self.pending, self.is_finished = None, False

    def keep(self, count: int) -> None:
        """Forget all entries but the first `count`, because training goes back or resumes there."""
        self.entries.keep(count)
        self._kept = min(self._kept, count)

    def begin_phase(self, settings: dict[str, Any]) -> Entries:
        """Let a new phase take the file of a training that has ended; returns the entries of that training.

        Its waits, yardsticks and copies belong to the phase that has ended.

        Args:
            settings: Those of the new phase.
        """
        ended, self.entries = self.entries, Entries()
        self.settings, self.is_finished, self._kept = settings, False, 0
        return ended

    def knows(self, epoch: int, iterations: int) -> bool:
        """Return whether training can go on with this epoch and this count of steps, with nothing missing."""
        if self.pending is not None and (self.pending.epoch, self.pending.iterations) == (epoch - 1, iterations):
            return True
        return self.entries.ends(epoch - 1, iterations)

    def shift(self, epoch: int, iterations: int) -> int:
        """Return how many epochs to add to one of a `fit` that counts from 0 in each phase; 0 if it does not.

        The count of steps tells which epoch is meant.
        """
        first = self.entries.first_epoch
        return first if not self.knows(epoch, iterations) and self.knows(epoch + first, iterations) else 0

    @property
    def is_young(self) -> bool:
        """Whether the file has one epoch at most, and the training has not ended."""
        return not self.is_finished and self.entries.first_epoch == self.entries.last_epoch

    @property
    def recent_snapshots(self) -> set[str]:
        """The files of copies that a training may need if it goes on with the last epoch or after it."""
        if not self.is_finished:
            return self.entries.recent_files
        # Only what the last epoch restored: the weights of a backup may be from before that.
        last = [each.restore for each in self.entries[-1].decisions if each.restore is not None]
        both = [self.entries.snapshots_at(index) for index in range(max(len(self.entries) - 2, 0), len(self.entries))]
        return {file for snapshots in both for name, file in snapshots.items() if name in last[-1:]}

    def is_of(self, settings: dict[str, Any]) -> bool:
        """Return whether the file belongs to a training with these settings."""
        return not self._differing(settings)

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Check that the file belongs to a training with these settings.

        Raises:
            StateFileError: It does not.
        """
        names = self._differing(settings)
        if names:
            differences = ", ".join(f"{name}={self.settings.get(name)!r}, now {settings.get(name)!r}" for name in names)
            raise StateFileError(
                f"the state file {self.path} belongs to a training with other settings: {differences}. Match them "
                "to go on with that training, or move the file away to begin a new one, or pass another log_dir or "
                "state_path. A training that `finish` has ended, even after Ctrl-C, can go on with other settings"
            )

    def _differing(self, settings: dict[str, Any]) -> list[str]:
        both = settings, self.settings
        names = [name for name in settings | self.settings if settings.get(name) != self.settings.get(name)]
        # A model that was not built when its training began has an unknown number of weights.
        return [name for name in names if name != "weights" or all(each.get(name) is not None for each in both)]

    def check_use(self) -> None:
        """Check everything that a training reads to go on after the last entry.

        Raises:
            StateFileError: A value is impossible.
        """
        try:
            for entry in (*self.entries[:1], *self.entries[-2:]):
                is_auto = entry.state["rule"] == "auto"
                require(is_auto == ("budget" in self.settings), "state", "of the rule of the settings", entry.state)
            _ = self.entries.decisions
        except ValueError as error:
            raise _unusable(self.path, error) from error

    # --- writing ---

    def write(self) -> None:
        """Write what has changed. When this returns, the changes survive a crash of the machine.

        Raises:
            OSError: The file cannot be written. It still says what it said before.
        """
        void = self._void + self._written - self._kept + (self._written_pending is not None)
        is_worth_it = void > VOID_IS_FINE + len(self.entries) / 2
        if is_worth_it or self.settings != self._written_settings or not self._append(b"".join(self._news())):
            # If this fails, too, the next call writes the whole file.
            self._identity = None
            self._write_whole()
            void = 0
        self._void = void
        self._written = self._kept = len(self.entries)
        self._written_pending, self._written_end = self.pending, self.is_finished
        self._written_settings = dict(self.settings)

    def _news(self) -> Iterator[bytes]:
        """Yield the lines for what the file does not hold yet."""
        texts = self.entries.texts[self._kept :]
        is_back = self._kept < self._written
        if not texts and not is_back and (self.pending, self.is_finished) == (self._written_pending, self._written_end):
            return
        for number_, each in enumerate(texts or [""]):
            is_last = number_ >= len(texts) - 1
            parts = [f'"keep": {self._kept}'] if is_back and not number_ else []
            parts += [f'"entry": {each}'] if each else []
            yield self._line(parts, is_last)

    def _line(self, parts: list[str], is_last: bool) -> bytes:
        if is_last and self.pending is not None:
            parts.append(f'"pending": {json.dumps(_plain_pending(self.pending), allow_nan=False)}')
        if is_last and self.is_finished:
            parts.append('"is_finished": true')
        return f"{{{', '.join(parts)}}}\n".encode()

    def _append(self, content: bytes) -> bool:
        """Append to the file; False if it is not the file that was written last."""
        if self._identity is None or identity_of(self.path) != self._identity:
            return False
        # O_NONBLOCK, in case it has become a FIFO.
        flags = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(self.path, flags)
        except FileNotFoundError:
            return False
        identity, self._identity = self._identity, None  # Set again on success.
        try:
            size = os.fstat(handle).st_size
            if identity_of(handle) != identity or size < self._size:
                return False
            if not content:
                self._identity = identity
                return True
            if size > self._size:  # A process died while it was writing.
                os.ftruncate(handle, self._size)
            os.lseek(handle, self._size, os.SEEK_SET)
            rest = memoryview(content)
            while rest:
                # A full disk first takes a part, and then refuses the next one.
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        self._identity, self._size = identity, self._size + len(content)
        return True

    def _write_whole(self) -> None:
        head = {"version": VERSION, "settings": self.settings}

        def lines() -> Iterator[bytes]:
            yield json.dumps(head, allow_nan=False).encode() + b"\n"
            for each in self.entries.texts:
                yield f'{{"entry": {each}}}\n'.encode()
            if self.pending is not None or self.is_finished:
                yield self._line([], is_last=True)

        remove_leftovers(self.path)
        replace_file(self.path, lambda stream: stream.writelines(lines()))
        self._identity, self._size = identity_of(self.path), self.path.stat().st_size

    # --- reading ---

    def _take(self, content: bytes) -> None:
        """Take the state from the content of a file.

        Raises:
            ValueError: It is not the content of a state file.
        """
        end = content.rfind(b"\n") + 1
        first, *lines = content[:end].split(b"\n")[:-1] or [content]
        head = parse("state file", first)
        check_fields("state file", head, {"version", "settings"}, VERSION)
        require(end > 0, "state file", "with a whole first line", first)
        self.settings = as_object("settings", head["settings"])
        for start in range(0, len(lines), _AT_ONCE):
            part = lines[start : start + _AT_ONCE]
            is_last = start + len(part) == len(lines)
            try:
                updates = parse_all(part)
            except ValueError:
                if not is_last:
                    raise
                # If the machine crashed, the last line may have a gap in its middle.
                updates = parse_all(part[:-1])
                end -= len(part[-1]) + 1
            for line, update in zip(part, updates, strict=False):
                self._step(line, update)
        self._size = end
        self._written = self._kept = len(self.entries)
        self._written_pending, self._written_end = self.pending, self.is_finished
        self._written_settings = dict(self.settings)

    def _step(self, line: bytes, update: dict[str, Any]) -> None:
        if self.pending is not None:
            self._void += 1
        self.pending, self.is_finished = None, False
        entry = update.get("entry")
        if type(entry) is dict and len(update) == 1 and line.startswith(_ENTRY):
            self.entries.take(line[len(_ENTRY) : -1].decode(), entry)
            return
        unknown = sorted(update.keys() - {"keep", "entry", "pending", "is_finished"})
        require(not unknown, "a line", "of known fields", unknown)
        if "keep" in update:
            count = integer("keep", update["keep"])
            require(count < len(self.entries), "keep", "less than the entries before it", count)
            self._void += len(self.entries) - count
            self.entries.keep(count)
        if "entry" in update:
            self.entries.take(json.dumps(entry), as_object("entry", entry))
        if "pending" in update:
            self.pending = _pending(as_object("pending", update["pending"]))
        if "is_finished" in update:
            require(update["is_finished"] is True, "is_finished", "true, or left out", update["is_finished"])
            require(len(self.entries) > 0, "is_finished", "of a training with entries", True)
            self.is_finished = True


def load(path: Path) -> StateFile:
    """Read a state file.

    It checks the fields of each entry that need no decoding, and all that `StateFile.check_use` covers.

    Args:
        path: The file.

    Returns:
        The state that was written.

    Raises:
        FileNotFoundError: There is no such file.
        StateFileError: The file cannot be read, is no state file, has another version, or is damaged.
    """
    found = StateFile(path, {})
    try:
        check_place(path)
        with path.open("rb") as file:
            identity = identity_of(file.fileno())
            found._take(file.read())
        found._identity = identity
        if found.entries:
            found.check_use()
        return found
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no state file {path}") from None
    except StateFileError:
        raise
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> StateFileError:
    return StateFileError(
        f"the state file {path} cannot be used: {error}. Put back a whole one to go on with its training, or move it "
        "away to begin a new one, or pass another state_path or log_dir"
    )


def set_aside(path: Path) -> Path:
    """Rename a state file and its copies to keep them, and return the new name.

    Raises:
        OSError: They cannot be renamed.
    """
    check_place(path)
    for number_ in itertools.count(1):
        aside = path.with_name(f"{path.name}.{number_}")
        if not os.path.lexists(aside):
            break
    path.replace(aside)
    if (folder := snapshot_folder(path)).exists():
        folder.replace(snapshot_folder(aside))
    return aside


def snapshot_folder(path: Path) -> Path:
    """Return the directory for the copies that belong to a state file."""
    return path.with_name(path.name + ".snapshots")


def _plain_pending(pending: Pending) -> dict[str, Any]:
    logs = {name: encode_number(value) for name, value in pending.logs.items()}
    first_loss = None if pending.first_loss is None else encode_number(pending.first_loss)
    plain = {"epoch": pending.epoch, "iterations": pending.iterations, "first_loss": first_loss}
    return {**plain, "logs": logs}


def _pending(data: dict[str, Any]) -> Pending:
    check_fields("pending", data, {"epoch", "iterations", "first_loss", "logs"})
    loss = None if data["first_loss"] is None else number("first_loss", data["first_loss"])
    logs = {name: number(name, value) for name, value in as_object("logs", data["logs"]).items()}
    return Pending(integer("epoch", data["epoch"]), integer("iterations", data["iterations"]), loss, logs)
