"""README.md says what is true."""

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from keras_lrplateau import AdaptLROnPlateau

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def rounded(text):
    """The last digits of a loss differ between backends."""
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", lambda number: f"{float(number[0]):.3g}", text).split()


def test_the_first_example_prints_what_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(blocks("python")[0], "README.md", "exec"), {})
    assert rounded(printed.getvalue()) == rounded(blocks("text")[0])
    assert list(tmp_path.glob("logs/readme/lr_plateau/*tfevents*"))


@pytest.mark.parametrize("call", [AdaptLROnPlateau, AdaptLROnPlateau.auto])
def test_the_arguments_are_those_of_the_callback(call):
    parameters = dict(inspect.signature(call).parameters)
    call = call.__qualname__
    (block,) = (block for block in blocks("python") if block.startswith(f"{call}(\n"))
    shown = eval(block.replace(call, "dict"))
    assert shown == {name: parameter.default for name, parameter in parameters.items()}
    assert list(shown) == list(parameters)


def test_the_files_it_points_to_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"examples/[\w/]+\.py", README)
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target).exists(), target
