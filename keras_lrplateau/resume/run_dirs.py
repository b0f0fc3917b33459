"""The files of a training: its run directory and its state file, found, checked, and claimed for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from keras_lrplateau.history.event_writer import STATE, next_run_dir
from keras_lrplateau.history.run import RUN_NAME
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.state_file import Pending, StateFile, StateFileError

LOCK = ".lock"
"""The name of the file in a run directory that the process holds which writes there."""

_owners: dict[str, object] = {}
"""Who has opened a lock last in this process."""


@dataclass
class Files:
    """What was found.

    Attributes:
        run_dir: Where event files go; None if nowhere.
        state: The state file, with the entries from before the training's next epoch; None if there is to be none.
        pending: The observation of the epoch before, if it was not decided upon; else None.
        messages: What the user should hear.
        locks: What this process holds, to be released when the training is over.
        failure: Why the log dir could not be looked at; None if it could.
    """

    run_dir: Path | None = None
    state: StateFile | None = None
    pending: Pending | None = None
    messages: list[str] = field(default_factory=list)
    locks: list[Path] = field(default_factory=list)
    failure: OSError | None = None


def open_files(
    log_dir: str | None,
    state_path: str | Literal[False] | None,
    on_bad_state: Literal["raise", "fresh"],
    settings: dict[str, Any],
    epoch: int,
    iterations: int,
    takes_over: bool = True,
    owner: object = None,
) -> Files:
    """Choose the files of a training, and recall what is known of it.

    Args:
        log_dir, state_path, on_bad_state: As the callback has them.
        settings: What must be the same for a training to go on; see `StateFile`.
        epoch: With which the training begins, from 0; a later one goes on with an earlier training.
        iterations: The optimizer's count of steps.
        takes_over: Whether a training that begins at 0 may take the place of one that died in its first epoch.
        owner: Stands for the present `fit`: callbacks of the same one never get the same files. None if not known.

    Returns:
        The files. Nothing is written yet, but for locks.

    Raises:
        StateFileError: The state file cannot be used, and `on_bad_state` is "raise".
        RuntimeError: Another process is using it, or another callback of the same owner.
        OSError: The place of `state_path` cannot be written.
    """
    files = Files()
    try:
        if log_dir is not None:
            _find_run_dir(files, log_dir, settings, epoch, iterations, takes_over, owner)
        if state_path is None and files.run_dir is not None:
            _find_state(files, files.run_dir / STATE, False, on_bad_state, settings, epoch, iterations)
        elif isinstance(state_path, str):
            path = Path(state_path)
            lock = path.with_name(f".{path.name}{LOCK}")
            if not _claim(files, lock, owner):
                _refuse(lock, "state_path", state_path, owner)
            _find_state(files, path, True, on_bad_state, settings, epoch, iterations)
    except BaseException:
        state_file.release(files.locks)
        raise
    return files


def _find_run_dir(
    files: Files,
    log_dir: str,
    settings: dict[str, Any],
    epoch: int,
    iterations: int,
    takes_over: bool,
    owner: object,
) -> None:
    try:
        if epoch > 0:
            files.run_dir = _run_dir_to_go_on_with(files, log_dir, settings, epoch, iterations, owner)
        else:
            files.run_dir = _new_run_dir(files, log_dir, settings, takes_over, owner)
    except OSError as error:
        # Whoever writes there tries again.
        files.run_dir, files.failure = Path(log_dir) / RUN_NAME, error


def _find_state(
    files: Files,
    path: Path,
    is_given: bool,
    on_bad_state: Literal["raise", "fresh"],
    settings: dict[str, Any],
    epoch: int,
    iterations: int,
) -> None:
    files.state = StateFile(path, settings)
    try:
        found = state_file.load(path)
        if epoch > 0 and not found.is_finished:
            found.check_settings(settings)
    except FileNotFoundError:
        has_events = files.run_dir is not None and any(files.run_dir.glob("*tfevents*"))
        if epoch > 0 and (is_given or has_events):
            files.messages.append(
                f"AdaptLROnPlateau: there is no state file {path} of the training that goes on in epoch {epoch + 1}, "
                "so its waits and counts begin anew."
            )
        return
    except StateFileError as error:
        if on_bad_state == "raise":
            raise StateFileError(
                f"{error}. To begin anew, and keep the file under another name, pass on_bad_state='fresh'"
            ) from None
        _set_aside(path, str(error), files.messages)
        return
    if epoch == 0 or not found.is_of(settings):
        if not found.is_young:
            _set_aside(path, "it is of another training", files.messages)
        return
    found.settings = settings  # They may tell more.
    _recall(files, found, epoch, iterations)


def _recall(files: Files, found: StateFile, epoch: int, iterations: int) -> None:
    kept, pending = found.until(epoch, iterations), found.pending
    is_news = kept == len(found.entries) and (kept == 0 or not found.entries[-1].is_over_at(epoch - 1))
    if pending is not None and is_news and (pending.epoch, pending.iterations) == (epoch - 1, iterations):
        files.pending = pending
    del found.entries[kept:]
    found.pending, found.is_finished = None, False
    files.state = found
    known = epoch if files.pending is not None else found.next_epoch
    if known < epoch:
        files.messages.append(
            f"AdaptLROnPlateau: training goes on in epoch {epoch + 1}, but the state file {found.path} ends with epoch "
            f"{known}. What was observed since is not known; decisions go on from there."
        )


def _run_dir_to_go_on_with(
    files: Files, log_dir: str, settings: dict[str, Any], epoch: int, iterations: int, owner: object
) -> Path:
    """The newest one; or, if that is not of this training, the newest one that is and died where this one goes on."""
    newest = next_run_dir(log_dir, resume=True)
    for run_dir in (newest, *_earlier_run_dirs(newest)):
        try:
            found = state_file.load(run_dir / STATE)
        except FileNotFoundError:
            continue
        except StateFileError:
            if run_dir == newest:
                break  # It may well be the one, and then the user should hear of it.
            continue
        fits = found.is_of(settings) and found.knows(epoch, iterations)
        if fits and (run_dir == newest or not found.is_finished) and _may_claim(files, run_dir / LOCK, owner):
            if run_dir != newest:
                files.messages.append(
                    f"AdaptLROnPlateau goes on with the training in {run_dir}. There is a later one in {newest}, which "
                    "is not the one that comes to this epoch with these settings, or is still running."
                )
            return run_dir
    if not _may_claim(files, newest / LOCK, owner):
        _refuse(newest / LOCK, "log_dir", log_dir, owner)
    return newest


def _new_run_dir(files: Files, log_dir: str, settings: dict[str, Any], takes_over: bool, owner: object) -> Path:
    newest = next_run_dir(log_dir, resume=True)
    if takes_over and _died_at_once(newest, settings) and _may_claim(files, newest / LOCK, owner):
        return newest
    wanted = next_run_dir(log_dir, resume=False)
    run_dir = next_run_dir(log_dir, resume=False, is_free=lambda each: _may_claim(files, each / LOCK, owner))
    busy = [each for each in (wanted, newest, *_earlier_run_dirs(newest)) if state_file.is_held_elsewhere(each / LOCK)]
    if busy:
        files.messages.append(
            f"AdaptLROnPlateau: another process is writing to {busy[0]} at this moment, so this training writes to "
            f"{run_dir}. If they should not share a log_dir, stop one of them."
        )
    return run_dir


def _earlier_run_dirs(newest: Path) -> Iterator[Path]:
    """Those that may be there before this one, the latest first."""
    last = int(newest.name.removeprefix(f"{RUN_NAME}_")) if newest.name != RUN_NAME else 1
    for number in range(last - 1, 0, -1):
        yield newest.with_name(RUN_NAME if number == 1 else f"{RUN_NAME}_{number}")


def _died_at_once(run_dir: Path, settings: dict[str, Any]) -> bool:
    """Whether the last training was this one, and got no further than its first epoch before it died.

    Then there is nothing to lose in it, and it would only be a second line in TensorBoard.
    """
    try:
        found = state_file.load(run_dir / STATE)
    except (FileNotFoundError, StateFileError):
        return False
    return found.is_young and (found.is_of(settings) or found.next_epoch == 0)


def _may_claim(files: Files, lock: Path, owner: object) -> bool:
    """As `_claim`; where no lock can be made, writing fails, too, and whoever writes tries again."""
    try:
        return _claim(files, lock, owner)
    except OSError as error:
        files.failure = error
        return True


def _claim(files: Files, lock: Path, owner: object) -> bool:
    """Hold a lock, and note it, unless somebody else has it."""
    if _is_owned(lock, owner) or not state_file.hold(lock):
        return False
    files.locks.append(lock)
    _owners[str(lock.resolve())] = owner
    return True


def _is_owned(lock: Path, owner: object) -> bool:
    """Whether another callback has it that belongs to the same owner."""
    return owner is not None and _owners.get(str(lock.resolve())) is owner


def _refuse(lock: Path, argument: str, received: str, owner: object) -> NoReturn:
    who = "another callback of this model" if _is_owned(lock, owner) else "another process"
    raise RuntimeError(
        f"{who} is training in {lock.parent} at this moment. Received: {argument}={received!r}; stop it, or pass "
        f"another {argument}"
    )


def _set_aside(path: Path, why: str, messages: list[str]) -> None:
    aside = state_file.set_aside(path)
    messages.append(
        f"AdaptLROnPlateau begins a new state file {os.fspath(path)}; the old one is now {os.fspath(aside)}: {why}."
    )
