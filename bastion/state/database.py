"""One database, reached through SQLAlchemy: SQLite in a file, or PostgreSQL by URL (L2). Everything here blocks.

Invariants: a call that fails raises `StateDown`, whose text never holds a password nor a value of a row; every
statement has a deadline of the database's own (`busy_timeout`, `statement_timeout`), every connection one to be made.

SQLite runs in WAL mode, so that commands read while gateways write, with `synchronous = FULL`: a commit is on disk
when it returns. The writes of one gateway go in batches and from a thread, so that costs no session anything, and
what is left of the owed rows (`state.journal`) can be forgotten at once.

In a folder that is shared with a group (`modes`) its members may read the file. Who may not write to it opens it for
reading alone: SQLite can do that while there is a -wal beside it. Without one nobody has the file open, and it is read
as it lies there; what was read then counts when the file is still the same behind that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from bastion.ca.secrets import read_secret_file
from bastion.errors import BastionError, ConfigError
from bastion.modes import modes_in
from bastion.state.folder import give_to_owner_of, make_folder
from bastion.wire.printable import printable

BUSY_SECONDS: Final = 5.0
"""How long a write waits for another process that writes to the same SQLite file."""

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 10
LOCK_SECONDS: Final = 5

FILE_NAME: Final = "state.db"
TEXT_MAX: Final = 300
"""Characters of a database's own words that are kept."""


READ_ONLY: Final = "this account may only read the store"


class StateDown(BastionError):
    """The store did not take it, or did not answer. `text` is for the operator. `refused`: it was there and said no."""

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.text, self.refused = text, refused


class StateReadOnly(StateDown):
    """This process may read the store, and not write to it."""

    def __init__(self) -> None:
        super().__init__(READ_ONLY, refused=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the state is. `folder`: of this gateway's own files; `url`: PostgreSQL, "" for SQLite in the folder."""

    folder: Path
    url: str = ""
    password_file: Path | None = None

    @classmethod
    def chosen(
        cls, recordings: Path, folder: Path | None, url: str | None, password_file: Path | None
    ) -> Place:
        """As `[state]` says; without a folder it is `state` in the folder of recordings."""
        return cls(folder or recordings / "state", url or "", password_file)

    @property
    def embedded(self) -> bool:
        """SQLite, a file of this machine alone."""
        return not self.url

    @property
    def file(self) -> Path:
        """The SQLite file, when `embedded`."""
        return self.folder / FILE_NAME

    def __str__(self) -> str:
        """What may be shown to anybody: no password."""
        return str(self.file) if self.embedded else checked_url(self.url).render_as_string()


def checked_url(text: str) -> URL:
    """A PostgreSQL URL without a password in it. Raises ConfigError."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "state", 0, "url", "is no URL", "postgresql://bastion@db.example.com/bastion"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise ConfigError("state", 0, "url", "is no PostgreSQL URL", "postgresql://USER@HOST/DATABASE")
    if url.password is not None:
        raise ConfigError(
            "state", 0, "url", "has a password in it", "password_file, and no password in the URL"
        )
    return url.set(drivername="postgresql+psycopg")


def password_of(place: Place) -> str:
    """What the database asks for; "" when it asks for none. Raises ConfigError."""
    return "" if place.password_file is None else read_secret_file(place.password_file).decode()


class Database:
    """Connections to one place, two at most. Used by one thread at a time but for `cut`."""

    def __init__(self, place: Place, password: str = "") -> None:
        """Connects to nothing yet. `password` is kept in here and told to nobody. Raises ConfigError."""
        self.place = place
        self._at_work: Any = None  # the driver's connection that is in use
        self._engine: Engine = _sqlite(place.file) if place.embedded else _postgres(place.url, password)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it is kept, or nothing. Raises StateDown, StateReadOnly."""
        if self.place.embedded and _only_read(self.place.file):
            raise StateReadOnly
        with _told(), self._connected() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that writes nothing. Raises StateDown."""
        with _told(), self._at_rest(), self._connected() as connection:
            yield connection.execution_options(reading=True)

    def cut(self) -> None:
        """From any thread: whatever waits for PostgreSQL's answer is to return now."""
        driver = getattr(self._at_work, "pgconn", None)
        if driver is None:
            return
        with suppress(OSError, ValueError), socket.socket(fileno=os.dup(driver.socket)) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Of a file that nobody has open, and that this process may not open for others: see above."""
        file = self.place.file
        if not self.place.embedded or not _only_read(file) or _has_wal(file):
            yield
            return
        before = _stamp(file)
        self._engine.dispose()  # connections of now know that nobody writes, and no others do
        yield
        self._engine.dispose()
        if _has_wal(file) or _stamp(file) != before:
            raise StateDown("a gateway has opened the store in the middle of an answer: ask again")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self.place.embedded:
            _make_file(self.place.file)
        with self._engine.connect() as connection:
            self._at_work = connection.connection.driver_connection
            try:
                yield connection
            finally:
                self._at_work = None


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong in here is a StateDown without a cause: SQLAlchemy's errors carry statements."""
    try:
        yield
    except DBAPIError as error:
        # Ours to mend, not the store's to take later: a row that no repetition makes right.
        refused = type(error).__name__ in (
            "IntegrityError",
            "DataError",
            "ProgrammingError",
            "NotSupportedError",
        )
        text = " ".join(str(error.orig).split())
        raise StateDown(printable(text, TEXT_MAX), refused) from None
    except SQLAlchemyError as error:
        raise StateDown(f"{type(error).__name__} in the database layer") from None
    except OSError as error:
        raise StateDown(f"{error.filename or 'the state folder'}: {error.strerror}") from None


def _make_file(file: Path) -> None:
    """SQLite would make it readable for all, and its -wal and -shm like it. Raises OSError."""
    if not file.exists():
        make_folder(file.parent)
        mode = modes_in(file.parent.stat().st_mode).file
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode))
        give_to_owner_of(file.parent, file)


def _only_read(file: Path) -> bool:
    """Is there a file that this process may read and not write to?"""
    may = [os.access(file, right, effective_ids=True) for right in (os.R_OK, os.W_OK)]
    return may == [True, False]


def _has_wal(file: Path) -> bool:
    """Has somebody opened the file who may write to it?"""
    return file.with_name(f"{file.name}-wal").exists()


def _stamp(file: Path) -> tuple[int, int, int]:
    """What changes with whatever is written to it. Raises OSError."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sqlite(file: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        hide_parameters=True,
        pool_size=1,
        max_overflow=1,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def opened(dialect: object, record: object, arguments: list[Any], named: dict[str, Any]) -> None:
        if _only_read(file):
            nobody_writes = "" if _has_wal(file) else "&immutable=1"
            arguments[0], named["uri"] = f"{file.absolute().as_uri()}?mode=ro{nobody_writes}", True

    @event.listens_for(engine, "connect")
    def prepared(driver: Any, record: object) -> None:
        driver.isolation_level = None  # transactions begin below, not where sqlite3 thinks
        if _only_read(file):
            return
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            driver.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        # A reader that turns writer in mid-transaction can be refused at once, whatever the timeout: writers say so.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgres(text: str, password: str) -> Engine:
    # What waits for another's row has to see it then, whatever the server's default is: a hold, before a deletion.
    options = (
        f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
        " -c default_transaction_isolation=read\\ committed"
    )
    engine = create_engine(
        checked_url(text),
        hide_parameters=True,
        pool_size=1,
        max_overflow=1,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "bastion",
            "options": options,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
        },
    )

    @event.listens_for(engine, "do_connect")
    def authenticated(dialect: object, record: object, arguments: object, named: dict[str, Any]) -> None:
        if password:
            named["password"] = password

    return engine
