"""Copies of all that training changes, to go back to: in host memory, on disk, or both.

On disk a copy is one file, written whole or not at all. It stays as long as it may be asked for: by the
training that goes on, or by one that is resumed from an epoch before (see `keras_lrplateau.resume.state_file`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import keras
import numpy as np

from keras_lrplateau.files.atomic import replace_file
from keras_lrplateau.rule.decision import Snapshot
from keras_lrplateau.training import processes
from keras_lrplateau.training.optimizers import all_leaves, optimizers_of, to_float

SUFFIX = ".snapshot"

RATES = "_learning_rate", "_lr_plateau_multiplier"
"""Attributes of an optimizer."""


@dataclass
class _Copy:
    """One copy, in memory or in a file or both.

    Attributes:
        arrays: One array for each variable; None if it is on disk only.
        file: The name that its file has, or is to have.
        is_written: Whether there is one.
    """

    arrays: list[np.ndarray[Any, Any]] | None
    file: str
    is_written: bool


@final
class Snapshots:
    """At most one copy under each name.

    Args:
        in_memory: Whether copies are kept in host memory; if not, in memory only while they cannot be written.
        folder: The directory for files, made when it is needed; None for memory only.

    Attributes:
        failure: Why copies could not be written lately; None if they could. `write_missing` tries again.
    """

    def __init__(self, in_memory: bool = True, folder: Path | None = None) -> None:
        self._in_memory = in_memory
        self._folder = folder
        self._copies: dict[Snapshot, _Copy] = {}
        self.failure: OSError | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: files stay with the original."""
        copies = {name: _Copy(copy.arrays, copy.file, False) for name, copy in self._copies.items() if copy.arrays}
        return {**self.__dict__, "_folder": None, "_copies": copies}

    def __len__(self) -> int:
        return len(self._copies)

    def __contains__(self, name: object) -> bool:
        return name in self._copies

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._copies)

    @property
    def files(self) -> dict[Snapshot, str]:
        """The names of the files of those that are on disk."""
        return {name: copy.file for name, copy in self._copies.items() if copy.is_written}

    def take(self, name: Snapshot, model: Any, optimizer: Any, label: int, at_once: bool = True) -> None:
        """Copy the state of training.

        Args:
            name: Takes the place of the one of this name.
            model: A built model.
            optimizer: The one that the callback adapts; built, and so are the others of the model.
            label: Tells it from others of this name on disk, such as the number of steps so far.
            at_once: Whether a copy that is in memory is written to disk now; if not, `write_missing` does it.
        """
        self._copies.pop(name, None)
        file = self._new_file(name, label)
        if not self._in_memory and self._write(file, _arrays(model, optimizer)):
            self._copies[name] = _Copy(None, file, is_written=True)
        else:
            arrays = take_snapshot(model, optimizer)
            self._copies[name] = _Copy(arrays, file, self._in_memory and at_once and self._write(file, arrays))

    def adopt(self, name: Snapshot, path: Path, model: Any, optimizer: Any) -> None:
        """Take a file that an earlier process has written for the copy of this name.

        It is read where copies are kept in memory, and where the file is in another folder.

        Raises:
            OSError: It cannot be read, or is not whole.
            ValueError: It is not of such a model.
        """
        variables = _variables(model, optimizer)
        _check(path, variables)
        is_own = path.parent == self._folder
        arrays = list(_read(path, len(variables))) if self._in_memory or not is_own else None
        self._copies[name] = _Copy(arrays, path.name, is_written=is_own)

    def promote(self) -> None:
        """The candidate becomes the best one, if there is a candidate."""
        if "candidate" in self._copies:
            self._copies["best"] = self._copies.pop("candidate")

    def restore(self, name: Snapshot, model: Any, optimizer: Any) -> None:
        """Go back to the copy of this name.

        Raises:
            OSError: Its file cannot be read, or is not whole.
            ValueError: The model has other variables than when it was taken.
        """
        copy = self._copies[name]
        if copy.arrays is not None:
            restore_snapshot(model, copy.arrays, optimizer)
            return
        variables = _variables(model, optimizer)
        # Whole, before anything is assigned.
        _check(self._path(copy.file), variables)
        restore_snapshot(model, _read(self._path(copy.file), len(variables)), optimizer)

    def keep(self, names: Collection[Snapshot | None]) -> None:
        """Drop all others. Their files stay until `clean`."""
        self._copies = {name: copy for name, copy in self._copies.items() if name in names}

    def write_missing(self) -> None:
        """Write what could not be written, and what is gone from the disk but not from memory."""
        if self._folder is None:
            return
        self.failure = None
        for copy in self._copies.values():
            if copy.arrays is not None and not (copy.is_written and self._exists(copy.file)):
                copy.is_written = self._write(copy.file, copy.arrays)
                if copy.is_written and not self._in_memory:
                    copy.arrays = None

    def clean(self, files: Collection[str]) -> None:
        """Remove all files from the folder but these and the present ones.

        Raises:
            OSError: One cannot be removed.
        """
        if self._folder is None or not self._folder.is_dir():
            return
        kept = {*files, *self.files.values()}
        for path in self._folder.iterdir():
            # Others are not ours, but for what a killed process has left half written.
            if path.name not in kept and path.name.removesuffix(".tmp").endswith(SUFFIX):
                path.unlink()
        if not kept:
            with contextlib.suppress(OSError):  # There may be files of others in it.
                self._folder.rmdir()

    def _new_file(self, name: Snapshot, label: int) -> str:
        """A name that no file has: a process that goes on after a kill may still need the one that is there."""
        file, number = f"{name}-{label}{SUFFIX}", 1
        while self._folder is not None and self._exists(file):
            number += 1
            file = f"{name}-{label}.{number}{SUFFIX}"
        return file

    def _exists(self, file: str) -> bool:
        # Unlike `Path.exists`, it raises nothing, whatever is the matter with the disk.
        return os.path.exists(self._path(file))

    def _path(self, file: str) -> Path:
        assert self._folder is not None
        return self._folder / file

    def _write(self, file: str, arrays: Iterable[np.ndarray[Any, Any]]) -> bool:
        """Whether it is written; not where there is no folder."""
        if self._folder is None:
            return False

        def write(stream: Any) -> None:
            # Arrays one after another, as numpy.load gives them back: at no time are all of them in memory.
            for array in arrays:
                np.save(stream, array, allow_pickle=False)

        try:
            replace_file(self._path(file), write)
        except OSError as error:
            self.failure = error
            return False
        return True


def take_snapshot(model: Any, optimizer: Any = None) -> list[np.ndarray[Any, Any]]:
    """Copy all that training changes to host memory: weights, non-trainable state, optimizer state.

    With Adam that is about three times the size of the weights.

    Args:
        model: A built model with built optimizers.
        optimizer: Another one than those of the model, if there is one.

    Returns:
        One array for each variable, of its own shape and dtype.
    """
    # A view of the backend's own memory would change with the next step.
    return [array if array.flags.owndata else array.copy() for array in _arrays(model, optimizer)]


def restore_snapshot(model: Any, snapshot: Iterable[np.ndarray[Any, Any]], optimizer: Any = None) -> None:
    """Put everything back, bit for bit, as `take_snapshot` found it.

    Args:
        model: The model that the snapshot was taken of.
        snapshot: What `take_snapshot` returned.
        optimizer: As it was given to `take_snapshot`.

    Raises:
        ValueError: The model has other variables than when the snapshot was taken.
    """
    variables = _variables(model, optimizer)
    if isinstance(snapshot, list) and len(variables) != len(snapshot):
        raise ValueError(
            f"the model has {len(variables)} variables, but had {len(snapshot)} when the snapshot was taken; "
            "do not add layers or compile again during a training that can roll back"
        )
    averages = [pair for leaf in _leaves(model, optimizer) for pair in _averages(leaf)]
    # After the last epoch SwapEMAWeights makes the averages equal to the weights, for Keras to put them into the model
    # when training ends. They must be equal after a rollback, too.
    are_final = all(bool(keras.ops.all(keras.ops.equal(weight, average))) for weight, average in averages)
    for variable, array in zip(variables, snapshot, strict=True):
        if array.dtype.kind == "V":  # NumPy's files do not know bfloat16.
            array = array.view(processes.to_array(variable).dtype)
        processes.assign(variable, array)
    if are_final:
        for weight, average in averages:
            average.assign(weight)


def stop_momentum(optimizer: Any) -> None:
    """Set the velocities of SGD and RMSprop to zero.

    Keras multiplies a gradient by the rate before it adds it to the velocity. So the velocity of a high rate goes on
    moving the weights, however low the rate is now. Other optimizers average the bare gradients.
    """
    for leaf in all_leaves(optimizer):
        if isinstance(leaf, keras.optimizers.SGD | keras.optimizers.RMSprop):
            for variable in leaf.variables:
                if variable.path.endswith("_momentum"):
                    processes.assign(variable, np.zeros_like(processes.to_array(variable)))


def is_built(model: Any, optimizer: Any) -> bool:
    """Whether all variables are there, so that a snapshot will fit later, too."""
    # A model without `call`, such as a GAN, is never built itself, but what it is made of.
    is_container = type(model).call is keras.Model.call and model.layers
    model_is_built = model.built or (is_container and all(layer.built for layer in model.layers))
    return bool(model_is_built) and all(leaf.built for leaf in _leaves(model, optimizer))


def _arrays(model: Any, optimizer: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The values of all variables, one by one; perhaps views of the backend's own memory."""
    # An average of weights means nothing before the first update, and Keras overwrites it then. As a copy of its weight
    # it stays right when SwapEMAWeights has exchanged the two at the time the snapshot is restored.
    weights = {
        id(average): weight
        for leaf in _leaves(model, optimizer)
        if not int(to_float(leaf._iterations))
        for weight, average in _averages(leaf)
    }
    for variable in _variables(model, optimizer):
        yield processes.to_array(weights.get(id(variable), variable))


def _variables(model: Any, optimizer: Any) -> list[Any]:
    """Each once, though that of an optimizer inside another one is met twice.

    Rates are left out, and so are multipliers: what sets a rate also decides what it is after going back. For the
    adapted optimizer that is the callback; for another one it may be another callback.
    """
    rates = [getattr(leaf, name, None) for leaf in _leaves(model, optimizer) for name in RATES]
    found = [*model.trainable_variables, *model.non_trainable_variables]
    found += [variable for each in optimizers_of(model, optimizer) for variable in each.variables]
    unique = {id(variable): variable for variable in found}
    return [variable for key, variable in unique.items() if key not in set(map(id, rates))]


def _leaves(model: Any, optimizer: Any) -> list[Any]:
    return [leaf for each in optimizers_of(model, optimizer) for leaf in all_leaves(each)]


def _averages(leaf: Any) -> list[tuple[Any, Any]]:
    """Each weight with the average that `use_ema` keeps of it."""
    if not (leaf.use_ema and leaf.built):
        return []
    pairs = zip(leaf._trainable_variables, leaf._model_variables_moving_average, strict=True)
    return [(weight, average) for weight, average in pairs if average is not None]


def _read(path: Path, count: int) -> Iterator[np.ndarray[Any, Any]]:
    with path.open("rb") as file:
        for _ in range(count):
            yield np.load(file, allow_pickle=False)


def _check(path: Path, variables: list[Any]) -> None:
    """Check that a file has an array of the right shape for each variable, and the right length.

    Raises:
        OSError: It cannot be read, or is not whole.
        ValueError: An array has another shape.
    """
    doubt = "it is damaged, or of a model with other variables"
    with path.open("rb") as file:
        for variable in variables:
            try:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            except ValueError as error:
                raise OSError(f"{path} cannot be read ({error}): {doubt}") from None
            if shape != tuple(variable.shape):
                raise ValueError(
                    f"{path} is of another model: it has an array of shape {shape} for {variable.path}, which has "
                    f"{tuple(variable.shape)}"
                )
            file.seek(dtype.itemsize * int(np.prod(shape)), os.SEEK_CUR)
        end, size = file.tell(), os.fstat(file.fileno()).st_size
        if end != size:
            raise OSError(f"{path} has {size} bytes instead of {end}: {doubt}")
