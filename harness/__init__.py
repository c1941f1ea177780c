"""A research harness that answers "why does this CNN work?" with evidence.

Importing this package imports neither TensorFlow nor MLflow: `harness --help` answers at once, and a
machine without TensorFlow can still use every part that does not train with it.
"""
