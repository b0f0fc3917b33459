"""Claims on places that one training at a time may write to.

`filelock` does the locking. The system lets go of a lock when its process dies, however it dies; a forked process does
not keep its parent's. Two claims in one process conflict, as those of two processes do; `claim` has one exception.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import final

import filelock

from keras_lrplateau.files.atomic import make_folder

_claims: dict[str, Claim] = {}
"""What this process holds, by the real path."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_claims.clear)

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems say that have no locks."""


@final
class Claim:
    """What this process holds until it releases it, or dies.

    Attributes:
        path: The file that stands for it.
        owner: Who has claimed it; None if not known.
        since: The epoch with which the training of its owner began, for `keras_lrplateau.resume.claim`.
    """

    def __init__(self, path: Path, owner: object) -> None:
        self.path = path
        self.owner = owner
        self.since = 0
        self._thread = threading.current_thread()
        self._lock: filelock.BaseFileLock | None = None
        self._place: tuple[int, int] | None = None

    @property
    def is_of_this_thread(self) -> bool:
        """Whether this thread has claimed it, or one that has ended since."""
        return self._thread is threading.current_thread() or not self._thread.is_alive()

    @property
    def is_there(self) -> bool:
        """Whether its file is still the one that was locked."""
        return self._place == _place_of(self.path)

    def acquire(self) -> bool:
        """Lock the file, which is made with its directory if need be; False if another has it.

        Raises:
            OSError: It cannot be made.
        """
        make_folder(self.path.parent)
        lock = _file_lock(self.path)
        try:
            # Another process may only have looked, see `is_held_elsewhere`.
            lock.acquire(timeout=0.1, poll_interval=0.02)
        except filelock.Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        except NotImplementedError:
            pass
        self._lock, self._place = lock, _place_of(self.path)
        return True

    def renew(self) -> bool:
        """Claim it again if its file was removed, as `rm -r` does; False if another has it by now.

        Raises:
            OSError: It cannot be made again.
        """
        key = _key(self.path)
        if self.is_there and _claims.get(key) is self:
            return True
        self.release()
        if (held := _claims.get(key)) is not None and held.is_there:
            return False
        if not self.acquire():
            return False
        _claims[key] = self
        return True

    def release(self) -> None:
        """Give it up. Doing it twice is fine."""
        if _claims.get(_key(self.path)) is self:
            del _claims[_key(self.path)]
        if self._lock is not None:
            self._lock.release()
        self._lock = self._place = None


def claim(path: Path, owner: object = None, *, takes_over: bool = True) -> Claim | None:
    """Claim a place for this process.

    Args:
        path: The file that stands for it, made with its directory if need be. It stays.
        owner: Stands for a `fit`. Two claims of the same owner always conflict.
        takes_over: Whether to take what another owner has claimed in this thread: in one thread, a `fit` that begins
            shows that the one before has ended, perhaps by an interrupt, without a release. Two loops that take turns
            in one thread are not told from that, so this is for places that nothing can stand in for.

    Returns:
        The claim; None if another process, thread or callback has it. Where the file system has no locks, other
        processes are not seen.

    Raises:
        OSError: The file cannot be made.
    """
    key = _key(path)
    held = _claims.get(key)
    if held is not None and held.is_of_this_thread and held.owner is not owner and not takes_over:
        gc.collect()  # What an interrupted `fit` has left may wait for this, in a circle of references.
        held = _claims.get(key)
    if held is not None:
        is_abandoned = takes_over and held.is_of_this_thread and (owner is None or held.owner is not owner)
        if held.is_there and not is_abandoned:
            return None
        held.release()
    mine = Claim(path, owner)
    if _claims.setdefault(key, mine) is not mine:
        return None
    try:
        is_mine = mine.acquire()
    except BaseException:
        mine.release()
        raise
    if not is_mine:
        mine.release()
        return None
    return mine


def holder(path: Path) -> Claim | None:
    """The claim of this process on a place, if there is one."""
    return _claims.get(_key(path))


def is_held_elsewhere(path: Path) -> bool:
    """Whether another process or another thread has claimed a place; False where that cannot be told."""
    held = holder(path)
    if held is not None:
        return not held.is_of_this_thread
    if not path.exists():
        return False
    lock = _file_lock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


def release(claims: Iterable[Claim]) -> None:
    """Give up claims."""
    for each in claims:
        with contextlib.suppress(OSError):  # The system takes it back when the process ends, at the latest.
            each.release()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Not the fallback of `filelock`: a file that marks the place outlives a killed process.
    return filelock.FileLock(path, thread_local=False, fallback_to_soft=False)


def _key(path: Path) -> str:
    return os.path.realpath(path)


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
