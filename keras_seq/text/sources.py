"""TextFiles: texts and labels in files, read chunk by chunk and never all at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self

from keras_seq.errors import check_choice, warn
from keras_seq.fingerprint import digest_path
from keras_seq.text.readers import (
    CSV_SUFFIXES,
    SUFFIXES,
    Row,
    list_files,
    list_folders,
    read_documents,
    read_rows,
)
from keras_seq.text.texts import is_missing

ON_BAD_ROWS = ("error", "skip")
# A chunk ends when it has as many texts or characters.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 1 << 22
# A folder's files are one text each: these hold more than one, or none that is plain.
_TABLE_SUFFIXES = (*SUFFIXES, ".gz", ".tsv", ".xlsx")
_HOW_TABLES = " Tables are given as a list: [Path('{}'), ...]."
_LABEL_TYPES = (str, int)  # a bool is an int

Place = tuple[Path, int | None]


class Columns(NamedTuple):
    """How `fit` and its like were told to read files.

    Attributes:
        text_col: Column with the texts.
        label_col: Column with the labels.
        label_sep: What stands between several labels in a cell of CSV.
        on_bad_rows: `"error"`, or `"skip"` with a warning that counts them.
    """

    text_col: str = "text"
    label_col: str = "label"
    label_sep: str | None = None
    on_bad_rows: str = "error"

    def refuse(self) -> None:
        """Raises if any was given, where there are no files."""
        for name, value in self._asdict().items():
            if value != self._field_defaults[name]:
                raise ValueError(
                    f"`{name}` is of files, and texts were given as a list. In a list "
                    f"of files each is a pathlib.Path. Received: {name}={value!r}"
                )


@dataclass
class Chunk:
    """Some rows.

    Attributes:
        loose: Whether labels are words that have no type yet, as in CSV.
        texts: Strings.
        labels: As many; of no meaning where none were asked for.
        places: Where each row stands.
    """

    loose: bool
    texts: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class TextFiles:
    """Files with a text in each row, or folders with a text in each file.

    Args:
        paths: Tables (CSV, JSON lines, both also gzipped, Parquet), or folders; in
            the order of the rows.
        columns: Names of the columns in tables, and what to do with bad rows.
        labelled: Whether rows need a label.
        multi_label: Whether it is a list of labels.
    """

    paths: tuple[Path, ...]
    columns: Columns
    labelled: bool
    multi_label: bool = False
    _stamps: dict[Path, tuple[int, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def find(
        cls,
        given: Any,
        columns: Columns,
        labelled: bool,
        multi_label: bool = False,
        name: str = "texts",
    ) -> Self | None:
        """The files that an argument names, None if it does not name any.

        A `str` or a path by itself is a file. In a list only `pathlib.Path` is: a list
        of strings is always texts, so that no text of a list can open a file.

        Raises:
            TypeError: If it is one string that names no file.
            ValueError: If a file is missing or of an unknown kind, or a folder has
                nothing to read.
        """
        check_choice("on_bad_rows", columns.on_bad_rows, ON_BAD_ROWS)
        if columns.label_sep is not None and not (multi_label and columns.label_sep):
            raise ValueError(
                "`label_sep` must be text, and is for multi_label=True. "
                f"Received: label_sep={columns.label_sep!r}"
            )
        paths = _paths(given, name)
        if paths is None:
            return None
        files = cls(paths, columns, labelled, multi_label)
        for path in paths:
            files._check(path)
            if labelled and multi_label:
                files._check_lists(path)
        files._note_stamps()
        return files

    def __str__(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"

    def _check(self, path: Path) -> None:
        if not path.exists():
            raise ValueError(f"There is no file {path}.")
        if path.is_dir():
            self._check_folder(path)
        elif not path.name.endswith(SUFFIXES):
            raise ValueError(
                f"{path} has an unknown suffix, {path.suffix!r}. Texts are read from "
                f"{', '.join(SUFFIXES)} and folders."
            )

    def _check_folder(self, path: Path) -> None:
        folders, files = list_folders(path), list_files(path)
        tables = _tables(files)
        hint = _HOW_TABLES.format(tables[0]) if tables else ""
        if not folders and (self.labelled or not files):
            raise ValueError(
                f"{path} is a folder without subfolders: one for each class is needed, "
                f"with a file for each text.{hint}"
            )
        if tables and not folders:
            raise ValueError(
                f"{path} must be a folder with a file for each text, and has tables: "
                f"{tables[0].name!r}.{hint}"
            )
        # Files beside classes, such as a README, have none. Without classes they may be
        # texts as well, of which each is to get its answer.
        if folders and files and not self.labelled:
            raise ValueError(
                f"{path} must hold files or folders, and has both: {files[0].name!r}, "
                f"{folders[0].name!r}. Move either elsewhere, or give a list of texts."
            )
        for folder in folders:
            deeper = list_folders(folder)
            if deeper:
                raise ValueError(
                    f"{path} must have a subfolder for each class with a file for each "
                    f"text. {folder} has folders of its own, the first is "
                    f"{deeper[0].name!r}: is it the folder that is meant?"
                )
            tables = _tables(list_files(folder))
            if tables:
                raise ValueError(
                    f"{path} must have a subfolder for each class with a file for each "
                    f"text, and {folder.name!r} has tables: {tables[0].name!r}."
                    + _HOW_TABLES.format(tables[0])
                )

    def _check_lists(self, path: Path) -> None:
        """Raises if the file cannot hold lists of labels."""
        if path.is_dir():
            raise ValueError(
                f"{path} is a folder, whose subfolders give each text one label. With "
                "multi_label=True give JSON lines or Parquet with lists of labels, or "
                "CSV with `label_sep`."
            )
        if path.name.endswith(CSV_SUFFIXES) and self.columns.label_sep is None:
            raise ValueError(
                f"{path} is CSV, where `label_sep` tells what stands between several "
                "labels of a text, such as ';'. JSON lines and Parquet hold lists."
            )

    def _note_stamps(self) -> None:
        for path in self.paths:
            self._stamps[path] = _stamp(path)

    def check_unchanged(self) -> None:
        """Raises if a file was written since the first look at it."""
        for path, stamp in self._stamps.items():
            if not path.exists() or _stamp(path) != stamp:
                raise ValueError(f"{path} changed while it was read.")

    def chunks(self, warn: bool = False) -> Iterator[Chunk]:
        """All good rows, in order.

        Args:
            warn: Whether to warn, at the end, of rows that were skipped.

        Raises:
            ValueError: At a bad row, unless such are skipped; if no row is left.
        """
        self.check_unchanged()
        bad = _BadRows(self.columns.on_bad_rows == "skip")
        count = 0
        for chunk in self._chunks(bad):
            count += len(chunk.texts)
            yield chunk
        if warn:
            bad.warn()
        if not count:
            skipped = f" but the {bad.count} that were skipped" if bad.count else ""
            raise ValueError(f"{self} has no rows{skipped}.")

    def _chunks(self, bad: "_BadRows") -> Iterator[Chunk]:
        for path in self.paths:
            loose = path.name.endswith(CSV_SUFFIXES)
            chunk, size = Chunk(loose), 0
            for place, number, text, label in self._rows(path, bad):
                if loose and self.labelled and self.multi_label:
                    label = _cut(label, str(self.columns.label_sep))
                fault = self._find_fault(text, label)
                if fault:
                    bad(place, number, fault)
                    continue
                if len(chunk.texts) >= CHUNK_TEXTS or size >= CHUNK_CHARACTERS:
                    yield chunk
                    chunk, size = Chunk(loose), 0
                chunk.texts.append(text)
                chunk.labels.append(label)
                chunk.places.append((place, number))
                size += len(text)
            if chunk.texts:
                yield chunk

    def _find_fault(self, text: Any, label: Any) -> str | None:
        """What is wrong with a row, None if nothing is."""
        if not isinstance(text, str):
            name = self.columns.text_col
            if is_missing(text):
                return f"the text is missing (column {name!r})"
            return f"the text (column {name!r}) is no string but {text!r:.60}"
        return self._find_label_fault(label) if self.labelled else None

    def _find_label_fault(self, label: Any) -> str | None:
        column = f"(column {self.columns.label_col!r})"
        if label is None or label == "" or is_missing(label):
            return f"the label is missing {column}"
        if self.multi_label:
            if not isinstance(label, list):
                told = "must be a list, [] for none, since multi_label=True"
                return f"the label {column} {told}, it is {label!r:.60}"
            for item in label:
                # True is an int, but no label among several.
                if type(item) not in (str, int) or item == "":
                    told = f"must hold str or int, it holds {item!r:.60}"
                    return f"the list of labels {column} {told}"
            if len(set(label)) < len(label):
                return f"the list of labels {column} has one twice: {label!r:.60}"
        elif not isinstance(label, _LABEL_TYPES):
            hint = " (for several give multi_label=True)" * isinstance(label, list)
            told = f"must be a str, an int or a bool, it is {label!r:.60}{hint}"
            return f"the label {column} {told}"
        if not _is_utf8(label if isinstance(label, list) else [label]):
            return f"the label {column} has a lone surrogate: {ascii(label):.60}"
        return None

    def _rows(self, path: Path, bad: "_BadRows") -> Iterator[Row]:
        if path.is_dir():
            folders = list_folders(path)
            for folder in folders:
                yield from read_documents(folder, folder.name, bad)
            if not folders:  # texts to label
                yield from read_documents(path, None, bad)
            return
        columns = {"text_col": self.columns.text_col}
        if self.labelled:
            columns["label_col"] = self.columns.label_col
        yield from read_rows(path, columns, bad)

    def fingerprint(self) -> list[Any]:
        """What decides which rows are read: contents and columns."""
        told = [list(self.columns), self.labelled, self.multi_label]
        return [*told, *map(digest_path, self.paths)]


class _BadRows:
    """Raises at a bad row, or counts it."""

    def __init__(self, skip: bool):
        self.skip = skip
        self.count = 0
        self.first = ""

    def __call__(self, path: Path, number: int | None, reason: str) -> None:
        told = f"{describe_place((path, number))}: {reason}"
        if not self.skip:
            raise ValueError(f'{told}. `on_bad_rows="skip"` leaves such rows out.')
        self.count += 1
        self.first = self.first or told

    def warn(self) -> None:
        if self.count:
            warn(f"{self.count} bad rows were skipped, the first: {self.first}")


def describe_place(place: Place) -> str:
    """`"a.csv, line 7"`."""
    path, number = place
    if number is None:
        return str(path)
    return f"{path}, {'row' if path.name.endswith('.parquet') else 'line'} {number}"


def type_labels(values: list[str]) -> list[Any]:
    """Labels of CSV: whole numbers or booleans if all are, exactly as written."""
    if set(values) <= {"True", "False"}:
        return [value == "True" for value in values]
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value, re.ASCII) for value in values):
        return [int(value) for value in values]
    return values


def _cut(cell: str, separator: str) -> list[str]:
    """Labels in a cell of CSV; none in an empty one."""
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _is_utf8(labels: list[Any]) -> bool:
    """Whether labels can be saved: JSON may hold halves of characters."""
    try:
        "".join(label for label in labels if isinstance(label, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _paths(given: Any, name: str) -> tuple[Path, ...] | None:
    if isinstance(given, PathLike):
        return (Path(given),)
    if isinstance(given, str):
        path = Path(given)
        if given.endswith(SUFFIXES) or _exists(path):
            return (path,)
        raise TypeError(
            f"`{name}` must be a list of strings: pass a list, [text], for a single "
            "one. A string by itself names a file or folder, and there is none of "
            f"this name. Received: {given[:60]!r}"
        )
    if isinstance(given, list | tuple) and given and isinstance(given[0], PathLike):
        wrong = [item for item in given if not isinstance(item, PathLike)]
        if wrong:
            raise TypeError(
                "A list of files must hold pathlib.Path only. "
                f"Received among them: {wrong[0]!r:.60}"
            )
        return tuple(Path(item) for item in given)
    return None


def are_file_names(given: Any) -> bool:
    """Whether texts in a list look as if files were meant."""
    return (
        isinstance(given, list | tuple)
        and bool(given)
        and all(isinstance(item, str) and item.endswith(SUFFIXES) for item in given)
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def _tables(files: list[Path]) -> list[Path]:
    return [file for file in files if file.name.endswith(_TABLE_SUFFIXES)]


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
