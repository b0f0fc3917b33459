"""What TensorBoard loads when it starts: as little as can be, and nothing that can fail.

An exception here, or in what this imports, would keep all of TensorBoard from starting.
"""

from __future__ import annotations

import logging
from typing import Any

from tensorboard.plugins import base_plugin

PLUGIN_NAME = "lr_plateau"  # Not from `metadata`: that loads protos.


class Loader(base_plugin.TBLoader):
    """Puts the LR Plateau tab into TensorBoard, or says why it cannot."""

    def fix_flags(self, flags: Any) -> None:
        """Keep every decision: TensorBoard would sample them, down to 10 in a run."""
        samples = getattr(flags, "samples_per_plugin", None)
        if isinstance(samples, dict):
            samples.setdefault(PLUGIN_NAME, 0)

    def load(self, context: Any) -> Any:
        """The plugin; None if it cannot be loaded, and TensorBoard goes on without it."""
        try:
            from keras_lrplateau.tensorboard.plugin import Plugin

            return Plugin(context)
        except Exception:
            logging.getLogger("tensorboard").warning(
                "keras-lrplateau: the LR Plateau tab could not be loaded; all others work.", exc_info=True
            )
            return None
