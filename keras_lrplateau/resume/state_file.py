"""What a training must not lose when its process dies: the state after each epoch, in one file that grows by lines.

The first line has the version and the settings. Each further one is a step forward, and is written and on the disk
before `write` returns:

    {"keep": 5, "entry": {...}, "pending": {...}, "is_finished": true}

`keep` says how many of the entries before it still count, where training has gone back; `entry` is one more; `pending`
is an observation that is made but not yet decided upon; `is_finished` says that training has ended. What a line leaves
out it has not, but for `keep`, without which all entries count.

A line that is not whole at the end of the file was being written when the process died; it is no error, and what is
known is what the lines before it say. Any other damage is one. The file is written whole again, by `replace_file`, when
half of what it holds is void, and where it is not the file any more that was written last. So the time and the bytes of
an epoch do not grow with the epochs before it.

A training is found by the number of its next epoch and the optimizer's count of steps. Nothing here knows Keras.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from keras_lrplateau.files.atomic import check_place, remove_leftovers, replace_file
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

VERSION = 2
"""Of the file. A change of its fields needs a new one."""

VOID_IS_FINE = 1000
"""So many void entries and observations are not worth writing the file again."""

_AT_ONCE = 4096
"""So many lines are parsed at once: that is faster than one by one, and does not hold the file twice in memory."""

_ENTRY = b'{"entry": '


class StateFileError(ValueError):
    """A state file cannot be used; the text says which, why, and what to do."""


@dataclass(frozen=True)
class Pending:
    """The numbers of an epoch that is over and not yet decided upon.

    A callback in front of ours may save its backup of an epoch before ours is asked about it, and a process may die in
    between: then the resumed one decides.

    Attributes:
        epoch: From 0.
        iterations: The optimizer's count of steps.
        first_loss: The loss of its first batch; may be non-finite. None if it is not known.
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
        entries: In the order of time. Change them by `add` and `keep`.
        pending: An observation that was not decided upon; None if there is none.
        is_finished: Whether training ended.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.entries = Entries()
        self.pending: Pending | None = None
        self.is_finished = False

        # What the disk has.
        self._place: tuple[int, int] | None = None  # The device and the number of the file; None: it is not known.
        self._size = 0
        self._written = 0  # So many entries,
        self._kept = 0  # and of these so many still count.
        self._void = 0  # So many entries and observations in the file do not count any more.
        self._written_pending: Pending | None = None
        self._written_end = False
        self._written_settings: dict[str, Any] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry. Then nothing is left to decide, and training has not ended."""
        self.entries.append(entry)
        self.pending, self.is_finished = None, False

    def keep(self, count: int) -> None:
        """Forget all entries but the first ones: training goes back, or is resumed from there."""
        self.entries.keep(count)
        self._kept = min(self._kept, count)

    def knows(self, epoch: int, iterations: int) -> bool:
        """Whether a training with so many steps may go on with this epoch, and nothing is missing."""
        if self.pending is not None and (self.pending.epoch, self.pending.iterations) == (epoch - 1, iterations):
            return True
        return self.entries.ends(epoch - 1, iterations)

    @property
    def is_young(self) -> bool:
        """Whether it knows of one epoch at most, and the training had not ended."""
        return not self.is_finished and self.entries.first_epoch == self.entries.last_epoch

    @property
    def recent_snapshots(self) -> set[str]:
        """The files that a training may need which goes on with the last epoch, or after it."""
        if not self.is_finished:
            return self.entries.recent_files
        # Only what was restored in the last epoch: the weights of a backup may be from before.
        last = [each.restore for each in self.entries[-1].decisions if each.restore is not None]
        both = [self.entries.snapshots_at(index) for index in range(max(len(self.entries) - 2, 0), len(self.entries))]
        return {file for snapshots in both for name, file in snapshots.items() if name in last[-1:]}

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
            raise StateFileError(
                f"the state file {self.path} is of a training with other settings: {differences}. Match the settings "
                "to go on with that training, or move the file away to begin a new one"
            )

    def _differing(self, settings: dict[str, Any]) -> list[str]:
        both = settings, self.settings
        names = [name for name in settings | self.settings if settings.get(name) != self.settings.get(name)]
        # How many weights there are is not known of a model that was not built when its training began.
        return [name for name in names if name != "weights" or all(each.get(name) is not None for each in both)]

    def check_use(self) -> None:
        """Check all that is read of a training that goes on after the last entry.

        Raises:
            StateFileError: Something has a value that none has.
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
        """Write what has changed. When this returns, not even a crash of the whole machine loses anything of it.

        Raises:
            OSError: It cannot be written. Then the file says what it said before.
        """
        void = self._void + self._written - self._kept + (self._written_pending is not None)
        is_worth_it = void > VOID_IS_FINE + len(self.entries) / 2
        if is_worth_it or self.settings != self._written_settings or not self._append(b"".join(self._news())):
            # As it was written; it is a retry if this fails, too.
            self._place = None
            self._write_whole()
            void = 0
        self._void = void
        self._written = self._kept = len(self.entries)
        self._written_pending, self._written_end = self.pending, self.is_finished
        self._written_settings = dict(self.settings)

    def _news(self) -> Iterator[bytes]:
        """The lines for what the file does not say yet."""
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
        """Whether the file is the one that was written last, and now ends with this."""
        if self._place is None or _place_of(self.path) != self._place:
            return False
        # Not blocking, should it have become a FIFO since.
        flags = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(self.path, flags)
        except FileNotFoundError:
            return False
        place, self._place = self._place, None  # Unless all goes well.
        try:
            status = os.fstat(handle)
            if (status.st_dev, status.st_ino) != place or status.st_size < self._size:
                return False
            if not content:
                self._place = place
                return True
            if status.st_size > self._size:  # A process died while it wrote.
                os.ftruncate(handle, self._size)
            os.lseek(handle, self._size, os.SEEK_SET)
            rest = memoryview(content)
            while rest:
                # A full disk takes a part first, and refuses the next one.
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        self._place, self._size = place, self._size + len(content)
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
        self._place, self._size = _place_of(self.path), self.path.stat().st_size

    # --- reading ---

    def _take(self, content: bytes) -> None:
        """Be as the file is that has this content.

        Raises:
            ValueError: It is none of ours.
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
                # The last line may lack a part in its middle, where the machine has crashed.
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

    What is at hand of each entry is checked, and the last entry. `StateFile.check_use` checks what is used.

    Args:
        path: Its path.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: There is none.
        StateFileError: It cannot be read, is not ours, is of another version, or is damaged.
    """
    found = StateFile(path, {})
    try:
        check_place(path)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            found._take(file.read())
        found._place = status.st_dev, status.st_ino
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
        "away to begin a new one"
    )


def set_aside(path: Path) -> Path:
    """Give a state file and its copies another name, so that it is kept; returns the name.

    Raises:
        OSError: It cannot be renamed.
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
    """Where the copies are that belong to a state file."""
    return path.with_name(path.name + ".snapshots")


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
