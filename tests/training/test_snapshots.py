"""Copies of all that training changes: they come back bit for bit, or not at all, and then it is said."""

import contextlib
import copy
import io
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import compile_model, everything, fit, only, tiny_model
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import CosineDecay

from keras_lrplateau.training import snapshots as snapshots_module
from keras_lrplateau.training.snapshots import SUFFIX, Snapshots, is_built

WHERE = pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "disk"])


def trained_model(optimizer: Any = None, **arguments: Any) -> Any:
    model = tiny_model(Adam(0.1) if optimizer is None else optimizer, **arguments)
    fit(model)
    return model


def train_on(model: Any) -> None:
    before = everything(model)
    fit(model)
    assert everything(model) != before


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


# --- there and back --------------------------------------------------------------------------------------------------


@WHERE
@pytest.mark.backends
def test_a_copy_comes_back_bit_for_bit(in_memory: bool, tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(in_memory, tmp_path / "copies")
    copies.take("best", model, None, 7)
    assert copies.files == {"best": f"best-7{SUFFIX}"}
    assert (tmp_path / "copies" / f"best-7{SUFFIX}").exists()
    before = everything(model)
    for _ in range(2):  # It stays.
        train_on(model)
        copies.restore("best", model, None)
        assert everything(model) == before


def test_without_a_folder_copies_are_in_memory_only() -> None:
    model = trained_model()
    copies = Snapshots()
    copies.take("best", model, None, 7)
    before = everything(model)
    copies.write_missing()
    copies.clean(())
    assert (copies.files, copies.failure) == ({}, None)
    train_on(model)
    copies.restore("best", model, None)
    assert everything(model) == before


def test_on_disk_only_nothing_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as a copy of the whole model while it is written."""
    monkeypatch.setattr(snapshots_module, "take_snapshot", None)
    model = trained_model()
    copies = Snapshots(in_memory=False, folder=tmp_path)
    copies.take("best", model, None, 0)
    copies.adopt("raise", tmp_path / f"best-0{SUFFIX}", model, None)
    assert set(copies) == {"best", "raise"}
    assert set(copy.deepcopy(copies)) == set(), "of itself it takes what is in memory"


@contextlib.contextmanager
def dtype_policy(name: str) -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def multi_optimizer() -> Any:
    optimizers = keras.optimizers.OptimizerMap(Adam(0.01), {".*kernel": SGD(0.1, momentum=0.9)})
    return keras.optimizers.MultiOptimizer(optimizers)


KINDS = {
    "float32": lambda: Adam(0.1),
    "mixed_float16": lambda: Adam(0.1),
    "mixed_bfloat16": lambda: Adam(0.1),
    "bfloat16": lambda: Adam(0.1),
    "float16": lambda: SGD(0.1, momentum=0.9),
    "EMA": lambda: SGD(0.1, use_ema=True),
    "Multi": multi_optimizer,
    "schedule": lambda: SGD(CosineDecay(0.1, 100)),
}


@pytest.mark.parametrize("kind", only(("Multi", "schedule"), KINDS))
@pytest.mark.backends
def test_a_copy_of_any_kind_goes_through_a_file_into_a_new_model(kind: str, tmp_path: Path, floatx: Any) -> None:
    """Mixed precision has a LossScaleOptimizer around the optimizer, whose variables count, too."""
    if kind == "Multi" and not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("a later release of Keras")

    def make() -> Any:
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        return compile_model(keras.Sequential([keras.Input((4,)), *layers]), KINDS[kind](), loss="mse")

    if kind == "bfloat16":
        floatx(kind)
    with dtype_policy(kind if "float" in kind else "float32"):
        model = make()
        fit(model)
        assert hasattr(model.optimizer, "inner_optimizer") == (kind == "mixed_float16")
        Snapshots(folder=tmp_path).take("best", model, None, 1)
        content = list(everything(model).values())
        for in_memory in (True, False):
            other = make()
            fit(other, epochs=3)
            assert list(everything(other).values()) != content
            copies = Snapshots(in_memory, tmp_path)
            copies.adopt("best", tmp_path / f"best-1{SUFFIX}", other, None)
            copies.restore("best", other, None)
            assert list(everything(other).values()) == content


def test_a_copy_taken_over_is_in_memory_if_copies_are(tmp_path: Path) -> None:
    """So it outlives its file, and the file is written again."""
    model = trained_model()
    Snapshots(folder=tmp_path / "copies").take("best", model, None, 1)
    before = everything(model)
    copies = Snapshots(folder=tmp_path / "copies")
    copies.adopt("best", tmp_path / "copies" / f"best-1{SUFFIX}", model, None)
    assert copies.files == {"best": f"best-1{SUFFIX}"}
    (tmp_path / "copies" / f"best-1{SUFFIX}").unlink()
    (tmp_path / "copies").rmdir()
    copies.write_missing()
    assert copies.failure is None
    for each in (copies, Snapshots(in_memory=False, folder=tmp_path / "copies")):
        each.adopt("best", tmp_path / "copies" / f"best-1{SUFFIX}", model, None)
        train_on(model)
        each.restore("best", model, None)
        assert everything(model) == before


@WHERE
def test_a_copy_of_another_folder_is_written_into_ones_own(in_memory: bool, tmp_path: Path) -> None:
    model = trained_model()
    Snapshots(folder=tmp_path / "0").take("best", model, None, 1)
    before = everything(model)
    copies = Snapshots(in_memory, tmp_path / "1")
    copies.adopt("best", tmp_path / "0" / f"best-1{SUFFIX}", model, None)
    assert copies.files == {}
    copies.write_missing()
    assert copies.files == {"best": f"best-1{SUFFIX}"}
    (tmp_path / "0" / f"best-1{SUFFIX}").unlink()
    train_on(model)
    copies.restore("best", model, None)
    assert everything(model) == before


def test_a_copy_of_the_callbacks_copies_has_no_files(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(folder=tmp_path)
    copies.take("best", model, None, 1)
    before = everything(model)
    for duplicate in (copy.deepcopy(copies), pickle.loads(pickle.dumps(copies))):
        assert duplicate.files == {}
        duplicate.clean(())
        assert list(tmp_path.iterdir()) != []
        train_on(model)
        duplicate.restore("best", model, None)
        assert everything(model) == before


@WHERE
@pytest.mark.backends
def test_the_optimizers_that_a_model_keeps_in_a_dict_come_back_too(in_memory: bool, tmp_path: Path) -> None:
    model = tiny_model(SGD(0.1))
    model.optimizers = {"d": SGD(0.1, momentum=0.9), "g": [Adam(0.1)]}
    optimizers = [model.optimizer, model.optimizers["d"], *model.optimizers["g"]]
    for layer, optimizer in zip(model.layers, optimizers[1:], strict=True):
        optimizer.build(layer.trainable_variables)
    assert not is_built(model, None)
    optimizers[0].build(model.trainable_variables)
    assert is_built(model, None)
    variables = [each for optimizer in optimizers for each in optimizer.variables if "learning_rate" not in each.path]
    copies = Snapshots(in_memory, tmp_path)
    copies.take("best", model, None, 0)
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    copies.restore("best", model, None)
    assert [np.any(keras.ops.convert_to_numpy(variable)) for variable in variables] == [False] * len(variables)


# --- when layers are frozen or thawed --------------------------------------------------------------------------------


def alike(*, frozen: int | None = None, optimizer: Any = None) -> Any:
    """A model of three layers that only their place tells apart, and a state that is not trained between them."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(4), keras.layers.Dense(4)]
    if frozen is not None:
        layers[frozen].trainable = False
    model = keras.Sequential([keras.Input((4,)), *layers])
    return compile_model(model, SGD(0.1) if optimizer is None else optimizer, loss="mse")


@WHERE
@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.backends
def test_weights_come_back_to_their_own_layers_though_others_are_frozen_by_then(
    in_memory: bool, optimizer: Any, tmp_path: Path
) -> None:
    model = alike(optimizer=optimizer(0.1))
    fit(model)
    copies = Snapshots(in_memory, tmp_path / "copies")
    copies.take("best", model, None, 0)
    before = everything(model)
    train_on(model)
    model.layers[0].trainable = False
    copies.restore("best", model, None)
    assert everything(model) == before
    copies.take("best", model, None, 1)
    model.layers[0].trainable, model.layers[2].trainable = True, False
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert everything(model) != before
    copies.restore("best", model, None)
    assert everything(model) == before


@WHERE
@pytest.mark.backends
def test_a_file_goes_into_the_right_layers_of_a_model_with_another_layer_frozen(
    in_memory: bool, tmp_path: Path
) -> None:
    model = alike()
    fit(model)
    Snapshots(folder=tmp_path).take("best", model, None, 1)
    other = alike(frozen=0)
    fit(other, epochs=2)
    assert len(other.trainable_variables) < len(model.trainable_variables)
    copies = Snapshots(in_memory, tmp_path)
    copies.adopt("best", tmp_path / f"best-1{SUFFIX}", other, None)
    copies.restore("best", other, None)
    assert list(everything(other).values()) == list(everything(model).values())


def test_a_file_of_an_earlier_release_whose_order_nobody_knows_is_refused(tmp_path: Path) -> None:
    model = alike()
    stream = io.BytesIO()
    for variable in [*model.trainable_variables, *model.non_trainable_variables, model.optimizer.iterations]:
        np.save(stream, keras.ops.convert_to_numpy(variable))
    path = tmp_path / f"best-1{SUFFIX}"
    path.write_bytes(stream.getvalue() + zlib.crc32(stream.getvalue()).to_bytes(4, "little"))
    with pytest.raises(ValueError, match=r"best-1\.snapshot was written by an earlier release of keras-lrplateau"):
        Snapshots(folder=tmp_path).adopt("best", path, model, None)


# --- which there are -------------------------------------------------------------------------------------------------


def test_there_is_one_copy_of_each_name_and_files_stay_until_they_are_cleaned(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(folder=tmp_path)
    for label in (1, 2):
        copies.take("best", model, None, label)
    copies.take("raise", model, None, 2)
    assert sorted(copies) == ["best", "raise"]
    assert ("best" in copies, "start" in copies, len(copies)) == (True, False, 2)
    copies.keep({"raise", None})
    assert copies.files == {"raise": f"raise-2{SUFFIX}"}
    assert len(list(tmp_path.iterdir())) == 3
    copies.clean({f"best-1{SUFFIX}", f"never-there{SUFFIX}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"best-1{SUFFIX}", f"raise-2{SUFFIX}"]


def test_what_a_killed_process_has_left_is_cleaned_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(folder=tmp_path / "copies")
    copies.take("best", model, None, 1)
    for name in (f"raise-1{SUFFIX}.tmp", f"start-0{SUFFIX}", "notes.txt", ".nfs0001"):
        (tmp_path / "copies" / name).touch()
    copies.clean(())
    names = {".nfs0001", "notes.txt"}
    assert {path.name for path in (tmp_path / "copies").iterdir()} == {f"best-1{SUFFIX}", *names}
    copies.keep(())
    copies.clean(())  # The folder cannot go, which is no failure.
    assert {path.name for path in (tmp_path / "copies").iterdir()} == names
    for name in names:
        (tmp_path / "copies" / name).unlink()
    copies.clean(())
    assert not (tmp_path / "copies").exists()
    copies.clean(())


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    """The state file may still speak of it, until it is written itself."""
    model = trained_model()
    copies = Snapshots(folder=tmp_path)
    copies.take("best", model, None, 1)
    content = (tmp_path / f"best-1{SUFFIX}").read_bytes()
    train_on(model)
    copies.take("best", model, None, 1)
    (new,) = copies.files.values()
    assert new != f"best-1{SUFFIX}"
    assert (tmp_path / f"best-1{SUFFIX}").read_bytes() == content != (tmp_path / new).read_bytes()


def test_the_disk_can_wait(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(folder=tmp_path)
    copies.take("best", model, None, 1, at_once=False)
    assert list(tmp_path.iterdir()) == []
    copies.write_missing()
    assert [path.name for path in tmp_path.iterdir()] == list(copies.files.values())


# --- when something is wrong -----------------------------------------------------------------------------------------


@WHERE
def test_what_cannot_be_written_is_kept_in_memory_until_it_can(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained_model()
    copies = Snapshots(in_memory, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(snapshots_module, "replace_file", full_disk)
        copies.take("best", model, None, 1)
        before = everything(model)
        assert "No space left" in str(copies.failure)
        copies.write_missing()
        assert copies.failure is not None
        assert copies.files == {}
        train_on(model)
        copies.restore("best", model, None)
        assert everything(model) == before
    copies.write_missing()
    assert copies.failure is None
    assert copies.files == {"best": f"best-1{SUFFIX}"}
    assert ("best" in copy.deepcopy(copies)) == in_memory
    train_on(model)
    copies.restore("best", model, None)
    assert everything(model) == before


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def save(stream: Any, array: Any, **_: Any) -> None:
        stream.write(array.tobytes())
        written.append(array)
        if len(written) == 3:
            full_disk()

    monkeypatch.setattr(snapshots_module.np, "save", save)
    copies = Snapshots(folder=tmp_path / "copies")
    copies.take("best", trained_model(), None, 1)
    assert len(written) == 3
    assert copies.failure is not None
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_removed_folder_is_written_again_from_memory(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(folder=tmp_path / "copies")
    copies.take("best", model, None, 1)
    content = (tmp_path / "copies" / f"best-1{SUFFIX}").read_bytes()
    (tmp_path / "copies" / f"best-1{SUFFIX}").unlink()
    (tmp_path / "copies").rmdir()
    copies.clean(())
    copies.write_missing()
    assert (tmp_path / "copies" / f"best-1{SUFFIX}").read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="has no modes of this kind")
@WHERE
def test_a_copy_has_the_mode_of_the_state_file(in_memory: bool, tmp_path: Path) -> None:
    model, state = trained_model(), tmp_path / "state.json"
    copies = Snapshots(in_memory, tmp_path / "copies", state)
    before = os.umask(0o022)
    try:
        copies.take("start", model, None, 0)  # There is no state file yet.
        for label, mode in enumerate((0o600, 0o640)):
            state.touch()
            state.chmod(mode)
            copies.take("best", model, None, label)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "copies").iterdir()}
    assert modes == {f"start-0{SUFFIX}": 0o644, f"best-0{SUFFIX}": 0o600, f"best-1{SUFFIX}": 0o640}


def shorter(content: bytes) -> bytes:
    return content[:-1]


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def longer(content: bytes) -> bytes:
    return content + b"\0"


def empty(content: bytes) -> bytes:
    return b""


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


def one_bit(content: bytes) -> bytes:
    """In the middle, which is a number of a weight; only the checksum tells."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [shorter, half, longer, empty, zeros, one_bit, last_bit])
def test_a_damaged_file_is_refused_before_anything_is_changed(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(in_memory=False, folder=tmp_path)
    copies.take("best", model, None, 1)
    path = tmp_path / f"best-1{SUFFIX}"
    path.write_bytes(damage(path.read_bytes()))
    train_on(model)
    before = everything(model)
    with pytest.raises(OSError, match=r"best-1\.snapshot .* damaged"):
        copies.restore("best", model, None)
    for in_memory in (True, False):
        others = Snapshots(in_memory, tmp_path)
        with pytest.raises(OSError, match=r"best-1\.snapshot .* damaged"):
            others.adopt("best", path, model, None)
        assert len(others) == 0
    assert everything(model) == before


def test_a_file_of_another_model_is_refused_and_the_layer_is_named(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, name="a"), keras.layers.Dense(1, name="b")])
    compile_model(other, loss="mse")
    fit(other)
    Snapshots(folder=tmp_path).take("best", other, None, 1)
    model = trained_model(SGD(0.1))
    with pytest.raises(ValueError, match=r"belongs to another model: .* \(4, 5\) for .*a/kernel, which has \(4, 3\)"):
        Snapshots(folder=tmp_path).adopt("best", tmp_path / f"best-1{SUFFIX}", model, None)
    # With more variables, and with fewer.
    Snapshots(folder=tmp_path).take("raise", model, None, 1)
    for optimizer in (Adam(0.1), SGD(0.1, momentum=0.9)):
        with pytest.raises((ValueError, OSError)):
            Snapshots(folder=tmp_path).adopt("raise", tmp_path / f"raise-1{SUFFIX}", trained_model(optimizer), None)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    model = trained_model()
    copies = Snapshots(in_memory=False, folder=tmp_path)
    copies.take("best", model, None, 1)
    (tmp_path / f"best-1{SUFFIX}").unlink()
    before = everything(model)
    with pytest.raises(FileNotFoundError):
        copies.restore("best", model, None)
    with pytest.raises(FileNotFoundError):
        copies.adopt("best", tmp_path / f"best-1{SUFFIX}", model, None)
    assert everything(model) == before


def test_arrays_are_ones_own_not_views_of_the_model(tmp_path: Path) -> None:
    """On TensorFlow and PyTorch variables are changed in place."""
    model = trained_model()
    copies = Snapshots()
    copies.take("best", model, None, 0)
    before = everything(model)
    for _ in range(2):
        train_on(model)
        assert everything(model) != before
        copies.restore("best", model, None)
        assert everything(model) == before, "nor does the model take the arrays over"


# --- how the weights have grown --------------------------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_compared_with_those_of_a_copy(in_memory: bool, dtype: str, tmp_path: Path, floatx: Any) -> None:
    floatx(dtype)
    model = tiny_model(Adam(0.1))
    copies = Snapshots(in_memory, tmp_path / "copies")
    copies.take("start", model, None, 0)
    assert copies.growth("start", model, None) == pytest.approx(1.0)
    model.set_weights([8 * weight for weight in model.get_weights()])
    assert copies.growth("start", model, None) == pytest.approx(8.0)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    assert np.isnan(copies.growth("start", model, None))


@WHERE
def test_weights_that_are_frozen_between_two_steps_are_compared_with_their_own(in_memory: bool, tmp_path: Path) -> None:
    """As those of a GAN's discriminator are while its generator learns."""
    model = alike()
    fit(model)
    copies = Snapshots(in_memory, tmp_path / "copies")
    copies.take("start", model, None, 0)
    model.layers[0].set_weights([1000 * weight for weight in model.layers[0].get_weights()])
    expected = copies.growth("start", model, None)
    model.layers[0].trainable = False
    assert copies.growth("start", model, None) == expected > 100


def test_where_there_is_nothing_to_compare_with_nobody_can_tell(tmp_path: Path) -> None:
    model = tiny_model()
    copies = Snapshots(False, tmp_path / "copies")
    assert copies.growth("start", model, None) is None
    copies.take("start", model, None, 0)
    (file,) = (tmp_path / "copies").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert copies.growth("start", model, None) is None, "a damaged file"
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    copies.take("best", model, None, 0)
    assert copies.growth("best", model, None) is None, "from zero anything grows without bound"
