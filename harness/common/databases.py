"""A look into a database that the user has named, before a library writes its tables into it."""

import contextlib
from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Any

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    import sqlalchemy
else:
    sqlalchemy = lazy_import("sqlalchemy")


@contextlib.contextmanager
def looked_into(
    url: "sqlalchemy.URL | str", own: Set[str], named: str, instead: str, **options: Any
) -> Iterator[tuple["sqlalchemy.Engine", list[str]]]:
    """Yield a database and the names of its tables. Raises BadInput if they are another application's.

    own: tables that one of the library's always has. named: how the user gave it. instead: what to name in its place.
    options: SQLAlchemy's.
    """
    engine = sqlalchemy.create_engine(url, **options)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
        if tables and not own <= set(tables):
            raise BadInput(
                f"{named} is the database of another application (it has a table {tables[0]!r}), which is left as it "
                f"is: name {instead}."
            )
        yield engine, tables
    finally:
        engine.dispose()
