"""A real TensorBoard, and its two loaders, for the tests that read what it reads."""

import contextlib
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util

from keras_lrplateau.history import tags

LOADERS = ("python loader", "data server")


def eventually(holds: Callable[[], Any], limit: float = 180.0) -> Any:
    """What `holds` returns, as soon as that is true."""
    end = time.monotonic() + limit
    while not (result := holds()):
        assert time.monotonic() < end, f"not within {limit} s"
        time.sleep(0.1)
    return result


@contextlib.contextmanager
def tensorboard(logdir: Path, output: Path, *flags: str) -> Iterator[Callable[[], str]]:
    """Run TensorBoard; yields a function that waits for its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host=127.0.0.1", "--port=0"]
    with open(output, "wb") as log:
        process = subprocess.Popen([*command, "--reload_interval=1", *flags], stdout=log, stderr=subprocess.STDOUT)

    def address() -> str:
        def found() -> str:
            text = output.read_text(errors="replace")
            assert process.poll() is None, text
            match = re.search(r"http://127\.0\.0\.1:\d+\S*", text)
            return match[0].rstrip("/") if match else ""

        return str(eventually(found))

    try:
        yield address
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def data_provider_of(loader: str, logdir: Path, is_loaded: Callable[[Any], bool]) -> Iterator[Any]:
    """The data provider of one of the `LOADERS`, once `is_loaded` is true of it: the data server answers before."""
    sizes = {tags.PLUGIN_NAME: 0}
    if loader == "python loader":
        multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=sizes)
        multiplexer.AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
        assert is_loaded(provider)
        yield provider
        return
    ingester = server_ingester.SubprocessServerDataIngester(
        server_ingester.get_server_binary(),
        str(logdir),
        reload_interval=1,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin=sizes,
    )
    with warnings.catch_warnings():
        # TensorBoard drops its handle of the running server; it ends when its standard input is closed.
        warnings.simplefilter("ignore", ResourceWarning)
        ingester.start()
    try:
        eventually(lambda: is_loaded(ingester.data_provider))
        yield ingester.data_provider
    finally:
        ingester._stdin_handle.close()
