"""The console script `harness`, which is also `python -m harness`.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import sys
from typing import TYPE_CHECKING

from harness.common import signals
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from harness.cli import app
else:
    # Imported under the signal handlers: it takes a second, in which Ctrl-C would end in a traceback.
    app = lazy_import("harness.cli.app")


def main() -> None:
    """Run the command."""
    signals.install()
    try:
        app.main()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signals.end_at_once()


if __name__ == "__main__":
    main()
