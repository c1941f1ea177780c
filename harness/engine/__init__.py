"""Engines train a network: the interface `protocol.Engine`, and its implementations on TensorFlow and on JAX."""
