"""The answers of the what-if panel: what other settings, or the other rule, would have decided in a run.

They come from `keras_lrplateau.recordings.replay`, on the curves that TensorBoard holds. Which settings there are, and
what a good value is, `keras_lrplateau.settings` says, to this module and to the page. Nothing here knows requests:
`plugin.py` hands in their texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.event_reader import Settings
from keras_lrplateau.history.run import Curve, Run, told
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.replay import Replay, replay
from keras_lrplateau.rule import auto, plateau
from keras_lrplateau.rule.stored import RULES
from keras_lrplateau.settings import RuleName, Setting, rule_settings, settings_of
from keras_lrplateau.views.words import count, counted

MOST_OBSERVATIONS = 100_000
"""A replay of this many takes some seconds."""

MOST_DECISIONS = 5_000
"""Nobody looks at more, and the browser takes long to draw them."""

OBJECTS = ("optimizer", "sinks", "on_decision", "hparams")
"""Arguments that are objects, which no call as text can hold: as "optimizer" the logs have the name of its class."""

NAMES = ("as trained", "what if")
"""What the training and the replayed one are called in the figure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the panel shows.

    Attributes:
        rule: Which rule was asked.
        fields: The settings that can be asked for, as the page shows them; see `field_of`.
        own: The run's own settings, as far as they are known, else the defaults; by name.
        settings: The settings that were used, by name.
        runs: The training as it was, and as it would have been, to be drawn together.
        departs: See `Replay`.
        call: The call of the constructor, as Python.
        caveat: What to keep in mind, in sentences.
    """

    rule: RuleName
    fields: list[dict[str, Any]]
    own: dict[str, Any]
    settings: dict[str, Any]
    runs: tuple[Run, Run]
    departs: int | None
    call: str
    caveat: str


def answer(run: Run, known: Settings, asked: Mapping[str, str]) -> Answer:
    """What would have been decided.

    Args:
        run: The training.
        known: The arguments of its callback; see `event_reader.read_settings`.
        asked: "rule", and settings of the rules by name, as texts. A setting that is left out is as in the run; one
            that only the other rule has makes no difference.

    Raises:
        TypeError, ValueError: A setting is unknown or out of its range, or the run cannot be replayed.
    """
    own_rule: RuleName = "auto" if "budget" in known else "default"
    rule: Any = asked.get("rule", own_rule)
    if rule not in get_args(RuleName):
        raise ValueError(f"rule must be one of {', '.join(get_args(RuleName))}. Received: {rule!r}")
    every = rule_settings("default") | rule_settings("auto")
    unknown = asked.keys() - {"rule", *every}
    if unknown:
        raise ValueError(f"settings are {', '.join(every)}. Received: {', '.join(map(repr, sorted(unknown)))}")
    choosable = rule_settings(rule)
    own = _own(rule, known)
    given = {name: setting.check(setting.parse(asked[name])) for name, setting in choosable.items() if name in asked}
    make: Any = RULES[rule]
    config = make(mode=run.mode, **{**own, **given})
    found = _replayed(run, config)
    decided = len(told(found.run.decisions))
    if decided > MOST_DECISIONS:
        raise ValueError(f"that would be {counted(decided, 'decision')}; the tab shows at most {count(MOST_DECISIONS)}")
    settings = {name: getattr(config, name) for name in choosable}
    own = {name: own[name] for name in choosable}
    is_own = bool(known) and rule == own_rule and settings == own
    return Answer(
        rule,
        [field_of(setting) for setting in choosable.values()],
        own,
        settings,
        (replace(run, name=NAMES[0]), replace(found.run, name=NAMES[1])),
        found.departs,
        _call(run.monitor, rule, settings, known),
        " ".join(_caveats(run, known, config, found, is_own)),
    )


# --- settings --------------------------------------------------------------------------------------------------------


def field_of(setting: Setting) -> dict[str, Any]:
    """How the page shows a setting.

    Returns:
        "name". "kind": "number", "integer" or "choice". "choices": of a choice, the texts to send by the words to show.
        "text": what the setting does. "empty": what an empty field means; empty if it may not be.
    """
    choices = {"on": "true", "off": "false"} if setting.kind == "flag" else {each: each for each in setting.choices}
    return {
        "name": setting.name,
        "kind": "choice" if choices else setting.kind,
        "choices": choices,
        "text": setting.sentence,
        "empty": "none" if setting.is_optional else "",
    }


def _own(rule: RuleName, known: Settings) -> dict[str, Any]:
    """A rule's configuration in the run, but for its mode; the defaults where that is not known.

    A setting that both rules have, such as `min_lr`, holds for either.
    """
    config: Any = RULES[rule]
    names = [each.name for each in fields(config) if each.name not in ("mode", "observations")]
    found = {name: _plain(known[name]) for name in names if name in known}
    if "rollback" in found:
        found["rollback"] = bool(found["rollback"])  # "disk" only says where.
    try:
        made = config(**found)
    except (TypeError, ValueError):
        # Others may write hyperparameters, too.
        made = config()
    return {name: getattr(made, name) for name in names}


def _plain(value: bool | float | str) -> bool | int | float | str:
    """An integer where it may be one: among the hyperparameters all numbers are floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _call(monitor: str, rule: RuleName, settings: Mapping[str, Any], known: Settings) -> str:
    """The call of the constructor that makes such a callback, with what is not the default; else as the run's own."""
    arguments = [_literal(monitor)]
    for name, setting in settings_of(rule).items():
        if name == "monitor" or name in OBJECTS:
            continue
        value = settings[name] if name in settings else _plain(known.get(name, setting.default))
        is_needed = name == "rollback" and rule == "auto" and not value  # Auto mode cannot do without.
        if value != setting.default and not is_needed:
            arguments.append(f"{name}={_literal(value)}")
    constructor = "AdaptLROnPlateau.auto" if rule == "auto" else "AdaptLROnPlateau"
    return f"{constructor}({', '.join(arguments)})"


def _literal(value: object) -> str:
    """In double quotes, where that takes no escapes."""
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


# --- the replay ------------------------------------------------------------------------------------------------------


def _replayed(run: Run, config: plateau.Config | auto.Config) -> Replay:
    observed = len(run.curves.get(run.monitor, Curve()).values)
    if not observed:
        raise CurveError(f"there are no values of {run.monitor!r} in this run yet")
    if observed > MOST_OBSERVATIONS:
        raise ValueError(
            f"this run has {counted(observed, 'observation')}; the tab replays at most {count(MOST_OBSERVATIONS)}. Use "
            "keras-lrplateau replay instead"
        )
    return replay(Recording(run.name, run.unit, run.curves, tuple(run.records)), config, run.monitor)


# --- caveats ---------------------------------------------------------------------------------------------------------


def _caveats(
    run: Run, known: Settings, config: plateau.Config | auto.Config, found: Replay, is_own: bool
) -> Iterator[str]:
    yield found.caveat
    if is_own and found.departs is not None:
        yield (
            "These are the settings of the training itself, but something else had a part in it, such as a rate that "
            "was set by hand."
        )
    if not known:
        yield "The settings of the training are not in its logs, so the panel begins with the defaults."
    held, epochs = max(len(curve.epochs) for curve in run.curves.values()), run.last_epoch + 1
    if held < epochs - min(curve.epochs[0] for curve in run.curves.values() if curve.epochs):
        yield (
            f"TensorBoard holds {count(held)} of {counted(epochs, 'epoch')}, and the rule does not see the others; "
            "start it with --samples_per_plugin=scalars=0 to hold all of them."
        )
    if known.get("frequency", "epoch") != "epoch" or any(map(Timeline(run).is_within, run.decisions)):
        yield "The training decided within epochs; here the rule is asked at their ends, so its settings count epochs."
    if found.is_relative:
        yield "No learning rate was recorded: rates are multiples of the first one."
    if isinstance(config, auto.Config):
        if found.departs is not None and any(decision.kind == "search" for decision in found.decisions):
            yield (
                "Auto mode tries each of its first rates on the first weights. The training did not, so the rate that "
                "the search finds here means nothing."
            )
        observed = len(run.curves[run.monitor].values)
        yield f"The rule plans for as many observations as there are here, {count(observed)}."
