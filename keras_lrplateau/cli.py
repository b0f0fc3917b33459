"""The command `keras-lrplateau`.

It reads by TensorBoard's own loader, which holds all epochs, where TensorBoard's server keeps a thousand, and imports
neither Keras nor TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import mmap
import os
import re
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from keras_lrplateau import __version__
from keras_lrplateau.run import Axis, Run

EXAMPLES = """\
examples:
  keras-lrplateau report logs                         all runs below logs, into report.html
  keras-lrplateau report logs/digits -o digits.html   those of one log directory
  keras-lrplateau report logs/digits/lr_plateau       a single run
  keras-lrplateau report logs --axis step --dark --png

exit status: 0 all is well; 1 a run or the output is at fault, and a message says which; 2 wrong arguments
"""

SIZES = {"lr_plateau": 0, "scalars": 0}
"""How many values TensorBoard's loader keeps for each plugin; 0 is all of them."""

DAMAGED = "its event file cannot be read and may be damaged; move it elsewhere to go without it"

PNG_SIZE = {"width": 1100, "height": 640, "scale": 2}


class UserError(Exception):
    """What the user has to see to, in a text for them; it ends the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the name of the command. None for those of this process, which is then the command's.

    Returns:
        The exit status: 0; 1 if a message on standard error says what is wrong; 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments are wrong (status 2), or ask for help or the version.
    """
    try:
        if arguments is None:
            _settle_in()
        parsed = _parser().parse_args(arguments)
        return int(parsed.command(parsed))
    except UserError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="keras-lrplateau",
        description="Shows what AdaptLROnPlateau decided in a training, and why.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    report = commands.add_parser(
        "report",
        help="write an HTML page with the figure and the decisions of each run",
        description="Write an HTML page with the figure and the decisions of each run. It opens without a network.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    report.add_argument("path", metavar="LOGDIR_OR_RUN", help="where to look for runs, also below")
    report.add_argument("-o", "--output", metavar="FILE", default="report.html", help="the page (default: %(default)s)")
    report.add_argument(
        "--axis", choices=get_args(Axis), default="epoch", help="what is to the right (default: %(default)s)"
    )
    report.add_argument("--dark", action="store_true", help="light on dark")
    report.add_argument("--png", action="store_true", help="also write each figure as a PNG beside the page")
    report.set_defaults(command=_report)
    return parser


def _settle_in() -> None:
    """Keep TensorFlow out, and TensorBoard quiet; only for a process of our own, since other users would feel it.

    Where TensorFlow is installed, TensorBoard would import it to read a file. That takes 5 seconds, and pages of
    greetings, and is needed for remote file systems only. TensorBoard asks for this module to see that it must not.
    """
    name = "tensorboard.compat.notf"
    sys.modules[name] = types.ModuleType(name)
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)  # It warns of each training that was resumed.


def _complain(message: str) -> None:
    print(f"keras-lrplateau: {_printable(message)}", file=sys.stderr)


def _printable(text: str) -> str:
    """The text without what a terminal would obey or refuse: names of directories may hold anything."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


# --- report ----------------------------------------------------------------------------------------------------------


def _report(arguments: argparse.Namespace) -> int:
    from keras_lrplateau import report

    output = _output(arguments.output)
    runs, unreadable = read(arguments.path)
    for path, reason in unreadable.items():
        _complain(f"{path}: {reason}")
    if not runs:
        raise UserError("no run could be read, so there is no report")
    source = Path(arguments.path).resolve().name
    try:
        content = report.page(source, runs, unreadable, arguments.axis, dark=arguments.dark)
    except ImportError as error:
        raise UserError(str(error)) from None
    _write(output, content.encode(errors="replace"))  # A name that is no UTF-8 cannot be shown as it is.
    print(f"{_printable(str(output))}: {_plural(len(runs), 'run')}")
    if arguments.png:
        _write_pngs(output, runs, arguments.axis, arguments.dark)
    return 1 if unreadable else 0


def _output(name: str) -> Path:
    """The file to write, as far as can be told before it is written."""
    path = Path(name)
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}; make it, or choose another with -o")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; choose another name with -o")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there as it was."""
    target = path.resolve()  # A link stays, and what it points to is replaced.
    unfinished = target.with_name(f".{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _write_pngs(output: Path, runs: Sequence[Run], axis: Axis, dark: bool) -> None:
    from keras_lrplateau.figure import draw

    try:
        if importlib.util.find_spec("kaleido") is None:
            raise ImportError
        from plotly.io import write_images
    except ImportError:
        raise UserError(
            "no PNG was written: that takes kaleido and plotly 6.1 or newer: pip install 'kaleido>=1' 'plotly>=6.1.1'"
        ) from None
    names = [f"{output.stem}-{number}-{_as_file_name(run.name)}.png" for number, run in enumerate(runs, 1)]
    if len(runs) == 1:
        names = [f"{output.stem}.png"]
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".png-") as folder:
        unfinished = [Path(folder, name) for name in names]
        try:
            # As plain data: an object of plotly's would bring a style of its own.
            figures = [draw([run], axis, dark=dark) for run in runs]
            write_images(figures, unfinished, **PNG_SIZE, validate=False)
            for path in unfinished:
                path.replace(output.with_name(path.name))
        except Exception as error:  # Kaleido and the browser have many ways to fail.
            reason = " ".join(str(error).split())
            raise UserError(
                "no PNG was written: kaleido starts Chrome or Chromium for it. Install one, or tell by the environment "
                f"variable BROWSER_PATH where it is. The reason given: {type(error).__name__}: {reason}"
            ) from None
    for name in names:
        print(_printable(str(output.with_name(name))))


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")[-80:]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: str) -> tuple[list[Run], dict[str, str]]:
    """Read all runs in a directory and below.

    Args:
        path: The directory. It may be that of a run.

    Returns:
        The runs, in the order of their groups and names. The names are as TensorBoard would give them, but have two
        parts at least: "digits/lr_plateau". And, by the path of a run that cannot be read, why.

    Raises:
        UserError: There is no such directory, or no run in it.
    """
    root = Path(path)
    if not root.is_dir():
        remedy = "copy it to this machine first" if "://" in path else "give the one that AdaptLROnPlateau wrote to"
        raise UserError(f"{path} is a file; give its directory" if root.is_file() else f"no directory {path}; {remedy}")
    found = _run_directories(root)
    if not found:
        raise UserError(
            f"no run of AdaptLROnPlateau in {path}. Give the directory that the callback writes to, as in "
            f'AdaptLROnPlateau(log_dir="logs/run1"), or one above it; an epoch of the training must be over'
        )
    runs = []
    unreadable = {}
    for name, directory in sorted(_named(root, found).items(), key=lambda item: _natural_order(item[0])):
        run = _read_run(name, directory)
        if isinstance(run, Run):
            runs.append(run)
        else:
            unreadable[str(directory)] = run
    return runs, unreadable


def _run_directories(root: Path) -> list[Path]:
    """Those with an event file of ours. Others may hold gigabytes of histograms, which need not be read for it."""
    from keras_lrplateau.tensorboard.metadata import TAG

    found = []
    seen = set()
    for directory, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:  # By a link.
            below.clear()
            continue
        seen.add(real)
        if any(_may_hold(Path(directory, name), TAG.encode()) for name in names if "tfevents" in name):
            found.append(Path(directory))
    return found


def _may_hold(path: Path, text: bytes) -> bool:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(text) >= 0
    except ValueError:  # It is empty.
        return False
    except OSError:  # To read it will fail, too, and that is reported.
        return True


def _named(root: Path, directories: Sequence[Path]) -> dict[str, Path]:
    below = [directory.relative_to(root) for directory in directories]
    top = root.resolve()
    parts = top.parts[1:]
    missing = max(2 - min(len(path.parts) for path in below), 0)
    prefix = Path(*parts[len(parts) - missing :]) if missing else Path()
    return {(prefix / path).as_posix(): directory for path, directory in zip(below, directories, strict=True)}


def _read_run(name: str, directory: Path) -> Run | str:
    """A run, or why it cannot be read."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext

    from keras_lrplateau.tensorboard import reader

    try:
        # One run at a time: whatever is wrong with one does no harm to the others.
        multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=SIZES)
        multiplexer.AddRun(str(directory), name)
        multiplexer.GetAccumulator(name).Reload()
        provider = data_provider.MultiplexerDataProvider(multiplexer, str(directory))
        run = reader.read_runs(provider, RequestContext(), "", [name]).get(name)
    except Exception as error:  # TensorBoard's loader has no list of what it raises on a broken file.
        return f"{DAMAGED} ({type(error).__name__}: {error})"
    if isinstance(run, Run):
        return run
    return DAMAGED if run is None else str(run)


def _natural_order(name: str) -> list[list[tuple[str, int]]]:
    """A key to sort by: group by group, and lr_plateau_2 before lr_plateau_10."""
    group, _, label = name.rpartition("/")
    return [[(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", part)] for part in (group, label)]


if __name__ == "__main__":
    sys.exit(main())
