"""The LR Plateau tab, on the server's side.

It answers these requests, all of them GET and below `data/plugin/lr_plateau/`:

    index.js, style.css, …    the page (`static/`)
    plotly.min.js             of the installed plotly
    runs                      all runs with their summaries, as JSON; see `_runs`
    figure                    the figure and the table of some runs, as JSON; see `_figure`
    whatif                    the same of a run and what other settings would have made of it; see `_what_if`
"""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from keras_lrplateau.history import event_reader, tags
from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.run import Run
from keras_lrplateau.tensorboard import whatif
from keras_lrplateau.tensorboard.listing import Listing, content_of
from keras_lrplateau.views.colors import COLORS, color_of
from keras_lrplateau.views.figure import draw, plotly_js
from keras_lrplateau.views.picture import MOST_SMOOTHING, Scale
from keras_lrplateau.views.tables import counts, rows

STATIC = {
    "index.js": "application/javascript",
    "common.js": "application/javascript",
    "comparison.js": "application/javascript",
    "decisions.js": "application/javascript",
    "host.js": "application/javascript",
    "runs.js": "application/javascript",
    "whatif.js": "application/javascript",
    "style.css": "text/css",
}
"""The files that the page consists of, and nothing else in the folder."""

VIEW = {"axis": get_args(Axis), "scale": get_args(Scale), "theme": ("light", "dark")}
"""How a figure is to be drawn: the arguments of a request with their choices, the default first."""

MOST_COMPARED = 100
"""Nobody can tell more lines apart, and a browser takes long to draw them. The page's table compares any number."""

MOST_ROWS = 10_000
"""A browser takes long to receive more; the report has all of them."""

LINE_OF_TRAINING = 1
"""See `_depth`."""

FIRST = 1
"""In a legend; plotly gives 1000 to all that has no rank."""

DAY = 24 * 3600

NO_DATA = (
    "No run of AdaptLROnPlateau here. Give the callback a directory below TensorBoard's --logdir, as in "
    'AdaptLROnPlateau(log_dir="logs/run1"), and train for an epoch.'
)


class RequestError(Exception):
    """What was asked for makes no sense; the text says why, for the user."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class Plugin(base_plugin.TBPlugin):
    """The tab; TensorBoard makes one of them when it starts.

    Args:
        context: TensorBoard's `TBContext`.
    """

    plugin_name = tags.PLUGIN_NAME

    def __init__(self, context: Any) -> None:
        self._provider = context.data_provider
        self._listing = Listing()

    def is_active(self) -> bool:
        """False: TensorBoard itself sees whether there is data of ours, by `data_plugin_names`."""
        return False

    def data_plugin_names(self) -> tuple[str, ...]:
        """Whose data makes the tab appear."""
        return (self.plugin_name,)

    def frontend_metadata(self) -> Any:
        """How TensorBoard shows the tab."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="LR Plateau")

    def get_plugin_apps(self) -> dict[str, Any]:
        """What answers which request."""
        return {
            **{f"/{name}": _answer(functools.partial(_static, name)) for name in STATIC},
            "/plotly.min.js": _answer(_plotly),
            "/runs": _answer(self._runs),
            "/figure": _answer(self._figure),
            "/whatif": _answer(self._what_if),
        }

    def _runs(self, request: Any) -> Any:
        """All runs.

        Returns:
            JSON: "runs", see `Listing.read`; "most", how many of them `_figure` draws; and "message", a text for the
            user if there are no runs, else null.
        """
        listed = self._listing.read(self._where(request))
        return _json(request, {"runs": listed, "most": MOST_COMPARED, "message": None if listed else NO_DATA})

    def _figure(self, request: Any) -> Any:
        """The figure of some runs.

        Args:
            request: With "run", the name of a run, once or more; "axis", see `axes.Axis`, by default "epoch"; "scale",
                see `picture.Scale`, by default "auto"; "theme", "light" (the default) or "dark"; "smoothing", by
                default 0, see `figure.draw`; and "color", the number of each run's color, see `colors.color_of`, by
                default its place.

        Returns:
            JSON: "figure", see `figure.draw`; and "runs", in the order asked for, with `listing.content_of` each and
            "color", the one it has where several are compared, "counts" and "rows", see `tables`; of all runs together,
            there are rows of the latest `MOST_ROWS` decisions at most.
        """
        asked = list(dict.fromkeys(request.args.getlist("run")))
        if not asked:
            raise RequestError("say which run: figure?run=NAME")
        if len(asked) > MOST_COMPARED:
            raise RequestError(f"at most {MOST_COMPARED} runs can be compared. Received: {len(asked)}")
        view = _view(request)
        found = event_reader.read_runs(*self._where(request), asked)
        missing = {
            name: event_reader.UnreadableError(f"there is no run {name!r} of AdaptLROnPlateau") for name in asked
        }
        if not found:
            raise RequestError(" and ".join(map(str, missing.values())), 404)
        runs = {name: _with_axis(run, view["axis"]) for name, run in (missing | found).items()}
        colors = _colors(request, asked)
        readable = [run for run in runs.values() if isinstance(run, Run)]
        picture = draw(readable, **view, colors=[colors[run.name] for run in readable])
        shown = [
            {**content_of(name, run), "color": colors[name], **_told(run, view["axis"], MOST_ROWS // len(runs))}
            for name, run in runs.items()
        ]
        return _json(request, {"figure": picture, "runs": shown})

    def _what_if(self, request: Any) -> Any:
        """What another rule, or other settings, would have decided on what was observed in a run.

        Args:
            request: With "run", the name of a run; "axis", "scale", "theme" and "smoothing" as for `_figure`; and
                what else `whatif.answer` can be asked for: "rule" and its settings.

        Returns:
            JSON: "figure", of the training and the replayed one together, see `figure.draw`; "runs", these two, with
            "name", "color", "counts" and "rows", see `tables`; "quantity", what their rates are; "departs", the number
            of the epoch, from 1, after which they differ, or null; and "rule", "fields", "own", "settings", "call" and
            "caveat", see `whatif.Answer`.
        """
        repeated = [name for name, values in request.args.lists() if len(values) > 1]
        if repeated or "run" not in request.args:
            raise RequestError("say which run, and each setting once: whatif?run=NAME&patience=5")
        name, view = request.args["run"], _view(request)
        where = self._where(request)
        run = event_reader.read_runs(*where, [name]).get(name)
        if run is None:
            raise RequestError(f"there is no run {name!r} of AdaptLROnPlateau", 404)
        run = _with_axis(run, view["axis"])
        if not isinstance(run, Run):
            raise RequestError(str(run))
        asked = {key: text for key, text in request.args.items() if key not in ("run", "smoothing", *VIEW)}
        try:
            found = whatif.answer(run, event_reader.read_settings(*where, [name])[name], asked)
            picture = draw(found.runs, **view, departs=found.departs, beside=run)
        except (TypeError, ValueError) as error:
            raise RequestError(str(error)) from None
        picture["data"].sort(key=_depth)
        for trace in picture["data"]:
            if _depth(trace) == LINE_OF_TRAINING:
                trace["legendrank"] = FIRST  # In the legend the training comes first.
        # The two are called the same in every run, but what is zoomed in one is not in another.
        picture["layout"]["uirevision"] += f"|{name}"
        shown = [
            {"name": each.name, "color": color, **_told(each, view["axis"], MOST_ROWS // 2)}
            for each, color in zip(found.runs, COLORS, strict=False)
        ]
        told = {about: getattr(found, about) for about in ("rule", "fields", "own", "settings", "call", "caveat")}
        departs = None if found.departs is None else found.departs + 1
        content = {"figure": picture, "runs": shown, "quantity": run.quantity, "departs": departs, **told}
        return _json(request, content)

    def _where(self, request: Any) -> tuple[Any, Any, str]:
        if self._provider is None:
            raise RequestError("this TensorBoard was started without a data provider (--generic_data=false)", 501)
        return self._provider, plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)


def _with_axis(run: Run | event_reader.UnreadableError, axis: Axis) -> Run | event_reader.UnreadableError:
    """The run, if it can be drawn over the axis."""
    if isinstance(run, Run) and Timeline(run).lacks(axis):
        return event_reader.UnreadableError(f"the run {run.name!r} cannot be shown by {axis}: none was recorded")
    return run


def _told(run: Run | event_reader.UnreadableError, axis: Axis, most: int) -> dict[str, Any]:
    return (
        {"counts": counts(run), "rows": rows(run, axis, most)} if isinstance(run, Run) else {"counts": {}, "rows": []}
    )


def _depth(trace: dict[str, Any]) -> int:
    """How far above the others a trace is drawn.

    What both trainings have in common is to be seen as that of the training itself: its line above the other, and its
    marks above all. Plotly draws later traces above earlier ones. With its own `zorder` it cuts marks off at the edge.
    """
    is_mark = bool(trace["mode"] == "markers")
    is_of_training = bool(trace["marker" if is_mark else "line"]["color"] == COLORS[0])
    return 2 * is_mark + is_of_training


def _view(request: Any) -> dict[str, Any]:
    """The arguments of `draw` that a request has."""
    scale: Scale = _choice(request, "scale", VIEW["scale"])
    axis: Axis = _choice(request, "axis", VIEW["axis"])
    dark = _choice(request, "theme", VIEW["theme"]) == "dark"
    return {"axis": axis, "scale": scale, "dark": dark, "smoothing": _smoothing(request)}


def _smoothing(request: Any) -> float:
    text = request.args.get("smoothing", "0")
    # Not by `float`, which takes "nan" and "1_0".
    if not re.fullmatch(r"0|0?\.[0-9]{1,9}", text) or float(text) > MOST_SMOOTHING:
        raise RequestError(f"smoothing must be a number from 0 to {MOST_SMOOTHING}. Received: {text!r}")
    return float(text)


def _colors(request: Any, asked: Sequence[str]) -> dict[str, str]:
    """The colors of the runs that are asked for, by name."""
    numbers = request.args.getlist("color") or [str(place) for place in range(len(asked))]
    if len(numbers) != len(asked):
        raise RequestError(f"give each run a color, or none. Received: {len(numbers)} colors for {len(asked)} runs")
    wrong = [number for number in numbers if not re.fullmatch(r"[0-9]{1,3}", number)]
    if wrong:
        raise RequestError(f"color must be an integer from 0 to 999. Received: {wrong[0]!r}")
    return {name: color_of(int(number)) for name, number in zip(asked, numbers, strict=True)}


def _choice(request: Any, name: str, choices: tuple[str, ...]) -> Any:
    """An argument of the request; the first of the choices if it is left out."""
    value = request.args.get(name, choices[0])
    if value not in choices:
        raise RequestError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}")
    return value


def _answer(handler: Callable[[Any], Any]) -> Any:
    """A WSGI application that answers GET by the handler, and what goes wrong by a message in JSON."""

    @wrappers.Request.application
    def application(request: Any) -> Any:
        if request.method not in ("GET", "HEAD"):
            return _json(request, {"error": f"use GET. Received: {request.method}"}, 405)
        try:
            return handler(request)
        except RequestError as error:
            return _json(request, {"error": str(error)}, error.code)

    return application


def _json(request: Any, content: dict[str, Any], code: int = 200) -> Any:
    # Not by TensorBoard's own encoder, which is slow, and writes what is not finite as a text.
    return http_util.Respond(request, json.dumps(content, allow_nan=False), "application/json", code=code)


# --- files -----------------------------------------------------------------------------------------------------------


def _static(name: str, request: Any) -> Any:
    content = (importlib.resources.files("keras_lrplateau.tensorboard") / "static" / name).read_bytes()
    return http_util.Respond(request, content, STATIC[name])


def _plotly(request: Any) -> Any:
    try:
        content = compressed_plotly()
    except ImportError as error:
        raise RequestError(f"{error}, and start TensorBoard again", 404) from None
    return http_util.Respond(request, content, "application/javascript", content_encoding="gzip", expires=DAY)


@functools.lru_cache(maxsize=1)
def compressed_plotly() -> bytes:
    """plotly for the page, compressed once: it is 5 MB, and TensorBoard would compress it for each request."""
    return gzip.compress(plotly_js(), compresslevel=6, mtime=0)
