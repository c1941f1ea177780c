"""Imports TensorFlow the way every part of the harness wants it: as Keras's backend, and quietly."""

import os
import sys
import tempfile

from harness.errors import HarnessError


def import_tensorflow() -> None:
    """Import TensorFlow and find its devices. Raises HarnessError where it is not installed.

    Its C++ side writes a page of log lines to file descriptor 2 before any setting can silence it, so the
    descriptor is turned away meanwhile; what was written is shown only if the import fails.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except ImportError as error:
            noise.seek(0)
            raise HarnessError(
                f"TensorFlow cannot be imported ({error}). `make install` installs what requirements.lock names; on a "
                f"machine where it does not exist, choose another --engine. {noise.read().decode(errors='replace')}"
            ) from error
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
