"""The Keras callback: its arguments, and the hooks that pass each event on to the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras

from keras_lrplateau.history.axes import Axis
from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.settings import settings_of
from keras_lrplateau.training import deciding, observing, remembering, resuming, telling, within_epoch
from keras_lrplateau.training.advice import look_around
from keras_lrplateau.training.optimizers import chosen_optimizer
from keras_lrplateau.training.options import NOT_MADE, Options, explained, make_options
from keras_lrplateau.training.results import Results
from keras_lrplateau.training.schedules import scale_schedules
from keras_lrplateau.training.session import Session

if TYPE_CHECKING:
    from keras_lrplateau.views.figure import Figure


class AdaptLROnPlateau(Results):
    """Cuts the learning rate on a plateau, raises it when progress stays stalled, recovers when training breaks.

    `AdaptLROnPlateau.auto` needs no learning rate to be chosen.

    The arguments of `keras.callbacks.ReduceLROnPlateau` come first, with the same names, order and defaults. With
    `max_raises=0, recover=False` the rate is the one that ReduceLROnPlateau would set. `keras_lrplateau.rule.plateau`
    describes the rule, its terms and its sources.

    Example:

    ```python
    adapt = AdaptLROnPlateau(monitor="val_loss", factor=0.5, patience=5, log_dir="logs/run1", verbose=1)
    model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
    for decision in adapt.decisions:
        print(decision.epoch, decision.kind, decision.rate, decision.reason)
    ```

    Args:
        monitor: Name of the metric in `logs` to watch.
        factor: Each cut multiplies the rate by this. In (0, 1).
        patience: Observations without improvement before a cut. Integer >= 0. An epoch without a value of the metric
            (`validation_freq`) does not count.
        verbose: 0 for silence, else a line at each decision, printed as Keras prints.
        mode: "min", "max", or "auto" to infer the direction from the metric.
        min_delta: By how much an observation must beat the best to count as an improvement. Its sign is ignored.
        cooldown: Observations after a change of rate that do not count towards a plateau. Integer >= 0.
        min_lr: No cut goes below this rate. >= 0.
        threshold_mode: "abs": `min_delta` is in the metric's unit. "rel": it is a fraction of |best|.
        max_lr: No raise goes above this rate. None for no bound.
        raise_factor: A raise goes to this multiple of the rate at the last improvement. > 1.
        raise_after: Consecutive cuts without a new best before a raise, which also waits until the rate is a hundredth
            of that at the best. Integer >= 1. With patience 10 and factor 0.1 the first raise comes after epoch 41 at
            the earliest; `EarlyStopping` needs a patience of 70 or more.
        max_raises: The most raises in one training. Integer >= 0; 0 turns raising off.
        recover: Whether to go back to earlier weights and a far lower rate when training breaks.
        rollback: Whether to keep copies of the training state for rollbacks: at most three, usually two. Each is as
            large as the weights and the optimizer state (with Adam, three times the weights). True keeps them in host
            memory, and on disk if there is a state file. "disk" keeps them on disk only, beside the state file. False
            keeps none. A rollback also restores the optimizer's count of iterations, and so the position in a schedule.
        rollback_on_cut: Whether an ordinary cut also goes back to the best weights. Off by default, because the best of
            many noisy observations is partly luck.
        stop_when_exhausted: Whether to stop training when nothing is left to try.
        reset_on_train_begin: Whether each `fit` starts afresh, as in Keras. Set it to False to split one training over
            several calls of `fit`, and call `finish` after the last one. A `fit` that begins at a later epoch goes on
            from the state file. After a training that has ended, such a `fit`, or one of the same model compiled
            again, is a new phase of it: with a search or a wait of its own, in the same curve. Compiling again ends a
            training that was interrupted, too.
        log_dir: The directory for TensorBoard event files. They go into a run of their own, `lr_plateau`, below it.
            `keras.callbacks.TensorBoard` may use the same directory. None writes no event files. It is a local path,
            where `~` is the home directory. A URL such as "gs://bucket/run" is refused, because the files need locks,
            appends and renames: write to a local folder and copy it, or mount the bucket.
        state_path: The state file, from which a training goes on after a crash; a local path, like `log_dir`. It is
            written at the end of each epoch; copies of the training state go into a directory beside it. None means
            `state.json` beside the event files, or no state file without `log_dir`. False means no state file.
        frequency: "epoch" decides at the end of each epoch. An integer N >= 1 decides after every N optimizer steps, on
            the mean of the training metric over those steps. A validation metric is observed at each validation, for
            any value of this argument.
        optimizer: The optimizer to adapt, if it is not the one that the model is compiled with. Give the optimizer
            itself, or the name of the model's attribute that holds it.
        sinks: Objects that listen to the training, each a `keras_lrplateau.Sink`. They receive the numbers of each
            epoch and every decision. An error in one of them is a warning, and training goes on.
        on_decision: A function that is called with every decision, a `keras_lrplateau.Decision`, after the rate and the
            weights have been changed. It is short for a sink that only listens to decisions.
        hparams: Your other hyperparameters, such as `{"layers": 3, "augmentation": "mixup"}`: numbers, texts and flags
            by name. TensorBoard's HParams tab shows them beside the arguments of this callback, the starting rate, the
            optimizer and the batch size, which take precedence over values of the same names here.

    Each argument is also an attribute, which can be read but not changed.

    Raises:
        TypeError: An argument is of the wrong type; or, when training begins, the model has no Keras optimizer.
        ValueError: An argument is out of its range; or, when training begins, `max_lr` is below the optimizer's rate;
            or, when the metric first appears, `mode="auto"` cannot tell its direction.
        StateFileError: When training resumes, its state file cannot be used. It is a ValueError.
        RuntimeError: When training begins, another training is using the state file.
        OSError: When training begins, `state_path` was given and cannot be written.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        threshold_mode: Literal["abs", "rel"] = "abs",
        max_lr: float | None = None,
        raise_factor: float = 10.0,
        raise_after: int = 3,
        max_raises: int = 3,
        recover: bool = True,
        rollback: bool | Literal["disk"] = True,
        rollback_on_cut: bool = False,
        stop_when_exhausted: bool = False,
        reset_on_train_begin: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
        state_path: str | os.PathLike[str] | Literal[False] | None = None,
        frequency: int | Literal["epoch"] = "epoch",
        optimizer: Any = None,
        sinks: Sequence[Sink] | None = None,
        on_decision: Callable[[Decision], object] | None = None,
        hparams: dict[str, bool | int | float | str] | None = None,
    ) -> None:
        self._set_up(make_options("default", locals()))

    @classmethod
    @explained
    def auto(
        cls,
        monitor: str = "val_loss",
        mode: Literal["auto", "min", "max"] = "auto",
        *,
        min_lr: float = 0.0,
        max_lr: float | None = None,
        budget: float = 0.25,
        rollback: bool | Literal["disk"] = True,
        log_dir: str | os.PathLike[str] | None = None,
        state_path: str | os.PathLike[str] | Literal[False] | None = None,
        frequency: int | Literal["epoch"] = "epoch",
        optimizer: Any = None,
        sinks: Sequence[Sink] | None = None,
        on_decision: Callable[[Decision], object] | None = None,
        hparams: dict[str, bool | int | float | str] | None = None,
        verbose: int = 0,
    ) -> AdaptLROnPlateau:
        """Make a callback that finds the learning rate itself: it searches, raises, cuts, and anneals at the end.

        The rate of the optimizer may be wrong by orders of magnitude. In the first few epochs the callback tries other
        rates, each from the first weights; `keras_lrplateau.rule.auto` describes the rule. Where epochs are long, it
        does so by steps: in a `fit` of at most 15 epochs of at least 80 optimizer steps each, or of at most 20 of at
        least 400, a trial takes 40 steps, or a two-hundredth of all of them if that is more. Such a search goes by the
        training loss, and the rest of the epoch in which it ends is trained with the rate that it has found. In at
        most 20 epochs of fewer than ten steps each, a trial takes ten steps, and there is time for one or two. After a
        search by epochs, in a `fit` of at most 50, it climbs: it triples the rate from epoch to epoch while the
        training loss falls about as fast as before. Let `fit` run for all its epochs: the last part of them is for
        annealing. Training ends with about the best weights: if the metric of the last ones is worse by more than a
        hundredth of the best, or by steps beyond the noise, the callback restores the best ones.

        Example:

        ```python
        adapt = AdaptLROnPlateau.auto(verbose=1)
        model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
        ```

        Args:
            monitor: Name of the metric in `logs` to watch.
            mode: "min", "max", or "auto" to infer the direction from the metric.
            min_lr: The lowest rate to try or to cut to. >= 0.
            max_lr: The highest rate to try. None for no bound. It protects the weights of a pretrained model from a
                rate that would spoil them.
            budget: The share of all epochs, or of all steps in a search by steps, that may be spent on trials that are
                rolled back. In [0, 1]. A climb may cost one epoch more. With 0 there is neither search nor climb: the
                given rate is used, cut and annealed.
            rollback: Where to keep copies of the training state: True or "disk", as for `AdaptLROnPlateau`.
            frequency: "epoch" decides at the end of each epoch; for the search see above. An integer N >= 1 is for one
                or two long epochs, or where nothing should wait for the end of an epoch: each trial of the search takes
                N optimizer steps, and later each observation takes N steps or a hundredth of the training, whichever is
                more. So all happens within epochs, the annealing included, and by the training metric: `monitor` loses
                its "val_". A good N is a two-hundredth of all steps: then the search takes at most 5 % of them. With 1
                there is no search. Keras must know the number of steps in an epoch (for a generator, pass
                `steps_per_epoch` to `fit`); else nothing is annealed in the first epoch, where every observation takes
                N steps.
            log_dir, state_path, optimizer, sinks, on_decision, hparams: As for `AdaptLROnPlateau`.
            verbose: 0 for silence, else a line at each decision, printed as Keras prints.

        Returns:
            The callback. It keeps at most three copies of the weights and the optimizer state. Its `state` is a
            `keras_lrplateau.rule.auto_state.State`.

        Raises:
            TypeError, ValueError: As `AdaptLROnPlateau`; and when training begins, the optimizer's rate is 0.
        """
        options = make_options("auto", locals())
        callback = cls(monitor)
        callback._set_up(options)
        return callback

    def _set_up(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._session = None
        self._saved = None
        if options.decides_in_epoch:
            # async_safe keeps Keras' asynchronous dispatch; our hooks may run in any thread, a subclass's may not.
            ends = ("on_batch_end", "on_train_batch_end", "on_test_batch_end", "on_predict_batch_end")
            if all(getattr(type(self), end) is getattr(keras.callbacks.Callback, end) for end in ends):
                self.async_safe = True
            self._hear_batches()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal callback."""
        return dict(self._options.arguments)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdaptLROnPlateau:
        """Make a callback from the result of `get_config`."""
        return cls.auto(**config) if "budget" in config else cls(**config)

    def __getattr__(self, name: str) -> Any:
        # `copy` looks names up before there are any arguments: underscored ones must not reach `_options`.
        if not name.startswith("_") and name in self._options.arguments:
            return self._options.arguments[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # Silently, the rule would go on with what it was given. A subclass may keep the same value under the same name;
        # of paths and objects the arguments hold another form.
        options: Options | None = self.__dict__.get("_options")
        if options is not None and name in options.arguments:
            kind = settings_of(options.rule.name)[name].kind
            if kind not in ("path", "object") and value != options.arguments[name]:
                raise AttributeError(
                    f"{name} cannot be changed once the callback is made. Received: {name}={value!r}; make a new one"
                )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._options.arguments})

    # --- results -----------------------------------------------------------------------------------------------------

    def figure(self, axis: Axis = "epoch", *, dark: bool = False) -> Figure:
        """Draw the curves, the learning rate and the decisions of this training so far.

        A notebook shows the result; `figure.write_html("figure.html")` saves it. The training may still be running.

        Args:
            axis: The horizontal axis: "epoch", "step" (optimizer steps taken) or "time".
            dark: Whether the background is dark.

        Returns:
            A `plotly.graph_objects.Figure`.

        Raises:
            ValueError: `axis` is not one of these.
            RuntimeError: No epoch has ended yet.
            ImportError: plotly is not installed.
        """
        from keras_lrplateau.views.figure import draw, to_plotly

        if self.run is None or not self.run.records:
            raise RuntimeError("there is nothing to draw before the first epoch of a training is over")
        return to_plotly(draw([self.run], axis, dark=dark))

    # --- Keras' hooks ------------------------------------------------------------------------------------------------

    @property
    def _training(self) -> Session:
        if self._session is None or self._saved is not None:
            after = "" if self._saved is None else "after load_state_dict and "
            raise RuntimeError(f"AdaptLROnPlateau: call on_train_begin {after}before the other hooks")
        return self._session

    def set_params(self, params: Any = None) -> None:
        """Take Keras' parameters of the `fit`."""
        if not isinstance(self, AdaptLROnPlateau):  # The class itself is in the list of callbacks.
            raise TypeError(NOT_MADE.format("AdaptLROnPlateau"))
        super().set_params(params)

    def set_model(self, model: Any = None) -> None:
        """Take the model, and make the schedule of its optimizer scalable, if there is one."""
        if not isinstance(self, AdaptLROnPlateau):
            raise TypeError(NOT_MADE.format("AdaptLROnPlateau"))
        if any(base.__module__.partition(".")[0] == "tf_keras" for base in type(model).__mro__):
            raise TypeError(
                "AdaptLROnPlateau is a callback of Keras 3, and this model is one of tf_keras (Keras 2). Received: "
                f"{type(model).__module__}.{type(model).__name__}; make the model with `import keras`, or with "
                "`tensorflow.keras` without TF_USE_LEGACY_KERAS"
            )
        super().set_model(model)
        optimizer, rule = chosen_optimizer(model, self._options.optimizer), self._options.rule
        # Keras makes the training step after this hook and before on_train_begin.
        if isinstance(optimizer, keras.optimizers.Optimizer):
            scale_schedules(model, optimizer, rule.min_lr, rule.max_lr)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a training, or go on with one if `reset_on_train_begin` is False."""
        around = look_around(self)
        begins_afresh = self._options.reset_on_train_begin or self._saved is not None
        if self._session is None or self._session.is_finished or begins_afresh:
            before = self._session
            if before is not None:
                telling.close(before)
            self._session = Session(self, self._options, before, self._saved)
            self._saved = None
        self._ignore_batches()
        self._session.begin_fit(around)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch, from 0. Before the first one, resume from the state file."""
        # Not in on_train_begin: a callback that comes later in the list may load a checkpoint there.
        if not self._training.present.is_begun:
            resuming.begin(self._training, epoch)
        self._training.begin_epoch(epoch)
        if self._training.decides_in_epoch:
            self._hear_batches()
        elif self._training.present.wants_first_loss:
            self.__dict__.update(on_train_batch_end=self._first_batch)  # For one batch.

    def on_test_begin(self, logs: Any = None) -> None:
        """Note that a validation begins."""
        if self._session is not None:
            remembering.begin_validation(self._session)

    def on_test_end(self, logs: Any = None) -> None:
        """Note the results of a validation in the state file."""
        if self._session is not None:
            remembering.end_validation(self._session, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Decide on the metric in `logs`, and put the learning rates that were used into them."""
        if not self._training.present.is_begun:
            resuming.begin(self._training, epoch)
        self._ignore_batches()
        deciding.end_epoch(self._training, epoch, {} if logs is None else logs)

    def on_train_end(self, logs: Any = None) -> None:
        """End the training: take back a raise or restart that has not proved itself, and close the files."""
        epochs = (self.params or {}).get("epochs")
        if not self._training.present.is_begun and self._options.reset_on_train_begin and epochs:
            # No epoch was left: an earlier process died after the last one, perhaps with work undone.
            resuming.begin(self._training, epochs, is_over=True)
        deciding.end_fit(self._training)

    def finish(self) -> None:
        """End a training of several fits (`reset_on_train_begin=False`): undo an open raise or restart.

        With `reset_on_train_begin=True` the end of `fit` does this. A second call does nothing, and neither does a call
        before any training. A `fit` after it is a new phase of that training, which needs a `finish` of its own.
        """
        if self._session is not None:
            deciding.finish(self._session)

    def _first_batch(self, batch: int, logs: Any = None) -> None:
        if batch == 0:  # Asynchronous dispatch may call out of order.
            self._ignore_batches()
            observing.first_batch(self._training, logs)
        type(self).on_train_batch_end(self, batch, logs)

    def _hear_batches(self) -> None:
        # On the instance: a batch hook on the class would end Keras' asynchronous dispatch for all. They hide a
        # subclass's own hooks, and so call them.
        self.__dict__.update(on_train_batch_begin=self._before_batch, on_train_batch_end=self._after_batch)

    def _ignore_batches(self) -> None:
        if not self._options.decides_in_epoch:
            self.__dict__.pop("on_train_batch_begin", None)
            self.__dict__.pop("on_train_batch_end", None)

    def _before_batch(self, batch: int, logs: Any = None) -> None:
        within_epoch.before_batch(self._training, batch)
        if not self._training.decides_in_epoch:
            self._ignore_batches()  # The search is over.
        type(self).on_train_batch_begin(self, batch, logs)

    def _after_batch(self, batch: int, logs: Any = None) -> None:
        within_epoch.after_batch(self._training, batch, logs)
        type(self).on_train_batch_end(self, batch, logs)
