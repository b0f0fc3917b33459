"""A sink for MLflow."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, final

from keras_lrplateau.history.frame import COLUMNS, columns_of
from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.history.run import Record
from keras_lrplateau.rule.decision import Decision

PREFIX = "lr_plateau/"
"""Before the names of metrics, so that MLflow groups them, and `mlflow.keras.autolog` may log beside us."""

STEPS = "lr_plateau_steps/"
"""Before the names of what was seen within epochs."""

ARTIFACT = "lr_plateau/decisions.csv"
"""The artifact with the decisions."""


@final
class MlflowSink(Sink):
    """Sends a training to a run of MLflow: each epoch's numbers as metrics, the decisions as an artifact and as tags.

    The metrics, such as "lr_plateau/learning_rate", have the epoch from 0 as their step, as in `mlflow.keras.autolog`.
    What was seen within epochs, with `frequency=N` or in a search by steps, is beside them, such as
    "lr_plateau_steps/loss", whose steps are optimizer steps. The artifact "lr_plateau/decisions.csv" is written when
    there are new decisions. You can search runs by tags: "lr_plateau.status", "lr_plateau.best", how many decisions of
    each kind there were, such as "lr_plateau.cut", and "lr_plateau.last_decision" with its reason.

    Example:

    ```python
    import mlflow
    from keras_lrplateau import AdaptLROnPlateau, MlflowSink

    mlflow.keras.autolog()  # If you like; it is not needed.
    with mlflow.start_run():
        adapt = AdaptLROnPlateau(sinks=[MlflowSink()])
        model.fit(x, y, validation_split=0.2, epochs=100, callbacks=[adapt])
    ```

    Args:
        run_id: The run to log to. None for the run that is active when training begins, even one of `autolog`; if there
            is none, the sink begins one, and ends it with the training.

    Raises:
        ImportError: MLflow is not installed.
    """

    def __init__(self, run_id: str | None = None) -> None:
        try:
            import mlflow  # noqa: F401 - for this error, before training
        except ImportError as error:
            raise ImportError("MlflowSink needs MLflow: pip install 'keras-lrplateau[mlflow]'") from error
        self._given = run_id
        self._run_id: str | None = None
        self._is_own = False
        self._decisions: list[Decision] = []
        self._is_news = False

    def step(self, step: int, numbers: Mapping[str, float], time: float) -> None:
        self._metrics(STEPS, numbers, step, time)

    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        self._metrics(PREFIX, numbers, epoch, time)

    def decision(self, decision: Decision, quantity: str) -> None:
        self._decisions.append(decision)
        self._is_news = True

    def record(self, record: Record) -> None:
        tags = {"monitor": record.monitor, "status": record.status}
        if record.best is not None:
            tags |= {"best": str(record.best.value), "best_epoch": str(record.best.epoch)}
        tags |= {kind: str(count) for kind, count in Counter(each.kind for each in self._decisions).items()}
        if self._decisions:
            tags["last_decision"] = self._decisions[-1].describe(record.quantity)
        self._log(tags={f"lr_plateau.{name}": value for name, value in tags.items()})

    def forget(self, epoch: int) -> None:
        self._decisions = [decision for decision in self._decisions if decision.epoch < epoch]
        self._is_news = True

    def flush(self) -> None:
        if self._is_news:
            from mlflow import MlflowClient

            table = io.StringIO(newline="")
            writer = csv.writer(table)
            writer.writerow(COLUMNS)
            writer.writerows(zip(*columns_of(self._decisions).values(), strict=True))
            MlflowClient().log_text(self._run(), table.getvalue(), ARTIFACT)
            self._is_news = False

    def close(self) -> None:
        """End the run, if this sink began it. What comes next is another training."""
        self.flush()
        if self._is_own:
            import mlflow

            mlflow.end_run()
        self._run_id, self._is_own, self._decisions = None, False, []

    def _metrics(self, prefix: str, numbers: Mapping[str, float], step: int, time: float) -> None:
        from mlflow.entities import Metric

        stamp = int(1000 * time)
        # MLflow refuses all other characters, and with one name all metrics of the call.
        names = {name: prefix + re.sub(r"[^\w\-./: ]", "_", name) for name in numbers}
        self._log(metrics=[Metric(names[name], value, stamp, step) for name, value in numbers.items()])

    def _log(self, metrics: Any = (), tags: Mapping[str, str] | None = None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import RunTag

        found = [RunTag(name, value) for name, value in (tags or {}).items()]
        MlflowClient().log_batch(self._run(), metrics=metrics, tags=found)

    def _run(self) -> str:
        """The run to log to, the same one throughout a training."""
        if self._run_id is None:
            import mlflow

            active = mlflow.active_run()
            self._is_own = self._given is None and active is None
            self._run_id = self._given or (active or mlflow.start_run()).info.run_id
        return self._run_id
