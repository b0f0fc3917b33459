"""What the name of a column means: a metric, the data it was measured on, a learning rate, or a counter.

Frameworks name the same thing in many ways. Everything that is known about their names is here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Literal

RATE = "learning_rate"
"""The name of the learning rate in every recording; the names of several rates begin with it."""

EPOCH = (
    *("epoch", "epochs", "current epoch", "epoch number", "epoch num", "epoch no", "epoch nr", "epoch id"),
    *("epoch idx", "epoch index", "epoch count", "n epoch", "num epochs", "epochs completed", "ep", "round"),
    "training iteration",  # Ray's: what lies between two reports.
)
STEP = (
    *("step", "steps", "global step", "trainer global step", "train global step", "iteration", "iterations", "iter"),
    *("train step", "training step", "num steps", "total steps", "iter num", "iteration number", "it"),
    *("update", "updates", "num updates", "timestep", "timesteps", "total timesteps", "timesteps total"),
    "time total timesteps",  # Stable Baselines'.
)
TIME = ("wall time", "timestamp", "time", "datetime", "date", "created at")
INDEX = ("", "unnamed 0", "index")
"""Names of counters, the most telling first; in the form that `plain` returns."""

_GROUP = re.compile(
    r"(?:\w+ )?(?:k?folds?|cv|seeds?|trials?|repeat|repetition|replicate)(?: (?:id|idx|index|num|no|number|name))?"
    r"|(?:runs?|models?|exp|experiments?|training|member|job|client|worker|rank|variant|optimizer|dataset|task"
    r"|architecture|arch|network|backbone|method|algorithm)(?: (?:id|idx|index|num|no|number|name|uuid|hash|key))?"
    r"|random state"
)
"""Names of columns that tell several trainings apart; as `plain` returns them."""

METRIC_NAMES = (
    *("metric", "metric name", "metricname", "metrics", "tag", "name", "key"),
    *("variable", "measure", "series", "scalar"),
)
"""Names of columns that hold the name of a metric, the most telling first; as `plain` returns them."""

VALUES = ("value", "metric value", "metricvalue", "val", "values", "score", "y")
"""Names of columns that hold the value of such a metric."""

_SPLITS = {
    **dict.fromkeys(("train", "training", "tr", "trn", "fit"), ""),
    **dict.fromkeys(("val", "valid", "vali", "validation", "validate", "dev"), "val_"),
    **dict.fromkeys(("eval", "evaluation", "evaluate", "holdout", "heldout", "held out"), "val_"),
    **dict.fromkeys(("test", "testing", "tst"), "test_"),
}
"""What one kind of data is called, and what the names of its metrics begin with."""

_OF_DATA = re.compile(r" (?:set|split|data|dataset|phase|loop|log|logs|epoch|metrics|history)$")
"""What may be behind it."""

HELD_OUT = {"val", "valid", "validate", "validation", "eval", "evaluation", "test", "dev", "holdout"}
_PLURALS = {"acc": "accuracy", "accs": "accuracy", "accuracies": "accuracy", "losses": "loss", "errors": "error"}
_SYNONYMS = dict.fromkeys(("valid", "validate", "validation", "eval", "evaluation", "dev"), "val") | _PLURALS
_UNSAID = {"train", "training", "epoch"}
"""Words that some writers add to the name of a metric of the training data."""

_NO_RATE = {"loss", "acc", "accuracy", "error", "score", "mult", "multiplier", "scale", "decay", "factor", "min", "max"}
"""A name with one of these words is not a learning rate, even if it has a rate's name in it: lr_mult, lr_loss."""

_TELLING: dict[Literal["min", "max"], str] = {
    "min": "loss losses error errors err mae mse rmse mape nll perplexity ppl wer cer fid",
    "max": "acc accs accuracy accuracies auc f1 precision recall iou miou map dice bleu r2 score top1 top5",
}
"""Words that say which way a metric should go."""


def plain(name: str) -> str:
    """The name in lower case, its words with single spaces between them."""
    return " ".join(re.findall(r"\w+", name.replace("_", " "))).lower()


def words_of(name: str) -> list[str]:
    """The words of a name in lower case; camel case is taken apart."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def is_group(name: str) -> bool:
    """Whether the column tells several trainings apart, as one with the fold, the run or the seed does."""
    return _GROUP.fullmatch(plain(name)) is not None


def kind_of_data(words: str) -> str | None:
    """What the names of metrics begin with where words say the kind of data: "val_" for "valid_set", "" for "train".

    None if they say something else.
    """
    return _SPLITS.get(_OF_DATA.sub("", plain(words)))


def is_held_out(name: str) -> bool:
    """Whether the metric was measured on other data than the training data."""
    return not HELD_OUT.isdisjoint(words_of(name))


def is_rate(name: str) -> bool:
    """Whether it is a learning rate."""
    words = words_of(name)
    named = "lr" in words or "learningrate" in words or ("learning", "rate") in itertools.pairwise(words)
    return named and _NO_RATE.isdisjoint(words)


def meaning(name: str) -> list[str]:
    """What two names of the same metric have in common."""
    if is_rate(name) and not _group(name):
        return [RATE]
    return sorted({_SYNONYMS.get(word, word) for word in words_of(name)} - _UNSAID)


def tensorboard_name(file: str) -> str:
    """The metric in the name of a file that TensorBoard gave out, run-NAME-tag-NAME.csv; "" if it is no such name."""
    found = re.match(r"run-(.*?)-?tag-(.+?)(?:\.csv|\.json)?$", file)
    if found is None:
        return ""
    run = words_of(found[1])
    prefix = _SPLITS.get(run[-1], "") if run else ""
    metric = found[2].removeprefix("epoch_")
    return metric if is_held_out(metric) or is_rate(metric) else f"{prefix}{metric}"


def direction(monitor: str) -> Literal["min", "max"] | None:
    """Whether a metric should fall or rise, by the words in its name; None if they do not say, or disagree."""
    words = set(re.findall(r"[a-z]+\d?", monitor.lower()))
    found = [mode for mode, telling in _TELLING.items() if not words.isdisjoint(telling.split())]
    return found[0] if len(found) == 1 else None


def rate_names(rates: Sequence[str]) -> dict[str, str]:
    """The names that several learning rates have in a recording, by their names in the file."""
    names: dict[str, str] = {}
    for name in rates:
        wanted = f"{RATE}_{_group(name)}" if _group(name) else RATE
        names[name] = f"{RATE}_{name}" if wanted in names.values() else wanted
    return names


def _group(name: str) -> str:
    """Which of several rates it is: "Adam" of "lr-Adam", "pg0" of "lr/pg0", "x/0" of "x/lr0"; "" if it does not say."""
    rest = re.sub(r"(?i)learning[ _-]?rate|lr", "", name, count=1)
    return "/".join(part for part in re.split(r"[/_]+", rest.strip(" _-/.:")) if part)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: 'a', 'b' and 'c'."""
    shown = [repr(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
