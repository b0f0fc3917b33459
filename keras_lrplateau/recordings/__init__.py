"""Other people's curves: files of recorded trainings, and the rule replayed over them."""
