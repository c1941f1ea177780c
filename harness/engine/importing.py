"""Imports TensorFlow the way every part of the harness wants it: as Keras's backend, and quietly."""

import os
import sys
import tempfile

from harness.errors import HarnessError

#: What Keras imports where it finds it, for wrappers and inputs that the harness does not use: 6 of the 15 seconds
#: that importing TensorFlow took (two starts each way in turn, 2-core Xeon 2.80 GHz, 2026-11-22).
NOT_NEEDED = ("matplotlib", "pandas", "scipy", "sklearn")


def import_tensorflow() -> None:
    """Import TensorFlow and find its devices. Raises HarnessError where it is not installed.

    Its C++ side writes a page of log lines to file descriptor 2 before any setting can silence it, so the
    descriptor is turned away meanwhile; what was written is shown only if the import fails.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    hidden = [name for name in NOT_NEEDED if name not in sys.modules]
    # None makes an import of that name fail, which Keras takes for "not installed".
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
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
            for name in hidden:
                del sys.modules[name]
            os.dup2(stderr, 2)
            os.close(stderr)
