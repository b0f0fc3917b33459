"""What survives a crash: the state file, the run directory it is in, and a process's claim on both."""
