"""Writes down how a training stands, for a process that goes on after a crash.

`keras_lrplateau.training.memory` holds the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_lrplateau.resume.entries import Entry
from keras_lrplateau.resume.state_file import Pending
from keras_lrplateau.training import metrics, processes
from keras_lrplateau.training.optimizers import iterations_of
from keras_lrplateau.training.session import Session

Before = tuple[int, tuple[float, ...]]
"""The optimizer's count of steps, and what the optimizers held."""


def remember(
    session: Session,
    epoch: int,
    before: Before | None = None,
    *,
    has_observation: bool = False,
    is_over: bool = True,
    raises: bool = False,
) -> None:
    """Add an entry to the state file, if there is one.

    Args:
        epoch: From 0.
        before: How things stood before anything was decided, if something was.
        has_observation, is_over: See `Entry`.
        raises: Whether a failure is an error, not a warning.
    """
    if session.memory.file is None:
        if processes.rank() > 0 and is_over:
            session.snapshots.clean(())
        return
    if is_over:
        session.snapshots.write_missing()
    session.memory.add(entry_of(session, epoch, before, has_observation=has_observation, is_over=is_over))
    session.memory.known = len(session.decisions)
    _write(session, raises)


def remember_end(session: Session) -> None:
    """Write down that the training has ended, if there is a state file with entries."""
    if session.memory.file is not None and session.memory.file.entries:
        session.memory.end(entry_of(session, session.next_epoch - 1))
        session.memory.known = len(session.decisions)
        _write(session)


def entry_of(
    session: Session, epoch: int, before: Before | None = None, *, has_observation: bool = False, is_over: bool = True
) -> Entry:
    """Return how things stand; see `remember` for the arguments."""
    iterations_before, rates_before = before or (session.iterations, session.rates.written)
    return Entry(
        epoch=epoch,
        is_over=is_over,
        iterations_before=iterations_before,
        iterations=session.iterations,
        has_observation=has_observation,
        decisions=tuple(session.decisions[session.memory.known :]),
        rates_before=rates_before,
        rates=session.rates.written,
        bases=session.rates.bases,
        adopted=session.rates.adopted,
        mode=session.present.direction,
        best=session.best,
        steps=session.steps,
        epochs_in_search=session.epochs_in_search,
        snapshots=session.snapshots.files,
        window=session.cadence.numbers if session.decides_in_epoch else (),
        state=session.known_state.to_dict(),
    )


def _write(session: Session, raises: bool = False) -> None:
    """Write the state file. The next epoch tries again what fails; training goes on."""
    try:
        session.memory.write(session.snapshots)
    except OSError as error:
        if raises:
            raise
        if session.options.state_path is None:
            session.notices.log_dir(error)
        else:
            session.notices.state_path(error)


# --- an observation before its decision ------------------------------------------------------------------------------


def begin_validation(session: Session) -> None:
    """Keep the training metrics of an epoch when its validation begins. They are complete, and Keras still has them."""
    if _awaits_decision(session):
        session.present.training_logs = metrics.numbers_in(session.model.get_metrics_result())


def end_validation(session: Session, logs: Mapping[str, Any] | None) -> None:
    """Write down an observation when its validation has ended, before the rule decides about it.

    A callback in front of ours may save the weights in its `on_epoch_end`, and the process may die before ours is
    called.
    """
    if _awaits_decision(session):
        validation = {f"val_{name}": value for name, value in metrics.numbers_in(logs).items()}
        numbers = {**session.present.training_logs, **validation}
        assert session.memory.file is not None
        iterations = iterations_of(session.optimizer)
        session.memory.file.pending = Pending(session.present.epoch, iterations, session.present.first_loss, numbers)
        _write(session)


def _awaits_decision(session: Session) -> bool:
    """Return whether the validation at the end of an epoch gives an observation to write down before its decision.

    Several processes have not agreed on it by then, and a step cadence has already decided about most of the epoch.
    """
    return (
        session.present.is_in_epoch
        and not session.decides_in_epoch
        and session.memory.file is not None
        and processes.count() == 1
    )
