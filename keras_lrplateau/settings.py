"""Every setting of `AdaptLROnPlateau`, in one table.

The constructors check their arguments by it. `get_config`, the command line, and the what-if panel and its page read
names, defaults and sentences from it. The signatures of the constructors repeat the names and the defaults, for editors
and `help()`; a test keeps both equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

RuleName = Literal["default", "auto"]
"""Which rule decides: the plateau rule, or auto mode."""

Kind = Literal["number", "integer", "flag", "choice", "text", "path", "object"]
"""What sort of value a setting has."""

LONGEST = 40
"""No number needs more characters than this."""

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

BOTH: tuple[RuleName, ...] = ("default", "auto")
DEFAULT: tuple[RuleName, ...] = ("default",)
AUTO: tuple[RuleName, ...] = ("auto",)


def _anything(value: float) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Setting:
    """One argument of the constructors.

    Attributes:
        name: Its name, as the constructors spell it.
        kind: What sort of value it has.
        default: Its default.
        sentence: What it does, in one sentence.
        rules: The rules whose constructor has it: `AdaptLROnPlateau` and `AdaptLROnPlateau.auto`.
        is_of_rule: Whether the rule itself uses it. If so, a replay can try other values.
        expected: What a good value is, in words.
        accepts: Whether a finite number is in range.
        minimum: The lowest integer in range.
        choices: The words that a choice may be.
        is_optional: Whether it may be None.
    """

    name: str
    kind: Kind
    default: Any
    sentence: str
    rules: tuple[RuleName, ...] = DEFAULT
    is_of_rule: bool = True
    expected: str = ""
    accepts: Callable[[float], bool] = _anything
    minimum: int = 0
    choices: tuple[Any, ...] = ()
    is_optional: bool = False

    def check(self, value: Any) -> Any:
        """The value as the rule and the callback hold it: a number as a float.

        Raises:
            TypeError: It is of the wrong type.
            ValueError: It is out of range.
        """
        if value is None and self.is_optional:
            return None
        if self.kind == "number":
            return check_number(self.name, value, self.expected, self.accepts)
        if self.kind == "integer":
            return check_integer(self.name, value, self.minimum)
        if self.kind == "flag":
            return check_flag(self.name, value)
        if self.kind == "choice":
            return check_choice(self.name, value, self.choices)
        return value

    def parse(self, text: str) -> Any:
        """The value that a text stands for; `check` checks its range.

        Raises:
            ValueError: The text stands for no value of this kind.
        """
        if len(text) > LONGEST:
            raise ValueError(f"{self.name} must have at most {LONGEST} characters. Received: {len(text)}")
        if self.is_optional and text.lower() in ("", "none"):
            return None
        if self.kind == "flag":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{self.name} must be true or false. Received: {text!r}")
            return text.lower() == "true"
        if self.kind == "integer":
            if not INTEGER.fullmatch(text):
                raise ValueError(f"{self.name} must be an integer, such as {self.default}. Received: {text!r}")
            return int(text)
        if self.kind == "number":
            if not NUMBER.fullmatch(text):
                example = "0.1, or empty for no bound" if self.is_optional else self.default
                raise ValueError(f"{self.name} must be a number, such as {example}. Received: {text!r}")
            return float(text)
        return text


SETTINGS: tuple[Setting, ...] = (
    Setting("monitor", "text", "val_loss", "The name of the metric to watch.", BOTH, is_of_rule=False),
    Setting(
        "factor",
        "number",
        0.1,
        "Each cut multiplies the rate by this.",
        expected="a number between 0 and 1, both excluded",
        accepts=lambda x: 0 < x < 1,
    ),
    Setting("patience", "integer", 10, "Observations without improvement that make a plateau."),
    Setting("verbose", "integer", 0, "Whether to print a line at each decision.", BOTH, is_of_rule=False),
    Setting(
        "mode",
        "choice",
        "auto",
        "Whether a smaller or a larger metric is better.",
        BOTH,
        is_of_rule=False,
        choices=("auto", "min", "max"),
    ),
    Setting(
        "min_delta",
        "number",
        1e-4,
        "By how much an observation must beat the best to count as an improvement.",
        expected="a finite number >= 0",
        accepts=lambda x: x >= 0,
    ),
    Setting("cooldown", "integer", 0, "Observations after a change of rate that do not count towards a plateau."),
    Setting(
        "min_lr",
        "number",
        0.0,
        "No cut goes below this rate.",
        BOTH,
        expected="a finite number >= 0",
        accepts=lambda x: x >= 0,
    ),
    Setting(
        "threshold_mode",
        "choice",
        "abs",
        "Whether min_delta is in the metric's unit, or a fraction of the best.",
        choices=("abs", "rel"),
    ),
    Setting(
        "max_lr",
        "number",
        None,
        "No raise goes above this rate.",
        BOTH,
        expected="None or a finite number > 0",
        accepts=lambda x: x > 0,
        is_optional=True,
    ),
    Setting(
        "raise_factor",
        "number",
        10.0,
        "A raise goes to this multiple of the rate at the last improvement.",
        expected="a finite number > 1",
        accepts=lambda x: x > 1,
    ),
    Setting("raise_after", "integer", 3, "Fruitless cuts in a row that make a stall.", minimum=1),
    Setting("max_raises", "integer", 3, "How many raises one training may make; 0 turns raising off."),
    Setting(
        "budget",
        "number",
        0.25,
        "The share of all epochs that may go to trials that are taken back.",
        AUTO,
        expected="a number from 0 to 1",
        accepts=lambda x: 0 <= x <= 1,
    ),
    Setting("recover", "flag", True, "Whether to go back to earlier weights when training breaks."),
    Setting(
        "rollback",
        "choice",
        True,
        "Whether copies of the training state may be kept, and where.",
        BOTH,
        is_of_rule=False,
        choices=(True, False, "disk"),
    ),
    Setting("rollback_on_cut", "flag", False, "Whether an ordinary cut also goes back to the best weights."),
    Setting(
        "stop_when_exhausted", "flag", False, "Whether to stop training when nothing is left to try.", is_of_rule=False
    ),
    Setting("reset_on_train_begin", "flag", True, "Whether each fit starts afresh.", is_of_rule=False),
    Setting("log_dir", "path", None, "Where to write TensorBoard event files.", BOTH, is_of_rule=False),
    Setting("state_path", "path", None, "The file to go on from after a crash.", BOTH, is_of_rule=False),
    Setting("frequency", "object", "epoch", "After how many optimizer steps to decide.", BOTH, is_of_rule=False),
    Setting("optimizer", "object", None, "Which optimizer to adapt, if there are several.", BOTH, is_of_rule=False),
    Setting("sinks", "object", None, "Objects that listen to the training.", BOTH, is_of_rule=False),
    Setting("on_decision", "object", None, "A function that is called with every decision.", BOTH, is_of_rule=False),
    Setting("hparams", "object", None, "Your other hyperparameters, for the HParams tab.", BOTH, is_of_rule=False),
)
"""In the order of the constructors' arguments."""


def settings_of(rule: RuleName) -> dict[str, Setting]:
    """The settings of a rule's constructor, by name."""
    return {setting.name: setting for setting in SETTINGS if rule in setting.rules}


def rule_settings(rule: RuleName) -> dict[str, Setting]:
    """The settings that the rule itself uses, by name."""
    return {name: setting for name, setting in settings_of(rule).items() if setting.is_of_rule}


# --- checks ----------------------------------------------------------------------------------------------------------


def check_number(name: str, value: Any, expected: str, accepts: Callable[[float], bool]) -> float:
    """A finite number that `accepts` takes, as a float; `expected` describes such a number in words.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite, or not accepted.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {expected}. Received: {name}={value!r}, a {type(value).__name__}")
    try:
        accepted = math.isfinite(value) and accepts(value)
    except OverflowError:  # An integer too long for a float.
        accepted = False
    if not accepted:
        raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}")
    # A rate may come to be one of these. An integer would be stored as one, and NumPy's floats warn of overflow.
    return float(value)


def check_integer(name: str, value: Any, minimum: int) -> int:
    """An integer of at least `minimum`.

    Raises:
        TypeError: It is no integer.
        ValueError: It is lower, or too long for a float.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer >= {minimum}. Received: {name}={value!r}, a {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}. Received: {name}={value!r}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} must be an integer that a float can hold. Received: {name}={value!r}") from None
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False. Received: {name}={value!r}")
    return value


def check_choice(name: str, value: Any, choices: Collection[Any]) -> Any:
    """One of these values.

    Raises:
        ValueError: It is another one.
    """
    # Not by `in` alone: an array answers with an array, and 1 equals True.
    if not isinstance(value, (str, bool)) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")
    return value
