"""The files of a training: its run directory and its state file, found, checked, and claimed for this process."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from keras_lrplateau import state_file
from keras_lrplateau.run import RUN_NAME
from keras_lrplateau.state_file import Pending, StateFile, StateFileError
from keras_lrplateau.tensorboard.writer import STATE, next_run_dir

LOCK = ".lock"
"""The name of the file in a run directory that the process holds which writes there."""


@dataclass
class Files:
    """What was found.

    Attributes:
        run_dir: Where event files go; None if nowhere.
        state: The state file, with the entries from before the training's next epoch; None if there is to be none.
        pending: The observation of the epoch before, if it was not decided upon; else None.
        messages: What the user should hear.
        failure: Why the log dir could not be looked at; None if it could.
    """

    run_dir: Path | None = None
    state: StateFile | None = None
    pending: Pending | None = None
    messages: list[str] = field(default_factory=list)
    failure: OSError | None = None


def open_files(
    log_dir: str | None,
    state_path: str | Literal[False] | None,
    on_bad_state: Literal["raise", "fresh"],
    settings: dict[str, Any],
    epoch: int,
    iterations: int,
    takes_over: bool = True,
) -> Files:
    """Choose the files of a training, and recall what is known of it.

    Args:
        log_dir, state_path, on_bad_state: As the callback has them.
        settings: What must be the same for a training to go on; see `StateFile`.
        epoch: With which the training begins, from 0; a later one goes on with an earlier training.
        iterations: The optimizer's count of steps.
        takes_over: Whether a training that begins at 0 may take the place of one that died in its first epoch.

    Returns:
        The files. Nothing is written yet, but for locks.

    Raises:
        StateFileError: The state file cannot be used, and `on_bad_state` is "raise".
        RuntimeError: Another process is using it.
        OSError: The place of `state_path` cannot be written.
    """
    files = Files()
    if log_dir is not None:
        try:
            files.run_dir = _claim_run_dir(log_dir, settings, epoch, takes_over, files.messages)
        except OSError as error:
            # Whoever writes there tries again.
            files.run_dir, files.failure = Path(log_dir) / RUN_NAME, error
    if state_path is None and files.run_dir is not None:
        path = files.run_dir / STATE
    elif isinstance(state_path, str):
        path = Path(state_path)
        _hold(path.with_name(f".{path.name}.lock"), "state_path", state_path)
    else:
        return files
    files.state = StateFile(path, settings)
    try:
        found = state_file.load(path)
        if epoch > 0 and not found.is_finished:
            found.check_settings(settings)
    except FileNotFoundError:
        has_events = files.run_dir is not None and any(files.run_dir.glob("*tfevents*"))
        if epoch > 0 and (state_path is not None or has_events):
            files.messages.append(
                f"AdaptLROnPlateau: there is no state file {path} of the training that goes on in epoch {epoch + 1}, "
                "so its waits and counts begin anew."
            )
        return files
    except StateFileError as error:
        if on_bad_state == "raise":
            raise StateFileError(
                f"{error}. To begin anew, and keep the file under another name, pass on_bad_state='fresh'"
            ) from None
        _set_aside(path, str(error), files.messages)
        return files
    if epoch == 0 or found.settings != settings:
        if not found.is_young:
            _set_aside(path, "it is of another training", files.messages)
        return files
    _recall(files, found, epoch, iterations)
    return files


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


def _claim_run_dir(log_dir: str, settings: dict[str, Any], epoch: int, takes_over: bool, messages: list[str]) -> Path:
    newest = next_run_dir(log_dir, resume=True)
    if epoch > 0:
        _hold(newest / LOCK, "log_dir", log_dir)
        return newest
    if takes_over and _died_at_once(newest, settings):
        return newest
    wanted = next_run_dir(log_dir, resume=False)
    run_dir = next_run_dir(log_dir, resume=False, is_free=_is_free)
    if run_dir != wanted:
        messages.append(
            f"AdaptLROnPlateau: another process is writing to {wanted} at this moment, so this training writes to "
            f"{run_dir}. If they should not share a log_dir, stop one of them."
        )
    return run_dir


def _died_at_once(run_dir: Path, settings: dict[str, Any]) -> bool:
    """Whether the last training was this one, and got no further than its first epoch before it died.

    Then there is nothing to lose in it, and it would only be a second line in TensorBoard.
    """
    try:
        found = state_file.load(run_dir / STATE)
    except (FileNotFoundError, StateFileError):
        return False
    is_same = found.settings == settings or found.next_epoch == 0
    return found.is_young and is_same and _is_free(run_dir)


def _is_free(run_dir: Path) -> bool:
    return state_file.hold(run_dir / LOCK)


def _hold(lock: Path, argument: str, received: str) -> None:
    if not state_file.hold(lock):
        raise RuntimeError(
            f"another process is training in {lock.parent} at this moment. Received: {argument}={received!r}; stop it, "
            f"or pass another {argument}"
        )


def _set_aside(path: Path, why: str, messages: list[str]) -> None:
    aside = state_file.set_aside(path)
    messages.append(
        f"AdaptLROnPlateau begins a new state file {os.fspath(path)}; the old one is now {os.fspath(aside)}: {why}."
    )
