"""Claims: locks that let one training at a time write to a place.

`filelock` does the locking. The system releases a lock when its process dies, for whatever reason; a forked process
does not keep its parent's locks. Two claims conflict within one process as well as between two; `claim` has one
exception.
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

from keras_lrplateau.files.atomic import identity_of, make_folder

_claims: dict[str, Claim] = {}
"""The claims of this process, by real path."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_claims.clear)

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""The errors of file systems without locks."""


@final
class Claim:
    """A lock that this process holds until it releases it or dies.

    Attributes:
        path: The lock file.
        owner: The `fit` that made the claim; None if not known.
        since: The epoch at which the owner's training began, for `keras_lrplateau.resume.claim`.
    """

    def __init__(self, path: Path, owner: object) -> None:
        self.path = path
        self.owner = owner
        self.since = 0
        self._thread = threading.current_thread()
        self._lock: filelock.BaseFileLock | None = None
        self._identity: tuple[int, int] | None = None
        self._is_lost = False

    @property
    def is_of_this_thread(self) -> bool:
        """Whether this thread made the claim, or a thread that has ended since."""
        return self._thread is threading.current_thread() or not self._thread.is_alive()

    @property
    def is_there(self) -> bool:
        """Whether the lock file is still the file that was locked. While a thread is locking it, it is."""
        return self._lock is None or self._identity == identity_of(self.path)

    def acquire(self) -> bool:
        """Lock the file; False if another process has it. A missing file or directory is made.

        Raises:
            OSError: The file cannot be made.
        """
        make_folder(self.path.parent)
        lock = _file_lock(self.path)
        try:
            # Another process may hold it for a moment, to look: see `is_held_elsewhere`.
            lock.acquire(timeout=0.1, poll_interval=0.02)
        except filelock.Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        except NotImplementedError:
            pass
        self._identity = identity_of(self.path)
        self._lock = lock  # Last, so that no other thread takes the claim for one whose file is gone.
        return True

    def renew(self) -> bool:
        """Claim the place again if its file was removed, as by `rm -r`; False if another training has taken it since.

        Once taken, it stays so: when the other one has ended, its files are there.

        Raises:
            OSError: The file cannot be made again.
        """
        key = _key(self.path)
        if self.is_there and _claims.get(key) is self:
            return True
        self.release()
        held = _claims.get(key)
        self._is_lost = self._is_lost or (held is not None and held.is_there) or not self.acquire()
        if self._is_lost:
            return False
        _claims[key] = self
        return True

    def release(self) -> None:
        """Give the claim up. A second call does nothing."""
        if _claims.get(_key(self.path)) is self:
            del _claims[_key(self.path)]
        if self._lock is not None:
            self._lock.release()
        self._lock = self._identity = None


def claim(path: Path, owner: object = None, *, takes_over: bool = True) -> Claim | None:
    """Claim a place for this process.

    Args:
        path: The lock file. It is made with its directory if it is missing, and is never removed.
        owner: The `fit` that claims. Two claims of the same owner always conflict.
        takes_over: Whether to take a claim from another owner in this thread. A `fit` that begins shows that an earlier
            one in the same thread has ended, perhaps interrupted before its release. Two loops that take turns in one
            thread look the same, so use this only for places that have no substitute.

    Returns:
        The claim; None if another process, thread or callback holds the place. On a file system without locks, claims
        of other processes go unnoticed.

    Raises:
        OSError: The file cannot be made.
    """
    key = _key(path)
    held = _claims.get(key)
    if held is not None and held.is_of_this_thread and held.owner is not owner and not takes_over:
        gc.collect()  # An interrupted `fit` may keep its claim in a cycle of references.
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
    """Return the claim of this process on a place; None if there is none."""
    return _claims.get(_key(path))


def is_held_elsewhere(path: Path) -> bool:
    """Return whether another process or thread has claimed a place; False if that cannot be known."""
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
    """Release several claims."""
    for each in claims:
        with contextlib.suppress(OSError):  # The system releases it when the process ends.
            each.release()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Without the fallback of `filelock`, whose marker file would outlive a killed process.
    return filelock.FileLock(path, thread_local=False, fallback_to_soft=False)


def _key(path: Path) -> str:
    return os.path.realpath(path)
