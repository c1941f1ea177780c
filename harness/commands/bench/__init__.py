"""`harness bench`: an engine beside plain Keras and PyTorch."""
