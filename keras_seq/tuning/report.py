"""Reports of searches: a JSON file for programs, a figure for eyes."""

import json
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import keras_seq
from keras_seq.files import replace_file
from keras_seq.tuning.search_result import SearchResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(result: SearchResult, path: str | PathLike[str]) -> tuple[Path, Path]:
    """Writes what a search found as JSON, and a figure of it as PNG beside it.

    Each file is written whole or not at all. The figure shows the score of every
    trial, and against each argument that varied.

    Args:
        result: What `tune` returned.
        path: The JSON file; its folder must exist. The figure has the same name and
            the suffix `.png`.

    Returns:
        The paths of both files.

    Raises:
        ValueError: If `path` does not end in `.json`.
    """
    target = Path(path)
    if target.suffix != ".json":
        raise ValueError(f"`path` must end in .json. Received: {str(path)!r}")
    text = json.dumps(
        describe_search(result), ensure_ascii=False, allow_nan=False, indent=1
    )
    with replace_file(target) as file:
        file.write(f"{text}\n".encode())
    figure = target.with_suffix(".png")
    with replace_file(figure) as file:
        _draw(result).savefig(file, format="png", dpi=120)
    return target, figure


def describe_search(result: SearchResult) -> dict[str, Any]:
    """What a search found, in values that JSON has; what has no value is None.

    Args:
        result: What `tune` returned.

    Returns:
        `objective`; `maximize`; `best_params`; `best_score`; `default_score`, of the
        estimator as it was, None if it failed; `gain`, by how much the best score is
        better, in the unit of the score; `importance` by argument; `trials`, a record
        per row of `trials_`; `candidates`, the same of `candidates_`, None without;
        `keras_seq`, the version.
    """
    best, default = result.best_score_, result.default_score_
    candidates = result.candidates_
    return _plain(
        {
            "keras_seq": keras_seq.__version__,
            "objective": result.objective,
            "maximize": result.maximize,
            "best_params": result.best_params_,
            "best_score": best,
            "default_score": default,
            "gain": best - default if result.maximize else default - best,
            "importance": result.importance_.to_dict(),
            "trials": result.trials_.to_dict("records"),
            "candidates": None if candidates is None else candidates.to_dict("records"),
        }
    )


def _plain(value: Any) -> Any:
    """The nearest that JSON has: null for NaN and infinity, text for objects."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return value if isinstance(value, str | bool | int | float) else repr(value)


def _draw(result: SearchResult) -> "Figure":
    from matplotlib.figure import Figure

    from keras_seq.plotting import plot_arguments

    importance = result.importance_
    count = len(importance)
    columns = 2 if count in (2, 4) else max(min(count, 3), 1)
    rows = math.ceil(count / columns)
    # Not pyplot's: nothing is to be shown or closed.
    size = (max(4.2 * columns, 6.4), 3.2 + 2.8 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(1 + rows, columns)
    result.plot(figure.add_subplot(grid[0, :]))
    if count:
        cells = [grid[1 + i // columns, i % columns] for i in range(count)]
        axes = [figure.add_subplot(cell) for cell in cells]
        plot_arguments(result.trials_, importance, name=result.objective, axes=axes)
    return figure
