"""A training as data, and how it is written to event files and read back."""
