"""Warns the user about what goes wrong in a training, once about each topic."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import final

from keras_lrplateau.history.recorder import Sink

FRAMEWORKS = {"keras_lrplateau", "keras", "jax", "tensorflow", "torch"}
"""The packages between the user's line and a warning."""


def _level_of_user() -> int:
    """The `stacklevel` with which a warning points at the user's own line, such as `model.fit(...)`."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in FRAMEWORKS:
            return level
        frame, level = frame.f_back, level + 1
    return 1  # In a thread of Keras, without any line of the user.


@final
class Notices:
    """The warnings of one training."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def once(self, topic: str, message: str) -> None:
        """Warn, unless there was a warning on this topic before."""
        if topic not in self._given:
            self._given.add(topic)
            warnings.warn(message, stacklevel=_level_of_user())

    # --- files and sinks ---------------------------------------------------------------------------------------------

    def log_dir(self, error: OSError) -> None:
        """Event files, or the state file beside them, cannot be written."""
        self.once(
            "log_dir",
            f"AdaptLROnPlateau cannot write to log_dir: {error}. Training and its decisions go on; what could not "
            "be written is tried again at each epoch.",
        )

    def state_path(self, error: OSError) -> None:
        """The state file cannot be written."""
        self.once(
            "state_path",
            f"AdaptLROnPlateau cannot write to state_path: {error}. Training and its decisions go on; it is tried "
            "again at each epoch. Until then a crash would lose what was learned since.",
        )

    def sink(self, sink: Sink, error: Exception) -> None:
        """A sink has raised an error."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        self.once(
            f"sink {id(sink)}",
            f"AdaptLROnPlateau: the sink {sink!r} has failed: {last} ({place.filename}, line {place.lineno}, in "
            f"{place.name}). Training goes on, and the sink is told of what comes next; further errors in it are not "
            "reported.",
        )

    # --- copies of the weights ---------------------------------------------------------------------------------------

    def no_copy(self, name: str) -> None:
        """There is no copy to go back to."""
        self.once(
            "no copy",
            f"AdaptLROnPlateau has no copy of the weights to go back to ({name}). Either the model was not built "
            "when training began: give it an Input, or call model.build before model.fit. Or one of several "
            "optimizers was not: call its build with the variables that it trains. Or the model was compiled again "
            "since.",
        )

    def lost_copy(self, name: str, error: OSError | ValueError) -> None:
        """A copy on disk cannot be used."""
        self.once("lost copy", f"AdaptLROnPlateau cannot go back to its copy of the weights ({name}): {error}")

    def stand_ins(self, names: Sequence[str]) -> None:
        """A training goes on from a `state_dict`, and these copies of the weights cannot be found."""
        self.once(
            "stand-ins",
            "AdaptLROnPlateau goes on from a state_dict, which holds no weights, and the copies of them for going back "
            f"({', '.join(names)}) are not on disk. The weights with which training goes on stand for them. With "
            "log_dir or state_path, copies are kept on disk, and a state_dict finds those of the last two epochs.",
        )

    def gap(self, epoch: int, known: int) -> None:
        """A training goes on at a later epoch than that of its `state_dict`."""
        self.once(
            "gap",
            f"AdaptLROnPlateau: training goes on in epoch {epoch + 1}, but its state_dict is of the end of epoch "
            f"{known}. What was observed since is not known; decisions go on from there.",
        )

    def lost_best(self) -> None:
        """A training resumes without the copy of its best weights."""
        self.once(
            "lost best",
            "AdaptLROnPlateau has no copy of the best weights any more, so for going back those with which training "
            "resumes take their place.",
        )

    # --- metrics and rates -------------------------------------------------------------------------------------------

    def no_validation_data(self, monitor: str) -> None:
        """The metric is one of validation, and there is no data for a validation; known before the first epoch."""
        self.once(
            "missing metric",
            f"AdaptLROnPlateau watches the metric '{monitor}', but this training has no validation data, so it can "
            "decide nothing. Pass validation_data or validation_split to model.fit, or watch the training with "
            f"monitor='{monitor.removeprefix('val_')}'.",
        )

    def no_validation(self, monitor: str, has_validation: bool | None) -> None:
        """The metric is one of validation, and there has been no validation."""
        data = "" if has_validation else "validation_data or validation_split to model.fit, "
        self.once(
            "missing metric",
            f"AdaptLROnPlateau watches the metric '{monitor}', but there has been no validation so far, so the "
            f"learning rate has not changed. Pass {data}a smaller validation_freq, or watch the training with "
            f"monitor='{monitor.removeprefix('val_')}'.",
        )

    def idle_optimizer(self, name: str, others: Sequence[str]) -> None:
        """The user has several optimizers, and the adapted one, of this name, makes no steps."""
        self.once(
            "idle optimizer",
            f"AdaptLROnPlateau adapts the optimizer '{name}', which has made no step in the first epoch, so its "
            f"learning rate changes nothing. Pass optimizer=... with one of: {', '.join(others)}.",
        )

    def no_rate(self, held: Sequence[float], epoch: int, own: str) -> None:
        """Something else has set a rate that is negative or not finite."""
        self.once(
            "no rate",
            f"AdaptLROnPlateau found a learning rate of {', '.join(map(str, held))} in epoch {epoch + 1}, which "
            f"something else has set, and put its own back: {own}.",
        )

    def interrupted_trial(self, quantity: str, trial: str, rate: str) -> None:
        """The `fit` before was interrupted in a trial, and this one is a training of its own."""
        self.once(
            "interrupted trial",
            f"AdaptLROnPlateau: the fit before was interrupted while it tried a {quantity} of {trial}, so this one "
            f"begins with {rate}, as if the trial had been taken back. The weights stay as they are; call finish() "
            "after Ctrl-C to take them back, too.",
        )

    def override(self, reason: str, epoch: int) -> None:
        """Something else sets the rate, too."""
        self.once(
            "override",
            f"AdaptLROnPlateau: {reason}, in epoch {epoch + 1}. Something else sets the learning rate, too; "
            "AdaptLROnPlateau goes on from what it finds. If a LearningRateScheduler sets it at every epoch, that "
            "undoes every cut: give the optimizer a LearningRateSchedule instead, which AdaptLROnPlateau scales.",
        )
