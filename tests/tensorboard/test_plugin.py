"""The server's side of the tab, inside TensorBoard's own application: its answers to good, bad and hostile requests."""

import gzip
import json
import math
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import fit, make_curve, make_decision, make_record, make_run, scripted, tiny_model
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins import base_plugin
from tensorboard.summary.writer.record_writer import RecordWriter
from werkzeug.test import Client, TestResponse

import keras_lrplateau
from keras_lrplateau.history import codec, tags
from keras_lrplateau.history.axes import Timeline
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Record
from keras_lrplateau.recordings.recording import Recording
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.rule import auto, plateau
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.settings import rule_settings
from keras_lrplateau.tensorboard import listing, plugin, whatif
from keras_lrplateau.tensorboard.loader import PLUGIN_NAME, Loader
from keras_lrplateau.views import picture
from keras_lrplateau.views.colors import COLORS, color_of

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
    good = codec.encode
    codec.encode = lambda record: good(record).replace('"version": 4', '"version": 99')  # type: ignore[assignment]
    try:
        writer.record(decided(0))
    finally:
        codec.encode = good  # type: ignore[assignment]
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
    assert (summary["best"], summary["best_at"]) == ("0.5", 1)


def test_the_list_has_the_settings_and_the_decisions_of_each_run(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "a" / "lr_plateau", 0)
    writer.hparams({"factor": 0.5, "monitor": "val_loss"})
    writer.close()
    write_run(tmp_path / "a" / "lr_plateau", decided(0, "cut"), decided(2, "cut", "rollback"))
    write_run(tmp_path / "b" / "lr_plateau", decided(0))
    tab = client(tmp_path)
    for _ in range(2):
        runs = runs_of(get(tab, "runs"))
        assert runs["a/lr_plateau"]["settings"] == {"factor": 0.5, "monitor": "val_loss"}
        assert runs["b/lr_plateau"]["settings"] == {}
        assert runs["a/lr_plateau"]["counts"] == {"cut": 2, "rollback": 1}
        assert runs["b/lr_plateau"]["counts"] == {}


def test_a_run_of_a_newer_release_says_so_and_spares_the_others(tab: Client) -> None:
    runs = runs_of(get(tab, "runs"))
    assert "version 99; this release of keras-lrplateau reads version 4" in runs["newer/lr_plateau"]["error"]
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


class CountingProvider:
    """A data provider that counts the runs that are read, by the method that reads them."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self.read: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._provider, name)
        if not name.startswith("read_"):
            return method

        def counted(*arguments: Any, run_tag_filter: Any, **others: Any) -> Any:
            self.read[name] = self.read.get(name, 0) + len(run_tag_filter.runs)
            return method(*arguments, run_tag_filter=run_tag_filter, **others)

        return counted


@pytest.mark.parametrize("seconds", [math.inf, 0.0])
def test_of_many_runs_only_those_that_have_changed_are_read_again(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "READING", seconds)
    for number in range(30):
        write_run(tmp_path / f"run{number}" / "lr_plateau", decided(0))

    malformed(tmp_path / "worse" / "lr_plateau")
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={PLUGIN_NAME: 0})
    provider = CountingProvider(data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path)))
    loaded = Loader().load(base_plugin.TBContext(data_provider=provider))
    tab = Client(application.TensorBoardWSGI([loaded], data_provider=provider))

    def reload() -> dict[str, int]:
        provider.read.clear()
        multiplexer.AddRunsFromDirectory(str(tmp_path))
        multiplexer.Reload()
        return {name: run["summary"]["epochs"] for name, run in runs_of(get(tab, "runs")).items() if run["summary"]}

    first = reload()
    assert set(first.values()) == {4}
    assert len(first) == 30
    if seconds == 0.0:
        assert provider.read["read_scalars"] == 1, "at least one is read whole"
        assert provider.read["read_last_scalars"] == 29
        for _ in range(30):
            assert reload() == first
            assert sum(provider.read.values()) <= 3, "and each request reads on"
    assert reload() == first
    assert provider.read == {}, "nothing has changed"
    write_run(tmp_path / "run7" / "lr_plateau", decided(5), epochs=6)
    assert reload() == first | {"run7/lr_plateau": 6}
    assert provider.read == {"read_tensors": 1, "read_scalars": 1}
    shutil.rmtree(tmp_path / "run8")
    write_run(tmp_path / "new" / "lr_plateau", decided(0))
    assert reload()["new/lr_plateau"] == 4


# --- malformed runs --------------------------------------------------------------------------------------------------


def malformed(run_dir: Path, *, texts: tuple[bytes, ...] = (), steps: range = range(4), time: float = 1e9) -> None:
    """A run with a record that is a tensor of these texts in one place, and with scalars at these steps."""
    writer = EventWriter(run_dir, 0)
    writer.record(decided(0, "cut"))
    for step in steps:
        writer.scalars(step, {"val_loss": 1.0, "loss": 1.0, "learning_rate": 0.1}, time)
    writer.close()
    if len(texts) != 1:
        tensor = TensorProto(dtype=DT_STRING, string_val=texts)
        value = Summary.Value(tag=tags.TAG, tensor=tensor, metadata=tags.summary_metadata())
        event = Event(wall_time=time, step=3, summary=Summary(value=[value]))
        with open(writer.path, "ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def test_malformed_runs_are_listed_with_their_reasons_and_no_request_fails(tmp_path: Path) -> None:
    write_run(tmp_path / "good" / "lr_plateau", decided(0), decided(2, "cut"))
    malformed(tmp_path / "empty tensor" / "lr_plateau")
    malformed(tmp_path / "two texts" / "lr_plateau", texts=(b"{}", b"{}"))
    malformed(tmp_path / "negative steps" / "lr_plateau", texts=(b"",), steps=range(-3, 2))
    malformed(tmp_path / "large steps" / "lr_plateau", texts=(b"",), steps=range(2**62, 2**62 + 2))
    for time in (1e18, -1e300, 0.0):
        malformed(tmp_path / f"time {time}" / "lr_plateau", texts=(b"",), time=time)
    tab = client(tmp_path)
    runs = runs_of(get(tab, "runs"))
    errors = {name.partition("/")[0]: run["error"] for name, run in runs.items() if run["error"]}
    steps_and_times = {"negative steps", "large steps", "time 1e+18", "time -1e+300"}
    assert errors.keys() == {"empty tensor", "two texts", *steps_and_times}
    assert all("cannot be read" in error for error in errors.values())
    assert runs["good/lr_plateau"]["summary"]["epochs"] == 4
    for axis in ("epoch", "step", "time"):
        for name in runs:
            answer = strictly(get(tab, "figure", run=[name, "good/lr_plateau"], axis=axis))
            shown = {run["name"]: run for run in answer["runs"]}
            assert shown["good/lr_plateau"]["error"] is None
            assert shown["good/lr_plateau"]["rows"]
            assert answer["figure"]["data"]
            response = get(tab, "whatif", run=name, axis=axis)
            assert response.status_code in (200, 400)
            assert strictly(response).keys() & {"error", "figure"}


def test_a_run_without_wall_times_is_shown_on_the_other_axes_and_claims_no_time(tmp_path: Path) -> None:
    write_run(tmp_path / "good" / "lr_plateau", decided(0))
    writer = EventWriter(tmp_path / "timeless" / "lr_plateau", 0)
    writer.record(make_record(0, start=0.0))
    writer.scalars(0, {"val_loss": 1.0}, 0.0)
    writer.close()
    tab = client(tmp_path)
    assert runs_of(get(tab, "runs"))["timeless/lr_plateau"]["summary"]["time"] is None
    names = ["timeless/lr_plateau", "good/lr_plateau"]
    for axis, error in (("epoch", None), ("step", None), ("time", "cannot be shown by time: none was recorded")):
        timeless, good = strictly(get(tab, "figure", run=names, axis=axis))["runs"]
        assert good["error"] is None
        assert timeless["error"] is error is None or error in timeless["error"]
    assert "cannot be shown by time" in get(tab, "whatif", run=names[0], axis="time").text


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


def test_a_run_may_have_the_color_of_another(tab: Client) -> None:
    names = ["b/lr_plateau", "a/lr_plateau", "a/lr_plateau_2"]
    answer = strictly(get(tab, "figure", run=names, color=["9", "2", "9"]))
    assert [run["color"] for run in answer["runs"]] == [color_of(9), color_of(2), color_of(9)]


def test_the_metric_is_smoothed_on_request(tab: Client) -> None:
    figure = strictly(get(tab, "figure", run="a/lr_plateau", smoothing="0.6"))["figure"]
    lines = {trace["name"]: trace["y"] for trace in figure["data"] if trace["mode"] == "lines"}
    assert lines["val_loss (raw)"] == pytest.approx([2, 1, 2 / 3, 0.5])
    assert lines["val_loss (monitor)"] == pytest.approx(picture.smoothed(lines["val_loss (raw)"], 0.6))
    assert "what if \N{MIDDLE DOT} val_loss (raw)" in [
        trace["name"] for trace in strictly(get(tab, "whatif", run="a/lr_plateau", smoothing="0.6"))["figure"]["data"]
    ]


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
        ({"run": [f"run{at}" for at in range(101)]}, 400, "at most 100 runs can be compared. Received: 101"),
        ({"run": "a/lr_plateau", "smoothing": "1"}, 400, "smoothing must be a number from 0 to 0.99. Received: '1'"),
        ({"run": "a/lr_plateau", "smoothing": "nan"}, 400, "smoothing must be a number"),
        ({"run": "a/lr_plateau", "color": "red"}, 400, "color must be an integer from 0 to 999. Received: 'red'"),
        ({"run": "a/lr_plateau", "color": ["1", "2"]}, 400, "Received: 2 colors for 1 runs"),
    ],
)
def test_a_bad_request_gets_a_message(tab: Client, arguments: dict[str, Any], code: int, complaint: str) -> None:
    response = get(tab, "figure", **arguments)
    assert response.status_code == code
    assert complaint in strictly(response)["error"]
    assert response.content_type == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["runs", "figure", "whatif", "index.js", "plotly.min.js"])
def test_only_get_is_answered(tab: Client, path: str) -> None:
    response = tab.post(f"/data/plugin/lr_plateau/{path}", data="x")
    assert response.status_code == 405
    assert "use GET" in strictly(response)["error"]


# --- what if ---------------------------------------------------------------------------------------------------------

VALUES = (1.0, 0.8, 0.9, 0.9, 0.9, 0.7, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75)
"""After the second epoch none is better for three epochs, and after the sixth none any more."""

CUTS = [(4, "0.1", "0.05"), (8, "0.05", "0.025"), (10, "0.025", "0.0125"), (12, "0.0125", "0.00625")]
"""What patience=2, factor=0.5 makes of them: after which epoch, from which rate, to which."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """The callback's own runs on `VALUES`: one with a few arguments, and the same without its arguments in the logs."""
    from keras_lrplateau import AdaptLROnPlateau

    logdir = tmp_path_factory.mktemp("trained")
    adapt = AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0, log_dir=logdir / "known", verbose=0, recover=False)
    fit(tiny_model(), scripted(*VALUES), adapt, epochs=len(VALUES))
    assert [(each.epoch + 1, f"{each.rate_before:.6g}", f"{each.rate:.6g}") for each in adapt.decisions] == CUTS
    write_run(logdir / "unknown" / "lr_plateau", decided(0), epochs=12)
    bad = EventWriter(logdir / "bad" / "lr_plateau", 0)
    bad.hparams({"patience": 2.5, "factor": "0.5", "mode": "auto"})
    bad.close()
    write_run(logdir / "bad" / "lr_plateau", decided(0))
    newer = EventWriter(logdir / "newer" / "lr_plateau", 0)
    good = codec.encode
    codec.encode = lambda record: good(record).replace('"version": 4', '"version": 99')  # type: ignore[assignment]
    try:
        newer.record(decided(0))
    finally:
        codec.encode = good  # type: ignore[assignment]
    newer.close()
    return client(logdir)


def what_if(client: Client, run: str = "known/lr_plateau", **arguments: Any) -> dict[str, Any]:
    response = get(client, "whatif", run=run, **arguments)
    assert response.status_code == 200, response.text
    return dict(strictly(response))


def told_rows(run: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(row["epoch"], row["rate_before"], row["rate"]) for row in run["rows"]]


def test_the_settings_of_the_training_lead_to_its_decisions(trained: Client) -> None:
    found = what_if(trained)
    real, replayed = found["runs"]
    assert told_rows(real) == told_rows(replayed) == CUTS
    assert real["counts"] == replayed["counts"] == {"cut": 4}
    assert [row["reason"] for row in real["rows"]] == [row["reason"] for row in replayed["rows"]]
    assert (found["departs"], found["caveat"]) == (None, "The same decisions as in the training.")
    assert found["rule"] == "default"
    assert found["settings"] == found["own"]
    assert (found["settings"]["patience"], found["settings"]["factor"], found["settings"]["recover"]) == (2, 0.5, False)
    assert type(found["settings"]["patience"]) is int
    assert list(found["settings"]) == list(rule_settings("default"))
    assert [field["name"] for field in found["fields"]] == list(found["settings"])


def test_another_patience_decides_elsewhere(trained: Client) -> None:
    found = what_if(trained, patience=3)
    real, replayed = found["runs"]
    assert told_rows(real) == CUTS
    assert told_rows(replayed) == [(5, "0.1", "0.05"), (9, "0.05", "0.025"), (12, "0.025", "0.0125")]
    assert found["departs"] == 4
    assert found["caveat"].startswith("After epoch 4 the training would have gone another way")
    assert (found["settings"]["patience"], found["own"]["patience"]) == (3, 2)
    assert [(run["name"], run["color"]) for run in found["runs"]] == list(zip(whatif.NAMES, COLORS, strict=False))


def test_it_is_the_replay_of_the_package(trained: Client) -> None:
    asked = {"patience": 1, "factor": 0.3, "min_delta": 0.06, "raise_after": 1, "max_raises": 2, "recover": "true"}
    config = plateau.Config(patience=1, factor=0.3, min_delta=0.06, raise_after=1, max_raises=2)
    found = replay(Recording("x", "epoch", {"val_loss": make_curve(*VALUES)}), config, rate=0.1)
    assert {"cut", "exhausted"} <= {decision.kind for decision in found.decisions}
    _, replayed = what_if(trained, **asked)["runs"]
    assert [(row["kind"], row["epoch"] - 1, row["reason"]) for row in replayed["rows"]] == [
        (decision.kind, decision.epoch, decision.reason) for decision in found.decisions
    ]


def test_auto_mode_can_be_asked_of_any_run(trained: Client) -> None:
    found = what_if(trained, rule="auto", budget=0.5, max_lr=0.2, patience=7)
    assert found["rule"] == "auto"
    assert found["settings"] == {"min_lr": 0.0, "max_lr": 0.2, "budget": 0.5}, "patience is of the other rule"
    assert found["own"] == {"min_lr": 0.0, "max_lr": None, "budget": 0.25}
    _, replayed = found["runs"]
    assert replayed["counts"]["anneal"] == 1
    assert "search" in replayed["counts"]
    assert "the search finds here means nothing" in found["caveat"]


def test_the_figure_has_both_and_what_nobody_knows(trained: Client) -> None:
    figure = what_if(trained, patience=3, theme="dark", axis="step")["figure"]
    names = [trace["name"] for trace in figure["data"]]
    assert {"as trained · val_loss", "what if · val_loss", "as trained · learning rate"} <= set(names)
    (shape,) = figure["layout"]["shapes"]
    assert (shape["name"], shape["x0"], shape["x1"]) == ("would have been different", 4, 12), "one step an epoch"
    rates = {trace["name"]: trace["y"] for trace in figure["data"] if trace["name"].endswith("learning rate")}
    assert rates["as trained · learning rate"][:2] == pytest.approx([0.1, 0.05])
    assert rates["what if · learning rate"] == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    assert names.index("as trained · val_loss") > names.index("what if · val_loss"), "drawn later, so above it"
    ranks = {trace["name"]: trace.get("legendrank", 1000) for trace in figure["data"]}
    assert ranks["as trained · val_loss"] < ranks["what if · val_loss"], "but first in the legend"
    assert figure["layout"]["paper_bgcolor"] == "#303030"
    assert "known" in figure["layout"]["uirevision"]


@pytest.mark.parametrize("scale", ["auto", "linear", "log"])
def test_the_axis_of_the_losses_is_that_of_the_main_figure_whatever_is_asked(tmp_path: Path, scale: str) -> None:
    """After a restart, losses from before it are off the axis; the training has one, and the replay may have none."""
    writer = EventWriter(tmp_path / "restarted" / "lr_plateau", 0)
    values = [1e6, 1e6, *[2.0] * 6, *[0.5] * 8]
    back = Decision("restart", "dead", 3, 2.0, None, 100.0, 0.1, restore="start", epoch=3)
    for epoch, value in enumerate(values):
        if epoch in (0, 3, 15):
            writer.record(make_record(epoch, *([back] if epoch == 3 else [])))
        writer.scalars(epoch, {"loss": value / 2, "val_loss": value, "learning_rate": 0.1}, 1.7e9 + epoch)
    writer.close()
    tab = client(tmp_path)

    def axis_of(figure: dict[str, Any]) -> tuple[Any, Any]:
        return figure["layout"]["yaxis"]["type"], figure["layout"]["yaxis"]["range"]

    own = axis_of(get(tab, "figure", run="restarted/lr_plateau", scale=scale).json["figure"])
    for asked in ({}, {"recover": "false"}, {"patience": 1, "max_raises": 0}, {"rule": "auto"}):
        found = get(tab, "whatif", run="restarted/lr_plateau", scale=scale, **asked).json
        assert axis_of(found["figure"]) == own
    assert found["runs"][0]["counts"] == {"restart": 1}
    assert "restart" not in found["runs"][1]["counts"]


def test_steps_are_those_of_the_training() -> None:
    run = make_run({"val_loss": [1.0, *[2.0] * 5]}, make_decision("cut", 4, 0.1, 0.05))
    _, replayed = whatif.answer(run, {}, {"patience": "2"}).runs
    (decision,) = (each for each in replayed.decisions if each.epoch == 2)
    assert Timeline(replayed).positions("step", [Timeline(replayed).moment(decision)]) == [30], "ten in an epoch"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"patience": "-1"}, "patience must be an integer >= 0. Received: patience=-1"),
        ({"patience": "2.0"}, "patience must be an integer, such as 10. Received: '2.0'"),
        ({"patience": ""}, "patience must be an integer, such as 10. Received: ''"),
        ({"patience": "1_0"}, "patience must be an integer"),
        ({"patience": "\N{FULLWIDTH DIGIT FIVE}"}, "patience must be an integer"),
        ({"cooldown": "1e2"}, "cooldown must be an integer"),
        ({"factor": "1.5"}, "factor must be a number between 0 and 1, both excluded. Received: factor=1.5"),
        ({"factor": "nan"}, "factor must be a number, such as 0.1. Received: 'nan'"),
        ({"factor": "0,5"}, "factor must be a number"),
        ({"factor": ""}, "factor must be a number"),
        ({"min_delta": "inf"}, "min_delta must be a number"),
        ({"min_delta": "1e999"}, "min_delta must be a finite number >= 0. Received: min_delta=inf"),
        ({"max_lr": "0x1"}, "max_lr must be a number, such as 0.1, or empty for no bound. Received: '0x1'"),
        ({"max_lr": "0.01"}, "max_lr must not be below the learning rate that training starts with"),
        ({"max_lr": "1", "min_lr": "2"}, "max_lr must not be below min_lr"),
        (
            {"threshold_mode": "percent"},
            "threshold_mode must be one of 'abs', 'rel'. Received: threshold_mode='percent'",
        ),
        ({"recover": "yes"}, "recover must be true or false. Received: 'yes'"),
        ({"raise_factor": "1"}, "raise_factor must be a finite number > 1"),
        ({"max_raises": "9" * 41}, "max_raises must have at most 40 characters. Received: 41"),
        ({"rule": "auto", "budget": "2"}, "budget must be a number from 0 to 1. Received: budget=2.0"),
        ({"rule": "auto", "min_lr": "1"}, "min_lr must not be above the learning rate that training starts with"),
        ({"rule": "Auto"}, "rule must be one of default, auto. Received: 'Auto'"),
        ({"log_dir": "/etc"}, "settings are factor, patience"),
        ({"patience": ["1", "2"]}, "each setting once"),
        ({"axis": "epochs"}, "axis must be one of epoch, step, time"),
        ({"run": "newer/lr_plateau"}, "version 99"),
    ],
)
def test_a_setting_that_makes_no_sense_gets_a_message(
    trained: Client, arguments: dict[str, Any], complaint: str
) -> None:
    response = get(trained, "whatif", **{"run": "known/lr_plateau", **arguments})
    assert response.status_code == 400
    assert complaint in strictly(response)["error"]


def test_there_must_be_such_a_run(trained: Client) -> None:
    assert get(trained, "whatif").status_code == 400
    response = get(trained, "whatif", run="gone")
    assert response.status_code == 404
    assert "there is no run 'gone'" in strictly(response)["error"]


def test_the_cost_of_an_answer_is_bounded(trained: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif, "MOST_OBSERVATIONS", len(VALUES))
    monkeypatch.setattr(whatif, "MOST_DECISIONS", len(CUTS))
    what_if(trained)
    monkeypatch.setattr(whatif, "MOST_DECISIONS", len(CUTS) - 1)
    assert "that would be 4 decisions; the tab shows at most 3" in get(trained, "whatif", run="known/lr_plateau").text
    monkeypatch.setattr(whatif, "MOST_OBSERVATIONS", len(VALUES) - 1)
    assert "has 12 observations; the tab replays at most 11" in get(trained, "whatif", run="known/lr_plateau").text


@pytest.mark.parametrize("run", ["unknown/lr_plateau", "bad/lr_plateau"])
def test_settings_that_are_not_known_are_the_defaults(trained: Client, run: str) -> None:
    found = what_if(trained, run=run)
    assert found["settings"] == {name: setting.default for name, setting in rule_settings("default").items()}
    assert found["call"] == 'AdaptLROnPlateau("val_loss")'
    assert ("not in its logs" in found["caveat"]) == (run == "unknown/lr_plateau")


@pytest.mark.parametrize(
    ("known", "asked", "text"),
    [
        ({}, {}, 'AdaptLROnPlateau("val_loss")'),
        ({}, {"patience": "5", "factor": "0.5"}, 'AdaptLROnPlateau("val_loss", factor=0.5, patience=5)'),
        (
            {"patience": 3.0, "log_dir": "logs/a", "verbose": 1.0, "mode": "auto"},
            {"patience": "10"},
            'AdaptLROnPlateau("val_loss", verbose=1, log_dir="logs/a")',
        ),
        ({"mode": "min", "rollback": "disk", "log_dir": 'a"b'}, {"recover": "false", "min_delta": "1e-7"}, None),
        ({"rollback": False, "frequency": 50.0}, {"rule": "auto", "budget": "0.1", "max_lr": "1"}, None),
        ({"budget": 0.5, "rollback": True}, {}, 'AdaptLROnPlateau.auto("val_loss", budget=0.5)'),
        ({"budget": 0.5}, {"rule": "default", "threshold_mode": "rel"}, None),
        ({"log_dir": "'; import os #\\"}, {"max_lr": ""}, None),
        ({"optimizer": "SGD"}, {}, 'AdaptLROnPlateau("val_loss")'),
        ({"optimizer": "SGD", "budget": 0.5}, {}, 'AdaptLROnPlateau.auto("val_loss", budget=0.5)'),
    ],
)
def test_the_call_makes_that_callback(known: dict[str, Any], asked: dict[str, str], text: str | None) -> None:
    from keras_lrplateau import AdaptLROnPlateau

    found = whatif.answer(make_run({"val_loss": [1.0, 2.0]}), known, asked)
    made = eval(found.call, {"AdaptLROnPlateau": AdaptLROnPlateau}).get_config()
    assert {name: made[name] for name in found.settings} == found.settings
    for name in ("log_dir", "mode", "verbose"):
        assert made[name] == known.get(name, {"log_dir": None, "mode": "auto", "verbose": 0}[name])
    if text is not None:
        assert found.call == text


@pytest.mark.parametrize("monitor", ["val_loss", "it's", 'a "b"', "\n\\ \N{RIGHT-TO-LEFT OVERRIDE}", "\ud800"])
def test_the_name_of_a_metric_stays_what_it_is_in_the_call(monitor: str) -> None:
    run = make_run({monitor: [1.0, 2.0]}, monitor=monitor)
    call = whatif.answer(run, {}, {}).call
    assert eval(call, {"AdaptLROnPlateau": lambda name: name}) == monitor
    assert call.isprintable()


def test_the_page_learns_from_the_server_which_settings_there_are() -> None:
    run = make_run({"val_loss": [1.0, 2.0]})
    for rule in ("default", "auto"):
        found = whatif.answer(run, {}, {"rule": rule})
        table = rule_settings(rule)
        assert [field["name"] for field in found.fields] == list(table) == list(found.settings) == list(found.own)
        for field in found.fields:
            assert field["text"] == table[field["name"]].sentence
            for text in field["choices"].values():
                assert whatif.answer(run, {}, {"rule": rule, field["name"]: text}).fields == found.fields
    page = (ROOT / "keras_lrplateau/tensorboard/static/whatif.js").read_text()
    assert not [name for name in rule_settings("default") if name in page], "nor are they written down there"


def test_under_a_schedule_it_is_the_multiplier_that_is_replayed() -> None:
    """value          1     2     2     2     2      2
    schedule       0.04  0.03  0.02  0.01  0.01   0.01
    as trained     0.04  0.03  0.02  0.01  0.005  0.005
    what if        0.04  0.03  0.02  0.001 0.001  0.0001
    """
    curves = {"val_loss": [1.0, *[2.0] * 5], "learning_rate": [0.04, 0.03, 0.02, 0.01, 0.005, 0.005]}
    quantity = "multiplier of the schedule"
    run = make_run(curves, make_decision("cut", 3, 1.0, 0.5), quantity=quantity)
    found = whatif.answer(run, {}, {"patience": "2", "factor": "0.1", "max_raises": "0", "max_lr": "0.001"})
    _, replayed = found.runs
    assert [(each.epoch, each.rate) for each in replayed.decisions] == [(2, 0.1), (4, pytest.approx(0.01))]
    assert replayed.quantity == quantity
    assert replayed.curves["learning_rate"].values == pytest.approx([0.04, 0.03, 0.02, 0.001, 0.001, 0.0001])
    assert found.settings["max_lr"] == 0.001


def test_of_several_optimizers_the_largest_rate_is_replayed_and_the_others_follow() -> None:
    curves = {"val_loss": [1.0, *[2.0] * 3], "learning_rate_a": [0.01] * 4, "learning_rate_b": [0.1] * 4}
    _, replayed = whatif.answer(make_run(curves), {}, {"patience": "2", "factor": "0.5"}).runs
    assert [(each.epoch, each.rate_before, each.rate) for each in replayed.decisions] == [(2, 0.1, 0.05)]
    assert replayed.curves["learning_rate_a"].values == pytest.approx([0.01, 0.01, 0.01, 0.005])
    assert replayed.curves["learning_rate_b"].values == pytest.approx([0.1, 0.1, 0.1, 0.05])
    assert "learning_rate" not in replayed.curves


def test_a_rounded_first_rate_is_not_above_its_own_bound() -> None:
    rounded = 0.10000000149011612
    found = whatif.answer(make_run({"val_loss": [1.0, 2.0], "learning_rate": [rounded] * 2}), {}, {"max_lr": "0.1"})
    assert found.runs[1].curves["learning_rate"].values == [0.1, 0.1]


def test_a_schedule_that_nothing_has_scaled_yet_begins_at_1() -> None:
    curves = {"val_loss": [1.0, *[2.0] * 3], "learning_rate": [0.04, 0.03, 0.02, 0.01]}
    run = make_run(curves, quantity="multiplier of the schedule")
    _, replayed = whatif.answer(run, {}, {"patience": "2", "factor": "0.5"}).runs
    assert [(each.rate_before, each.rate) for each in replayed.decisions] == [(1.0, 0.5)]
    assert replayed.curves["learning_rate"].values == pytest.approx([0.04, 0.03, 0.02, 0.005])


def test_the_first_rate_is_known_even_if_its_value_was_not_kept() -> None:
    curves = {"val_loss": [1.0, *[2.0] * 3], "learning_rate": [None, None, 0.05, 0.05]}
    run = make_run(curves, make_decision("cut", 1, 0.1, 0.05))
    _, replayed = whatif.answer(run, {}, {"patience": "1", "factor": "0.5", "max_raises": "0"}).runs
    assert replayed.curves["learning_rate"].values == [0.1, 0.1, 0.05, 0.025]


def test_the_better_metric_may_be_the_larger_one() -> None:
    run = make_run({"val_accuracy": [0.1, 0.2, 0.3, 0.4]}, monitor="val_accuracy", mode="max")
    assert list(whatif.answer(run, {}, {"patience": "1"}).runs[1].decisions) == []


def test_copies_that_are_kept_on_disk_are_no_other_settings() -> None:
    run = make_run({"val_loss": [1.0, 2.0]})
    assert whatif.answer(run, {"patience": 3.0, "rollback": "disk"}, {}).settings["patience"] == 3


def test_without_observations_there_is_nothing_to_replay() -> None:
    with pytest.raises(ValueError, match="no values of 'val_loss' in this run yet"):
        whatif.answer(make_run({"loss": [1.0]}), {}, {})


def test_what_a_replay_cannot_know_is_said() -> None:
    sampled = make_run({"val_loss": [1.0, None, None, 0.5], "loss": [1.0, None, 0.5, 0.25]})
    assert "TensorBoard holds 3 of 4 epochs" in whatif.answer(sampled, {}, {}).caveat
    seldom = make_run({"val_loss": [1.0, None, None, 0.5], "loss": [1.0, 0.5, 0.5, 0.25]})
    assert "TensorBoard holds" not in whatif.answer(seldom, {}, {}).caveat, "only the validation is not of each epoch"
    assert "rates are multiples of the first one" in whatif.answer(seldom, {}, {}).caveat

    within = make_run({"loss": [1.0, 1.0]}, make_decision("cut", 1, 0.1, 0.05, step=15), monitor="loss")
    for run, known in ((within, {}), (seldom, {"frequency": 50.0})):
        assert "the rule is asked at their ends" in whatif.answer(run, known, {}).caveat
    assert "the rule is asked at their ends" not in whatif.answer(seldom, {"frequency": "epoch"}, {}).caveat

    unlike = make_run({"val_loss": [1.0, 2.0]}, make_decision("diverged", 0, 0.1, 0.003))
    assert "something else had a part in it" in whatif.answer(unlike, {"patience": 10.0}, {}).caveat
    assert "something else had a part in it" not in whatif.answer(unlike, {"patience": 10.0}, {"patience": "9"}).caveat
    assert auto.Config.budget == whatif.answer(unlike, {"budget": 0.25}, {}).settings["budget"]


def test_rows_and_marks_are_bounded_and_what_is_left_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "MOST_ROWS", 4)
    monkeypatch.setattr(picture, "MOST_MARKS", 6)
    for name in ("a", "b"):
        write_run(tmp_path / name / "lr_plateau", *(decided(epoch, "cut") for epoch in range(7)), epochs=7)
    tab = client(tmp_path)
    names = ["a/lr_plateau", "b/lr_plateau"]
    for asked, listed, marked in ((names[:1], [4, 5, 6, 7], 6), (names, [6, 7], 3)):
        answer = strictly(get(tab, "figure", run=asked))
        for run in answer["runs"]:
            assert [row["epoch"] for row in run["rows"]] == listed
            assert run["counts"] == {"cut": 7}
        traces = [each for each in answer["figure"]["data"] if each["mode"] == "markers" and each["x"] != [None]]
        assert {len(trace["x"]) for trace in traces} == {marked}
        title = answer["figure"]["layout"]["xaxis"]["title"]["text"]
        assert title == f"epoch · marked: the latest 6 of {7 * len(asked)} decisions"


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_page_and_plotly_are_served(tab: Client) -> None:
    folder = ROOT / "keras_lrplateau/tensorboard/static"
    scripts = {path.name: "application/javascript" for path in folder.glob("*.js")}
    assert {"index.js", "runs.js"} <= set(scripts)
    for name, kind in {**scripts, "style.css": "text/css"}.items():
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
    plugin.compressed_plotly.cache_clear()
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
    assert tags.PLUGIN_NAME == PLUGIN_NAME
    assert event_accumulator.DEFAULT_SIZE_GUIDANCE["tensors"] == 10, "what would be kept otherwise"
