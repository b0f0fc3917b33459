"""Shows the results of a training while it runs and afterwards, and saves and loads its state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from keras_lrplateau.history.run import Run
from keras_lrplateau.resume.saved import Saved, decode, encode
from keras_lrplateau.rule.decision import Decision, RuleState
from keras_lrplateau.rule.words import number
from keras_lrplateau.training import resuming
from keras_lrplateau.training.options import Options
from keras_lrplateau.training.session import Session

if TYPE_CHECKING:
    from keras_lrplateau.history.frame import DataFrame


class Results(keras.callbacks.Callback):
    """What the user of a callback reads and saves. `AdaptLROnPlateau` adds the arguments and the hooks."""

    _options: Options
    _session: Session | None  # None before the first training.
    _saved: Saved | None  # What `load_state_dict` was given, until a training begins with it.

    def __repr__(self) -> str:
        monitor = self._options.monitor
        if self.state is None or self._session is None:
            return f"<AdaptLROnPlateau of {monitor}: before training>"
        quantity = self._session.rates.quantity
        stands = f"<AdaptLROnPlateau of {monitor}: {quantity} {number(self.state.rate)}, {self.state.status}"
        if not self.decisions:
            return f"{stands}, no decision yet>"
        last = self.decisions[-1]
        return f"{stands}, last decision in epoch {last.epoch + 1}: {last.describe(quantity)}>"

    @property
    def decisions(self) -> list[Decision]:
        """Every decision that changed something, in order; empty before training."""
        return [] if self._session is None else self._session.decisions

    @property
    def state(self) -> RuleState | None:
        """The rule's `keras_lrplateau.State`, in auto mode its `rule.auto_state.State`; None before training."""
        return None if self._session is None else self._session.state

    @property
    def best(self) -> float:
        """The best observation, as in `ReduceLROnPlateau`; infinite before the first one."""
        worst = -math.inf if self._session is not None and self._session.rule.mode == "max" else math.inf
        return worst if self.state is None or self.state.best is None else self.state.best

    @property
    def wait(self) -> int:
        """Observations since the last improvement, change of rate or cooldown; see `ReduceLROnPlateau`."""
        return getattr(self.state, "wait", 0)

    @property
    def cooldown_counter(self) -> int:
        """How many observations of the cooldown are left."""
        return getattr(self.state, "cooldown", 0)

    @property
    def run(self) -> Run | None:
        """The training as data, with its curves and records; None before training."""
        return None if self._session is None else self._session.recorder.run

    def decisions_frame(self) -> DataFrame:
        """Every decision as a row of a pandas DataFrame; no rows before training.

        Returns:
            A frame with the columns "epoch", from 0 as in `History.epoch`, "kind", "rate_before", "rate", "value",
            "best", "reason", "restore", "observation", "since_epoch" and "step": attributes of
            `keras_lrplateau.Decision`.

        Raises:
            ImportError: pandas is not installed.

        Example:

        ```python
        history = model.fit(x, y, epochs=100, callbacks=[adapt])
        losses = pandas.DataFrame(history.history, index=pandas.Index(history.epoch, name="epoch"))
        print(losses.join(adapt.decisions_frame().set_index("epoch")[["kind", "reason"]]))
        ```
        """
        from keras_lrplateau.history.frame import frame_of

        return frame_of(self.decisions)

    # --- checkpoints that the user writes ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a training, for a checkpoint that you write yourself.

        Call it after `on_epoch_end`, when you save the weights: together they are enough to go on as if training had
        not stopped. (With `log_dir` or `state_path`, and a backup such as `keras.callbacks.BackupAndRestore`, none of
        this is needed.) If a callback of yours saves, list it after this one.

        Example:

        ```python
        model.save_weights("checkpoint.weights.h5")
        with open("checkpoint.json", "w") as file:
            json.dump(adapt.state_dict(), file)
        ```

        In another process:

        ```python
        model.load_weights("checkpoint.weights.h5")
        with open("checkpoint.json") as file:
            adapt.load_state_dict(json.load(file))
        model.fit(x, y, initial_epoch=adapt.next_epoch, epochs=100, callbacks=[adapt])
        ```

        Returns:
            A dict of plain values, which JSON keeps as they are. It holds no weights: with `log_dir` or `state_path`,
            the copies to go back to are on disk, and the dict names them. Otherwise the weights that you load stand for
            those copies, and a warning says so.

        Raises:
            RuntimeError: There is no state before the first epoch.
        """
        if self._saved is not None:
            return encode(self._saved)
        if self._session is None:
            raise RuntimeError("AdaptLROnPlateau has no state before the first epoch of a training begins")
        return encode(resuming.state_of(self._session))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next training go on from a state that `state_dict` returned.

        Load the weights, too, and call this before `fit` or `on_train_begin`. The learning rate is set again, whatever
        the optimizer holds by then. The state counts for more than a state file.

        Args:
            state: What `state_dict` returned, perhaps stored as JSON meanwhile. The callback must have the same
                settings, and training must begin with the next epoch: `fit(initial_epoch=...)`.

        Raises:
            TypeError: `state` is no mapping.
            ValueError: It is no state, is of another version, or of a training with other settings. What depends on the
                model (its size, its optimizer) and the epoch are checked when training begins.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict needs what state_dict returned. Received: {state!r}")
        saved = decode(state)
        saved.check_settings(resuming.chosen_settings(self._options))
        self._saved = saved

    @property
    def next_epoch(self) -> int:
        """The first epoch that is not over, from 0. A training with a loaded state begins with it."""
        if self._saved is not None:
            return self._saved.next_epoch
        return 0 if self._session is None else self._session.next_epoch
