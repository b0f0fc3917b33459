"""Claims: one training at a time holds a place, among processes, forks and threads, until it ends for any reason."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from keras_lrplateau.files import locks
from keras_lrplateau.files.locks import Claim

HOLD = """
import os, sys, time
from pathlib import Path
from keras_lrplateau.files import locks
lock = Path(sys.argv[1])
is_held, claim = locks.is_held_elsewhere(lock), locks.claim(lock)
print(is_held, claim is not None, flush=True)
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run" / ".lock"
    if held := locks.holder(tmp_path / "run" / ".lock"):
        held.release()


def claimed(lock: Path, owner: object = None, **how: bool) -> Claim:
    found = locks.claim(lock, owner, **how)
    assert found is not None
    return found


def other_process(lock: Path, more: str = "") -> subprocess.Popen[str]:
    """Start a process that says whether the lock is held, tries to claim it, says whether it could, and runs `more`."""
    return subprocess.Popen([sys.executable, "-c", HOLD + more, str(lock)], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(lock: Path) -> str:
    """Return the answer of another process, which then ends."""
    with other_process(lock) as process:
        return said(process)


def test_a_claim_is_held_until_its_process_dies_however_it_dies(lock: Path) -> None:
    with other_process(lock, "time.sleep(60)") as process:
        assert said(process) == "False True"
        assert locks.claim(lock) is None
        assert locks.is_held_elsewhere(lock)
        process.kill()
    assert process.returncode != 0
    assert not locks.is_held_elsewhere(lock)
    claimed(lock)


def test_a_claim_is_held_until_it_is_released(lock: Path) -> None:
    first = claimed(lock)
    assert not locks.is_held_elsewhere(lock)
    assert asked(lock) == "True False"
    first.release()
    first.release()
    assert asked(lock) == "False True"


def test_two_callbacks_of_one_fit_never_have_the_same(lock: Path) -> None:
    owner = object()
    first = claimed(lock, owner)
    for takes_over in (False, True):
        assert locks.claim(lock, owner, takes_over=takes_over) is None
    first.release()
    claimed(lock, owner)


def test_the_next_fit_in_a_thread_takes_what_an_interrupted_one_has_left_if_it_must(lock: Path) -> None:
    first = claimed(lock, object())
    assert locks.claim(lock, object(), takes_over=False) is None
    second = claimed(lock, object())
    assert locks.holder(lock) is second
    first.release()  # It is late, and does no harm.
    assert asked(lock) == "True False"


def test_another_thread_is_as_another_process_until_it_ends(lock: Path) -> None:
    said: list[bool] = []
    is_claimed, may_end = threading.Event(), threading.Event()

    def train() -> None:
        said.append(locks.claim(lock, object()) is not None)
        is_claimed.set()
        may_end.wait(300)

    thread = threading.Thread(target=train)
    thread.start()
    assert is_claimed.wait(300)
    assert said == [True]
    assert locks.claim(lock, object()) is None
    assert locks.is_held_elsewhere(lock)
    may_end.set()
    thread.join()
    assert not locks.is_held_elsewhere(lock)
    claimed(lock, object())


def test_of_many_threads_at_once_one_has_it(lock: Path) -> None:
    barrier, found = threading.Barrier(8), list[Claim | None]()

    def train() -> None:
        barrier.wait()
        found.append(locks.claim(lock, object()))
        barrier.wait()

    threads = [threading.Thread(target=train) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert sum(each is not None for each in found) == 1


def test_a_claim_that_is_just_being_made_is_not_taken_for_one_whose_file_is_gone(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_locked, may_go_on = threading.Event(), threading.Event()
    identity_of, found = locks.identity_of, list[Claim | None]()

    def slow(path: Path) -> tuple[int, int] | None:
        """When the file was just locked, and the claim does not know yet which one it is."""
        if threading.current_thread() is thread and not is_locked.is_set():
            is_locked.set()
            assert may_go_on.wait(300)
        return identity_of(path)

    monkeypatch.setattr(locks, "identity_of", slow)
    thread = threading.Thread(target=lambda: found.append(locks.claim(lock, object())))
    thread.start()
    assert is_locked.wait(300)
    assert lock.exists()
    assert locks.claim(lock, object()) is None
    may_go_on.set()
    thread.join()
    assert found[0] is not None
    assert locks.holder(lock) is found[0]
    assert asked(lock) == "True False"


@forks
def test_a_forked_process_does_not_keep_the_claim_of_its_parent(lock: Path) -> None:
    """A data loader's worker may outlive its training. It cannot take its parent's place either."""
    more = """
if (child := os.fork()) == 0:
    print(locks.claim(lock) is not None, flush=True)
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""
    process = other_process(lock, more)
    assert said(process) == "False True"
    lines = {said(process), said(process)}
    assert "False" in lines
    (child,) = map(int, lines - {"False"})
    try:
        assert asked(lock) == "True False"
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert asked(lock) == "False True"
    finally:
        os.kill(child, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()


def test_a_claim_whose_directory_was_removed_is_made_again(lock: Path) -> None:
    mine = claimed(lock)
    assert mine.renew()
    shutil.rmtree(lock.parent)
    assert not mine.is_there
    assert mine.renew()
    assert mine.is_there
    assert asked(lock) == "True False"


def test_it_is_not_where_another_has_it_by_then(lock: Path) -> None:
    mine = claimed(lock)
    shutil.rmtree(lock.parent)
    with other_process(lock, "time.sleep(60)") as process:
        assert said(process) == "False True"
        assert not mine.renew()
        assert locks.claim(lock) is None
        process.kill()
    assert not mine.renew()  # The other one has ended, but its files are there.
    assert asked(lock) == "False True"


def test_to_look_at_a_lock_makes_none(lock: Path) -> None:
    assert not locks.is_held_elsewhere(lock)
    assert not lock.parent.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_locks_a_claim_succeeds(number: int, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claims of one process still conflict."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    owner = object()
    mine = claimed(lock, owner)
    assert locks.claim(lock, owner) is None
    mine.release()
    lock.touch()
    assert not locks.is_held_elsewhere(lock)


def test_any_other_error_is_one(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(PermissionError):
        locks.claim(lock)
    assert locks.holder(lock) is None
