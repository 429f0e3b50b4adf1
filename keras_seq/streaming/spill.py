"""A file that takes the states that memory has no room for."""

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Self

from keras_seq.streaming.rows import Key

# SQLite takes at least so many values in a query.
_MOST = 500


def _close(connection: sqlite3.Connection, path: str) -> None:
    connection.close()
    if os.path.exists(path):
        os.unlink(path)


class SpillFile:
    """Rows of bytes by key, in a file of its own that goes when this object goes.

    It is a place to put things, not a record of them: `snapshot` of a session is what
    outlives a crash, and nothing here is synced to disk.

    Args:
        folder: Where to make the file; made if it is not there.
    """

    def __init__(self, folder: str | PathLike[str]):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(".states", dir=self.folder)
        os.close(handle)
        # The session's lock lets one thread at a time come here.
        self._file = sqlite3.connect(path, check_same_thread=False)
        self._file.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE states (number INTEGER PRIMARY KEY, key BLOB UNIQUE,"
            " state BLOB);"
        )
        self._count = 0
        self.close = weakref.finalize(self, _close, self._file, path)

    def __len__(self) -> int:
        return self._count

    def write(self, keys: Sequence[Key], rows: Sequence[bytes]) -> None:
        """Adds rows of keys that are not here, each once."""
        with self._file:
            self._file.executemany(
                "INSERT INTO states (key, state) VALUES (?, ?)",
                zip(map(_encode, keys), rows, strict=True),
            )
        self._count += len(keys)

    def read(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The rows of those keys that are here."""
        found: dict[Key, bytes] = {}
        if not self._count:
            return found
        for start in range(0, len(keys), _MOST):
            part = [_encode(key) for key in keys[start : start + _MOST]]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, state FROM states WHERE key IN ({marks})"
            for key, state in self._file.execute(query, part):
                found[_decode(key)] = state
        return found

    def delete(self, keys: Sequence[Key]) -> int:
        """Removes those keys that are here, and tells how many."""
        if not self._count:
            return 0
        with self._file:
            done = self._file.executemany(
                "DELETE FROM states WHERE key = ?", ((_encode(key),) for key in keys)
            )
        self._count -= done.rowcount
        return done.rowcount

    def keys(self) -> list[Key]:
        """All of them, the first that came first."""
        found = self._file.execute("SELECT key FROM states ORDER BY number")
        return [_decode(key) for (key,) in found]

    def blocks(self, size: int) -> Iterator[tuple[list[Key], list[bytes]]]:
        """Keys and rows, so many at a time, the first that came first."""
        last = -1
        while True:
            found = self._file.execute(
                "SELECT number, key, state FROM states WHERE number > ?"
                " ORDER BY number LIMIT ?",
                (last, size),
            ).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [_decode(key) for _, key, _ in found], [row for _, _, row in found]

    def fork(self) -> Self:
        """A copy in a file of its own."""
        copy = type(self)(self.folder)
        self._file.backup(copy._file)
        copy._count = self._count
        return copy


def _encode(key: Key) -> bytes:
    """Names and numbers apart, and any code points."""
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    return b"i" + key.to_bytes(8, "big", signed=True)


def _decode(key: bytes) -> Key:
    if key[:1] == b"s":
        return key[1:].decode("utf-8", "surrogatepass")
    return int.from_bytes(key[1:], "big", signed=True)
