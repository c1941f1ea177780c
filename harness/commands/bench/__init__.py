"""`harness bench`: compare the speed of an engine with plain Keras and PyTorch."""
