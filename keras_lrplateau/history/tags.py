"""Marks our records for TensorBoard: their tag and its plugin data (see `keras_lrplateau.history.codec`)."""

from __future__ import annotations

import json

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata

from keras_lrplateau.history import codec

PLUGIN_NAME = "lr_plateau"

PREFIX = "lr_plateau/"
"""The prefix of all our tags; Time Series uses it as the name of their group."""

LOG10 = PREFIX + "log10({})"
"""The tag of the logarithm of a learning rate, since TensorBoard's own tabs have no logarithmic axis."""

BEST = PREFIX + "best({})"
"""The tag of the best observation so far, by which TensorBoard can rank runs."""

KERAS = "epoch_{}"
"""The tag of a metric in the runs of `keras.callbacks.TensorBoard`; a validation has it in a run of its own."""

TAG = PREFIX + "decisions"
"""The tag of the records."""


def summary_metadata() -> SummaryMetadata:
    """Return the metadata that tell TensorBoard that a tag is ours."""
    content = json.dumps({"version": codec.VERSION}).encode()
    return SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content),
        # Without a class, both loaders drop the values of foreign plugins.
        data_class=DATA_CLASS_TENSOR,
    )


def curve_of(tag: str) -> str | None:
    """The name of the curve that a tag of scalars holds; None if it is none of ours, or made of another one."""
    if not tag.startswith(PREFIX) or tag.startswith((LOG10.partition("{")[0], BEST.partition("{")[0])):
        return None
    return tag.removeprefix(PREFIX)


def check_plugin_content(content: bytes) -> None:
    """Check that the plugin content of a tag has this version.

    Args:
        content: The content that TensorBoard returns with the tag.

    Raises:
        ValueError: It has another version, or other fields.
    """
    codec.check_fields("plugin content", codec.parse("plugin content", content), {"version"}, codec.VERSION)
