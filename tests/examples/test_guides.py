"""README.md and the guides say what is true: their code runs, prints what they say, and their links lead somewhere.

In a page, the Python blocks run in order, with the names of `given` defined. A block of text behind the line "prints"
is the output of the Python block before it. A block of text that begins with "$" is a command and its output. A block
behind a comment `<!-- not run: REASON -->` is left alone.
"""

import contextlib
import inspect
import io
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_lrplateau import AdaptLROnPlateau, Config, start, step

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "examples" / "guides"
PAGES = [ROOT / "README.md", *sorted(GUIDES.glob("*.md"))]
BENCHMARKS = ROOT / "examples" / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.md"))
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", BENCHMARKS / "README.md", *RESULTS]

REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
RAW = REPOSITORY.replace("//github.com/", "//raw.githubusercontent.com/")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        before: The last line of text before it.
    """

    before: str
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        return "<!-- not run: " not in self.before


def blocks(page: Path) -> list[Block]:
    found, end, content = [], 0, page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", content, flags=re.DOTALL | re.MULTILINE):
        before = content[end : match.start()].strip().rpartition("\n")[2]
        found.append(Block(before, match[1], match[2]))
        end = match.end()
    return found


def scripts(page: Path) -> Iterator[tuple[str, str | None]]:
    """The Python blocks that are run, each with what it prints, if the page says so."""
    found = [*blocks(page), Block("", "", "")]
    for block, after in itertools.pairwise(found):
        if block.language == "python" and block.is_run:
            yield block.text, after.text if after.before == "prints" else None


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """The commands, each with its output."""
    for block in blocks(page):
        if block.language == "text" and block.text.startswith("$ ") and block.is_run:
            command, _, output = block.text.partition("\n")
            yield command.removeprefix("$ "), output


def rounded(text: str) -> list[str]:
    """The words; the last digits of a loss differ between backends."""
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", lambda number: f"{float(number[0]):.3g}", text).split()


# --- code and commands -----------------------------------------------------------------------------------------------


def given() -> dict[str, Any]:
    """What a reader has: a compiled model and data."""
    import keras

    x = np.sin(np.arange(64))[:, None] ** [1, 2, 3]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    names: dict[str, Any] = {"keras": keras, "np": np, "AdaptLROnPlateau": AdaptLROnPlateau}
    names |= {"model": model, "optimizer": model.optimizer, "x": x, "y": x.sum(axis=1)}
    return names | {"epochs": 2, "loss": 0.5, "val_loss": 0.5}


ON_EVERY_BACKEND = pytest.param(PAGES[0], marks=[pytest.mark.backends, pytest.mark.long], id="README.md, all backends")


@pytest.mark.parametrize("page", [*(pytest.param(page, id=name_of(page)) for page in PAGES), ON_EVERY_BACKEND])
def test_code_runs_and_prints_what_is_said(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    names = given()
    for script, said in scripts(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(script, name_of(page), "exec"), names)
        if said is not None:
            assert rounded(printed.getvalue()) == rounded(said)
    for command, said in commands(page):
        if command.startswith("keras-lrplateau "):
            done = run([sys.executable, "-m", "keras_lrplateau", *shlex.split(command)[1:]])
            assert rounded(done) == rounded(said), command


def run(command: list[str], **settings: str) -> str:
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


EXAMPLES = [
    pytest.param(command, output, id=command)
    for page in PAGES
    for command, output in commands(page)
    if " examples/" in command and command.startswith(("python ", "KERAS_BACKEND="))
]


@pytest.mark.long
@pytest.mark.parametrize(("command", "said"), EXAMPLES)
def test_an_example_prints_such_a_table(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    *settings, program, script = shlex.split(command)
    assert program == "python"
    printed = run([sys.executable, script], **dict(setting.split("=") for setting in settings))
    # Trainings on another processor end otherwise in the last digits, and then in more than those.
    assert table(said)
    assert table(printed) == table(said)


def table(text: str) -> list[list[str]]:
    """Of each table: its head, and the first cell of each row."""
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]
    heads = {tuple(row) for row, line in zip(rows, text.splitlines(), strict=True) if line.startswith("┃")}
    return [row if tuple(row) in heads else row[:1] for row in rows if row and row[0]]


def test_every_command_has_its_output_tested() -> None:
    found = [command for page in PAGES for command, _ in commands(page)]
    of_examples = [example.values[0] for example in EXAMPLES]
    assert all(command in of_examples or command.startswith("keras-lrplateau ") for command in found)
    assert {"keras-lrplateau show logs/raises_3", "KERAS_BACKEND=jax python examples/stalled.py"} <= set(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_says_how_to_install_the_backend_of_its_commands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(each.startswith("tensorflow") for each in extras["examples"]), "that one comes with the examples"
    for backend in set(re.findall(r"KERAS_BACKEND=(\w+) python examples/", text)) - {"tensorflow"}:
        assert f"'.[examples,{backend}]'" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_to_be_typed_into_a_shell_exists(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    text = page.read_text(encoding="utf-8")
    for extra in re.findall(r"(?:'\.|keras-lrplateau)\[([\w,]+)\]'", text):
        assert set(extra.split(",")) <= extras
    for script in re.findall(r"\b(?:examples|tests|\.ci)/[\w/]+\.py\b", text):
        assert (ROOT / script).is_file(), script


# --- arguments and the rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "page"), [(AdaptLROnPlateau, "arguments"), (AdaptLROnPlateau.auto, "auto")])
def test_the_arguments_are_those_of_the_callback(call: Any, page: str) -> None:
    parameters = dict(inspect.signature(call).parameters)
    name = call.__qualname__
    (listed,) = (block.text for block in blocks(GUIDES / f"{page}.md") if block.text.startswith(f"{name}(\n"))
    shown = eval(listed.replace(name, "dict"))
    assert shown == {name: parameter.default for name, parameter in parameters.items()}
    assert list(shown) == list(parameters)
    keyword_only = eval("dict(" + listed.partition("# by keyword only")[2])
    assert list(keyword_only) == [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]


def test_the_shortest_training_that_auto_mode_warns_of_is_as_long_as_is_said() -> None:
    said = re.findall(r"(\d+) (?:optimizer )?steps or more", (GUIDES / "auto.md").read_text())
    (many,) = {int(number) for number in said if int(number) > 80}  # 80 are those of a long epoch.
    assert len(said) == 3
    for steps, is_warned in ((many - 1, False), (many, True)):
        adapt = AdaptLROnPlateau.auto("loss")
        adapt.set_model(given()["model"])
        adapt.set_params({"epochs": 1, "steps": steps})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapt.on_train_begin()
        assert any("too few to" in str(each.message) for each in caught) is is_warned


def test_the_shortest_training_with_a_raise_is_as_long_as_is_said() -> None:
    (said,) = re.findall(r"no raise in a training of fewer than (\d+) epochs", (GUIDES / "arguments.md").read_text())
    for observations, is_raised in ((int(said) - 1, False), (int(said), True)):
        config = Config(observations=observations)
        state, kinds = start(config, 0.1), []
        for _ in range(observations):
            state, decision = step(config, state, 1.0)
            kinds.append(decision.kind)
        assert ("raise" in kinds) is is_raised


@pytest.mark.parametrize("block", [each for page in PAGES for each in blocks(page) if "  regret  <= 1.1" in each.text])
def test_figures_of_benchmarks_are_those_of_the_benchmarks(block: Block) -> None:
    assert any(block.text in page.read_text(encoding="utf-8") for page in RESULTS)


# --- links -----------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        for prefix in (f"{REPOSITORY}/blob/main/", f"{RAW}/main/"):
            target = f"/{target.removeprefix(prefix)}" if target.startswith(prefix) else target
        if target.startswith("https://"):
            assert target.startswith(REPOSITORY), f"{link}: a foreign page may go away"
            continue
        path = ROOT / target[1:] if target.startswith("/") else (page.parent / target if target else page)
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def test_the_readme_works_on_a_package_index() -> None:
    found = links(ROOT / "README.md")
    assert found
    assert all(link.startswith("https://") for link in found)


def test_the_readme_is_short_and_the_index_names_every_guide() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    index = {link.partition("#")[0] for link in links(GUIDES / "README.md")}
    assert {page.name for page in PAGES[1:]} - {"README.md"} <= index
