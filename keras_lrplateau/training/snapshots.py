"""Keeps copies of everything that training changes, for rollbacks: in host memory, on disk, or both.

On disk a copy is one file, written whole or not at all: a head with its version, an array for each variable, and a
checksum, because a copy that a failing disk has changed would ruin a training without a word. The file stays as long as
this training may need it, or a training that resumes from an earlier epoch (see `keras_lrplateau.resume.state_file`).
"""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import IO, Any, final

import keras
import numpy as np

from keras_lrplateau.files.atomic import replace_file
from keras_lrplateau.rule.decision import Snapshot
from keras_lrplateau.training import processes
from keras_lrplateau.training.optimizers import all_leaves, optimizers_of, to_float

SUFFIX = ".snapshot"

_HEAD = b"keras-lrplateau snapshot 2\n"
"""The first bytes of a file, with its version. Another order of the variables needs a new one.

Files of version 1 have no head. Their order depended on which layers were frozen, which they do not say.
"""

_CHECKSUM_BYTES = 4

_AT_ONCE = 1 << 24
"""How many bytes of a file are in memory at once to find its checksum."""

RATES = "_learning_rate", "_lr_plateau_multiplier"
"""The attributes of an optimizer that hold rates and multipliers."""


@dataclass
class _Copy:
    """One copy, in memory, in a file, or both.

    Attributes:
        arrays: One array for each variable; None if the copy is on disk only.
        file: The name of its file, which may not exist yet.
        is_written: Whether the file was written.
    """

    arrays: list[np.ndarray[Any, Any]] | None
    file: str
    is_written: bool


@final
class Snapshots:
    """The copies of a training, at most one under each name.

    Args:
        in_memory: Whether to keep copies in host memory; if not, they stay there only while they cannot be written.
        folder: The directory for files, made when it is needed; None for memory only.
        like: The file whose mode new files take, if it exists.

    Attributes:
        folder: As above.
        failure: Why the last copies could not be written; None if they could. `write_missing` tries again.
    """

    def __init__(self, in_memory: bool = True, folder: Path | None = None, like: Path | None = None) -> None:
        self._in_memory = in_memory
        self.folder = folder
        self._like = like
        self._copies: dict[Snapshot, _Copy] = {}
        self.failure: OSError | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the files with the original when it is copied or pickled."""
        copies = {name: _Copy(copy.arrays, copy.file, False) for name, copy in self._copies.items() if copy.arrays}
        return {**self.__dict__, "folder": None, "_copies": copies}

    def __len__(self) -> int:
        return len(self._copies)

    def __contains__(self, name: object) -> bool:
        return name in self._copies

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._copies)

    @property
    def files(self) -> dict[Snapshot, str]:
        """The file names of the copies on disk."""
        return {name: copy.file for name, copy in self._copies.items() if copy.is_written}

    def take(self, name: Snapshot, model: Any, optimizer: Any, label: int, at_once: bool = True) -> None:
        """Copy the state of training.

        Args:
            name: The name of the copy; it replaces an earlier one of this name.
            model: A built model.
            optimizer: The optimizer that the callback adapts. It must be built, and so must all others of the model.
            label: Part of the file name, such as the number of steps so far; it sets the file apart from others.
            at_once: Whether to write a copy in memory to disk now; if not, `write_missing` does so.
        """
        self._copies.pop(name, None)
        file = self._new_file(name, label)
        if not self._in_memory and self._write(file, _arrays(model, optimizer)):
            self._copies[name] = _Copy(None, file, is_written=True)
        else:
            arrays = take_snapshot(model, optimizer)
            self._copies[name] = _Copy(arrays, file, self._in_memory and at_once and self._write(file, arrays))

    def adopt(self, name: Snapshot, path: Path, model: Any, optimizer: Any) -> None:
        """Use a file of an earlier process as the copy of this name.

        The file is read into memory if copies are kept there, or if it is in another folder.

        Raises:
            OSError: The file cannot be read, or is damaged.
            ValueError: The file does not fit the model.
        """
        variables = _variables(model, optimizer)
        _check(path, variables)
        is_own = self.folder is not None and path.parent.absolute() == self.folder.absolute()
        arrays = list(_read(path, len(variables))) if self._in_memory or not is_own else None
        self._copies[name] = _Copy(arrays, path.name, is_written=is_own)

    def promote(self) -> None:
        """Make the candidate the best copy, if there is a candidate."""
        if "candidate" in self._copies:
            self._copies["best"] = self._copies.pop("candidate")

    def restore(self, name: Snapshot, model: Any, optimizer: Any, *, is_swapped: bool = False) -> None:
        """Go back to the copy of this name.

        Args:
            name: The name of the copy.
            model, optimizer: Those of `take`.
            is_swapped: See `restore_snapshot`.

        Raises:
            OSError: The file cannot be read, or is damaged.
            ValueError: The model has other variables than at the time of the copy.
        """
        copy = self._copies[name]
        if copy.arrays is not None:
            restore_snapshot(model, copy.arrays, optimizer, is_swapped=is_swapped)
            return
        variables = _variables(model, optimizer)
        # Check the whole file before anything is assigned.
        _check(self._path(copy.file), variables)
        restore_snapshot(model, _read(self._path(copy.file), len(variables)), optimizer, is_swapped=is_swapped)

    def growth(self, name: Snapshot, model: Any, optimizer: Any) -> float | None:
        """How many times as large the trained weights are now as in the copy of this name, as a root mean square.

        None if there is no copy, it cannot be read, or its weights are all zero.
        """
        copy = self._copies.get(name)
        if copy is None:
            return None
        weights = _weights(model)
        # A GAN may freeze its discriminator in each step, but an optimizer trains it all the same.
        leaves = [leaf for leaf in _leaves(model, optimizer) if leaf.built]
        trained = [*model.trainable_variables, *(weight for leaf in leaves for weight in leaf._trainable_variables)]
        known = set(map(id, trained))
        is_trained = [id(weight) in known for weight in weights]
        now = [processes.to_array(weight) for weight in compress(weights, is_trained)]
        try:
            arrays = _read(self._path(copy.file), len(weights)) if copy.arrays is None else copy.arrays
            before = _size(_as_kept(array, like) for array, like in zip(compress(arrays, is_trained), now, strict=True))
        except (OSError, ValueError):  # Going back will say so.
            return None
        return _size(now) / before if before else None

    def keep(self, names: Collection[Snapshot | None]) -> None:
        """Drop all copies but these. Their files stay until `clean`."""
        self._copies = {name: copy for name, copy in self._copies.items() if name in names}

    def write_missing(self) -> None:
        """Write copies in memory whose file is missing, because it could not be written or was removed."""
        if self.folder is None:
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
            OSError: A file cannot be removed.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        kept = {*files, *self.files.values()}
        for path in self.folder.iterdir():
            # Only our own files, and temporary ones that a killed process left.
            if path.name not in kept and path.name.removesuffix(".tmp").endswith(SUFFIX):
                path.unlink()
        if not kept:
            with contextlib.suppress(OSError):  # It may hold foreign files.
                self.folder.rmdir()

    def _new_file(self, name: Snapshot, label: int) -> str:
        """Return a name that no file has yet: a resumed process may still need the existing files."""
        file, number = f"{name}-{label}{SUFFIX}", 1
        while self.folder is not None and self._exists(file):
            number += 1
            file = f"{name}-{label}.{number}{SUFFIX}"
        return file

    def _exists(self, file: str) -> bool:
        # Unlike `Path.exists`, it raises nothing when the disk fails.
        return os.path.exists(self._path(file))

    def _path(self, file: str) -> Path:
        assert self.folder is not None
        return self.folder / file

    def _write(self, file: str, arrays: Iterable[np.ndarray[Any, Any]]) -> bool:
        """Write a file; False if that failed, or if there is no folder."""
        if self.folder is None:
            return False

        def write(stream: IO[bytes]) -> None:
            summed = _Summed(stream)
            summed.write(_HEAD)
            # One array after another, so that memory never holds them all.
            for array in arrays:
                np.save(summed, array, allow_pickle=False)
            stream.write(summed.checksum.to_bytes(_CHECKSUM_BYTES, "little"))

        try:
            replace_file(self._path(file), write, self._like)
        except OSError as error:
            self.failure = error
            return False
        return True


def take_snapshot(model: Any, optimizer: Any = None) -> list[np.ndarray[Any, Any]]:
    """Copy everything that training changes to host memory: weights, non-trainable state, optimizer state.

    With Adam that is about three times the size of the weights.

    Args:
        model: A built model with built optimizers.
        optimizer: An optimizer that is not among those of the model, if there is one.

    Returns:
        One array for each variable, with its shape and dtype.
    """
    # A view of the backend's own memory would change with the next step.
    return [array if array.flags.owndata else array.copy() for array in _arrays(model, optimizer)]


def restore_snapshot(
    model: Any, snapshot: Iterable[np.ndarray[Any, Any]], optimizer: Any = None, *, is_swapped: bool = False
) -> None:
    """Restore a snapshot, bit for bit.

    Args:
        model: The model of the snapshot.
        snapshot: The result of `take_snapshot`.
        optimizer: The argument of `take_snapshot`.
        is_swapped: Whether SwapEMAWeights has put averages into the model before the snapshot, and before now.

    Raises:
        ValueError: The model has other variables than at the time of the snapshot.
    """
    variables = _variables(model, optimizer)
    if isinstance(snapshot, list) and len(variables) != len(snapshot):
        raise ValueError(
            f"the model has {len(variables)} variables, but had {len(snapshot)} when the snapshot was taken; "
            "do not add layers or compile again during a training that can roll back"
        )
    averages = [pair for leaf in _leaves(model, optimizer) for pair in _averages(leaf)] if is_swapped else []
    # After the last epoch SwapEMAWeights makes averages and weights equal, and Keras puts the averages into the model
    # when training ends. So they must be equal after a rollback, too.
    are_final = all(bool(keras.ops.all(keras.ops.equal(weight, average))) for weight, average in averages)
    for variable, array in zip(variables, snapshot, strict=True):
        if array.dtype.kind == "V":
            array = _as_kept(array, processes.to_array(variable))
        processes.assign(variable, array)
    if are_final:
        for weight, average in averages:
            # On JAX the two would share a buffer, and the next step may give away no buffer twice.
            average.assign(keras.ops.copy(weight))


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
    """Return whether all variables exist, so that a snapshot will still fit later."""
    # A model without `call`, such as a GAN, is never built, but its layers are.
    is_container = type(model).call is keras.Model.call and model.layers
    model_is_built = model.built or (is_container and all(layer.built for layer in model.layers))
    return bool(model_is_built) and all(leaf.built for leaf in _leaves(model, optimizer))


def _arrays(model: Any, optimizer: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the values of all variables, perhaps as views of the backend's own memory."""
    # An average has no meaning before the first update, when Keras overwrites it. Saving the weight in its place is
    # right even if SwapEMAWeights has exchanged the two by the time of the restore.
    weights = {
        id(average): weight
        for leaf in _leaves(model, optimizer)
        if not int(to_float(leaf._iterations))
        for weight, average in _averages(leaf)
    }
    for variable in _variables(model, optimizer):
        yield processes.to_array(weights.get(id(variable), variable))


def _variables(model: Any, optimizer: Any) -> list[Any]:
    """Return all variables of a training, each once: first the weights of the model, then those of its optimizers.

    An optimizer has the order in which it was built, also in the files of Keras.

    Rates and multipliers are left out: whatever sets a rate also decides it after a rollback. For the adapted optimizer
    this is our callback; for another optimizer it may be another callback.
    """
    rates = [getattr(leaf, name, None) for leaf in _leaves(model, optimizer) for name in RATES]
    found = [*_weights(model), *(variable for each in optimizers_of(model, optimizer) for variable in each.variables)]
    unique = {id(variable): variable for variable in found}
    return [variable for key, variable in unique.items() if key not in set(map(id, rates))]


def _weights(model: Any) -> list[Any]:
    """Return the weights and the other variables of a model, each once.

    Unlike `trainable_variables`, their order stays when a layer is frozen, and so a copy fits afterwards.
    """
    return list({id(variable): variable for variable in model.variables}.values())


def _leaves(model: Any, optimizer: Any) -> list[Any]:
    return [leaf for each in optimizers_of(model, optimizer) for leaf in all_leaves(each)]


def _averages(leaf: Any) -> list[tuple[Any, Any]]:
    """Return pairs of a weight and the average that `use_ema` keeps of it."""
    if not (leaf.use_ema and leaf.built):
        return []
    pairs = zip(leaf._trainable_variables, leaf._model_variables_moving_average, strict=True)
    return [(weight, average) for weight, average in pairs if average is not None]


def _as_kept(array: np.ndarray[Any, Any], like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array from a file with the dtype that it had: NumPy's files do not know bfloat16."""
    return array.view(like.dtype) if array.dtype.kind == "V" else array


def _size(arrays: Iterable[np.ndarray[Any, Any]]) -> float:
    """Return the root of the sum of all squares, in double precision, where hardly any square overflows."""
    with np.errstate(over="ignore"):
        return math.sqrt(sum(float(np.sum(np.square(array.astype(np.float64)))) for array in arrays))


def _read(path: Path, count: int) -> Iterator[np.ndarray[Any, Any]]:
    with path.open("rb") as file:
        file.seek(len(_HEAD))
        for _ in range(count):
            yield np.load(file, allow_pickle=False)


class _Summed:
    """A stream that knows the CRC-32 of what was written to it.

    Args:
        stream: Where the bytes go.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.checksum = 0

    def write(self, content: bytes) -> int:
        self.checksum = zlib.crc32(content, self.checksum)
        return self._stream.write(content)


def _checksum_of(file: IO[bytes], length: int) -> int:
    """Return the CRC-32 of the first `length` bytes of a file."""
    file.seek(0)
    checksum = 0
    while length > 0 and (part := file.read(min(length, _AT_ONCE))):
        checksum = zlib.crc32(part, checksum)
        length -= len(part)
    return checksum


def _check(path: Path, variables: list[Any]) -> None:
    """Check that a file has the right head, length and checksum, and an array of the right shape for each variable.

    Raises:
        OSError: The file cannot be read, or is damaged.
        ValueError: An array has another shape, or another release wrote the file.
    """
    doubt = "it is damaged, or of a model with other variables"
    with path.open("rb") as file:
        head = file.read(len(_HEAD))
        if head.startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError(
                f"{path} was written by an earlier release of keras-lrplateau, in an order that depends on which "
                "layers were frozen at that time"
            )
        if head != _HEAD:
            raise OSError(f"{path} cannot be read: {doubt}, or written by a later release of keras-lrplateau")
        for variable in variables:
            try:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            except ValueError as error:
                raise OSError(f"{path} cannot be read ({error}): {doubt}") from None
            if shape != tuple(variable.shape):
                raise ValueError(
                    f"{path} belongs to another model: it has an array of shape {shape} for {variable.path}, which has "
                    f"{tuple(variable.shape)}"
                )
            file.seek(dtype.itemsize * int(np.prod(shape)), os.SEEK_CUR)
        end, size = file.tell(), os.fstat(file.fileno()).st_size
        if end + _CHECKSUM_BYTES != size:
            raise OSError(f"{path} has {size} bytes instead of {end + _CHECKSUM_BYTES}: {doubt}")
        checksum = _checksum_of(file, end)
        if checksum != int.from_bytes(file.read(_CHECKSUM_BYTES), "little"):
            raise OSError(f"{path} is damaged: it does not match its checksum")
