"""Readers: the rows of one file, with the place of each, in bounded memory.

A reader yields `(path, number, text, label)`: the line of a row in CSV and JSON lines,
its row from 1 in Parquet, None where the file is one text. What it cannot read it gives
to `bad(path, number, reason)`, which raises or counts; then the reader goes on behind
it. Python's own parsers are used, since they know the line they are in; they take a
tenth of the time that splitting texts into tokens does.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from keras_seq.errors import did_you_mean

Row = tuple[Path, int | None, Any, Any]
Bad = Callable[[Path, int | None, str], None]

CSV_SUFFIXES = (".csv", ".csv.gz")
JSON_SUFFIXES = (
    *(".jsonl", ".ndjson", ".json"),
    *(".jsonl.gz", ".ndjson.gz", ".json.gz"),
)
SUFFIXES = (*CSV_SUFFIXES, *JSON_SUFFIXES, ".parquet")

_MARK = b"\xef\xbb\xbf"  # spreadsheets begin UTF-8 with it; it is no part of the text
_CSV_FIELD = 1 << 24  # characters: a quote that is not closed is not held for ever
_PARQUET_ROWS = 2048
_PARQUET_BYTES = 1 << 20


def read_rows(path: Path, columns: dict[str, str], bad: Bad) -> Iterator[Row]:
    """Rows of a table, by its suffix.

    Args:
        path: The file.
        columns: Argument that names a column to its name: `text_col`, and `label_col`
            where labels are needed.
        bad: Takes place and reason of what cannot be read.

    Raises:
        ValueError: If the file as a whole cannot be read, naming it.
    """
    if path.name.endswith(CSV_SUFFIXES):
        read = _read_csv
    elif path.name.endswith(JSON_SUFFIXES):
        read = _read_json
    else:
        read = _read_parquet
    with _named(path):
        yield from read(path, columns, bad)


def read_documents(folder: Path, label: str | None, bad: Bad) -> Iterator[Row]:
    """The files of a folder, each one text, by name."""
    for path in list_files(folder):
        with _named(path):
            data = path.read_bytes().removeprefix(_MARK)
        try:
            yield path, None, data.decode(), label
        except UnicodeDecodeError as error:
            bad(path, data.count(b"\n", 0, error.start) + 1, _not_utf8(error))


def list_files(folder: Path) -> list[Path]:
    """Files of a folder by name, hidden ones left out."""
    return [path for path in _list(folder) if path.is_file()]


def list_folders(folder: Path) -> list[Path]:
    """Folders of a folder by name, hidden ones left out."""
    return [path for path in _list(folder) if path.is_dir()]


def _list(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name to what goes wrong while it is read."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return open(path, "rb")


class _Lines(Iterator[bytes]):
    """The lines of a file, numbered from 1."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.number = 0

    def __next__(self) -> bytes:
        line = next(self.file)
        self.number += 1
        return line.removeprefix(_MARK) if self.number == 1 else line


class _Records(Iterator[list[str]]):
    """The records of CSV; goes on behind a broken one, and it alone.

    Attributes:
        number: Line that the last record begins in.
        broken: Line and reason, if it is broken.
    """

    def __init__(self, file: IO[bytes]):
        # Python's own limit is 131,072 characters, of all that read CSV in a process.
        csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD))
        self.lines = _Lines(file)
        self.again: list[bytes] = []  # to be read before those of the file, last first
        self.read: list[bytes] = []  # of the last record
        self.number = 0
        self.broken: tuple[int, str] | None = None
        self._parser = csv.reader(self._decode(), strict=True)

    def __next__(self) -> list[str]:
        """Fields of a record; none of a blank line or of a broken record."""
        self.number += len(self.read) or 1
        self.read, self.broken = [], None
        try:
            cells = next(self._parser)
        except csv.Error as error:
            # Most often a quote is not closed, and what was read are other records.
            self.again += reversed(self.read[1:])
            del self.read[1:]
            self.broken = self.number, _csv_reason(error)
            self._parser = csv.reader(self._decode(), strict=True)
            return []
        return [] if self.broken else cells

    def _decode(self) -> Iterator[str]:
        while True:
            line = self.again.pop() if self.again else next(self.lines, None)
            if line is None:
                return
            self.read.append(line)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                # The parser is to see where the record ends, whatever is in it.
                text = line.decode("utf-8", "surrogateescape")
                number = self.number + len(self.read) - 1
                self.broken = self.broken or (number, _not_utf8(error))
            yield text


def _read_csv(path: Path, columns: dict[str, str], bad: Bad) -> Iterator[Row]:
    with _open(path) as file:
        records = _Records(file)
        header = _csv_header(path, records)
        check_columns(path, header, columns)
        places = [header.index(name) for name in columns.values()]
        text_at, label_at = places[0], places[-1]
        for cells in records:
            if records.broken:
                bad(path, *records.broken)
            elif cells and len(cells) != len(header):
                told = f"it has {len(cells)} fields, the header has {len(header)}"
                bad(path, records.number, told)
            elif cells:  # no blank line
                yield path, records.number, cells[text_at], cells[label_at]


def _csv_header(path: Path, records: _Records) -> list[str]:
    header = next((cells for cells in records if cells or records.broken), None)
    if header is None:
        raise ValueError(f"{path} is empty.")
    if records.broken:
        raise ValueError(f"{path}, line {records.broken[0]}: {records.broken[1]}.")
    return header


def _csv_reason(error: csv.Error) -> str:
    reason = str(error)
    if "field limit" in reason or "end of data" in reason:
        reason += ": a quote that is opened here is not closed"
    if "field limit" in reason:
        reason += " (or the text is that long: raise csv.field_size_limit)"
    return f"it is no CSV: {reason}"


def _read_json(path: Path, columns: dict[str, str], bad: Bad) -> Iterator[Row]:
    names = list(columns.values())
    text_col, label_col = names[0], names[-1]
    first = True
    with _open(path) as file:
        lines = _Lines(file)
        while True:
            try:
                line = next(lines).decode().strip()
                if not line:
                    continue
                row = json.loads(line)
            except StopIteration:
                break
            except UnicodeDecodeError as error:
                bad(path, lines.number, _not_utf8(error))
                continue
            except json.JSONDecodeError as error:
                told = f"it is no JSON: {error.msg}, character {error.pos + 1}"
                bad(path, lines.number, told + _array_hint(line, first))
                continue
            except RecursionError:
                bad(path, lines.number, "it is JSON in too many layers")
                continue
            except ValueError as error:  # a number of more digits than Python reads
                bad(path, lines.number, f"it is no JSON that can be read: {error}")
                continue
            if not isinstance(row, dict):
                told = f"it is no JSON object but {type(row).__name__}"
                bad(path, lines.number, told + _array_hint(line, first))
                continue
            if first:
                check_columns(path, list(row), columns)
                first = False
            yield path, lines.number, row.get(text_col), row.get(label_col)
    if lines.number == 0:
        raise ValueError(f"{path} is empty.")


def _array_hint(line: str, first: bool) -> str:
    if first and line.startswith(("[", "{")):
        return ", and JSON lines are one object on each line"
    return ""


def _read_parquet(path: Path, columns: dict[str, str], bad: Bad) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_PARQUET_BYTES)
    except pyarrow.ArrowInvalid as error:
        told = "is empty" if path.stat().st_size == 0 else f"is no Parquet: {error}"
        raise ValueError(f"{path} {told.rstrip('.')}.") from error
    with file:
        check_columns(path, file.schema_arrow.names, columns)
        names = list(dict.fromkeys(columns.values()))
        number = 0
        try:
            for batch in file.iter_batches(_PARQUET_ROWS, columns=names):
                texts = _values(batch.column(names[0]))
                labels = texts if len(names) == 1 else _values(batch.column(names[1]))
                for text, label in zip(texts, labels, strict=True):
                    number += 1
                    broken = [v for v in (text, label) if isinstance(v, UnicodeError)]
                    if broken:
                        bad(path, number, _not_utf8(broken[0]))
                    else:
                        yield path, number, text, label
        except pyarrow.ArrowException as error:
            raise ValueError(f"{path} cannot be read: {error}") from error


def _values(column: Any) -> list[Any]:
    """Python values of a column; one that is not UTF-8 is its error."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(item) for item in column]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except UnicodeDecodeError as error:
        return error


def _not_utf8(error: Any) -> str:
    byte = error.object[error.start]
    return f"it is not UTF-8: byte 0x{byte:02x}, {error.reason}"


def check_columns(path: Path, known: Sequence[str], columns: dict[str, str]) -> None:
    """Raises unless a table has each of the columns once."""
    for argument, name in columns.items():
        if name not in known:
            raise ValueError(
                f"{path} has no column {name!r} (`{argument}`)."
                f"{did_you_mean(name, known)} Its columns are: {', '.join(known)}."
            )
        if known.count(name) > 1:
            raise ValueError(
                f"{path} has {known.count(name)} columns {name!r} (`{argument}`)."
            )
