"""What the other rooms need from the disk: atomic writes and locks."""
