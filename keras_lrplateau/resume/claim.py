"""Claims the run directory and the state file of a training for this process, and reads what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from keras_lrplateau.files import locks
from keras_lrplateau.files.atomic import check_place
from keras_lrplateau.files.locks import Claim
from keras_lrplateau.history.run import RUN_NAME
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.entries import Entries
from keras_lrplateau.resume.run_dirs import LOCK, STATE, earlier_run_dirs, is_used, next_run_dir
from keras_lrplateau.resume.state_file import Pending, StateFile, StateFileError


@dataclass
class Files:
    """The files of a training, and what they hold.

    Attributes:
        run_dir: The directory for event files; None if none are written.
        state: The state file, with the entries from before the training's next epoch; None if none is written.
        pending: The observation of the previous epoch, if the rule has not decided on it yet; else None.
        messages: Messages for the user.
        claims: The claims to release when the training is over.
        failure: Why the log dir could not be read; None if it could.
        ended: The entries of the training of these files, if it had ended and this is a new phase of it; else None.
        shift: How many epochs to add to those of the `fit`, which counts them from 0 in each phase; 0 if it does not.
    """

    run_dir: Path | None = None
    state: StateFile | None = None
    pending: Pending | None = None
    messages: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    failure: OSError | None = None
    ended: Entries | None = None
    shift: int = 0


@dataclass(frozen=True)
class _Training:
    """The training that looks for its files: the arguments of `open_files`."""

    settings: dict[str, Any]
    epoch: int
    iterations: int
    held: Sequence[float] | None
    owner: object
    is_new_phase: bool
    is_over: bool


def open_files(
    log_dir: str | None,
    state_path: str | Literal[False] | None,
    settings: dict[str, Any],
    epoch: int,
    iterations: int,
    held: Sequence[float] | None = None,
    takes_over: bool = True,
    owner: object = None,
    is_new_phase: bool = False,
    is_over: bool = False,
) -> Files:
    """Choose the files of a training, and read what they hold.

    Args:
        log_dir, state_path: The arguments of the callback.
        settings: What must be the same for a training to go on; see `StateFile`.
        epoch: The epoch at which `fit` begins, from 0. If it is above 0, an earlier training goes on.
        iterations: The optimizer's count of steps.
        held: What the optimizers hold: rates, or multipliers of schedules; None if not known.
        takes_over: Whether a training that begins at 0 may take the place of one that died in its first epoch.
        owner: The present `fit`: two of its callbacks never get the same files. None if not known.
        is_new_phase: Whether a new phase begins with an epoch above 0, even if the training before was interrupted.
        is_over: Whether no epoch is left.

    Returns:
        The files. Only locks have been written.

    Raises:
        StateFileError: The state file cannot be used.
        RuntimeError: Another training is using it, in another process or thread or by another callback of the owner.
        OSError: `state_path` cannot be written, or is not a regular file.
    """
    files, training = Files(), _Training(settings, epoch, iterations, held, owner, is_new_phase, is_over)
    try:
        if log_dir is not None:
            _find_run_dir(files, log_dir, training, takes_over)
        if state_path is None and files.run_dir is not None:
            _find_state(files, files.run_dir / STATE, False, training)
        elif isinstance(state_path, str):
            path = Path(state_path)
            check_place(path)
            lock = path.with_name(f".{path.name}{LOCK}")
            if not _claim(files, lock, training):
                _refuse(lock, "state_path", state_path, owner)
            _find_state(files, path, True, training)
    except BaseException:
        locks.release(files.claims)
        raise
    return files


def renew(claims: Sequence[Claim]) -> None:
    """Claim again the places that were removed, as by `rm -r log_dir`, before they are written again.

    Raises:
        OSError: One cannot be claimed, or another training has it by now.
    """
    for each in claims:
        if not each.renew():
            raise OSError(f"{each.path.parent} was removed, and another training writes there now")


def _find_run_dir(files: Files, log_dir: str, training: _Training, takes_over: bool) -> None:
    try:
        if training.epoch > 0:
            files.run_dir = _run_dir_to_go_on_with(files, log_dir, training)
        else:
            files.run_dir = _new_run_dir(files, log_dir, training, takes_over)
    except OSError as error:
        # Each write to it will try again.
        files.run_dir, files.failure = Path(log_dir) / RUN_NAME, error


def _find_state(files: Files, path: Path, is_given: bool, training: _Training) -> None:
    epoch, settings = training.epoch, training.settings
    files.state = StateFile(path, settings)
    try:
        found = state_file.load(path)
        if training.is_new_phase and found.entries:
            found.is_finished = True  # It was interrupted, so the file does not say so.
        if epoch > 0 and not found.is_finished:
            found.check_settings(settings)
    except FileNotFoundError:
        has_events = files.run_dir is not None and any(files.run_dir.glob("*tfevents*"))
        if epoch > 0 and (is_given or has_events):
            files.messages.append(
                f"AdaptLROnPlateau: there is no state file {path} of the training that goes on in epoch {epoch + 1}, "
                "so its waits and counts begin at zero."
            )
        return
    except StateFileError as error:
        if files.failure is None or not isinstance(error.__cause__, OSError):
            raise
        return  # The log dir cannot be read, and `failure` tells the user so.
    if epoch > 0 and found.is_finished and not training.is_over:
        files.state, files.ended = found, found.begin_phase(settings)
        return
    if epoch == 0 or not found.is_of(settings):
        if not found.is_young:
            _set_aside(path, "it belongs to another training", files.messages)
        return
    found.settings = settings  # These may also know the size of the model.
    files.shift = found.shift(epoch, training.iterations)
    _recall(files, found, epoch + files.shift, training)


def _recall(files: Files, found: StateFile, epoch: int, training: _Training) -> None:
    entries, pending, iterations = found.entries, found.pending, training.iterations
    kept = entries.until(epoch, iterations, training.held)
    is_decided = kept < len(entries) or (kept > 0 and entries.next_epoch == epoch)
    if pending is not None and not is_decided and (pending.epoch, pending.iterations) == (epoch - 1, iterations):
        files.pending = pending
    found.keep(kept)
    found.pending, found.is_finished = None, False
    found.check_use()
    files.state = found
    known = epoch if files.pending is not None else entries.next_epoch
    if known < epoch:
        files.messages.append(
            f"AdaptLROnPlateau: training goes on in epoch {epoch + 1}, but the state file {found.path} ends with epoch "
            f"{known}. What was observed since is not known; decisions go on from there."
        )


def _run_dir_to_go_on_with(files: Files, log_dir: str, training: _Training) -> Path:
    """Choose the run directory of a training that goes on.

    It is the newest one, or if that belongs to another training, the newest one that died where this training goes on.
    Another `fit` in this thread may hold a claim on it. If that `fit` began at an earlier epoch, it was interrupted
    here, and this training takes its directory. Otherwise its epochs may take turns with ours, and its directory is
    taken only if no other one fits.
    """
    newest = next_run_dir(log_dir, resume=True)
    fitting = _fitting_run_dirs(newest, training)
    for is_last_resort in (False, True):
        for run_dir in fitting:
            held = locks.holder(run_dir / LOCK)
            is_past = held is not None and held.since < training.epoch
            if _may_claim(files, run_dir / LOCK, training, is_last_resort or is_past):
                if run_dir != newest:
                    files.messages.append(
                        f"AdaptLROnPlateau goes on with the training in {run_dir}. There is a later one in {newest}, "
                        "but it does not match this epoch or these settings, or is still running."
                    )
                return run_dir
    if not _may_claim(files, newest / LOCK, training):
        _refuse(newest / LOCK, "log_dir", log_dir, training.owner)
    return newest


def _fitting_run_dirs(newest: Path, training: _Training) -> list[Path]:
    """Return the run directories that this training may go on with, the newest first."""
    fitting = []
    for run_dir in (newest, *earlier_run_dirs(newest)):
        try:
            found = state_file.load(run_dir / STATE)
        except FileNotFoundError:
            continue
        except StateFileError:
            if run_dir == newest:
                break  # It is probably the right one, so the user should see the error.
            continue
        epoch = training.epoch + found.shift(training.epoch, training.iterations)
        fits = found.is_of(training.settings) and found.knows(epoch, training.iterations)
        if fits and (run_dir == newest or not found.is_finished):
            fitting.append(run_dir)
    return fitting


def _new_run_dir(files: Files, log_dir: str, training: _Training, takes_over: bool) -> Path:
    def is_free(run_dir: Path, is_still: Callable[[Path], bool]) -> bool:
        if not _may_claim(files, run_dir / LOCK, training, takes_over=False):
            return False
        if is_still(run_dir):
            return True
        # Another training has come and gone since we looked.
        locks.release([files.claims.pop()])
        return False

    def has_died(run_dir: Path) -> bool:
        return _died_at_once(run_dir, training.settings)

    newest = next_run_dir(log_dir, resume=True)
    if takes_over and has_died(newest) and is_free(newest, has_died):
        return newest
    wanted = next_run_dir(log_dir, resume=False)
    run_dir = next_run_dir(log_dir, resume=False, is_free=lambda each: is_free(each, lambda place: not is_used(place)))
    busy = [each for each in (wanted, newest, *earlier_run_dirs(newest)) if locks.is_held_elsewhere(each / LOCK)]
    if busy:
        files.messages.append(
            f"AdaptLROnPlateau: another training is writing to {busy[0]} at this moment, so this training writes to "
            f"{run_dir}. If they should not share a log_dir, stop one of them."
        )
    return run_dir


def _died_at_once(run_dir: Path, settings: dict[str, Any]) -> bool:
    """Return whether the last training died in its first epoch, and had the same settings or no epoch that was over.

    Then its directory holds nothing worth keeping, and would only add a line to TensorBoard.
    """
    try:
        found = state_file.load(run_dir / STATE)
    except (FileNotFoundError, StateFileError):
        return False
    return found.is_young and (found.is_of(settings) or found.entries.next_epoch == 0)


def _may_claim(files: Files, lock: Path, training: _Training, takes_over: bool = True) -> bool:
    """Claim as `_claim` does, but treat a lock that cannot be made as claimed: each write will try again."""
    try:
        return _claim(files, lock, training, takes_over)
    except OSError as error:
        files.failure = error
        return True


def _claim(files: Files, lock: Path, training: _Training, takes_over: bool = True) -> bool:
    """Claim a place and note the claim; False if another training has it."""
    mine = locks.claim(lock, training.owner, takes_over=takes_over)
    if mine is None:
        return False
    mine.since = training.epoch
    files.claims.append(mine)
    return True


def _refuse(lock: Path, argument: str, received: str, owner: object) -> NoReturn:
    held = locks.holder(lock)
    is_ours = held is not None and owner is not None and held.owner is owner
    who = "another callback of this model" if is_ours else "another training"
    raise RuntimeError(
        f"{who} is writing to {lock.parent} at this moment. Received: {argument}={received!r}; stop it, or pass "
        f"another {argument}"
    )


def _set_aside(path: Path, why: str, messages: list[str]) -> None:
    aside = state_file.set_aside(path)
    messages.append(
        f"AdaptLROnPlateau begins a new state file {os.fspath(path)}; the old one is now {os.fspath(aside)}: {why}."
    )
