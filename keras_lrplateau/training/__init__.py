"""A training under way: what is observed, decided and carried out on a Keras model."""
