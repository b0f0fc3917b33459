"""Begins a training: from the start, or where an earlier process died.

By then all other callbacks have done their part before training, such as loading a backup. So the rate and the weights
are taken as they are found.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_lrplateau.resume.entries import Entries, Entry
from keras_lrplateau.resume.saved import Saved
from keras_lrplateau.resume.state_file import Pending
from keras_lrplateau.rule.decision import Decision, Snapshot
from keras_lrplateau.rule.words import number
from keras_lrplateau.training import deciding, observing, processes, remembering, telling
from keras_lrplateau.training.memory import Found
from keras_lrplateau.training.optimizers import iterations_of, leaf_optimizers
from keras_lrplateau.training.options import Options
from keras_lrplateau.training.session import Session
from keras_lrplateau.training.snapshots import Snapshots, is_built


def begin(session: Session, epoch: int, is_over: bool = False) -> None:
    """Begin the first epoch of a `fit`.

    Args:
        session: The session of a new training, or of one in several fits.
        epoch: The epoch, from 0.
        is_over: Whether no epoch is left. Then this only finishes what an earlier process has left undone.
    """
    present = session.present
    present.epochs_without_validation, present.decided = 0, []
    session.iterations = iterations_of(session.optimizer)
    if session.options.decides_in_epoch:
        session.begin_cadence()
    if session.state is None:
        _begin_training(session, epoch, is_over)
    else:
        _begin_again(session, epoch)
    if session.state is not None:
        if session.state.trial_steps is not None:
            session.begin_cadence()
        present.odd_weights = observing.odd_weights(session.model) if session.model.built else frozenset()
        present.is_begun = True
        session.before = None  # It holds all that it has recorded.


def _begin_again(session: Session, epoch: int) -> None:
    """Begin another `fit` of the same training."""
    # Each `fit` may count from 0, but the curve goes on.
    session.epoch_offset = session.next_epoch if epoch == 0 else 0
    if 0 < epoch < session.next_epoch:
        # The training has gone back, and begins again with this epoch.
        session.recorder.forget(epoch)
        session.best = session.recorder.run.best
        session.memory.forget(epoch, session.iterations)
    elif session.options.log_dir is not None and telling.event_log_of(session) is None and processes.rank() == 0:
        # The copy of a callback in the middle of a training.
        telling.write_events(session, session.memory.open_run(session.options.log_dir, session.host.params))


def _begin_training(session: Session, epoch: int, is_over: bool) -> None:
    """Begin a training, or go on with one of an earlier process or phase."""
    options, counted = session.options, epoch
    before = None if is_over or session.saved is not None else _earlier_phase(session, epoch)
    if session.saved is not None:
        epoch = _check_saved(session, session.saved, epoch)
    elif before is not None and epoch == 0:
        epoch = before.next_epoch  # The guide of Keras counts the epochs of each phase from 0.
    # A model that was trained before begins at 0 like any other; a training that goes on does not.
    session.steps = session.iterations if epoch > 0 else 0
    session.rates.adopt()
    found = session.memory.open(
        options.log_dir,
        options.state_path,
        settings_of(session),
        epoch,
        session.iterations,
        session.rates.written,
        takes_over=options.reset_on_train_begin,
        is_on_disk=options.rollback == "disk",
        owner=session.host.params,  # Keras hands one object to all callbacks of a fit.
        is_new_phase=before is not None,
        is_over=is_over,
    )
    epoch += found.shift
    session.first_epoch = session.next_epoch = epoch
    session.epoch_offset = epoch - counted
    _tell(session, found)
    if session.saved is None and not found.entries and not is_over:
        _give_back_rate_of_trial(session)
    session.snapshots = Snapshots(options.rollback != "disk", found.own_folder, found.state_path)
    session.memory.known = len(session.decisions)
    telling.begin_record(session, os.path.basename(options.log_dir or "") or "training", found.run_dir)
    if session.saved is not None:
        _go_on_with(session, epoch, session.saved)
        return
    if found.entries:
        _resume(session, epoch, found.entries, found.pending, is_over)
        session.next_epoch = epoch
        return
    if is_over:
        return
    was = session.iterations, session.rates.written
    restored = None if found.ended is None else _end_what_has_ended(session, epoch, found.ended)
    session.state = session.start_state()
    if before is not None:
        _go_on_from(session, before, epoch)
    if before is not None or found.ended is not None:
        _mark_phase(session, epoch, restored)
    needed = session.rule_now(0).needed_snapshots(session.state)
    if "start" in needed and is_built(session.model, session.optimizer):
        session.snapshots.take("start", session.model, session.optimizer, session.steps)
    remembering.remember(session, epoch, was, is_over=False, raises=options.state_path is not None)


def _earlier_phase(session: Session, epoch: int) -> Session | None:
    """Return the training before this one in this process, if a new phase of it begins with this epoch.

    A `fit` of the same compiled model that counts from 0 again is another training, as it is in Keras, unless each part
    of a training counts so. One that was interrupted has ended only if the model was compiled again since; otherwise
    its state file may go on. So it may if a backup was loaded into the new optimizer, which has made steps then.
    """
    before = session.before
    if before is None:
        return None
    has_its_model = session.has_model_of(before)
    is_recompiled = has_its_model and before.rates.optimizer is not session.optimizer
    if not before.is_finished:
        return before if is_recompiled and session.iterations == 0 and before.next_epoch > 0 else None
    if before.next_epoch == before.first_epoch:
        return None
    goes_on = has_its_model and (is_recompiled or not session.options.reset_on_train_begin)
    return before if epoch > 0 or goes_on else None


def _tell(session: Session, found: Found) -> None:
    if found.failure is not None:
        session.notices.log_dir(found.failure)
    # Those are of the state file, which counts for nothing beside a dict that the user has loaded.
    for message in found.messages if session.saved is None else ():
        session.notices.once(message, message)


def _give_back_rate_of_trial(session: Session) -> None:
    """Begin with the rate from before a trial in which the `fit` before was interrupted: the user has not set that one.

    The weights stay as they are, since others may have been loaded meanwhile; `finish` gives those back, too.
    """
    before = session.before
    if before is None or before.is_finished or before.rates.optimizer is not session.optimizer:
        return
    trial = before.known_state.rate
    rate = before.rule_now().finish(before.known_state).decision.rate
    if rate == trial or session.rates.held != before.rates.written:
        return
    before.rates.write(rate)
    session.rates.adopt()
    session.notices.interrupted_trial(session.rates.quantity, number(trial), number(rate))


def _end_what_has_ended(session: Session, epoch: int, ended: Entries) -> Snapshot | None:
    """Do again to the model what a training did to it at its end, after the backup from which this one begins.

    Args:
        session: A new session, with the model and the rates as they were found.
        epoch: The epoch, from 0, with which training goes on.
        ended: The entries of a training that has ended.

    Returns:
        The copy to which the weights went back; None if they did not.
    """
    last = ended[-1]
    if epoch != last.epoch + 1 or session.iterations != last.iterations_before:
        return None
    went_back = session.iterations != last.iterations
    restored = _go_back_again(session, ended) if went_back else None
    session.iterations = iterations_of(session.optimizer)
    # In the process of that training, where nothing says that there is a backup, it is the user who has set the rate.
    if session.rates.held == last.rates_before and (went_back or session.before is None):
        session.rates.impose(last.rates)
        session.rates.adopt()
    return restored


def _go_on_from(session: Session, before: Session, epoch: int) -> None:
    """Take over what a finished training has recorded and decided before an epoch, from 0."""
    before.recorder.run.forget(epoch)
    session.recorder.run.curves.update(before.recorder.run.curves)
    session.recorder.run.records.extend(before.recorder.run.records)
    session.decisions = [each for each in before.decisions if each.epoch < epoch]
    session.memory.known = len(session.decisions)
    session.steps += before.steps


def _mark_phase(session: Session, epoch: int, restored: Snapshot | None) -> None:
    """Note that a training that had ended goes on.

    Args:
        epoch: The epoch of the new phase, from 0.
        restored: The copy to which the weights went back before it; None if they did not.
    """
    rate, reason = session.known_state.rate, "a new phase of a training that had ended"
    if restored is not None:
        reason += "; the weights of the backup were from before it had gone back to earlier ones, which is done again"
    mark = Decision("phase", reason, 0, None, None, rate, rate, restore=restored, epoch=epoch, step=session.steps)
    session.note(mark)


def settings_of(session: Session) -> dict[str, Any]:
    """What must be the same for a training to go on where an earlier process stopped."""
    options, model = session.options, session.model
    return {
        **chosen_settings(options),
        "optimizer": [
            *([options.optimizer] if isinstance(options.optimizer, str) else []),
            *(leaf.__class__.__name__ for leaf in leaf_optimizers(session.optimizer)),
        ],
        "weights": model.count_params() if model.built else None,
    }


def chosen_settings(options: Options) -> dict[str, Any]:
    """The part of `settings_of` that the user has chosen. It needs no model."""
    rule = dataclasses.asdict(options.rule)
    # The direction may be found later, the length of a training may change, and `by_steps` says what `frequency` says.
    derived = ("mode", "observations", "anneals", "by_steps")
    rule = {name: value for name, value in rule.items() if name not in derived}
    return {"monitor": options.monitor, "mode": options.mode, **rule, "frequency": options.frequency}


# --- a state that the user keeps -------------------------------------------------------------------------------------


def state_of(session: Session) -> Saved:
    """Return the state of a training at this moment.

    Raises:
        RuntimeError: There is none before the first epoch.
    """
    if session.state is None:
        raise RuntimeError("AdaptLROnPlateau has no state before the first epoch of a training begins")
    is_over = session.next_epoch > session.first_epoch
    entry = remembering.entry_of(session, session.next_epoch - is_over, is_over=is_over)
    folder = session.snapshots.folder
    return Saved(
        settings=settings_of(session),
        first_epoch=session.first_epoch,
        observed=session.observed,
        decisions=session.decisions,
        entry=replace(entry, decisions=()),
        folder=None if folder is None else os.path.abspath(folder),
    )


def _check_saved(session: Session, saved: Saved, epoch: int) -> int:
    """Check that training can go on from a state; returns the epoch to go on with, from 0.

    Raises:
        ValueError: It cannot.
    """
    saved.check_settings(settings_of(session))
    if epoch == 0 and not session.options.reset_on_train_begin:
        return saved.next_epoch  # Each `fit` counts from 0, and is a part of one training.
    if epoch < saved.next_epoch:
        raise ValueError(
            f"load_state_dict: the state is of the end of epoch {saved.next_epoch}, and training begins with epoch "
            f"{epoch + 1}. Pass initial_epoch={saved.next_epoch} to fit, and the same epoch to the hooks in a loop of "
            "your own"
        )
    return epoch


def _go_on_with(session: Session, epoch: int, saved: Saved) -> None:
    """Take over a state that the user has saved. The user has loaded the weights, too.

    Args:
        session: A new session.
        epoch: The epoch, from 0, with which training goes on.
        saved: The state.
    """
    last = saved.entry
    session.first_epoch, session.observed, session.decisions = saved.first_epoch, [*saved.observed], [*saved.decisions]
    session.memory.known = len(session.decisions)
    _adopt_entry(session, last)
    session.rates.resume(session.known_state.rate, last.bases, last.adopted, last.rates)
    folder = None if saved.folder is None else Path(saved.folder)
    # We remove copies that only an older state names, so to miss one is no news.
    files = {name: file for name, file in last.snapshots.items() if folder is not None and (folder / file).exists()}
    missing = _adopt_snapshots(session, folder, files)
    if missing and is_built(session.model, session.optimizer):
        for name in missing:
            session.snapshots.take(name, session.model, session.optimizer, session.steps)
        best = session.best
        if missing != {"best"} or best is None or best.epoch != last.epoch:
            session.notices.stand_ins(sorted(missing))
    session.rates.write(session.known_state.rate)
    if saved.next_epoch < epoch:
        session.notices.gap(epoch, saved.next_epoch)
    session.next_epoch = epoch
    session.iterations = iterations_of(session.optimizer)
    file = session.memory.file
    if file is not None and not (file.entries and _moment(file.entries[-1]) == _moment(last)):
        file.keep(0)  # It is of another past.
        remembering.remember(session, epoch, is_over=False)


def _moment(entry: Entry) -> tuple[Any, ...]:
    return entry.epoch, entry.is_over, entry.iterations, entry.state


# --- resuming --------------------------------------------------------------------------------------------------------


def _resume(session: Session, epoch: int, entries: Entries, pending: Pending | None, is_training_over: bool) -> None:
    """Take over the state that these entries hold, and do to the model what its weights have not seen yet.

    Args:
        session: A new session, on a model as it was loaded from a backup.
        epoch: The epoch, from 0, with which training goes on.
        entries: Those of the epochs before; at least one.
        pending: An observation on which the rule has not decided, if there is one.
        is_training_over: Whether no epoch is left.
    """
    last, first = entries[-1], entries[0]
    session.first_epoch, session.observed, session.decisions = entries.first_epoch, entries.observed, entries.decisions
    session.memory.known = len(session.decisions)
    _adopt_entry(session, last)
    rates = session.rates
    # What is found is of the backup or as compiled; anything else was set since, which is for the end of the epoch to
    # notice.
    is_ours = rates.held in (last.rates, last.rates_before, first.rates_before)
    rates.resume(session.known_state.rate, last.bases, last.adopted, last.rates)
    missing = _adopt_snapshots(session, session.memory.folder, last.snapshots)
    # The same count may come again one epoch later, when training has gone on from what was restored.
    is_at_once = pending is None and epoch == last.epoch + last.is_over
    if is_at_once and session.iterations == last.iterations_before:
        # The weights are from before the decisions; or, where the count is the same afterwards, perhaps from after
        # them, and then it does no harm.
        _go_back_again(session, entries)
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
        deciding.decide_on_epoch(session, pending.epoch - session.epoch_offset, dict(pending.logs), pending.first_loss)
    session.iterations = iterations_of(session.optimizer)


def _go_back_again(session: Session, entries: Entries) -> Snapshot | None:
    """Go back to the copy that the last entry went back to: the weights of a backup are from before that.

    Returns:
        The name of the copy; None if there was none.
    """
    last = entries[-1]
    undoing = next((each for each in reversed(last.decisions) if each.restore is not None), None)
    if undoing is None or undoing.restore is None:
        return None
    was = entries.snapshots_at(-2) if len(entries) > 1 else {}
    file = was.get(undoing.restore, last.snapshots.get(undoing.restore))
    is_there = _adopt(session, undoing.restore, session.memory.folder, file)
    if is_there or session.iterations != last.iterations:
        session.restore(undoing.restore, undoing)
    return undoing.restore if is_there else None


def _adopt_entry(session: Session, last: Entry) -> None:
    session.best, session.steps, session.epochs_in_search = last.best, last.steps, last.epochs_in_search
    if last.window:
        session.cadence.resume(last.window)
    if last.mode is not None and session.present.direction is None:
        session.settle_direction(last.mode)
    session.state = session.rule.read_state(last.state)


def _adopt_snapshots(session: Session, folder: Path | None, files: Mapping[Snapshot, str]) -> set[Snapshot]:
    """Take over the copies on disk; returns which of those that are needed are missing, on any rank."""
    needed = session.rule_now().needed_snapshots(session.known_state)
    missing = sorted(name for name in needed if not _adopt(session, name, folder, files.get(name)))
    return {name for names in processes.gather(missing) for name in names}


def _adopt(session: Session, name: Snapshot, folder: Path | None, file: str | None) -> bool:
    if file is None or folder is None:
        return False
    try:
        session.snapshots.adopt(name, folder / file, session.model, session.optimizer)
    except (OSError, ValueError) as error:
        session.notices.lost_copy(name, error)
        return False
    return True


def _make_up_for(session: Session, missing: set[Snapshot], last: Entry) -> None:
    """Find the best substitute for copies that are missing, and say so."""
    best, state = session.best, session.known_state
    is_best_now = best is not None and best.epoch == last.epoch and session.iterations == last.iterations
    if "best" in missing:
        session.snapshots.take("best", session.model, session.optimizer, session.steps)
        if not is_best_now:
            session.notices.lost_best()
    if state.in_excursion and missing & {"raise", state.way_back}:
        step = session.rule_now().finish(state)
        reason = "the copy of the weights from before the raise is gone, so the excursion ends: only the rate goes back"
        session.carry_out(last.epoch, step._replace(decision=replace(step.decision, reason=reason, restore=None)))
        session.notices.once("no raise", f"AdaptLROnPlateau resumes: {reason}.")
