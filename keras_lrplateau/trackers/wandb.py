"""A sink for Weights & Biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, final

from keras_lrplateau.history.frame import COLUMNS, columns_of
from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.history.run import Record
from keras_lrplateau.rule.decision import Decision

PREFIX = "lr_plateau/"
"""Before all names, so that W&B shows them in a section of their own, and `WandbMetricsLogger` may log beside us."""

STEPS = "lr_plateau_steps/"
"""Before the names of what was seen within epochs, which has an axis of its own."""


@final
class WandbSink(Sink):
    """Sends a training to a run of Weights & Biases: each epoch's numbers, and the decisions with their reasons.

    Each epoch logs the learning rates in use and all metrics, such as "lr_plateau/learning_rate", over
    "lr_plateau/epoch", which counts from 0 as in `WandbMetricsLogger`. What was seen within epochs, with `frequency=N`
    or in a search by steps, is beside them, such as "lr_plateau_steps/loss", over "lr_plateau_steps/step" optimizer
    steps. The table "lr_plateau/decisions" is logged when there are new decisions; those of annealing wait for the end.
    The summary has the best observation with its epoch, the status, and how many decisions of each kind there were.

    Example:

    ```python
    import wandb
    from keras_lrplateau import AdaptLROnPlateau, WandbSink

    wandb.init(project="digits")
    adapt = AdaptLROnPlateau(sinks=[WandbSink()])
    model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
    wandb.finish()
    ```

    Args:
        run: What `wandb.init` returned. None for the run that is active when training begins.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, run: Any = None) -> None:
        try:
            import wandb  # noqa: F401 - for this error, before training
        except ImportError as error:
            raise ImportError("WandbSink needs wandb: pip install 'keras-lrplateau[wandb]'") from error
        self._given = run
        self._told: Any = None
        self._decisions: list[Decision] = []
        self._is_news = False

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        self._run.log({STEPS + name: value for name, value in {"step": step, **numbers}.items()})

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        self._run.log({PREFIX + name: value for name, value in {"epoch": epoch, **numbers}.items()})

    def decision(self, decision: Decision, quantity: str) -> None:
        self._decisions.append(decision)
        self._is_news |= decision.kind != "anneal"  # A table for each epoch would be many.

    def record(self, record: Record) -> None:
        summary: dict[str, Any] = {"status": record.status}
        if record.best is not None:
            summary |= {f"best_{record.monitor}": record.best.value, "best_epoch": record.best.epoch}
        summary |= Counter(f"decisions_{decision.kind}" for decision in self._decisions)
        self._run.summary.update({PREFIX + name: value for name, value in summary.items()})

    def forget(self, epoch: int) -> None:
        self._decisions = [decision for decision in self._decisions if decision.epoch < epoch]
        self._is_news = True

    def flush(self) -> None:
        if self._is_news:
            self._log_table()

    def close(self) -> None:
        """Log the last decisions. The run stays open, for its owner to end it."""
        if self._is_news or (self._decisions and self._decisions[-1].kind == "anneal"):
            self._log_table()
        self._decisions = []  # What comes next is another training.

    def _log_table(self) -> None:
        from wandb import Table

        rows = zip(*columns_of(self._decisions).values(), strict=True)
        self._run.log({PREFIX + "decisions": Table(columns=list(COLUMNS), data=[list(row) for row in rows])})
        self._is_news = False

    @property
    def _run(self) -> Any:
        """The run to log to.

        Raises:
            RuntimeError: None is active.
        """
        import wandb

        run = wandb.run if self._given is None else self._given
        if run is None:
            raise RuntimeError("no run of W&B is active: call wandb.init() before model.fit, or give WandbSink(run)")
        if run is not self._told:
            for prefix, axis in ((PREFIX, "epoch"), (STEPS, "step")):
                run.define_metric(prefix + axis, hidden=True)
                run.define_metric(prefix + "*", step_metric=prefix + axis)
            self._told = run
        return run
