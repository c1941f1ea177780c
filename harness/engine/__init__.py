"""What trains a network: `protocol.Engine`, and the two that keep it, on TensorFlow and on JAX."""
