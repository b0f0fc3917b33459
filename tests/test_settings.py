"""The table of settings: the constructors, the rules and what reads it say the same."""

import dataclasses
import inspect
import re
from typing import Any

import pytest

from keras_lrplateau import AdaptLROnPlateau, Config, auto
from keras_lrplateau.settings import SETTINGS, RuleName, rule_settings, settings_of

CONSTRUCTORS: dict[RuleName, Any] = {"default": AdaptLROnPlateau, "auto": AdaptLROnPlateau.auto}
CONFIGS: dict[RuleName, Any] = {"default": Config, "auto": auto.Config}


@pytest.mark.parametrize("rule", CONSTRUCTORS)
def test_the_signature_of_a_constructor_has_the_names_and_defaults_of_the_table(rule: RuleName) -> None:
    signature = inspect.signature(CONSTRUCTORS[rule])
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    assert defaults == {name: setting.default for name, setting in settings_of(rule).items()}


@pytest.mark.parametrize("rule", CONSTRUCTORS)
def test_the_docstring_of_a_constructor_names_each_argument(rule: RuleName) -> None:
    arguments = CONSTRUCTORS[rule].__doc__.split("Args:")[1]
    named = set(re.findall(r"\b(\w+)(?=[\w, ]*:)", arguments))
    assert set(settings_of(rule)) <= named


@pytest.mark.parametrize("rule", CONFIGS)
def test_a_rule_has_the_settings_of_the_table_with_their_defaults(rule: RuleName) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(CONFIGS[rule])}
    assert {name: fields[name] for name in rule_settings(rule)} == {
        name: setting.default for name, setting in rule_settings(rule).items()
    }
    assert set(fields) - set(rule_settings(rule)) <= {"mode", "rollback", "observations", "anneals", "by_steps"}


@pytest.mark.parametrize("setting", [each for each in SETTINGS if each.is_of_rule], ids=lambda each: each.name)
def test_what_a_setting_is_written_as_it_is_read_as(setting: Any) -> None:
    assert setting.check(setting.parse(str(setting.default))) == setting.default


@pytest.mark.parametrize(
    ("name", "text"),
    [("patience", "3.5"), ("factor", "a tenth"), ("recover", "1"), ("max_lr", "1e"), ("factor", "1" * 50)],
)
def test_a_text_that_is_no_such_value_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        settings_of("default")[name].parse(text)
