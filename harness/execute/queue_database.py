"""The database of the work queue: where it is, how it is reached, and what its failures mean to a user."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.storages._rdb.models import NOT_FOUND_MSG
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.redact import is_ambiguous, public_url

#: Seconds to wait for a PostgreSQL server that takes the connection and says nothing.
SILENCE = 10

#: What Optuna raises if the database fails.
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


class CannotGoOn(BaseException):
    """This worker cannot continue, for a reason that is not the trial's fault.

    The trial is queued again after the worker has exited. Not a subclass of `Exception`, because Optuna would then
    count the trial as failed.
    """


def storage_url() -> str:
    """Return the URL of the queue's database: `$OPTUNA_STORAGE`, or `mlruns/optuna.db`.

    Not MLflow's database: MLflow and Optuna both keep a table called `alembic_version`. Raises BadInput if it is no URL
    of a database.
    """
    chosen = os.environ.get("OPTUNA_STORAGE", "").strip() or paths.sqlite_url(paths.mlruns() / "optuna.db")
    try:
        url = make_url(chosen)
        known = not is_ambiguous(chosen) and url.get_backend_name() in ("sqlite", "postgresql", "postgres", "mysql")
        # Workers are processes of their own, and would not see a database in memory.
        known = known and url.database not in (None, "", ":memory:")
    except (SQLAlchemyError, ValueError):
        known = False
    if not known:
        raise BadInput(
            f"OPTUNA_STORAGE={public_url(chosen)} is not the URL of a database: write it as "
            f"postgresql://user:password@host/database (with %40 for an @ in the password) or as "
            f"sqlite:////path/to/file.db. Files with a journal and Redis will not do: workers that die are only found "
            f"in a database."
        )
    # SQLAlchemy's default PostgreSQL driver is not installed here, and it no longer knows the shorter name.
    return re.sub("^postgres(ql)?://", "postgresql+psycopg://", chosen)


def engine_options() -> dict[str, Any]:
    """Return SQLAlchemy's options for the queue's database."""
    url = make_url(storage_url())
    if url.get_backend_name() == "sqlite":
        # Many workers wait for each other on one file, for longer than its default timeout allows.
        return {"connect_args": {"timeout": 60}}
    # psycopg would wait more than two minutes for a server that does not answer.
    postgresql = url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query
    # A connection may have been closed since its last use.
    return {"pool_pre_ping": True} | ({"connect_args": {"connect_timeout": SILENCE}} if postgresql else {})


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a database error or CannotGoOn into a HarnessError that says what is safe and what to do."""
    try:
        yield
    except HarnessError:
        raise
    except (Exception, CannotGoOn) as error:
        cause: BaseException = (isinstance(error, CannotGoOn) and error.__cause__) or error
        if isinstance(cause, HarnessError):
            raise cause from None
        # Optuna's way of tidying up after an error of the database may end in an error of its own.
        failure = next(filter(is_of_the_database, _chain(cause)), None)
        if failure is None and not isinstance(error, CannotGoOn):
            raise
        if failure is None:
            raise HarnessError(
                f"This worker cannot go on ({type(cause).__name__}: {first_line(cause)}). What it finished is kept and "
                f"what it was at waits again: mend what is wrong here, and give the same command again."
            ) from error
        while failure.__cause__ is not None:
            failure = failure.__cause__
        raise HarnessError(
            f"The queue at {public_url(storage_url())} did not answer ({first_line(failure)}). Every finished "
            f"epoch is safe in {paths.mlruns() / 'runs'}: give the same command again."
        ) from error


def is_of_the_database(error: BaseException) -> bool:
    """Whether Optuna raised this because its database fails, or has lost a study or a trial."""
    lost = isinstance(error, KeyError) and error.args == (NOT_FOUND_MSG,)
    return lost or isinstance(error, DATABASE_ERRORS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and those that it was raised for, or while handling."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
