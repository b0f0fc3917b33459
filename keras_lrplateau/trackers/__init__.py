"""Ready sinks for other people's trackers, one file for each. Each imports its tracker when a sink is made."""
