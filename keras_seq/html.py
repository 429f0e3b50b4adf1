"""HTML for notebooks: escaped, readable on light and dark pages, nothing from outside.

Text takes the page's own colour and lines are a grey that shows on both, so that no
style has to know which theme a notebook has.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

# Okabe & Ito 2008: colour-blind readers can tell them apart.
_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)
_LINE = "1px solid rgba(128,128,128,.35)"
_CELL = f"padding:.15em .7em;border:0;border-bottom:{_LINE};text-align:left"
_MOST_ROWS = 12
_LONGEST = 200


def escape(value: Any) -> str:
    """Any value as text between tags or within an attribute's quotes."""
    text = str(value).encode("utf-8", "replace").decode()  # lone surrogates
    return html.escape(text, quote=True)


def show(value: Any) -> str:
    """A value in a few characters: plain text, not escaped."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple) and len(value) > 8:
        shown = ", ".join(show_within(entry) for entry in value[:6])
        return f"{shown}, ... ({len(value):,})"
    if isinstance(value, list | tuple):
        return ", ".join(map(show_within, value))
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def show_within(value: Any) -> str:
    """A value among others."""
    return show(value) if isinstance(value, int | float | np.generic) else str(value)


def card(title: str, subtitle: str, *parts: str) -> str:
    """A titled block around parts that are HTML already."""
    inner = "".join(part for part in parts if part)
    small = f' <span style="opacity:.7">{escape(subtitle)}</span>' if subtitle else ""
    return (
        '<div style="font-family:system-ui,sans-serif;font-size:.9em;color:inherit;'
        'background:transparent;line-height:1.4;max-width:60em">'
        f"<div><strong>{escape(title)}</strong>{small}</div>{inner}</div>"
    )


def note(text: str) -> str:
    """A line of plain text."""
    return f'<div style="margin:.3em 0">{escape(text)}</div>'


def pairs(values: Mapping[str, Any], heading: str = "") -> str:
    """Names and values, one pair a row."""
    if not values:
        return ""
    rows = "".join(
        f'<tr><td style="{_CELL};opacity:.75">{escape(name)}</td>'
        f'<td style="{_CELL}">{escape(show(value))}</td></tr>'
        for name, value in values.items()
    )
    return _caption(heading) + _table(rows)


def table(frame: pd.DataFrame, heading: str = "", most: int = _MOST_ROWS) -> str:
    """The first rows of a frame; its index is not shown."""
    if frame.empty:
        return ""
    head = "".join(
        f'<th style="{_CELL};font-weight:600">{escape(name)}</th>' for name in frame
    )
    body = "".join(_row(row) for row in frame.head(most).itertuples(index=False))
    more = ""
    if len(frame) > most:
        more = note(f"{len(frame) - most:,} more rows")
    return _caption(heading) + _table(f"<tr>{head}</tr>{body}") + more


def tinted_table(
    corner: str, names: Sequence[str], rows: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """Numbers on backgrounds: `rows` has of each `(number, share)`, share from -1 to 1.

    Args:
        corner: Stands above the rows' names.
        names: Of the columns.
        rows: By name.
    """
    style = f"{_CELL};font-weight:600"
    head = "".join(f'<th style="{style}">{escape(n)}</th>' for n in (corner, *names))
    body = []
    for name, cells in rows.items():
        filled = "".join(
            f'<td style="{_CELL};{tint(share, 1.0)}">{escape(show(float(value)))}</td>'
            for value, share in cells
        )
        body.append(
            f'<tr><td style="{_CELL};opacity:.75">{escape(name)}</td>{filled}</tr>'
        )
    return _table(f"<tr>{head}</tr>{''.join(body)}")


def fold(summary: str, content: str) -> str:
    """Content that opens on a click."""
    if not content:
        return ""
    return (
        f'<details><summary style="cursor:pointer;opacity:.75">{escape(summary)}'
        f"</summary>{content}</details>"
    )


def tint(value: float, largest: float) -> str:
    """A background for a signed value, `background:...`: blue for, orange against.

    Half transparent at most, so that text in the page's colour stays readable on it.
    """
    if not largest or not math.isfinite(value):
        return "background:transparent"
    red, green, blue = _FOR if value > 0 else _AGAINST
    alpha = 0.55 * min(abs(value) / largest, 1.0)
    return f"background:rgba({red},{green},{blue},{alpha:.2f})"


def _caption(heading: str) -> str:
    if not heading:
        return ""
    return f'<div style="margin-top:.5em;opacity:.75">{escape(heading)}</div>'


def _table(rows: str) -> str:
    style = (
        "border-collapse:collapse;margin:.2em 0;color:inherit;background:transparent"
    )
    return f'<table style="{style}">{rows}</table>'


def _row(values: Iterable[Any]) -> str:
    cells = []
    for value in values:
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        shown = "" if missing else escape(show(value))
        cells.append(f'<td style="{_CELL}">{shown}</td>')
    # Jupyter stripes rows with colours of its own theme.
    return f'<tr style="background:transparent">{"".join(cells)}</tr>'


def scores_table(scores: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Scores of a model beside those of its baselines.

    Args:
        scores: As `evaluate` returns: numbers, and `baselines` with the same.
        names: Scores to show; none: all that are numbers.
    """
    baselines = scores.get("baselines", {})
    chosen = names or [
        name
        for name, value in scores.items()
        if isinstance(value, int | float) and name != "n"
    ]
    rows = [{"": "this model", **{n: scores.get(n) for n in chosen}}]
    for rival, own in baselines.items():
        rows.append({"": rival, **{name: own.get(name) for name in chosen}})
    return table(pd.DataFrame(rows))
