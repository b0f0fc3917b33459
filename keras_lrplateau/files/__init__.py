"""What every room above needs of the disk: a write that is whole or not there, and locks."""
