"""Decides within an epoch, after every N optimizer steps: observe, decide, carry out, tell, remember.

Keras reports batches while training runs ahead, and `StepCadence` makes observations of them. Nothing here reads the
model without need; see `session.Host`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keras_lrplateau.history.run import Observation
from keras_lrplateau.rule.decision import Evidence, hold
from keras_lrplateau.training import metrics, observing, processes, remembering, telling
from keras_lrplateau.training.deciding import ask
from keras_lrplateau.training.session import Session


def after_batch(session: Session, batch: int, logs: Mapping[str, Any] | None) -> None:
    """Keep the numbers of a batch. This is called in any thread, perhaps out of order, and must take no time."""
    logs = logs or {}
    monitored, loss = logs.get(session.cadence.monitor), logs.get("loss")
    if type(monitored) is not float or type(loss) is not float:  # Keras hands out floats.
        monitored, loss = metrics.as_number(monitored), metrics.as_number(loss)
    if batch == 0 and session.present.wants_first_loss:
        session.present.first_loss = loss
    session.cadence.add(batch, (monitored, loss))


def before_batch(session: Session, batch: int) -> None:
    """Decide, if enough batches have been seen. This is called in the thread that trains, which waits."""
    if batch and session.cadence.is_due(batch):
        if not session.cadence.knows_metric:
            session.cadence.look_at_metric(session.model)
        found = session.cadence.take(batch, session.known_state.best)
        if found is not None:
            _decide(session, batch, *found)


def _decide(session: Session, batch: int, value: float | None, loss: float | None) -> None:
    """Decide about the batches before this one."""
    cadence, present, epoch = session.cadence, session.present, session.present.epoch
    cadence.done = batch

    # Observe.
    is_new = epoch == 0 and session.iterations == 0
    session.count_steps(cadence.steps_before(batch))
    if session.rates.is_scheduled or processes.count() > 1:
        _ = session.model  # See `Host`.
    is_in_search = session.known_state.trial_steps is not None
    session.find_direction(required=not is_in_search)
    evidence = Evidence(present.first_loss, is_validated=False, noise=cadence.noise)
    agreed, loss, evidence = observing.agree(session, value, loss, evidence, is_new)
    if agreed is None:
        return  # Nobody knows what these batches have brought.
    present.forget_first_loss()

    # Decide.
    is_blind = cadence.is_of_single_batches and session.known_state.status == "searching"
    step = ask(session, agreed, loss, evidence, is_blind)
    if step.decision.touches_training:
        # Only now can the rate and the weights be read. If they are not what was thought, ask again.
        model = session.model  # See `Host`: on JAX this brings the rate up to date, too.
        is_finite = observing.are_finite(model, present.odd_weights) if step.decision.save is not None else None
        decided = len(session.decisions)
        if session.follow_optimizer(epoch) is not None:
            session.restart_cadence(batch)
        session.notice_override(epoch)
        if is_in_search and session.known_state.trial_steps is None:
            step = hold(session.known_state, None)  # The search is over, and a window is no observation.
        elif len(session.decisions) > decided or is_finite is False:
            step = ask(session, agreed, loss, replace(evidence, is_finite=is_finite), is_blind)

    # Carry out.
    before = session.iterations, session.rates.written
    rates = session.rates.in_force() if session.rates.is_scheduled else session.rates.last_written()
    session.recorder.step(session.steps, {cadence.monitor: agreed, **rates}, time.time())
    decided = len(session.decisions)
    session.carry_out(epoch, step, None if is_in_search else Observation(epoch, agreed))
    if step.decision.restore is not None or not math.isfinite(agreed):
        # Otherwise what was undone would stay in Keras' running means, and a NaN for the rest of the epoch.
        session.model.reset_metrics()
        session.restart_cadence(batch)
    session.stop_if_exhausted()

    # Tell, and remember.
    if len(session.decisions) > decided:
        telling.report(session, epoch, is_last=False)
    else:
        telling.flush(session)
    remembering.remember(session, epoch, before, has_observation=not is_in_search, is_over=False)
