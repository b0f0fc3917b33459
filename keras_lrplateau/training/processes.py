"""Training in several processes: who this one is, and what all of them say.

Keras' own reduction of logs differs by backend: with JAX's `DataParallel` they are the same in all processes, under
`torchrun` each process has its own. Here is the little that it takes to agree on one observation anyway. What is
gathered is the observation and not the decision: from the same observation all ranks decide the same by themselves.
And here is what it takes to read and to set a variable that several processes have a part in.

A *rank* is the number of a process in the training, from 0. Of TensorFlow there is always one: `MirroredStrategy` is a
single process, and `fit` of Keras 3 refuses `MultiWorkerMirroredStrategy` (keras#20585).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import keras
import numpy as np

ROOM = 1024
"""Bytes of a message in the first exchange between JAX processes; a longer one takes a second exchange.

JAX compiles an exchange for each shape that it meets, so all messages but rare ones have this one.
"""

_LENGTH = struct.Struct("<Q")


def rank() -> int:
    """The number of this process among those that train together; 0 when it is alone."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.process_index())
    if backend == "torch" and _is_torch_distributed():
        from torch import distributed

        return distributed.get_rank()
    return 0


def count() -> int:
    """How many processes train together; 1 when this one is alone."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.process_count())
    if backend == "torch" and _is_torch_distributed():
        from torch import distributed

        return distributed.get_world_size()
    return 1


def gather(value: Any) -> list[Any]:
    """What every rank says, the same list on all of them.

    It is a collective: each rank must call it, at the same point of its training, or the others wait for it.

    Args:
        value: Anything that JSON holds, and NaN and infinities. Not more than a few kilobytes: every rank gets all.

    Returns:
        The values in the order of the ranks, as JSON returns them: a tuple is a list, the keys of a dict are strings.
        Floats are exact to the last bit. When this process is alone, a list with `value` itself, and no backend is
        asked to send anything.

    Raises:
        TypeError: JSON has nothing for `value`.
    """
    if count() == 1:
        return [value]
    message = json.dumps(value, separators=(",", ":"))
    exchange = _exchange_jax if keras.backend.backend() == "jax" else _exchange_torch
    return [json.loads(each) for each in exchange(message)]


def to_array(variable: Any) -> np.ndarray[Any, Any]:
    """The value of a variable, whole, also where each process has a part of it (`keras.distribution.ModelParallel`).

    Then it is a collective, as `gather` is, and for a moment the whole variable is on each device.

    Args:
        variable: A `keras.Variable`.

    Returns:
        It may be a view of the backend's own memory.
    """
    if _is_in_parts(variable):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(variable.value, tiled=True))
    return np.asarray(keras.ops.convert_to_numpy(_without_cache(variable.value)))


def _without_cache(value: Any) -> Any:
    """An array of JAX on an accelerator keeps the host's copy of it as long as it lives; so the host gets another's."""
    if keras.backend.backend() != "jax" or all(device.platform == "cpu" for device in value.devices()):
        return value
    import jax

    return jax.numpy.copy(value)


def assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Set a variable to an array that is the same on all ranks; each takes the part that it has.

    `variable.assign` does it, too. But when several JAX processes share the variable, JAX first brings the arrays of
    all of them to each device to see that they are equal: as many copies as there are processes, and an error where
    there is a NaN, which equals nothing.

    Args:
        variable: A `keras.Variable`.
        array: Of its shape and dtype.
    """
    if _is_shared(variable):
        import jax

        value = variable.value
        variable.assign(jax.make_array_from_callback(value.shape, value.sharding, lambda part: array[part]))
    else:
        variable.assign(array)


def _is_shared(variable: Any) -> bool:
    """Whether other JAX processes have the variable, or parts of it."""
    return keras.backend.backend() == "jax" and count() > 1 and not variable.value.is_fully_addressable


def _is_in_parts(variable: Any) -> bool:
    return _is_shared(variable) and not variable.value.is_fully_replicated


def _exchange_jax(message: str) -> list[str]:
    # As bytes: without jax_enable_x64 a float64 that goes through JAX comes back as a float32.
    content = message.encode()
    rows = _exchange_arrays(_LENGTH.pack(len(content)) + content[: ROOM - _LENGTH.size], ROOM)
    lengths = [_LENGTH.unpack(row[: _LENGTH.size])[0] for row in rows]
    # All ranks see the same lengths, and so agree on whether there is a second exchange.
    if max(lengths) <= ROOM - _LENGTH.size:
        rows = [row[_LENGTH.size :] for row in rows]
    else:
        rows = _exchange_arrays(content, 1 << max(lengths).bit_length())
    return [row[:length].decode() for row, length in zip(rows, lengths, strict=True)]


def _exchange_arrays(content: bytes, room: int) -> list[bytes]:
    """The contents of all JAX processes, each padded to `room` bytes."""
    from jax.experimental import multihost_utils

    padded = np.frombuffer(content.ljust(room, b"\0"), dtype=np.uint8)
    return [row.tobytes() for row in multihost_utils.process_allgather(padded)]


def _exchange_torch(message: str) -> list[str]:
    from torch import distributed

    messages = [""] * distributed.get_world_size()
    distributed.all_gather_object(messages, message)
    return messages


def _is_torch_distributed() -> bool:
    """Whether a process group has been made, by `torch.distributed.init_process_group`."""
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
