"""Training in several processes: finds this process's rank, gathers values, and reads and sets shared variables.

Keras reduces logs differently by backend: with JAX's `DataParallel` they are the same in all processes, under
`torchrun` each process has its own. So the ranks gather their values to agree on one observation. They need not gather
the decision: all ranks decide alike on the same observation.

A *rank* is the number of a process in the training, from 0. With TensorFlow there is only one: `MirroredStrategy` is a
single process, and `fit` of Keras 3 refuses `MultiWorkerMirroredStrategy` (keras#20585).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import keras
import numpy as np

ROOM = 1024
"""Bytes of a message in the first exchange between JAX processes; a longer message takes a second exchange.

JAX compiles an exchange for each new shape, so nearly all messages use this one.
"""

_LENGTH = struct.Struct("<Q")


def rank() -> int:
    """Return the rank of this process; 0 when it trains alone."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.process_index())
    if backend == "torch" and _is_torch_distributed():
        from torch import distributed

        return distributed.get_rank()
    return 0


def count() -> int:
    """Return how many processes train together; 1 when this one is alone."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.process_count())
    if backend == "torch" and _is_torch_distributed():
        from torch import distributed

        return distributed.get_world_size()
    return 1


def gather(value: Any) -> list[Any]:
    """Gather a value from every rank; all ranks get the same list.

    It is a collective: every rank must call it at the same point of its training, or the others wait.

    Args:
        value: Anything that JSON can hold, NaN and infinities included. A few kilobytes at most: all ranks get it.

    Returns:
        The values in the order of the ranks, as JSON returns them: tuples become lists, and the keys of a dict strings.
        Floats are exact. When this process is alone, a list with `value` itself; then no backend is used.

    Raises:
        TypeError: JSON cannot hold `value`.
    """
    if count() == 1:
        return [value]
    message = json.dumps(value, separators=(",", ":"))
    exchange = _exchange_jax if keras.backend.backend() == "jax" else _exchange_torch
    return [json.loads(each) for each in exchange(message)]


def to_array(variable: Any) -> np.ndarray[Any, Any]:
    """Return the whole value of a variable, even if each process holds a part (`keras.distribution.ModelParallel`).

    In that case this is a collective, like `gather`, and each device briefly holds the whole variable.

    Args:
        variable: A `keras.Variable`.

    Returns:
        The array. It may be a view of the backend's own memory.
    """
    if _is_in_parts(variable):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(variable.value, tiled=True))
    return np.asarray(keras.ops.convert_to_numpy(_without_cache(variable.value)))


def _without_cache(value: Any) -> Any:
    """Copy a JAX array on an accelerator: it would keep the copy made for the host as long as it lives."""
    if keras.backend.backend() != "jax" or all(device.platform == "cpu" for device in value.devices()):
        return value
    import jax

    return jax.numpy.copy(value)


def assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Set a variable to an array that is the same on all ranks; each rank takes its own part.

    `variable.assign` would do so, too. But when several JAX processes share the variable, JAX first copies the arrays
    of all processes to each device to check that they are equal. That takes one copy for each process, and fails on
    NaN.

    Args:
        variable: A `keras.Variable`.
        array: An array of the same shape and dtype.
    """
    if _is_shared(variable):
        import jax

        value = variable.value
        variable.assign(jax.make_array_from_callback(value.shape, value.sharding, lambda part: array[part]))
    else:
        variable.assign(array)


def local_part(variable: Any) -> Any:
    """Return the value of a variable; of a shared one, the part that this process holds. It is not a collective."""
    return variable.value.addressable_data(0) if _is_shared(variable) else keras.ops.convert_to_tensor(variable)


def _is_shared(variable: Any) -> bool:
    """Return whether other JAX processes hold the variable or parts of it."""
    return keras.backend.backend() == "jax" and count() > 1 and not variable.value.is_fully_addressable


def _is_in_parts(variable: Any) -> bool:
    return _is_shared(variable) and not variable.value.is_fully_replicated


def _exchange_jax(message: str) -> list[str]:
    # As bytes: without jax_enable_x64, JAX turns a float64 into a float32.
    content = message.encode()
    rows = _exchange_arrays(_LENGTH.pack(len(content)) + content[: ROOM - _LENGTH.size], ROOM)
    lengths = [_LENGTH.unpack(row[: _LENGTH.size])[0] for row in rows]
    # All ranks see the same lengths, so they agree on whether to exchange again.
    if max(lengths) <= ROOM - _LENGTH.size:
        rows = [row[_LENGTH.size :] for row in rows]
    else:
        rows = _exchange_arrays(content, 1 << max(lengths).bit_length())
    return [row[:length].decode() for row, length in zip(rows, lengths, strict=True)]


def _exchange_arrays(content: bytes, room: int) -> list[bytes]:
    """Exchange contents between all JAX processes; each is padded to `room` bytes."""
    from jax.experimental import multihost_utils

    padded = np.frombuffer(content.ljust(room, b"\0"), dtype=np.uint8)
    return [row.tobytes() for row in multihost_utils.process_allgather(padded)]


def _exchange_torch(message: str) -> list[str]:
    from torch import distributed

    messages = [""] * distributed.get_world_size()
    distributed.all_gather_object(messages, message)
    return messages


def _is_torch_distributed() -> bool:
    """Return whether `torch.distributed.init_process_group` has made a process group."""
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
