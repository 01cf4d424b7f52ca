"""One SQLite file: what is written is whole or not there, and its errors are sentences."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_sv.errors import RunError

DISK_FAILURES = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
# A statement of SQL with the values of its question marks.
Statement = tuple[str, tuple[Any, ...]]


class Database:
    """The journal's file. There is one writer at a time: the run directory is locked.

    Every method raises RunError when the file cannot be used.
    """

    def __init__(self, path: Path, schema: str) -> None:
        # The server app runs in a thread of Flower's. The lock separates it from the command line.
        self.path = path
        with self.explained():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.executescript(schema)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends the use of the file."""
        self._connection.close()

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one, where there are many of them."""
        with self._lock, self.explained():
            yield from self._connection.execute(query, values)

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [*self.rows(query, *values)]

    def write(self, statements: list[Statement]) -> None:
        """All statements or none. Raises RunError also when an entry is there already."""
        with self._lock, self.explained():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raises RunError for an error of SQLite or of the disk, with what to do about it."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its extension
            if isinstance(error, OSError) or code in DISK_FAILURES:
                advice = (
                    "Nothing in it is lost. Make sure that its disk has space and can be written,"
                    " and continue with --resume."
                )
            else:
                advice = "Start a new run."
            reason = error.strerror if isinstance(error, OSError) else error
            raise RunError(f"The journal {self.path} cannot be used: {reason}. {advice}") from error
