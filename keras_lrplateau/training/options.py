"""The arguments of the callback, checked."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

import keras
import numpy as np

from keras_lrplateau.files.places import local_path
from keras_lrplateau.history.recorder import Sink
from keras_lrplateau.rule.auto import Config as AutoConfig
from keras_lrplateau.rule.decision import Decision, Rule
from keras_lrplateau.rule.plateau import Config
from keras_lrplateau.settings import RuleName, Setting, check_integer, rule_settings, settings_of

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")

NOT_MADE = "a callback must be made first. Received: callbacks=[{0}]; pass callbacks=[{0}()]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user chose. The docstring of the callback describes all attributes but these two.

    Attributes:
        rule: The rule with its settings. Its `mode` is "min" until the direction of the metric is known.
        arguments: All arguments by name, as `get_config` returns them.
    """

    rule: Rule[Any]
    arguments: Mapping[str, Any]
    monitor: str
    mode: Literal["auto", "min", "max"]
    verbose: int
    rollback: bool | Literal["disk"]
    log_dir: str | None
    state_path: str | Literal[False] | None
    optimizer: Any
    sinks: list[Sink] | None
    on_decision: Callable[[Decision], object] | None
    hparams: dict[str, bool | int | float | str] | None
    stop_when_exhausted: bool = False
    reset_on_train_begin: bool = True
    frequency: int | Literal["epoch"] = "epoch"

    @property
    def decides_in_epoch(self) -> bool:
        """Whether observations are made every `frequency` optimizer steps."""
        return self.frequency != "epoch" and not self.monitor.startswith("val_")


def make_options(rule: RuleName, arguments: Mapping[str, Any]) -> Options:
    """Check the arguments of a constructor, and make the rule.

    Args:
        rule: Whose constructor it is.
        arguments: All of them, by name.

    Raises:
        TypeError: One is of the wrong type.
        ValueError: One is out of its range, or two contradict each other.
    """
    checked = {name: _check(setting, arguments[name]) for name, setting in settings_of(rule).items()}
    # Without a path of its own, the state file goes beside the event files.
    has_state_file = checked["state_path"] or (checked["log_dir"] and checked["state_path"] is None)
    if checked["rollback"] == "disk" and not has_state_file:
        raise ValueError(
            "rollback='disk' needs a place for its files. Received: rollback='disk' without a state file; pass "
            "state_path or log_dir"
        )
    values = {name: checked[name] for name in rule_settings(rule)}
    values["mode"] = "max" if checked["mode"] == "max" else "min"
    if rule == "auto":
        if checked["rollback"] is False:
            raise ValueError(
                "auto mode takes trials back. Received: rollback=False; pass rollback='disk' to spare memory"
            )
        made: Rule[Any] = AutoConfig(**values, by_steps=checked["frequency"] != "epoch")
    else:
        made = Config(**values, rollback=bool(checked["rollback"]))
    others = {name: value for name, value in checked.items() if name not in rule_settings(rule)}
    if rule == "auto" and checked["frequency"] != "epoch":
        # There is no validation within an epoch.
        others["monitor"] = checked["monitor"].removeprefix("val_")
    return Options(rule=made, arguments=checked, **others)


def _check(setting: Setting, value: Any) -> Any:
    name, value = setting.name, _plain(value)
    if name == "monitor":
        if not isinstance(value, str) or not value:
            raise TypeError(f"monitor must be the name of a metric, such as 'val_loss'. Received: monitor={value!r}")
    elif name == "frequency":
        if not isinstance(value, str):
            check_integer("frequency", value, minimum=1)
        elif value != "epoch":
            raise TypeError(f"frequency must be 'epoch' or an integer >= 1. Received: frequency={value!r}")
    elif name == "optimizer":
        if not (value is None or isinstance(value, (str, keras.optimizers.Optimizer))):
            raise TypeError(
                "optimizer must be None, a Keras optimizer, or the name of the attribute of the model that holds one. "
                f"Received: optimizer={value!r}"
            )
    elif name == "sinks":
        value = _sinks(value)
    elif name == "on_decision":
        if not (value is None or callable(value)):
            raise TypeError(f"on_decision must be None or a function of a Decision. Received: on_decision={value!r}")
    elif name == "hparams":
        value = None if value is None else _hparams(value)
    elif name == "log_dir":
        return None if value is None else _path(name, value, "None or the path of a directory")
    elif name == "state_path":
        return value if value is None or value is False else _path(name, value, "None, False or the path of a file")
    elif name == "verbose":
        return check_integer(name, int(value) if isinstance(value, bool) else value, minimum=0)
    elif name == "min_delta" and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = abs(value)  # As Keras does.
    elif setting.kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)  # Keras takes 5.0 for 5.
    return setting.check(value)


def _sinks(value: Any) -> list[Sink] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, Sink) for each in value):
        raise TypeError(
            f"sinks must be None or a list of keras_lrplateau.Sink. Received: sinks={value!r}; a class is made first, "
            "as in sinks=[MySink()], and for a function of a Decision there is on_decision"
        )
    return list(value)


def _hparams(value: Any) -> dict[str, bool | int | float | str]:
    expected = "hparams must be None or a dict of names to numbers, texts, True or False. Received: "
    if not isinstance(value, dict):
        raise TypeError(f"{expected}hparams={value!r}")
    plain: dict[str, bool | int | float | str] = {}
    for name, each in value.items():
        each = _plain(each)
        if not isinstance(name, str) or not isinstance(each, (bool, int, float, str)):
            raise TypeError(f"{expected}hparams[{name!r}]={each!r}; name an object, as in {{'augmentation': 'mixup'}}")
        plain[name] = each
    return plain


def _path(name: str, value: Any, wanted: str) -> str:
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be {wanted}. Received: {name}={value!r}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must be {wanted}, not empty and without NUL. Received: {name}={value!r}")
    return local_path(name, value)


def _plain(value: Any) -> Any:
    """Return a NumPy scalar, which search libraries pass, as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def explained(auto: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Give a better error than Python where `auto` gets an argument of the other rule, or is not called at all."""

    @functools.wraps(auto)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        others = [name for name in kwargs if name in settings_of("default") and name not in settings_of("auto")]
        if others:
            raise TypeError(
                f"auto mode decides itself what {others[0]} would say. Received: {others[0]}={kwargs[others[0]]!r}; "
                f"leave it out, or pass it to AdaptLROnPlateau without .auto"
            )
        return auto(*args, **kwargs)

    def refuse(*_: Any) -> None:
        raise TypeError(NOT_MADE.format("AdaptLROnPlateau.auto"))

    # Keras asks all that is in a list of callbacks for these.
    vars(called).update(async_safe=True, set_model=refuse, set_params=refuse)
    return called
