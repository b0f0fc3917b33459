"""What survives a crash: the state file, its place, and the claim of one process on it."""
