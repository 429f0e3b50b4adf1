"""Scores as aligned text, ours first and the baselines below."""

import json
import math
from collections.abc import Mapping
from typing import Any


def show_scores(scores: Mapping[str, Any], as_json: bool) -> str:
    """Scores of `evaluate` as a table beside their baselines, or as JSON."""
    if as_json:
        return json.dumps(_without_nan(scores), ensure_ascii=False, allow_nan=False)
    rows = {"this model": scores, **scores.get("baselines", {})}
    return format_table({row: _flat(values) for row, values in rows.items()})


def _flat(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by name; those by class as `f1 spam`."""
    flat: dict[str, Any] = {}
    for name, value in scores.items():
        if isinstance(value, int | float):
            flat[name] = value
        elif isinstance(value, Mapping) and name.endswith("_per_class"):
            kind = name.removesuffix("_per_class")
            flat |= {f"{kind} {label}": score for label, score in value.items()}
    return flat


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Lays named rows of numbers out in columns; what a row lacks stays empty."""
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    cells = [["", *names]]
    for row, values in rows.items():
        cells.append([row, *(_cell(values.get(name)) for name in names)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(names) + 1)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [
                cell.rjust(width)
                for cell, width in zip(line[1:], widths[1:], strict=True)
            ]
        ).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
