"""Records and runs of the tests of this room."""

from dataclasses import replace

from conftest import make_curve, make_decision, time_of

from keras_lrplateau.history.run import Record, Run


def record(epoch, steps, time=0.0, **changes):
    fields = {"status": "holding", "monitor": "loss", "mode": "min", "quantity": "learning rate", "best": None}
    return Record(epoch, (), steps=steps, time=time, **fields | changes)


def within(epoch, *steps, rate=0.1):
    """Make cuts within an epoch after these numbers of optimizer steps, each to half the rate."""
    rates = [rate / 2**i for i in range(len(steps) + 1)]
    return [make_decision("cut", epoch, rates[i], rates[i + 1], step=step) for i, step in enumerate(steps)]


def stepped(*records, curves=1):
    """Make a training from records, each given as epoch, steps and decisions, with curves of this many epochs."""
    made = [replace(record(epoch, steps, time_of(epoch)), decisions=decisions) for epoch, steps, decisions in records]
    return Run("run", {"loss": make_curve(*[1.0] * curves)}, made)
