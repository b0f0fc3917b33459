"""TensorBoard support: what the callback writes, and the tab that shows it. Nothing here imports TensorFlow."""
