"""What people look at: figures, tables and reports of a training."""
