"""The rules: pure decisions about a learning rate, with the standard library only."""
