"""What is installed: the wheel, its metadata, and what importing the package loads."""

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import keras_lrplateau

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lrplateau"
HEAVY = {"keras", "tensorflow", "jax", "torch", "tensorboard", "numpy", "plotly", "pandas"}


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh Python has loaded after running `code`."""
    code += f"; import sys, json; print('\\n' + json.dumps(sorted({HEAVY!r} & sys.modules.keys())))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


# --- imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import keras_lrplateau",
        "import keras_lrplateau.rule.plateau",
        "from keras_lrplateau import Config, Decision, State, Step, start, step",
        "import keras_lrplateau; dir(keras_lrplateau)",
    ],
)
def test_importing_the_package_or_its_policy_loads_no_backend(code: str) -> None:
    assert loaded_by(code) == set()


@pytest.mark.long
def test_naming_the_callback_loads_keras() -> None:
    found = loaded_by("from keras_lrplateau import AdaptLROnPlateau")
    assert found >= {"keras", "tensorboard"}
    assert "plotly" not in found, "only for a figure, and that may never be asked for"


def test_the_event_writer_loads_no_backend() -> None:
    assert loaded_by("import keras_lrplateau.history.event_writer") == {"tensorboard", "numpy"}


def test_what_a_training_is_shown_by_loads_nothing_heavy() -> None:
    drawing = "from keras_lrplateau.views import tables; from keras_lrplateau.views.figure import draw; draw([])"
    assert loaded_by(drawing) == set()


def test_what_tensorboard_loads_when_it_starts_is_as_little_as_can_be() -> None:
    assert loaded_by("import keras_lrplateau.tensorboard.loader") <= {"tensorboard", "numpy"}


@pytest.mark.parametrize("command", ["keras-lrplateau", "python -m keras_lrplateau"])
def test_the_command_says_its_version(command: str) -> None:
    start = [sys.executable, "-m", "keras_lrplateau"]
    if command == "keras-lrplateau":
        start = [str(Path(sysconfig.get_path("scripts")) / command)]
    done = subprocess.run([*start, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == keras_lrplateau.__version__


def test_every_public_name_exists() -> None:
    assert set(keras_lrplateau.__all__) <= set(dir(keras_lrplateau))
    for name in keras_lrplateau.__all__:
        assert getattr(keras_lrplateau, name).__name__.rpartition(".")[2] == name
    with pytest.raises(AttributeError, match="no attribute 'AdaptLR'"):
        keras_lrplateau.AdaptLR  # noqa: B018 - the access is what is tested


# --- the wheel -------------------------------------------------------------------------------------------------------


def build(kind: str, out: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as file:
        yield file


def test_the_source_archive_holds_all_that_the_tests_need(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    written = [path for folder in ("keras_lrplateau", "tests", "examples") for path in (ROOT / folder).rglob("*.*")]
    written += [ROOT / name for name in ("pyproject.toml", "README.md", "noxfile.py", ".ci/run", "logs/README.md")]
    assert {
        path.relative_to(ROOT).as_posix()
        for path in written
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts) and path.suffix != ".pyc"
    } <= names


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"keras_lrplateau/py.typed", "keras_lrplateau/history/event_writer.py"} <= package
    static = {
        f"keras_lrplateau/tensorboard/static/{name}" for name in ("index.js", "common.js", "whatif.js", "style.css")
    }
    assert static <= package, "TensorBoard's tab would be empty"
    info = f"keras_lrplateau-{keras_lrplateau.__version__}.dist-info"
    assert {name for name in names if not name.startswith(f"{info}/")} == package
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_the_licence_is_apache_2_0(wheel: zipfile.ZipFile) -> None:
    licence = (ROOT / "LICENSE").read_text().split()
    assert licence[:7] == ["Apache", "License", "Version", "2.0,", "January", "2004", "http://www.apache.org/licenses/"]
    assert len(licence) == 1581
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode().splitlines()


def test_the_version_is_written_once(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert f"Version: {keras_lrplateau.__version__}" in wheel.read(metadata).decode().splitlines()


# --- what pip is told ------------------------------------------------------------------------------------------------


def test_the_promised_pythons_and_extras_are_there(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = importlib.metadata.PathDistribution(zipfile.Path(wheel, f"{name.partition('/')[0]}/")).metadata
    assert metadata["Requires-Python"] == ">=3.11"
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f"Programming Language :: Python :: {version}" in metadata.get_all("Classifier", [])
    assert set(metadata.get_all("Provides-Extra", [])) == {
        *("tensorflow", "jax", "torch"),
        *("mlflow", "wandb"),
        *("png", "examples", "test"),
    }
    assert {label_and_url.partition(",")[0] for label_and_url in metadata.get_all("Project-URL", [])} >= {"Repository"}
    requirements = metadata.get_all("Requires-Dist", [])
    base = {requirement.partition(">=")[0] for requirement in requirements if "extra ==" not in requirement}
    assert base == {"filelock", "keras", "numpy", "plotly", "rich", "tensorboard"}, "a backend is the user's choice"


def test_the_entry_points_name_what_is_there(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    entries = importlib.metadata.PathDistribution(zipfile.Path(wheel, f"{name.partition('/')[0]}/")).entry_points
    found = {(entry.group, entry.name): entry for entry in entries}
    assert found.keys() == {("console_scripts", "keras-lrplateau"), ("tensorboard_plugins", "lr_plateau")}
    for entry in found.values():
        assert callable(entry.load())
