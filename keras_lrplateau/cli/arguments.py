"""Parses the arguments of the command: its subcommands, their options, and their help.

The options for the rules come from `keras_lrplateau.settings`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from os.path import expanduser
from typing import Any, NoReturn, get_args

from keras_lrplateau import __version__
from keras_lrplateau.history.axes import Axis
from keras_lrplateau.settings import Setting, rule_settings
from keras_lrplateau.views.words import printable

STATUS = """
exit status: 0 all is well; 1 a run, a file or the output failed, and a message says which; 2 wrong arguments
"""

EXAMPLES = """\
examples:
  keras-lrplateau show logs/digits                    what was decided, and why
  keras-lrplateau compare logs/a logs/b               how the runs have ended
  keras-lrplateau report logs                         all runs below logs, into report.html
  keras-lrplateau replay training.csv --patience 3,5,10
                                                      what would have been decided

Each command has examples of its own: keras-lrplateau COMMAND --help

completion of words in bash, after pip install shtab (also: zsh, tcsh):
  eval "$(shtab --shell=bash --prog=keras-lrplateau keras_lrplateau.cli.arguments.parser)"
"""

FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
"""For shtab: what completes the name of a file or a directory, in each shell."""

REPORT_EXAMPLES = """\
examples:
  keras-lrplateau report logs                         all runs below logs, into report.html
  keras-lrplateau report logs/digits -o digits.html   the runs of one log directory
  keras-lrplateau report logs/digits/lr_plateau       a single run
  keras-lrplateau report logs --axis step --dark --png
"""

SHOW_EXAMPLES = """\
examples:
  keras-lrplateau show logs/digits
  keras-lrplateau show logs/a logs/b
  keras-lrplateau show logs/digits/lr_plateau --json | jq '.[].decisions[].reason'
"""

COMPARE_EXAMPLES = """\
examples:
  keras-lrplateau compare logs/a logs/b
  keras-lrplateau compare logs -o comparison.html     also one figure of all of them
"""

REPLAY_EXAMPLES = """\
examples:
  keras-lrplateau replay training.csv                 with the settings that ReduceLROnPlateau has by default
  keras-lrplateau replay training.csv --patience 3,5,10 --factor 0.5 -o whatif.html
                                                      three other courses of the training, and a figure of each
  keras-lrplateau replay lightning_logs/version_*/metrics.csv --monitor val_acc --patience 5
  keras-lrplateau replay logs/run1 --auto             a log directory of TensorBoard, in auto mode
  keras-lrplateau replay trainer_state.json --monitor eval_loss --json

FILE is what CSVLogger, timm, Lightning, Ultralytics or pandas wrote as CSV, History.history or trainer_state.json as
JSON, an event file of TensorBoard, or a log directory. Its content says which of these it is.
"""

OPTIONS: dict[str, Setting] = rule_settings("default") | rule_settings("auto")
"""The settings that a replay accepts, by name; each rule has its own."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments of the command.

    Args:
        arguments: The words after the name of the command. None for the arguments of this process.

    Returns:
        The values of the options by name; `command`, the name of the subcommand; and `parser`, its parser. The settings
        of `OPTIONS` are lists of values, or None where they were not given.

    Raises:
        SystemExit: The arguments are wrong (status 2), or ask for help or the version.
    """
    return parser().parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    """A parser whose error messages are safe on any terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parser() -> argparse.ArgumentParser:
    """The parser of the command. shtab makes the completion for a shell of it, see `EXAMPLES`."""
    whole = _Parser(
        prog="keras-lrplateau",
        description="Shows what AdaptLROnPlateau decided in a training, or would have decided, and why.",
        epilog=EXAMPLES + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)

    show = _add(commands, "show", SHOW_EXAMPLES, "print the decisions of each run")
    _add_paths(show, "LOGDIR_OR_RUN", "where to look for runs, also below")
    show.add_argument("--json", action="store_true", help="print JSON")

    compare = _add(commands, "compare", COMPARE_EXAMPLES, "print a line for each run")
    _add_paths(compare, "LOGDIR_OR_RUN", "where to look for runs, also below")
    compare.add_argument("--json", action="store_true", help="print JSON")
    _add_page(compare, None, "also write a page with one figure of all runs")

    report = _add(commands, "report", REPORT_EXAMPLES, "write a page with the figure and the decisions of each run")
    _add_paths(report, "LOGDIR_OR_RUN", "where to look for runs, also below", name="path", nargs=None)
    _add_page(report, "report.html", "the page (default: %(default)s)")
    report.add_argument("--png", action="store_true", help="also write each figure as a PNG beside the page")

    replay = _add(commands, "replay", REPLAY_EXAMPLES, "print the decisions that other settings would have made")
    replay.usage = "%(prog)s FILE [FILE ...] [--monitor NAME] [--patience VALUE[,VALUE...]] [further options]"
    _add_paths(replay, "FILE", "a recorded training curve, or a log directory")
    replay.add_argument("--monitor", default="val_loss", help="the metric to watch (default: %(default)s)")
    replay.add_argument(
        "--mode", choices=("auto", "min", "max"), default="auto", help="auto: by the name of the metric (default)"
    )
    replay.add_argument("--rate", type=float, help="the learning rate to start from (default: the first recorded one)")
    replay.add_argument("--auto", action="store_true", help="auto mode, instead of the rule with patience and factor")
    replay.add_argument("--json", action="store_true", help="print JSON")
    _add_page(replay, None, "also write a page with a figure of each replay")
    settings = replay.add_argument_group(
        "settings", "The arguments of the constructor. Values separated by commas are replayed in turn."
    )
    for name, setting in OPTIONS.items():
        settings.add_argument(
            f"--{name.replace('_', '-')}",
            type=_several(setting),
            metavar="VALUE[,VALUE...]",
            help=_help(setting).replace("%", "%%"),
        )
    return whole


def _add(commands: Any, name: str, examples: str, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=examples + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name, parser=parser)
    return parser


def _add_paths(
    parser: argparse.ArgumentParser, metavar: str, about: str, *, name: str = "paths", nargs: str | None = "+"
) -> None:
    added = parser.add_argument(name, metavar=metavar, nargs=nargs, type=expanduser, help=about)
    vars(added).update(complete=FILES)


def _add_page(parser: argparse.ArgumentParser, default: str | None, about: str) -> None:
    output = parser.add_argument(
        "-o", "--output", metavar="FILE", default=default, help=f"{about}; it opens without a network"
    )
    vars(output).update(complete=FILES)
    parser.add_argument(
        "--axis", choices=get_args(Axis), default="epoch", help="the horizontal axis of figures (default: %(default)s)"
    )
    parser.add_argument("--dark", action="store_true", help="light on dark")


def _help(setting: Setting) -> str:
    default = str(setting.default).lower() if setting.kind == "flag" else setting.default
    only = "" if len(setting.rules) > 1 or setting.rules == ("default",) else "with --auto; "
    return f"{setting.sentence} ({only}default: {'none' if default is None else default})"


def _several(setting: Setting) -> Callable[[str], list[Any]]:
    def values(text: str) -> list[Any]:
        try:
            return [setting.check(setting.parse(part.strip())) for part in text.split(",")]
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{error}. Separate several values by commas") from None

    return values
