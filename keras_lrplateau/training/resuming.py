"""Begins a training: from the start, or where an earlier process died.

All other callbacks have done by then what they do before training, such as loading a backup. So the rate and the
weights are taken as they are found.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace
from typing import Any

from keras_lrplateau.resume.entries import Entries, Entry
from keras_lrplateau.resume.state_file import Pending
from keras_lrplateau.rule.decision import Decision, Snapshot
from keras_lrplateau.rule.words import number
from keras_lrplateau.training import processes
from keras_lrplateau.training.memory import Found
from keras_lrplateau.training.optimizers import iterations_of, leaf_optimizers
from keras_lrplateau.training.session import Session
from keras_lrplateau.training.snapshots import is_built


def begin(session: Session, epoch: int, is_over: bool = False) -> None:
    """Begin the first epoch of a `fit`.

    Args:
        session: Of a new training, or of one in several fits.
        epoch: The epoch, from 0.
        is_over: Whether no epoch is left: then only what an earlier process has left undone is done.
    """
    session.prepare()
    if session.state is None:
        _begin_training(session, epoch, is_over)
        if session.state is None:
            return
    elif 0 < epoch < session.next_epoch:
        # The training has gone back, and begins again with this epoch.
        session.recorder.forget(epoch)
        session.best = session.recorder.run.best
        session.memory.forget(epoch, session.iterations)
    elif session.options.log_dir is not None and not session.writes_events and processes.rank() == 0:
        # The copy of a callback in the middle of a training.
        session.listen(session.memory.open_run(session.options.log_dir, session.host.params))
    session.begun(epoch)


def _begin_training(session: Session, epoch: int, is_over: bool) -> None:
    options = session.options
    session.first_epoch = session.next_epoch = epoch
    # A model that was trained before begins at 0 like any other; a training that goes on does not.
    session.steps = session.iterations if epoch > 0 else 0
    session.rates.adopt()
    found = session.memory.open(
        options.log_dir,
        options.state_path,
        settings_of(session),
        epoch,
        session.iterations,
        takes_over=options.reset_on_train_begin,
        is_on_disk=options.rollback == "disk",
        owner=session.host.params,  # Keras hands one object to all callbacks of a fit.
        is_over=is_over,
    )
    _tell(session, found)
    session.record(os.path.basename(options.log_dir or "") or "training", found)
    if found.entries:
        _resume(session, epoch, found.entries, found.pending, is_over)
        session.next_epoch = epoch
        return
    if is_over:
        return
    session.state = session.start_state()
    before = session.before if session.before is not None and 0 < epoch <= session.before.next_epoch else None
    if before is not None:
        _go_on_from(session, before, epoch)
    if before is not None or found.begins_phase:
        _mark_phase(session, epoch)
    needed = session.rule_now(0).needed_snapshots(session.state)
    if "start" in needed and is_built(session.model, session.optimizer):
        session.snapshots.take("start", session.model, session.optimizer, session.steps)
    session.remember(epoch, is_over=False, raises=options.state_path is not None)


def _tell(session: Session, found: Found) -> None:
    if found.failure is not None:
        session.notices.log_dir(found.failure)
    for message in found.messages:
        session.notices.once(message, message)


def _go_on_from(session: Session, before: Session, epoch: int) -> None:
    """Take over what a finished training has recorded and decided before an epoch, from 0."""
    before.recorder.run.forget(epoch)
    session.recorder.run.curves.update(before.recorder.run.curves)
    session.recorder.run.records.extend(before.recorder.run.records)
    session.decisions = [each for each in before.decisions if each.epoch < epoch]
    session.remembered = len(session.decisions)
    session.steps += before.steps


def _mark_phase(session: Session, epoch: int) -> None:
    """Note that a training that had ended goes on with an epoch, from 0."""
    rate, quantity = session.known_state.rate, session.rates.quantity
    reason = f"a new phase of a training that had ended, with {quantity} {number(rate)}"
    session.note(Decision("phase", reason, 0, None, None, rate, rate, epoch=epoch, step=session.steps))


def settings_of(session: Session) -> dict[str, Any]:
    """What must be the same for a training to go on where an earlier process stopped."""
    options, model = session.options, session.model
    rule = dataclasses.asdict(session.rule)
    # The direction may be found later, and the length of a training may change.
    rule = {name: value for name, value in rule.items() if name not in ("mode", "observations")}
    return {
        "monitor": options.monitor,
        "mode": options.mode,
        **rule,
        "frequency": options.frequency,
        "optimizer": [
            *([options.optimizer] if isinstance(options.optimizer, str) else []),
            *(leaf.__class__.__name__ for leaf in leaf_optimizers(session.optimizer)),
        ],
        "weights": model.count_params() if model.built else None,
    }


# --- resuming --------------------------------------------------------------------------------------------------------


def _resume(session: Session, epoch: int, entries: Entries, pending: Pending | None, is_training_over: bool) -> None:
    """Be as the session was that wrote these entries, and do to the model what its weights have not seen yet.

    Args:
        session: A new session, on a model as it was loaded from a backup.
        epoch: The epoch, from 0, with which training goes on.
        entries: Those of the epochs before; at least one.
        pending: An observation that was not decided upon, if there is one.
        is_training_over: Whether no epoch is left.
    """
    last, first = entries[-1], entries[0]
    _adopt_entries(session, entries, last)
    rates = session.rates
    # What is found is of the backup or as compiled; anything else was set since, which is for the end of the epoch to
    # notice.
    is_ours = rates.held in (last.rates, last.rates_before, first.rates_before)
    rates.resume(session.known_state.rate, last.bases, last.adopted, last.rates)
    missing = _adopt_snapshots(session, last)
    undoing = next((each for each in reversed(last.decisions) if each.restore is not None), None)
    restored = undoing.restore if undoing else None
    # The same count may come again one epoch later, when training has gone on from what was restored.
    is_at_once = pending is None and epoch == last.epoch + last.is_over
    if undoing is not None and restored is not None and is_at_once and session.iterations == last.iterations_before:
        # The weights are from before the decision; or, where the count is the same afterwards, perhaps from after it,
        # and then it does no harm.
        was = entries.snapshots_at(-2) if len(entries) > 1 else {}
        is_there = _adopt(session, restored, was.get(restored, last.snapshots.get(restored)))
        if is_there or session.iterations != last.iterations:
            session.restore(restored, undoing)
        session.snapshots.keep(session.rule_now().needed_snapshots(session.known_state))
    if is_ours:
        rates.write(session.known_state.rate)
    elif last.epoch + last.is_over < epoch:
        # It was decided after the file's last entry, and the user was told so.
        session.notice_override(last.epoch, is_known=True)
    if missing and not is_training_over:
        _make_up_for(session, missing, last)
    if pending is not None:
        # The process died between another callback's backup of this epoch and our decision about it.
        session.iterations = last.iterations
        session.decide_on_epoch(pending.epoch, dict(pending.logs), pending.first_loss)
    session.iterations = iterations_of(session.optimizer)


def _adopt_entries(session: Session, entries: Entries, last: Entry) -> None:
    session.first_epoch = entries.first_epoch
    session.observed = entries.observed
    session.decisions = entries.decisions
    session.remembered = len(session.decisions)
    session.best, session.steps = last.best, last.steps
    if last.window:
        session.cadence.resume(last.window)
    if last.mode is not None and not session.direction_known:
        session.rule = replace(session.rule, mode=last.mode)
        session.direction_known = True
    session.state = session.rule.read_state(last.state)


def _adopt_snapshots(session: Session, last: Entry) -> set[Snapshot]:
    """Take over the copies on disk; returns which of those that are needed are missing, on any rank."""
    needed = session.rule_now().needed_snapshots(session.known_state)
    missing = sorted(name for name in needed if not _adopt(session, name, last.snapshots.get(name)))
    return {name for names in processes.gather(missing) for name in names}


def _adopt(session: Session, name: Snapshot, file: str | None) -> bool:
    folder = session.memory.folder
    if file is None or folder is None:
        return False
    try:
        session.snapshots.adopt(name, folder / file, session.model, session.optimizer)
    except (OSError, ValueError) as error:
        session.notices.lost_copy(name, error)
        return False
    return True


def _make_up_for(session: Session, missing: set[Snapshot], last: Entry) -> None:
    """Go on as soundly as can be without these copies, and say so."""
    best, state = session.best, session.known_state
    is_best_now = best is not None and best.epoch == last.epoch and session.iterations == last.iterations
    if "best" in missing:
        session.snapshots.take("best", session.model, session.optimizer, session.steps)
        if not is_best_now:
            session.notices.lost_best()
    if state.in_excursion and missing & {"raise", getattr(state, "way_back", "raise")}:
        step = session.rule_now().finish(state)
        reason = "the copy of the weights from before the raise is gone, so the excursion ends: only the rate goes back"
        session.carry_out(last.epoch, step._replace(decision=replace(step.decision, reason=reason, restore=None)))
        session.notices.once("no raise", f"AdaptLROnPlateau resumes: {reason}.")
