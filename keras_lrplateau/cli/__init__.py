"""The command `keras-lrplateau`."""
