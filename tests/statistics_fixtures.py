"""What the tests of harness.statistics share, as a pytest plugin (`pytest_plugins = "statistics_fixtures"`)."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def uncollected() -> Iterator[None]:
    """statsmodels collects garbage whenever it adjusts p values, a tenth of a second each time: not in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda *_: 0)
        yield
