"""Ready sinks for trackers and notebooks, one file for each. Each imports what it needs when a sink is made."""
