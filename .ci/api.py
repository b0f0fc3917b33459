"""Make the API pages from the docstrings.

    python .ci/api.py [FOLDER]

writes HTML pages, by default into build/api. A warning is an error, and so is a public class or function that has no
docstring of its own, or one of which a browser would swallow a part.
"""

import importlib
import inspect
import itertools
import re
import sys
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import pdoc
import pdoc.doc
import pdoc.render

import keras_lrplateau

ROOT = Path(__file__).parents[1]
PACKAGE = keras_lrplateau.__name__
RULES = (
    "plateau",
    "plateau_state",
    "excursion",
    "soundness",
    "auto",
    "auto_state",
    "stretch",
    "search",
    "trend",
    "decision",
)
MODULES = [PACKAGE, f"{PACKAGE}.training.results", *(f"{PACKAGE}.rule.{name}" for name in RULES)]
"""The public names, what the callback inherits, and what their docstrings refer to."""


def shown(space: pdoc.doc.Module | pdoc.doc.Class) -> Iterator[pdoc.doc.Doc]:
    """What is on the page of a module, or in the part of a class."""
    members = space.members.values() if isinstance(space, pdoc.doc.Module) else space.own_members
    for member in members:
        if not member.name.startswith("_") and not isinstance(member, pdoc.doc.Module):
            yield member
            if isinstance(member, pdoc.doc.Class):
                yield from shown(member)


def mistakes(module: pdoc.doc.Module) -> Iterator[str]:
    """What is wrong with the docstrings of a module, a line each."""
    for member in (module, *shown(module)):
        of_keras = inspect.getdoc(getattr(keras.callbacks.Callback, member.name, None))
        is_told = member.docstring and member.docstring != of_keras
        if isinstance(member, (pdoc.doc.Class, pdoc.doc.Function)) and not is_told:
            yield f"{member.fullname} has no docstring of its own"
        text = re.sub(r"^```.*?^```|`[^`]*`", "", member.docstring, flags=re.DOTALL | re.MULTILINE)
        for tag in re.findall(r"</?\w+>", text):
            yield f"{member.fullname}: {tag} looks like HTML; put it into backticks"


def main() -> None:
    """Make the pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "api"
    # pdoc looks for members in the module's dictionary, and these are loaded when they are named.
    vars(keras_lrplateau).update({name: getattr(keras_lrplateau, name) for name in keras_lrplateau.__all__})
    modules = [importlib.import_module(name) for name in MODULES]
    for each in itertools.chain.from_iterable(vars(module).values() for module in modules):
        if inspect.isclass(each) and hasattr(each, "_fields"):
            # It looks for the annotations of a named tuple in a module that Python has made up.
            each.__new__.__annotations__ = typing.get_type_hints(each)
    found = [mistake for module in modules for mistake in mistakes(pdoc.doc.Module(module))]
    if found:
        sys.exit("\n".join(found))
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(*MODULES, output_directory=folder)
    print(f"{len(MODULES)} pages in {folder}")


if __name__ == "__main__":
    main()
