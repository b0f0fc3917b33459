"""The house: which rooms a room may import, which packages it may load, and where its tests are.

The rooms are read with `ast`, so an import inside a function or under `TYPE_CHECKING` counts like any other.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lrplateau"
TESTS = ROOT / "tests"

ROOMS = (
    "cli",
    "tensorboard",
    "callback",
    "training",
    "trackers",
    "views",
    "recordings",
    "resume",
    "history",
    "rule",
    "settings",
    "files",
)
"""From the roof to the ground. A room imports only from itself and from rooms below it."""

FOR_PYTHON = {"__init__.py", "__main__.py", "py.typed"}
"""What stands beside the rooms. The first two are above the roof: no room imports them."""

EVERYWHERE = {"keras", "numpy", "tensorboard"}
"""Other people's packages that several files may import. Any other one has one owning file."""

BACKENDS = {"jax", "tensorflow", "torch"}


def name_of(path: Path) -> str:
    """The name of a module, without the package: "rule.plateau"; "rule" for the `__init__.py` of a room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """The full names of all that a file imports, names of functions and classes included."""
    package = ["keras_lrplateau", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports. Any file may import the version in `__init__.py`."""
    found = set()
    for name in imports_of(path):
        head, _, rest = name.partition(".")
        if head == "keras_lrplateau" and rest != "__version__":
            # The longest start that is a module; what is left is a name in it.
            parts = rest.split(".") if rest else []
            starts = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
            found.add(next((start for start in starts if start in MODULES), "__init__"))
    return found


def foreign_imports_of(path: Path) -> set[str]:
    """The packages that a file imports from neither this package nor the standard library."""
    names = {name.partition(".")[0] for name in imports_of(path)}
    return names - sys.stdlib_module_names - {"keras_lrplateau"}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def files_of(*rooms: str) -> dict[str, Path]:
    return {module: path for module, path in MODULES.items() if room_of(module) in rooms}


def loaded_by(modules: Iterable[str], packages: set[str], without: Iterable[str] = ()) -> set[str]:
    """Return which of `packages` a fresh Python loads when it imports `modules` of this package.

    Args:
        without: Packages that cannot be imported meanwhile.
    """
    code = f"import json, sys; sys.modules.update(dict.fromkeys({sorted(without)!r}))\n"
    code += "".join(f"import keras_lrplateau.{module}\n" for module in sorted(modules))
    code += f"print(json.dumps(sorted({packages!r} & sys.modules.keys())))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


# --- the rooms -------------------------------------------------------------------------------------------------------


def test_the_package_has_these_rooms_and_no_others() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"} - FOR_PYTHON
    assert {name.removesuffix(".py") for name in found} <= set(ROOMS)
    assert len(found) <= 12


def test_a_room_says_what_belongs_there_and_nothing_else() -> None:
    doors = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert doors
    for path in doors:
        (node,) = tree_of(path).body
        assert ast.get_docstring(ast.Module([node], [])), path


def test_imports_run_downwards() -> None:
    rank = {room: i for i, room in enumerate(ROOMS)}
    upward = {
        (module, other)
        for module, path in files_of(*ROOMS).items()
        for other in own_imports_of(path)
        if rank.get(room_of(other), -1) < rank[room_of(module)]
    }
    assert upward == set(), "a room imports from a room above it"


def test_no_imports_go_round_in_a_circle() -> None:
    left = {module: own_imports_of(path) - {module} for module, path in MODULES.items()}
    while ready := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in ready}
    assert left == {}, "these are in a circle, or know one that is"


def test_only_the_package_itself_imports_by_a_string() -> None:
    """Otherwise this file could not find all imports."""
    for module, path in files_of(*ROOMS).items():
        calls = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        names = {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}
        assert not names & {"__import__", "import_module"}, module


# --- what a room may know --------------------------------------------------------------------------------------------


def test_the_rule_and_its_settings_import_the_standard_library_only() -> None:
    files = files_of("rule", "settings")
    assert len(files) > 3
    for module, path in files.items():
        assert foreign_imports_of(path) == set(), module
        assert {room_of(other) for other in own_imports_of(path)} <= {"rule", "settings"}, module
    assert any(own_imports_of(path) for path in files.values()), "the files know each other"


def test_training_knows_no_plotly_no_tensorboard_and_no_file_format() -> None:
    for module, path in files_of("training").items():
        assert not foreign_imports_of(path) & {"plotly", "tensorboard", "rich", "pandas"}, module
        # What processes say to each other is JSON or packed numbers, and no file.
        assert not set(imports_of(path)) & {"csv", "pickle", "sqlite3", "zipfile"}, module
        shown = {other for other in own_imports_of(path) if room_of(other) in ("views", "recordings")}
        assert shown <= {"views.words"}, f"{module}: the text of a number, but no table, figure or report"


def test_views_take_plain_data() -> None:
    for module, path in files_of("views").items():
        assert not foreign_imports_of(path) & {"keras", "tensorboard", "pandas", *BACKENDS}, module
    assert loaded_by(files_of("views"), {"keras", "tensorboard", *BACKENDS}) == set(), "nor by way of others"


# --- optional packages -----------------------------------------------------------------------------------------------


def test_an_optional_package_has_one_owning_file() -> None:
    owners: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for package in foreign_imports_of(path) - EVERYWHERE:
            owners.setdefault(package, set()).add(module)
    assert {"plotly", "rich"} <= owners.keys()
    for package, modules in owners.items():
        assert len(modules) == 1, f"{package} is imported by {', '.join(sorted(modules))}"


EXTRAS = {"fsspec", "kaleido", "mlflow", "optuna", "pandas", "wandb"}
"""What a user need not have. Keras and TensorBoard load some of them where they are installed."""


@pytest.mark.long
def test_no_module_loads_a_tracker() -> None:
    """Only a sink that is made does."""
    assert loaded_by(files_of(*ROOMS), {"mlflow", "wandb"}) == set()


@pytest.mark.long
def test_every_module_can_be_imported_where_no_extra_is_installed() -> None:
    loaded = loaded_by(MODULES.keys() - {"__init__", "__main__"}, {"keras", "plotly"}, without=EXTRAS)
    assert loaded == {"keras"}, "plotly is there, and is loaded for a figure only"


def test_the_rooms_that_show_and_read_load_no_backend_no_plotly_and_no_rich() -> None:
    """Keras loads rich as well, so that the rooms that train cannot be looked at for it."""
    rooms = [room for room in ROOMS if room not in ("cli", "callback", "training")]
    assert loaded_by(files_of(*rooms), {"keras", "rich", "plotly", "kaleido", *BACKENDS}) == set()


def test_the_command_loads_no_backend_and_no_plotly() -> None:
    assert loaded_by(files_of("cli"), {"keras", "rich", "plotly", "kaleido", *BACKENDS}) == {"rich"}


def test_importing_the_package_takes_less_than_half_a_second() -> None:
    code = "import time; start = time.process_time(); import keras_lrplateau; print(time.process_time() - start)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5, "of CPU"
    heavy = {"keras", "numpy", "plotly", "rich", "tensorboard", *BACKENDS}
    assert loaded_by(["rule"], heavy) == set(), "importing a room imports the package first"


# --- the tests -------------------------------------------------------------------------------------------------------


def test_each_folder_of_tests_is_named_after_what_it_tests() -> None:
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")}
    assert folders <= {".", "examples", *ROOMS}


def test_no_two_files_of_tests_have_one_name() -> None:
    names = [path.name for path in TESTS.rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_every_test_is_in_a_file_that_pytest_collects() -> None:
    for path in TESTS.rglob("*.py"):
        if not path.name.startswith("test_"):
            functions = [node for node in tree_of(path).body if hasattr(node, "name")]
            assert not [node.name for node in functions if node.name.startswith(("test_", "Test"))], path
