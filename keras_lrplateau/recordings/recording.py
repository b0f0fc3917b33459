"""What a recorded training is, whatever wrote it down: the input of a replay."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from keras_lrplateau.history.run import Curve, Record
from keras_lrplateau.recordings.names import RATE, is_rate, listed, meaning, rate_names


class CurveError(ValueError):
    """A recorded curve cannot be read. The text says where, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded training: the metrics that were measured in it.

    Attributes:
        name: The name of the file or run; the second training of a file has " (2)" after it, and so on.
        unit: What `Curve.epochs` of the curves counts: epochs, from 0, or steps, as the file counts them.
        curves: By the metric's name, as in the file. Values may be NaN or infinite; a row without a value is left out.
            The learning rate is always "learning_rate"; of several that differ, each is `"learning_rate_<name>"`.
            `Curve.times` is 0.0 throughout if the file has no wall times.
        records: What was decided, if it is a run of ours.
        notes: What was odd in the file and how it was read, a sentence each.
        steps: The step at the end of each epoch, if the file counts both.
    """

    name: str
    unit: Literal["epoch", "step"]
    curves: dict[str, Curve]
    records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()
    steps: dict[int, int] = field(default_factory=dict)

    def resolve(self, monitor: str) -> str:
        """The name that a metric has here: the given one, or the one that clearly means the same.

        Others write eval_loss, val/loss, Loss/validation or valid_loss for Keras' val_loss, train_loss for loss, and
        val_acc for val_accuracy. A part of a metric is not the metric: val/box_loss is not val_loss.

        Raises:
            CurveError: No metric has this meaning, or several have; the text names the nearest ones and all others.
        """
        if monitor in self.curves:
            return monitor
        wanted = meaning(monitor)
        found = [name for name in self.curves if meaning(name) == wanted]
        if len(found) == 1:
            return found[0]
        there = ", ".join(map(repr, self.curves))
        if found:
            raise CurveError(
                f"{self.name}: {monitor!r} may be {listed(found)}; give one of these names. It has {there}"
            )
        close = difflib.get_close_matches(monitor, self.curves, cutoff=0.5)
        nearest = f"nearest: {listed(close)}. " if close else ""
        raise CurveError(
            f"{self.name}: there is no metric {monitor!r}; give one that there is. {nearest}It has {there}"
        )

    def curve(self, monitor: str) -> Curve:
        """The curve of a metric, by the name that `resolve` finds.

        Raises:
            CurveError: As in `resolve`.
        """
        return self.curves[self.resolve(monitor)]


def with_rates(curves: dict[str, Curve], notes: list[str]) -> dict[str, Curve]:
    """The curves, with the learning rates under the names that every recording gives them."""
    rates = [name for name in curves if is_rate(name)]
    if not rates:
        return curves
    first = curves[rates[0]]
    if all((curves[name].epochs, curves[name].values) == (first.epochs, first.values) for name in rates):
        if len(rates) > 1:
            notes.append(f"{listed(rates)} are equal throughout: read as one {RATE!r}.")
        names = {rates[0]: RATE} | dict.fromkeys(rates[1:], "")
    else:
        names = rate_names(rates)
    return {names.get(name, name): curve for name, curve in curves.items() if names.get(name, name)}
