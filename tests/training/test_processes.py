"""Training in several processes: real ones, on JAX and on PyTorch, and on several devices with TensorFlow.

The tasks that the processes do are in processes_worker.py.
"""

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import only

from keras_lrplateau.training import processes

HERE = Path(__file__).parent
PATIENCE = 180.0
"""Seconds; then a process is taken to wait for another one for ever."""

FITS = [
    "falls_and_rises",
    "each_for_itself",
    "without_agreement",
    "nan_on_one_rank",
    "loss_explodes_on_one_rank",
    "validation_on_rank_0_only",
    "stops_when_exhausted",
    "decides_in_steps",
    "huge_loss_on_rank_1",
    "searches_in_steps",
    "rate_set_elsewhere",
    "auto_mode",
    "files",
    "resumed",
    "resumed_from_disk",
    "refused",
]
JAX_ONLY = ["shared_variables", "model_in_parts"]
Results = list[dict[str, Any]]
"""What each rank found, by task."""


def run_together(folder: Path, backend: str, count: int, *tasks: str) -> Results:
    """Start `count` processes, which do the tasks one after the other, and wait for them."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = [sys.executable, str(HERE / "processes_worker.py"), backend]
    # On a machine with few cores, threads of several processes get in each other's way.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1])]),
    }
    outputs = [folder / f"{rank}.txt" for rank in range(count)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank, output in enumerate(outputs):
            with output.open("w") as stream:
                command = [*worker, str(rank), str(count), str(port), str(folder), *tasks]
                running.append(subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT))
        end = time.monotonic() + PATIENCE
        while any(process.poll() is None for process in running) and time.monotonic() < end:
            if any(process.poll() for process in running):
                end = min(end, time.monotonic() + 5)  # One has failed, and the others wait for it.
            time.sleep(0.05)
        codes = [process.poll() for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(codes) or None in codes:
        pytest.fail(f"the processes ended with {codes}:\n" + "\n".join(output.read_text() for output in outputs))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What two processes found in all tasks, on the backend that the test is run for."""
    tasks = ["exchanges", *FITS, *(JAX_ONLY if request.param == "jax" else [])]
    return run_together(tmp_path_factory.mktemp(request.param), request.param, 2, *tasks)


# In the long lane: it takes half a minute to start two processes and to trace all of their fits.
on_jax = pytest.mark.parametrize("trained", only([], ["jax"]), indirect=True, scope="module")
on_both_backends = pytest.mark.parametrize("trained", only([], ["jax", "torch"]), indirect=True, scope="module")


def found_by(results: Results, task: str) -> list[Any]:
    """What each rank found in a task that went well."""
    found = [result[task] for result in results]
    for rank, each in enumerate(found):
        if "error" in each:
            pytest.fail(f"{task} failed on rank {rank}: {each['error']}")
    return found


# --- gather ----------------------------------------------------------------------------------------------------------


def test_a_process_that_is_alone_hears_itself() -> None:
    value = {"a": (1, math.nan)}

    (heard,) = processes.gather(value)

    assert (processes.rank(), processes.count()) == (0, 1)
    assert heard is value


def check_exchanges(results: Results, backend: str) -> None:
    found = found_by(results, "exchanges")
    assert [(each["rank"], each["count"]) for each in found] == [(rank, len(found)) for rank in range(len(found))]
    said = [list(words) for words in zip(*(each["said"] for each in found), strict=True)]
    assert len({len(word) for words in said for word in words}) > len(found)
    assert [each["heard"] for each in found] == [said] * len(found)
    assert {each["has_torch"] for each in found} == {backend == "torch"}


@on_both_backends
def test_two_processes_hear_each_other_exactly_and_in_order(trained: Results, request: pytest.FixtureRequest) -> None:
    check_exchanges(trained, request.node.callspec.params["trained"])


@pytest.mark.long
def test_so_do_four(tmp_path: Path) -> None:
    check_exchanges(run_together(tmp_path, "jax", 4, "exchanges"), "jax")


# --- the callback in several processes -------------------------------------------------------------------------------


def both(trained: Results, task: str) -> Any:
    """What both ranks found, after the check that it is the same."""
    first, second = found_by(trained, task)
    assert first["timeline"] == second["timeline"]
    assert first["rates"] == second["rates"]
    assert first["begins"] == second["begins"]
    assert first["ends"] == second["ends"]
    assert first["weights"] == second["weights"]
    assert first["warnings"] == second["warnings"] == []
    return first


def kinds(found: Any) -> list[tuple[int, str]]:
    return [(epoch, kind) for epoch, kind, *_ in found["timeline"]]


@on_both_backends
def test_all_ranks_decide_by_the_average_of_their_metrics(trained: Results) -> None:
    found = both(trained, "falls_and_rises")

    # patience=1 on a flat metric, with one raise.
    assert kinds(found) == [(1, "cut"), (2, "raise"), (8, "rollback"), (9, "cut")]


@on_both_backends
def test_a_rollback_is_the_same_on_all_ranks(trained: Results) -> None:
    found = both(trained, "falls_and_rises")
    (raised,) = [epoch for epoch, kind in kinds(found) if kind == "raise"]
    (back,) = [epoch for epoch, kind in kinds(found) if kind == "rollback"]

    assert found["ends"][raised] != found["ends"][back]
    assert found["begins"][back + 1] == found["ends"][raised]


@on_both_backends
def test_without_the_agreement_they_would_decide_differently(trained: Results) -> None:
    agreed = both(trained, "each_for_itself")
    first, second = (kinds(each) for each in found_by(trained, "without_agreement"))

    assert kinds(agreed) == kinds(both(trained, "falls_and_rises"))
    assert first == []
    assert second[0] == (1, "cut")


@on_both_backends
def test_what_is_nan_on_one_rank_has_diverged_on_all(trained: Results) -> None:
    found = both(trained, "nan_on_one_rank")

    assert kinds(found) == [(2, "diverged")]
    assert found["begins"][3] == found["ends"][1] != found["ends"][2]


@on_both_backends
def test_a_loss_that_explodes_on_one_rank_is_suspect_on_all_and_takes_none_back(trained: Results) -> None:
    found = both(trained, "loss_explodes_on_one_rank")

    assert kinds(found) == [(3, "cut")], "as with one process: the next epoch is sound again"


@on_both_backends
def test_ranks_without_validation_go_by_those_with_it(trained: Results) -> None:
    found = both(trained, "validation_on_rank_0_only")

    assert kinds(found) == [(1, "cut"), (4, "cut"), (5, "cut"), (6, "cut"), (7, "cut")]


@on_both_backends
def test_all_ranks_stop_at_the_same_epoch(trained: Results) -> None:
    found = both(trained, "stops_when_exhausted")

    assert len(found["rates"]) < 10


@on_both_backends
def test_decisions_within_an_epoch_are_the_same_on_all_ranks(trained: Results) -> None:
    found = both(trained, "decides_in_steps")
    first, second = (each["losses"] for each in found_by(trained, "decides_in_steps"))

    assert len(found["timeline"]) > 2
    # On JAX Keras averages the loss itself.
    assert (first != second) == trained[0]["exchanges"]["has_torch"]


@on_both_backends
def test_where_one_rank_knows_nothing_all_go_by_the_others(trained: Results) -> None:
    found = both(trained, "huge_loss_on_rank_1")
    first, second = ([float(loss) for loss in each["losses"]] for each in found_by(trained, "huge_loss_on_rank_1"))

    assert (second[0] > 1e9 > first[0]) == trained[0]["exchanges"]["has_torch"], "the scenario"
    assert len(found["timeline"]) > 2


@on_both_backends
def test_a_search_within_an_epoch_goes_the_same_way_on_all_ranks(trained: Results) -> None:
    found = both(trained, "searches_in_steps")

    assert len([epoch for epoch, kind in kinds(found) if (epoch, kind) == (0, "search")]) > 2
    assert (0, "settle") in kinds(found)


@on_both_backends
def test_a_rate_that_was_set_elsewhere_is_that_of_rank_0(trained: Results) -> None:
    first, second = found_by(trained, "rate_set_elsewhere")

    assert first["timeline"] == second["timeline"]
    assert [(epoch, kind, float.fromhex(rate)) for epoch, kind, _, rate, _ in first["timeline"]] == [
        (2, "override", 0.05)
    ]
    # The third epoch was over when they met.
    assert [float.fromhex(rate) for rate in first["rates"]] == [0.1, 0.1, 0.05, 0.05]
    assert float.fromhex(second["rates"][3]) == 0.05


@on_both_backends
def test_auto_mode_agrees_too(trained: Results) -> None:
    found = both(trained, "auto_mode")

    assert {"search", "settle", "anneal"} <= {kind for _, kind in kinds(found)}


@on_both_backends
def test_rank_0_alone_writes_files(trained: Results) -> None:
    both(trained, "files")
    first, second = (each["files"] for each in found_by(trained, "files"))

    assert any("tfevents" in name for name in first)
    assert second == []


@on_both_backends
def test_a_training_is_resumed_on_all_ranks_from_the_file_of_rank_0(trained: Results) -> None:
    whole = both(trained, "falls_and_rises")
    found = both(trained, "resumed")

    assert kinds(found) == kinds(whole)
    # The fit that was killed had begun the third epoch, too.
    assert found["begins"][-1] == whole["begins"][-1]


@on_both_backends
def test_a_resumed_training_can_go_back_to_copies_on_disk(trained: Results) -> None:
    whole = both(trained, "falls_and_rises")
    found = both(trained, "resumed_from_disk")

    assert kinds(found) == kinds(whole)
    assert found["begins"] == whole["begins"]
    assert found["ends"] == whole["ends"]


@on_both_backends
def test_what_stops_rank_0_stops_all(trained: Results) -> None:
    first, second = (each["raised"] for each in found_by(trained, "refused"))

    assert "obstacle0" in first
    assert "obstacle0" in second


# --- variables that processes share ----------------------------------------------------------------------------------


@on_jax
def test_a_shared_variable_is_read_whole_and_set_bit_for_bit(trained: Results) -> None:
    for found in found_by(trained, "shared_variables"):
        assert (found["whole"]["parts"], found["halves"]["parts"]) == ([[2, 4]], [[2, 2]])
        assert found["whole"]["is_same"]
        assert found["halves"]["is_same"]
        assert "model" in found["halves"]["layout"]


@on_jax
def test_a_model_in_parts_goes_back_too(trained: Results) -> None:
    first, second = found_by(trained, "model_in_parts")
    assert first == second
    assert not first["is_whole"]
    (raised,) = [epoch for epoch, kind in kinds(first) if kind == "raise"]
    (back,) = [epoch for epoch, kind in kinds(first) if kind == "rollback"]

    assert first["ends"][raised] != first["ends"][back]
    assert first["begins"][back + 1] == first["ends"][raised]


# --- several devices in one process ----------------------------------------------------------------------------------


@pytest.mark.long
def test_a_mirrored_strategy_is_cut_raised_and_rolled_back_on_all_devices(tmp_path: Path) -> None:
    (found,) = found_by(run_together(tmp_path, "tensorflow", 1, "mirrored"), "mirrored")
    events = kinds(found)
    (raised,) = [epoch for epoch, kind in events if kind == "raise"]
    (back,) = [epoch for epoch, kind in events if kind == "rollback"]

    assert [kind for _, kind in events] == ["cut", "raise", "rollback", "cut"]
    assert all(first == second for first, second in [*found["begins"], *found["ends"], *found["rates"]])
    assert found["ends"][raised] != found["ends"][back]
    assert found["begins"][back + 1] == found["ends"][raised]
    # The control: the digests do tell the devices apart.
    assert len(set(found["spoilt"])) == 2
    assert not found["has_torch"]
    assert found["alone"] == [0, 1, ["word"]]
