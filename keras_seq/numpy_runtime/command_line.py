"""The command line of a bundle: texts to JSON lines, a CSV of series to a CSV."""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from keras_seq.numpy_runtime.forecaster import NumpyForecaster
from keras_seq.numpy_runtime.loading import load
from keras_seq.numpy_runtime.text_classifier import NumpyTextClassifier

# Lines that are read before they are answered.
_BLOCK = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Predicts with a saved model.

    Args:
        arguments: Of the command line; None: the program's own.

    Returns:
        0, or 1 where something is wrong with the file or the data, which standard
        error then tells.
    """
    options = _parser().parse_args(arguments)
    try:
        model = load(options.model)
        if isinstance(model, NumpyTextClassifier):
            _classify(model, options)
        else:
            _forecast(model, options)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Predicts with a saved keras_seq model, with NumPy alone.",
        epilog="Texts: arguments, or lines of standard input; one line of JSON for "
        "each. Series: a CSV file with the columns of the training data.",
    )
    parser.add_argument("model", help="file of TextClassifier.save or Forecaster.save")
    parser.add_argument("texts", nargs="*", help="texts to classify; none: stdin")
    parser.add_argument("--probabilities", action="store_true", help="of all classes")
    parser.add_argument(
        "--history", metavar="CSV", help="series to forecast; '-' is standard input"
    )
    parser.add_argument("--future", metavar="CSV", help="covariates known ahead")
    parser.add_argument("--horizon", type=int, help="steps to forecast")
    parser.add_argument(
        "--level", type=float, action="append", help="interval in percent, such as 80"
    )
    parser.add_argument("--output", metavar="FILE", help="instead of standard output")
    return parser


def _classify(model: NumpyTextClassifier, options: argparse.Namespace) -> None:
    if options.history or options.future or options.horizon or options.level:
        raise ValueError(
            "--history, --future, --horizon and --level are for series, and this is a "
            "TextClassifier."
        )
    with _Output(options.output) as out:
        if options.texts:
            _answer(model, options.texts, options.probabilities, out)
            return
        block: list[str] = []
        for line in sys.stdin:
            block.append(line.rstrip("\r\n"))
            if len(block) == _BLOCK:
                _answer(model, block, options.probabilities, out)
                block = []
        if block:
            _answer(model, block, options.probabilities, out)


def _answer(
    model: NumpyTextClassifier, texts: list[str], every: bool, out: TextIO
) -> None:
    probabilities = model.predict_proba(texts)
    labels = model.choose_labels(probabilities)
    for row, label in zip(probabilities, labels, strict=True):
        plain = label if isinstance(label, list) else label.item()
        answer: dict[str, Any] = {"labels" if model.multi_label else "label": plain}
        if every:
            names = [str(name) for name in model.classes_.tolist()]
            shown = [round(float(p), 7) for p in row]
            answer["probabilities"] = dict(zip(names, shown, strict=True))
        elif not model.multi_label:
            answer["probability"] = round(float(row.max()), 7)
        out.write(json.dumps(answer, ensure_ascii=False) + "\n")
    out.flush()


def _forecast(model: NumpyForecaster, options: argparse.Namespace) -> None:
    if options.texts or options.probabilities:
        raise ValueError(
            "Texts and --probabilities are for a TextClassifier, and this is a "
            f"Forecaster: give --history. Received: {options.texts}"
        )
    tables = {
        name: read_csv(path, model)
        for name in ("history", "future")
        if (path := getattr(options, name)) is not None
    }
    columns = model.predict(**tables, horizon=options.horizon, level=options.level)
    with _Output(options.output) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        shown = [_as_text(column) for column in columns.values()]
        writer.writerows(zip(*shown, strict=True))


def _as_text(column: Any) -> list[str]:
    """As cells of a CSV file; stamps no finer than they are."""
    array = np.asarray(column)
    if array.dtype.kind == "M":
        for unit in ("D", "m", "s"):
            coarse = array.astype(f"datetime64[{unit}]")
            if (coarse == array).all():
                array = coarse
                break
    return array.astype(str).tolist()


def read_csv(path: str, model: NumpyForecaster) -> dict[str, Any]:
    """Columns of a CSV file, in the types that the model was trained on.

    Empty cells are missing.

    Args:
        path: Of the file, UTF-8, the first line names the columns; `"-"` is standard
            input.
        model: Which columns are numbers, ids or stamps.

    Raises:
        ValueError: Naming the column and the cell that is none of these.
    """
    if path == "-":
        rows = list(csv.reader(sys.stdin))
    else:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{path} is empty: its first line must name the columns.")
    header, cells = rows[0], [row for row in rows[1:] if row]
    for line, row in enumerate(cells, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{path} must have {len(header)} cells a row. Received {len(row)} in "
                f"row {line}: {row[:5]}"
            )
    table: dict[str, Any] = {
        name: [row[index] or None for row in cells] for index, name in enumerate(header)
    }
    names, kinds = model.columns_, model.column_types()
    for name, kind in kinds.items():
        if name in table and not (name == names.time and kind is str):
            table[name] = [_convert(value, kind, name) for value in table[name]]
    return table


def _convert(value: str | None, kind: type, name: str) -> Any:
    if value is None or kind is str:
        return value
    try:
        return kind(value)
    except ValueError:
        rule = {int: "whole numbers", float: "numbers"}[kind]
        raise ValueError(
            f"Column {name!r} must hold {rule}, as the training data did. "
            f"Received: {value!r}"
        ) from None


class _Output:
    """A file that is written whole, or standard output."""

    def __init__(self, path: str | None):
        self.path = path

    def __enter__(self) -> TextIO:
        if self.path is None:
            return sys.stdout
        self._file = open(self.path, "w", encoding="utf-8", newline="")
        return self._file

    def __exit__(self, *error: Any) -> None:
        if self.path is not None:
            self._file.close()
