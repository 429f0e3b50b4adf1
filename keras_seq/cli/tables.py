"""Tables in and out: CSV and Parquet by suffix, checked and typed."""

import csv
import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keras_seq.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".csv.gz", ".parquet")
# Spreadsheets begin a file with a mark that is no part of the first column's name.
_ENCODING = "utf-8-sig"


def read_texts(
    path: Path, text_col: str, label_col: str | None, label_sep: str | None = None
) -> "pd.DataFrame":
    """Reads a table of texts, and labels if asked.

    In CSV a text is taken as it stands, so that an empty cell is the empty text and
    `NA` a word; labels are whole numbers or booleans if all of them are. With
    `label_sep` a cell is cut there into a list of labels, an empty one into none.

    Raises:
        ValueError: If the file or a column is missing or a label is; naming rows.
    """
    import pandas as pd

    columns = {"--text-col": text_col}
    if label_col is not None:
        columns["--label-col"] = label_col
    frame = _read(path, columns, as_text=list(columns.values()))
    if label_col is None:
        return frame
    labels = frame[label_col]
    if label_sep is not None:
        frame[label_col] = _split_labels(labels, label_sep)
        return frame
    if labels.map(pd.api.types.is_list_like).any():  # a column of lists, in Parquet
        return frame
    missing = labels.isna() | labels.eq("")
    if missing.any():
        # Rows as a spreadsheet counts them, below the header.
        rows = [int(row) + 2 for row in missing.to_numpy().nonzero()[0][:5]]
        raise ValueError(
            f"{path}: column {label_col!r} must not have missing values. "
            f"{int(missing.sum())} of {len(frame)} rows break this, the first are "
            f"rows {', '.join(map(str, rows))} (the header is row 1)."
        )
    if not path.name.endswith(".parquet"):
        frame[label_col] = _typed(labels)
    return frame


def read_series(
    path: Path, id_col: str | None, time_col: str, target_col: str | None
) -> "pd.DataFrame":
    """Reads a long frame; stamps that are no whole numbers become timestamps.

    Args:
        path: The file.
        id_col: Column with the series' names; None: it is one series.
        time_col: Column with the stamps.
        target_col: Column to forecast; None: there need be none.

    Raises:
        ValueError: If the file or a column is missing, or a stamp makes no sense.
    """
    import pandas as pd

    columns = {"--time-col": time_col}
    if target_col is not None:
        columns["--target-col"] = target_col
    if id_col is not None:
        columns["--id-col"] = id_col
    frame = _read(path, columns, as_text=[id_col] if id_col else [])
    if id_col is not None and not path.name.endswith(".parquet"):
        frame[id_col] = _typed(frame[id_col].mask(frame[id_col].eq("")))
    stamps = frame[time_col]
    if pd.api.types.is_integer_dtype(stamps):
        return frame
    if not pd.api.types.is_datetime64_any_dtype(stamps):
        try:
            frame[time_col] = pd.to_datetime(stamps)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: column {time_col!r} must hold whole numbers or timestamps "
                f"such as 2024-01-31 or 2024-01-31T18:00: {error}"
            ) from error
    return frame


def check_table_output(path: Path | None) -> None:
    """Raises before the work begins if a table cannot be written there."""
    if path is not None:
        _check_suffix(path)
        check_folder(path)


def check_folder(path: Path, option: str = "--output") -> None:
    """Raises before the work begins if a file cannot be written there."""
    if not path.parent.is_dir():
        raise ValueError(f"The folder of {option} does not exist: {path.parent}")
    if path.is_dir():
        raise ValueError(f"{option} is a folder: {path}")


def write_table(frame: "pd.DataFrame", path: Path | None) -> None:
    """Writes by suffix; None prints CSV."""
    if path is None:
        sys.stdout.write(frame.to_csv(index=False))
    elif path.name.endswith(".parquet"):
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)


def _check_suffix(path: Path) -> None:
    if not path.name.endswith(SUFFIXES):
        raise ValueError(
            f"Tables are read and written as {', '.join(SUFFIXES)}; {path.name!r} has "
            f"the suffix {path.suffix!r}."
        )


def _read(path: Path, columns: dict[str, str], as_text: list[str]) -> "pd.DataFrame":
    import pandas as pd

    _check_suffix(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    try:
        if path.name.endswith(".parquet"):
            known = [str(name) for name in _parquet_columns(path)]
            _check_columns(path, known, columns)
            return pd.read_parquet(path)
        _check_columns(path, _csv_columns(path), columns)
        frame = pd.read_csv(path, encoding=_ENCODING, low_memory=False)
        if as_text:  # pandas takes a word such as NA, or no word, as missing
            exact = pd.read_csv(
                path, encoding=_ENCODING, usecols=as_text, dtype=str, na_filter=False
            )
            for name in as_text:
                frame[name] = exact[name]
        return frame
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason}.") from error
    except (OSError, EOFError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        if type(error) is ValueError:  # ours, of a column
            raise
        raise ValueError(f"{path} cannot be read: {error}") from error


def _csv_columns(path: Path) -> list[str]:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding=_ENCODING, newline="") as file:
        header = next(csv.reader(file), None)
    if header is None:
        raise ValueError(f"{path} is empty.")
    return header


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet

    return pyarrow.parquet.read_schema(path).names


def _check_columns(path: Path, known: list[str], columns: dict[str, str]) -> None:
    for option, name in columns.items():
        if name not in known:
            raise ValueError(
                f"{path} has no column {name!r} ({option}).{did_you_mean(name, known)} "
                f"Its columns are: {', '.join(known)}."
            )


def _split_labels(column: "pd.Series", separator: str) -> "pd.Series":
    """Lists of labels, whole numbers if every label is one."""
    import pandas as pd

    if not separator:
        raise ValueError("--label-sep must not be empty.")
    cells = column.fillna("").astype(str).str.split(separator, regex=False)
    lists = [[part.strip() for part in cell if part.strip()] for cell in cells]
    flat = _typed(pd.Series([part for cell in lists for part in cell], dtype=str))
    if not pd.api.types.is_integer_dtype(flat):
        return pd.Series(lists, column.index, dtype=object)
    numbers = iter(flat.tolist())
    typed = [[next(numbers) for _ in cell] for cell in lists]
    return pd.Series(typed, column.index, dtype=object)


def _typed(column: "pd.Series") -> "pd.Series":
    """Whole numbers or booleans if every value is one, exactly as it is written."""
    if column.empty or column.isna().any():
        return column
    if column.isin(["True", "False"]).all():
        return column.eq("True")
    if column.str.fullmatch(r"0|-?[1-9]\d{0,17}").all():
        return column.astype("int64")
    return column
