"""Training recipes; each runs on any Keras backend."""
