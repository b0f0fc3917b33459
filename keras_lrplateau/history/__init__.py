"""A training as data: its records and curves, and the event files that hold them."""
