"""Decides at the end of an epoch and at the end of a training: observe, decide, carry out, tell, remember.

`keras_lrplateau.training.within_epoch` does the same within an epoch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import keras

from keras_lrplateau.history.run import Observation
from keras_lrplateau.rule.decision import Evidence, Step
from keras_lrplateau.rule.search import HOPELESS
from keras_lrplateau.rule.soundness import SKIPPED, exceeds
from keras_lrplateau.training import metrics, observing, processes, remembering, telling
from keras_lrplateau.training.optimizers import all_leaves, iterations_of, optimizers_of, to_float
from keras_lrplateau.training.session import Session
from keras_lrplateau.training.telling import KerasLogs


def end_epoch(session: Session, epoch: int, logs: dict[str, Any]) -> None:
    """End an epoch, from 0, whose logs are complete: decide about it."""
    session.present.is_in_epoch = False
    decide_on_epoch(session, epoch, logs, session.present.first_loss)


def decide_on_epoch(session: Session, epoch: int, logs: dict[str, Any], first_loss: float | None) -> None:
    """Decide about an epoch that is over, from 0 as the `fit` counts. Its `logs` get the rates that were used."""
    options = session.options
    epoch += session.epoch_offset
    is_last = epoch + 1 == session.epochs
    session.next_epoch = epoch + 1
    batches = None if session.planned_batches is None else session.planned_batches - session.cadence.done
    session.cadence.done = 0
    known, found = session.rates.optimizer, session.optimizer
    if known is not found and iterations_of(known) == session.iterations and iterations_of(found) > 0:
        # Changed by a callback behind ours, before the first step: the whole epoch was that of the new optimizer.
        session.follow_optimizer(epoch)
        session.iterations = 0
    done = iterations_of(session.rates.optimizer)
    if epoch == session.first_epoch and done == session.iterations:
        _warn_of_idle_optimizer(session)

    # Observe.
    evidence = observing.evidence_of(session, metrics.numbers_in(logs), first_loss, batches, done)
    is_new = epoch == 0 and session.iterations == 0
    is_blind = bool(session.planned_batches) and done - session.iterations <= 1
    session.count_steps(done)
    value = observing.value_in(session, logs)
    # The loss of a batch is that before its update. Where there was a single update, perhaps because loss scaling
    # has skipped the others, the training loss is that of the first weights, whatever rate is being tried.
    is_blind = is_blind and session.known_state.status == "searching"
    loss = metrics.as_number(logs.get("val_loss" if is_blind else "loss"))
    if session.known_state.trial_steps is not None and not session.cadence.has_seen:
        # A loop of one's own that does not call the hooks of batches.
        session.state = session.rule.searching_by(session.known_state, None)
    decides_in_epoch, is_in_search = session.decides_in_epoch, session.known_state.trial_steps is not None
    session.epochs_in_search += is_in_search
    if decides_in_epoch:
        cadence = session.cadence
        if not cadence.knows_metric:
            cadence.look_at_metric(session.model)
        value, loss = cadence.take(None, session.known_state.best) or (None, None)
        evidence = replace(evidence, noise=cadence.noise)
        is_blind = cadence.is_of_single_batches and session.known_state.status == "searching"
    value, loss, evidence = observing.agree(session, value, loss, evidence, is_new)
    if value is not None or is_new:
        session.present.forget_first_loss()
    if _has_only_found_a_scale(session, loss, evidence):
        _begin_again_with_that_scale(session)
        value = None
    used = session.follow_optimizer(epoch)
    session.notice_override(epoch)

    # Decide, and carry out.
    before = done, session.rates.written
    numbers = {**metrics.numbers_in(logs), **(used or session.rates.in_force())}
    if value is not None and not decides_in_epoch:
        numbers[options.monitor] = value
    session.recorder.epoch(epoch, numbers, time.time(), KerasLogs(logs))
    if value is not None:
        found = None if is_in_search else Observation(epoch, value)
        session.carry_out(epoch, ask(session, value, loss, evidence, is_blind), found)
    session.stop_if_exhausted()
    is_last = is_last or getattr(session.model, "stop_training", False)  # A loop without `fit` may have none.
    if options.reset_on_train_begin and is_last:
        # Not in `end_fit`: by then Keras has put its average of weights into the model, EarlyStopping its best.
        _take_back_open_trial(session, epoch)
    session.iterations = iterations_of(session.optimizer)  # After going back there are fewer.

    # Tell, and remember.
    telling.report(session, epoch, is_last, is_over=is_last and options.reset_on_train_begin)
    remembering.remember(session, epoch, before, has_observation=value is not None and not is_in_search)


def end_fit(session: Session) -> None:
    """End a `fit`, and with it the training, unless that goes on over several."""
    session.present.is_in_epoch = False
    if session.state is None:
        return
    if session.state.observations == 0:
        observing.warn_of_no_validation(session)
    if session.options.reset_on_train_begin:
        # There is an open trial only if a callback behind ours in the list has stopped the training.
        finish(session)


def finish(session: Session) -> None:
    """End the training: take back what has not proved itself, and close all files."""
    if session.state is None or session.is_finished:
        return
    compiled = getattr(session.model, "optimizer", None)
    if _take_back_open_trial(session, session.next_epoch - 1) and isinstance(compiled, keras.optimizers.Optimizer):
        # Keras has put its averages of the weights that are now gone into the model.
        compiled.finalize_variable_values(session.model.trainable_variables)
    session.snapshots.keep(())
    if session.next_epoch > session.first_epoch:
        if session.recorder.run.records or session.present.decided:
            telling.report(session, session.next_epoch - 1, is_last=True, is_over=True)
        remembering.remember_end(session)
    session.is_finished = True
    telling.close(session)


def _take_back_open_trial(session: Session, epoch: int) -> bool:
    """Take back a raise, a restart or a search step that is not judged yet; returns whether there was one."""
    step = session.rule_now().finish(session.known_state)
    session.carry_out(epoch, step)
    return step.decision.is_action


def ask(session: Session, value: float, loss: float | None, evidence: Evidence, is_blind: bool = False) -> Step[Any]:
    """Ask the rule about an observation; `is_blind` if the training metrics say nothing about the rate."""
    state = session.known_state
    rule = session.rule_now(state.observations + 1)
    if is_blind and not session.options.monitor.startswith("val_"):
        rule = rule.without_search()
    step = rule.step(state, value, loss, evidence)
    back = step.decision.compared_with
    if back == "best" and rule.name == "auto" and not evidence.is_validated and "start" in session.snapshots:
        back = "start"  # Auto mode keeps the best by a training metric, and such weights may be ruined themselves.
    if back is not None:
        growth = processes.gather(session.snapshots.growth(back, session.model, session.optimizer))[0]
        step = rule.step(state, value, loss, replace(evidence, growth=growth, grown_since=back))
    return step


def _has_only_found_a_scale(session: Session, loss: float | None, evidence: Evidence) -> bool:
    """Whether most steps of the first trial were skipped because the loss scale, not the rate, began too high.

    After steps that were too large, the training loss is far worse. After a single step, the validation loss would be;
    see `decide_on_epoch`.
    """
    state = session.known_state
    if state.status != "searching" or state.observations or "start" not in session.snapshots:
        return False
    is_harmless = loss is None or (math.isfinite(loss) and not exceeds(loss, state.loss_before, HOPELESS))
    return evidence.skipped > SKIPPED and is_harmless


def _begin_again_with_that_scale(session: Session) -> None:
    """Go back to the first weights, but keep the loss scale. The epoch was no trial, and counts for nothing."""
    optimizer = session.optimizer
    scale = to_float(optimizer.dynamic_scale)
    session.snapshots.restore("start", session.model, optimizer)
    optimizer.dynamic_scale.assign(scale)
    session.snapshots.take("start", session.model, optimizer, session.steps)
    session.rates.write(session.known_state.rate)
    session.first_epoch = session.next_epoch


def _warn_of_idle_optimizer(session: Session) -> None:
    """Warn that the optimizer has made no steps, if the model has others."""
    mine = all_leaves(session.optimizer)
    others = [each for each in optimizers_of(session.model) if not any(leaf in mine for leaf in all_leaves(each))]
    if others:
        names = {id(each): repr(name) for name, each in vars(session.model).items()}
        ways = [names.get(id(each), f"the optimizer named {each.name!r}") for each in others]
        session.notices.idle_optimizer(session.optimizer.name, ways)
