"""Tells what happens in a training: keeps it as data, and passes it on to the console, files and the user's sinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, final

from keras.src.utils import io_utils

from keras_lrplateau.history.event_log import EventLog
from keras_lrplateau.history.recorder import Recorder, Sink
from keras_lrplateau.history.run import Record
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.training import processes
from keras_lrplateau.training.optimizers import leaf_optimizers
from keras_lrplateau.training.session import Session


def begin_record(session: Session, name: str, run_dir: Path | None) -> None:
    """Begin to record a training under a name, with event files if there is a run directory."""
    options, function = session.options, session.options.on_decision
    listeners = [*(options.sinks or []), *([] if function is None else [OnDecision(function)])]
    session.recorder = Recorder(name, [], listeners, session.notices.sink)
    if processes.rank() > 0:
        session.recorder = Recorder(name)
    elif options.verbose:
        session.recorder.sinks.append(Console())
    write_events(session, run_dir)


def write_events(session: Session, run_dir: Path | None) -> None:
    """Write event files to a run directory from now on, if there is one."""
    if run_dir is not None:
        check = partial(session.memory.renew, run_dir)
        log = EventLog(session.recorder.run, run_dir, session.options.monitor, _chosen(session), check)
        session.recorder.sinks.append(log)


def event_log_of(session: Session) -> EventLog | None:
    """Return the sink that writes the event files; None if there are none."""
    return next((sink for sink in session.recorder.sinks if isinstance(sink, EventLog)), None)


def _chosen(session: Session) -> dict[str, bool | int | float | str]:
    """Return what was chosen for this training, for the HParams tab."""
    chosen = {
        **(session.options.hparams or {}),
        **{f"starting_{name}": rate for name, rate in session.rates.in_force().items()},
        "batch_size": session.present.around.batch_size,
        **session.host.get_config(),
        "optimizer": " + ".join(type(leaf).__name__ for leaf in leaf_optimizers(session.optimizer)),
    }
    return {name: value for name, value in chosen.items() if isinstance(value, (bool, int, float, str))}


def report(session: Session, epoch: int, is_last: bool, is_over: bool = False) -> None:
    """Tell what was decided in an epoch, from 0, if that is news, and how things stand."""
    state = session.known_state
    record = Record(
        epoch,
        tuple(decision for decision in session.present.decided if decision.epoch == epoch),
        state.status,
        session.steps,
        session.options.monitor,
        session.present.direction,
        session.rates.quantity,
        session.best,
        time.time(),
        state.loss_before,
        is_over=is_over,
    )
    session.recorder.record(record, is_last)
    flush(session)


def flush(session: Session) -> None:
    """Let the sinks write what they have not written yet."""
    session.recorder.flush()
    _warn_of_failure(session)


def close(session: Session) -> None:
    """Close the session; warn if a file says only now that it was not written."""
    session.close()
    _warn_of_failure(session)


def _warn_of_failure(session: Session) -> None:
    log = event_log_of(session)
    if log is not None and log.failure is not None:
        session.notices.log_dir(log.failure)


# --- sinks -----------------------------------------------------------------------------------------------------------


@final
class Console(Sink):
    """Prints a line at each decision, as Keras prints."""

    def __init__(self) -> None:
        self._last_kind = ""

    def decision(self, decision: Decision, quantity: str) -> None:
        # Annealing is a decision at every epoch, but news only once.
        is_news = decision.kind != "anneal" or self._last_kind != "anneal"
        self._last_kind = decision.kind
        if is_news:
            io_utils.print_msg(f"\nEpoch {decision.epoch + 1}: AdaptLROnPlateau {decision.describe(quantity)}")


@final
class KerasLogs(Sink):
    """Puts the learning rates of an epoch into its logs, for History and the callbacks behind ours.

    Args:
        logs: Those of the epoch.
    """

    def __init__(self, logs: dict[str, Any]) -> None:
        self._logs = logs

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        # As Keras does: the rate that was used, before anything is decided.
        self._logs.update((name, number) for name, number in numbers.items() if name.startswith("learning_rate"))


@final
class OnDecision(Sink):
    """Calls a function with every decision.

    Args:
        function: The argument `on_decision` of the callback.
    """

    def __init__(self, function: Callable[[Decision], object]) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"on_decision={self._function!r}"

    def decision(self, decision: Decision, quantity: str) -> None:
        self._function(decision)
