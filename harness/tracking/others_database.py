"""A database that is not that of `mlruns/`: looked at before MLflow opens it, and changes what it finds."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.common.databases import looked_into
from harness.common.errors import HarnessError
from harness.common.lazy import lazy_import
from harness.common.redact import public_url

if TYPE_CHECKING:
    import sqlalchemy
else:
    sqlalchemy = lazy_import("sqlalchemy")

db_utils = lazy_import("mlflow.store.db.utils")

#: The databases that MLflow can be told to use.
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@functools.cache
def has_mlflows_tables(uri: str, option: str) -> bool:
    """Whether MLflow's tables are in a database. False: it has none yet. What is no database is taken to have them.

    Raises BadInput if the tables are another application's: MLflow would write its own between those. Raises
    HarnessError if an earlier version made them: this one would change them, and the earlier one then refuses them.
    option: how the URI was given.
    """
    url = _database(uri)
    if not url:
        return True
    # sqlite would make an empty file of one that is not there.
    if (file := sqlite_file(uri)) and not file.is_file():
        return False
    own = {"experiments", "runs", "alembic_version"}
    with looked_into(url, own, f"{option}{public_url(uri)}", "a database of MLflow's own") as (engine, tables):
        if tables:
            with engine.connect() as connection:
                version = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            if version != db_utils._get_latest_schema_revision():
                raise of_another_version(uri)
    return bool(tables)


def of_another_version(uri: str) -> HarnessError:
    """Return the error that says what to do with a database of another version of MLflow."""
    return HarnessError(
        f"The MLflow database {public_url(uri)} is of another version of MLflow than is installed here. Keep a copy of "
        f"it and bring it up to date: {sys.executable} -m mlflow db upgrade '{public_url(uri)}'. Or install the "
        f"version that made it."
    )


def _database(uri: str) -> "sqlalchemy.URL | None":
    """Return the parts of a tracking URI that is a database, None for what is none."""
    try:
        url = sqlalchemy.make_url(uri)
    except sqlalchemy.exc.ArgumentError:
        return None
    return url if url.get_backend_name() in DATABASES else None


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a tracking URI that is an sqlite database, None for any other."""
    url = _database(uri)
    return Path((url.database or "").removeprefix("file:")) if url and url.get_backend_name() == "sqlite" else None
