"""How TensorBoard knows what is ours: the tag of the records (`keras_lrplateau.history.codec`) and its plugin data."""

from __future__ import annotations

import json

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata

from keras_lrplateau.history import codec

PLUGIN_NAME = "lr_plateau"

PREFIX = "lr_plateau/"
"""Before every tag of ours; Time Series makes it the name of their group."""

TAG = PREFIX + "decisions"
"""The tag of the records."""


def summary_metadata() -> SummaryMetadata:
    """What tells TensorBoard that a tag is ours."""
    content = json.dumps({"version": codec.VERSION}).encode()
    return SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content),
        # Without a class, both loaders drop the values of a plugin that is not TensorBoard's own.
        data_class=DATA_CLASS_TENSOR,
    )


def check_plugin_content(content: bytes) -> None:
    """Check that the plugin content of a tag is of this version.

    Args:
        content: As TensorBoard hands it out with the tag.

    Raises:
        ValueError: It is not.
    """
    codec.check_fields("plugin content", codec.parse("plugin content", content), {"version"}, codec.VERSION)
