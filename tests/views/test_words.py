"""How numbers, decisions and moments read."""

import re
from pathlib import Path
from typing import get_args

import pytest
from conftest import make_decision, make_run

import keras_lrplateau
from keras_lrplateau.rule.decision import Kind
from keras_lrplateau.rule.words import change
from keras_lrplateau.views.words import (
    best,
    count,
    counted,
    counted_kind,
    last,
    length,
    number,
    printable,
    utc,
    words_of,
)


def test_only_one_place_makes_text_of_a_number():
    package = Path(keras_lrplateau.__file__).parent
    files = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    # What becomes a number again is no text.
    files = {name: re.sub(r'float\(f"[^"]*"\)', "", text) for name, text in files.items()}
    makers = {name for name, text in files.items() if re.search(r":\.\d+~?g\}|:\.\{\w+\}g\}|:,\}", text)}
    # Plotly makes some by itself, from a format in its templates.
    assert makers == {"rule/words.py", "views/figure.py"}


def test_a_number_of_things_says_what_they_are():
    assert [counted(each, "run") for each in (0, 1, 1.2, 2)] == ["0 runs", "1 run", "1 run", "2 runs"]
    assert (counted(12_345, "run"), count(1e6)) == ("12,345 runs", "1,000,000")


def test_a_change_of_rate_is_one_number_if_there_is_none():
    assert change(0.1, 0.05) == "0.1 -> 0.05"
    assert change(0.1, 0.05, "→") == "0.1 → 0.05"
    assert change(0.1, 0.1) == number(0.1) == "0.1"


@pytest.mark.parametrize("seconds", [1e18, -1e300, float("nan"), float("inf")])
def test_a_moment_that_no_clock_shows_is_none(seconds):
    assert utc(seconds) is None
    assert utc(0) is not None


def test_the_best_and_the_length_are_in_the_unit_that_was_recorded():
    about = {"best": "0.25", "best_at": 1500, "unit": "step", "epochs": None, "steps": 3000, "is_best_undone": False}
    assert (best(about), length(about)) == ("0.25 at step 1,500", "3,000 steps")
    about = {"best": "0.25", "best_at": 7, "unit": "epoch", "epochs": 1, "steps": None, "is_best_undone": False}
    assert (best(about), length(about)) == ("0.25 in epoch 7", "1 epoch")
    assert best(about | {"best": None}) == "none"
    assert best(about | {"is_best_undone": True}) == "0.25 in epoch 7 (rolled back)"


def test_decisions_of_a_kind_are_counted_in_english():
    kinds = get_args(Kind)
    assert [counted_kind(1, kind) for kind in kinds] == [f"1 {kind}" for kind in kinds]
    told = {counted_kind(2, kind) for kind in kinds}
    assert {"2 cuts", "2 raises", "2 searches", "2 successes", "2 diverged", "2 exhausted", "2 phases"} <= told


def test_what_a_terminal_would_obey_or_refuse_is_replaced():
    assert printable("a\x1b[31m\x07\x7f\x9b\u202e\ud800\nb") == "a\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdb"
    assert printable("Größe → 0.1 ± 日本") == "Größe → 0.1 ± 日本"


def test_a_decision_is_told_with_its_moment_its_numbers_and_its_reason():
    run = make_run({"val_loss": [1.0, 0.9]})
    cut = make_decision("cut", 1, 0.1, 0.05, "it was flat", value=0.9)
    told = words_of(run, cut, False)
    assert told == ("cut", "after epoch 2", ("learning rate 0.1 → 0.05", "val_loss 0.9"), "it was flat")
    stays = make_decision("success", 1, 0.1, 0.1, "", value=None, step=15)
    assert words_of(run, stays, True) == ("success", "in epoch 2, after 15 steps", ("learning rate stays 0.1",), "")


def test_a_last_value_whose_weights_are_gone_says_so():
    assert last({"last": "2", "is_undone": False}) == "2"
    assert last({"last": "2", "is_undone": True}) == "2 (rolled back)"
    assert last({"last": None, "is_undone": True}) == "none"
