"""The server's side of the tab, inside TensorBoard's own application: its answers to good, bad and hostile requests."""

import gzip
import json
import math
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import make_record
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug.test import Client, TestResponse

import keras_lrplateau
from keras_lrplateau import payload
from keras_lrplateau.figure import COLORS
from keras_lrplateau.policy import Decision
from keras_lrplateau.run import Record
from keras_lrplateau.tensorboard import metadata, plugin
from keras_lrplateau.tensorboard.loader import PLUGIN_NAME, Loader
from keras_lrplateau.tensorboard.writer import EventWriter

ROOT = Path(keras_lrplateau.__file__).parents[1]

HOSTILE_RUN = "<img src=x onerror=alert(1)>&\"'"
HOSTILE_REASON = "</script><script>alert(1)</script> & <b>bold</b>"


def decided(epoch: int, *kinds: str, reason: str = "why", rate: float = 0.1) -> Record:
    decisions = tuple(
        Decision(kind, reason, epoch + 1, 1.0, 0.5, rate, rate / 2, since=1, epoch=epoch, since_epoch=0)  # type: ignore[arg-type]
        for kind in kinds
    )
    return make_record(epoch, *decisions)


def write_run(run_dir: Path, *records: Record, epochs: int = 4) -> None:
    by_epoch = {record.epoch: record for record in records}
    writer = EventWriter(run_dir, 0)
    for epoch in range(epochs):
        if epoch in by_epoch:
            writer.record(by_epoch[epoch])
        writer.scalars(epoch, {"loss": 1 / (epoch + 1), "val_loss": 2 / (epoch + 1), "learning_rate": 0.1}, 1e9 + epoch)
    writer.close()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logdir = tmp_path_factory.mktemp("logs")
    write_run(logdir / "a" / "lr_plateau", decided(0), decided(2, "cut"))
    write_run(logdir / "a" / "lr_plateau_2", decided(0, "diverged"))
    write_run(logdir / "b" / "lr_plateau", decided(0), decided(1, "cut", "rollback", reason=HOSTILE_REASON))
    write_run(logdir / HOSTILE_RUN / "lr_plateau", decided(0, "cut"))
    bad = decided(0, "cut", rate=math.nan)
    write_run(logdir / "nan" / "lr_plateau", bad)

    writer = EventWriter(logdir / "newer" / "lr_plateau", 0)
    good = payload.encode
    payload.encode = lambda record: good(record).replace('"version": 2', '"version": 99')  # type: ignore[assignment]
    try:
        writer.record(decided(0))
    finally:
        payload.encode = good  # type: ignore[assignment]
    writer.close()
    return logdir


def client(logdir: Path, *, prefix: str = "") -> Client:
    """TensorBoard's application with our plugin, on what its Python loader reads from the directory."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={PLUGIN_NAME: 0})
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    loaded = Loader().load(base_plugin.TBContext(data_provider=provider))
    return Client(application.TensorBoardWSGI([loaded], path_prefix=prefix, data_provider=provider))


@pytest.fixture(scope="module")
def tab(logdir: Path) -> Client:
    return client(logdir)


def get(client: Client, path: str, **arguments: Any) -> TestResponse:
    return client.get(f"/data/plugin/lr_plateau/{path}", query_string=arguments)


def runs_of(response: TestResponse) -> dict[str, dict[str, Any]]:
    assert response.status_code == 200, response.text
    return {run["name"]: run for run in strictly(response)["runs"]}


def strictly(response: TestResponse) -> Any:
    """The content, if it is JSON as browsers take it, which know no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(response.text, parse_constant=refuse)


# --- the list of runs ------------------------------------------------------------------------------------------------


def test_the_runs_are_listed_by_the_users_log_dir(tab: Client) -> None:
    runs = runs_of(get(tab, "runs"))
    assert {name: (run["group"], run["label"]) for name, run in runs.items()} == {
        "a/lr_plateau": ("a", "lr_plateau"),
        "a/lr_plateau_2": ("a", "lr_plateau_2"),
        "b/lr_plateau": ("b", "lr_plateau"),
        f"{HOSTILE_RUN}/lr_plateau": (HOSTILE_RUN, "lr_plateau"),
        "nan/lr_plateau": ("nan", "lr_plateau"),
        "newer/lr_plateau": ("newer", "lr_plateau"),
    }
    summary = runs["a/lr_plateau"]["summary"]
    assert (summary["monitor"], summary["status"], summary["epochs"]) == ("val_loss", "holding", 4)
    assert (summary["best"], summary["best_epoch"]) == ("0.5", 1)


def test_a_run_of_a_newer_release_says_so_and_spares_the_others(tab: Client) -> None:
    runs = runs_of(get(tab, "runs"))
    assert "version 99; this release of keras-lrplateau reads version 2" in runs["newer/lr_plateau"]["error"]
    assert runs["newer/lr_plateau"]["summary"] is None
    assert [name for name, run in runs.items() if run["error"]] == ["newer/lr_plateau"]


def test_a_log_dir_that_is_a_run_itself_is_a_group_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "lr_plateau", decided(0))
    assert [run["group"] for run in runs_of(get(client(tmp_path), "runs")).values()] == ["."]


@pytest.mark.parametrize("content", [None, b"", b"no event file at all"])
def test_a_log_dir_without_our_data_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "events.out.tfevents.1.host").write_bytes(content)
    answer = strictly(get(client(tmp_path), "runs"))
    assert answer["runs"] == []
    assert "AdaptLROnPlateau(log_dir=" in answer["message"]


def test_the_tab_appears_only_with_our_data(tab: Client, tmp_path: Path) -> None:
    def listed(client: Client) -> dict[str, Any]:
        return dict(json.loads(client.get("/data/plugins_listing").text)["lr_plateau"])

    assert listed(tab)["enabled"] is True
    assert listed(tab)["tab_name"] == "LR Plateau"
    assert listed(client(tmp_path))["enabled"] is False


# --- the figure ------------------------------------------------------------------------------------------------------


def test_the_figure_of_a_run_has_its_decisions(tab: Client) -> None:
    answer = strictly(get(tab, "figure", run="b/lr_plateau"))
    (run,) = answer["runs"]
    assert [(row["kind"], row["epoch"], row["reason"]) for row in run["rows"]] == [
        ("cut", 2, HOSTILE_REASON),
        ("rollback", 2, HOSTILE_REASON),
    ]
    assert run["counts"] == {"cut": 1, "rollback": 1}
    marked = {trace["name"] for trace in answer["figure"]["data"] if trace["mode"] == "markers"}
    assert marked == {"cut", "rollback"}


def test_what_plotly_takes_for_markup_is_escaped(tab: Client) -> None:
    names = ["b/lr_plateau", f"{HOSTILE_RUN}/lr_plateau"]
    answer = strictly(get(tab, "figure", run=names))
    assert [run["name"] for run in answer["runs"]] == names
    del answer["figure"]["layout"]["uirevision"]  # Plotly only compares it.
    texts = json.dumps(answer["figure"])
    assert "&lt;script&gt;" in texts
    assert "&lt;img" in texts
    assert "<script" not in texts
    assert "<img" not in texts


def test_several_runs_come_in_the_order_asked_for_each_in_its_color(tab: Client) -> None:
    names = ["b/lr_plateau", "a/lr_plateau", "a/lr_plateau_2"]
    answer = strictly(get(tab, "figure", run=[*names, "b/lr_plateau"]))
    assert [(run["name"], run["color"]) for run in answer["runs"]] == list(zip(names, COLORS, strict=False))
    lines = {
        trace["name"].partition(" ")[0]: trace["line"]["color"] for trace in answer["figure"]["data"] if "line" in trace
    }
    assert [lines[name] for name in ("b", "a", "a/lr_plateau_2")] == list(COLORS[:3])


def test_a_run_that_cannot_be_shown_spares_the_others(tab: Client) -> None:
    answer = strictly(get(tab, "figure", run=["gone", "newer/lr_plateau", "a/lr_plateau"]))
    errors = {run["name"]: run["error"] for run in answer["runs"]}
    assert "there is no run 'gone'" in errors["gone"]
    assert "version 99" in errors["newer/lr_plateau"]
    assert errors["a/lr_plateau"] is None
    assert answer["figure"]["data"]


def test_numbers_that_json_does_not_have_are_texts_or_gaps(tab: Client) -> None:
    (run,) = strictly(get(tab, "figure", run="nan/lr_plateau"))["runs"]
    assert (run["rows"][0]["rate_before"], run["rows"][0]["rate"]) == ("nan", "nan")


@pytest.mark.parametrize("axis", ["epoch", "step", "time"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_and_themes_are_those_asked_for(tab: Client, axis: str, theme: str) -> None:
    figure = strictly(get(tab, "figure", run="a/lr_plateau", axis=axis, theme=theme, scale="log"))["figure"]
    (line,) = (trace for trace in figure["data"] if trace["name"] == "loss")
    ends = {"epoch": [1, 4], "step": [10, 40], "time": [1e12, 1e12 + 3000]}
    assert [line["x"][0], line["x"][-1]] == ends[axis]
    assert figure["layout"]["paper_bgcolor"] == {"light": "#ffffff", "dark": "#303030"}[theme]
    assert figure["layout"]["yaxis"]["type"] == "log"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ({}, 400, "say which run"),
        ({"run": "gone"}, 404, "there is no run 'gone'"),
        ({"run": "../a/lr_plateau"}, 404, "there is no run"),
        ({"run": "a/lr_plateau", "axis": "epochs"}, 400, "axis must be one of epoch, step, time. Received: 'epochs'"),
        ({"run": "a/lr_plateau", "scale": ""}, 400, "scale must be one of"),
        ({"run": "a/lr_plateau", "theme": "<b>"}, 400, "theme must be one of light, dark"),
        ({"run": [f"run{at}" for at in range(21)]}, 400, "at most 20 runs can be compared. Received: 21"),
    ],
)
def test_a_bad_request_gets_a_message(tab: Client, arguments: dict[str, Any], code: int, complaint: str) -> None:
    response = get(tab, "figure", **arguments)
    assert response.status_code == code
    assert complaint in strictly(response)["error"]
    assert response.content_type == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["runs", "figure", "index.js", "plotly.min.js"])
def test_only_get_is_answered(tab: Client, path: str) -> None:
    response = tab.post(f"/data/plugin/lr_plateau/{path}", data="x")
    assert response.status_code == 405
    assert "use GET" in strictly(response)["error"]


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_page_and_plotly_are_served(tab: Client) -> None:
    for name, kind in (("index.js", "application/javascript"), ("style.css", "text/css")):
        response = get(tab, name)
        assert response.status_code == 200
        assert response.content_type.partition(";")[0] == kind
        assert response.data == (ROOT / "keras_lrplateau/tensorboard/static" / name).read_bytes()
    import plotly.offline

    response = get(tab, "plotly.min.js")
    assert response.data.decode() == plotly.offline.get_plotlyjs()
    assert "max-age=86400" in response.headers["Cache-Control"]
    packed = tab.get("/data/plugin/lr_plateau/plotly.min.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == response.data
    assert len(packed.data) < len(response.data) / 2


@pytest.mark.parametrize(
    "path",
    [
        "static/index.js",
        "../plugin.py",
        "..%2fplugin.py",
        "%2e%2e/plugin.py",
        "index.js/../../plugin.py",
        "plotly.min.js/../plotly.min.js%00",
        "__init__.py",
        "",
        "index.html",
        "/etc/passwd",
    ],
)
def test_nothing_else_is_served(tab: Client, path: str) -> None:
    response = tab.get(f"/data/plugin/lr_plateau/{path}")
    assert response.status_code == 404
    assert b"import" not in response.data


def test_it_works_below_a_path_prefix(logdir: Path) -> None:
    below = client(logdir, prefix="/some/where")
    assert below.get("/data/plugin/lr_plateau/runs").status_code == 404
    assert len(runs_of(below.get("/some/where/data/plugin/lr_plateau/runs"))) == 6
    entry = below.get("/some/where/data/plugin_entry.html?name=lr_plateau").text
    assert '<base href="plugin/lr_plateau/"' in entry
    assert 'import("./index.js")' in entry


# --- TensorBoard's start ---------------------------------------------------------------------------------------------


def test_without_plotly_the_page_learns_what_to_install(tab: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin._compressed_plotly.cache_clear()
    monkeypatch.setitem(sys.modules, "plotly", None)
    response = get(tab, "plotly.min.js")
    assert response.status_code == 404
    assert "pip install plotly" in strictly(response)["error"]
    assert get(tab, "runs").status_code == 200
    assert strictly(get(tab, "figure", run="a/lr_plateau"))["figure"]["data"]


def test_without_a_data_provider_it_says_so() -> None:
    loaded = Loader().load(base_plugin.TBContext())
    app = loaded.get_plugin_apps()["/runs"]
    assert "data provider" in strictly(Client(app).get("/"))["error"]


def test_what_fails_in_loading_leaves_tensorboard_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "keras_lrplateau.tensorboard.plugin", None)
    assert Loader().load(base_plugin.TBContext()) is None
    assert "LR Plateau tab could not be loaded" in caplog.text


def test_the_entry_point_leads_to_the_loader_and_loads_next_to_nothing() -> None:
    code = """
import sys
from importlib.metadata import entry_points
from tensorboard import default, program
before = set(sys.modules)
(entry,) = entry_points(group="tensorboard_plugins", name="lr_plateau")
loader = entry.load()
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(loader.__name__, sorted(new - set(sys.stdlib_module_names)))
from tensorboard.plugins.base_plugin import TBContext
assert loader().load(TBContext()) is not None
print(sorted({"keras", "plotly", "pandas", "tensorflow", "jax", "torch"} & (set(sys.modules) - before)))
assert any(type(spec) is type and spec is loader for spec in default.get_dynamic_plugins())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Loader ['keras_lrplateau']", "[]"]


def test_all_decisions_are_kept_unless_the_user_says_otherwise() -> None:
    flags = types.SimpleNamespace(samples_per_plugin={"scalars": 5})
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"scalars": 5, "lr_plateau": 0}
    flags = types.SimpleNamespace(samples_per_plugin={"lr_plateau": 7})
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"lr_plateau": 7}
    assert metadata.PLUGIN_NAME == PLUGIN_NAME
    assert event_accumulator.DEFAULT_SIZE_GUIDANCE["tensors"] == 10, "what would be kept otherwise"
