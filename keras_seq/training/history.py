"""Histories as JSON holds them, which knows neither NaN nor infinity."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def pack_history(history: pd.DataFrame) -> dict[str, list[Any]]:
    """Columns of numbers as lists: None for NaN, "inf" for infinity."""
    return {
        str(name): [
            value if np.isfinite(value) else None if np.isnan(value) else str(value)
            for value in column.tolist()
        ]
        for name, column in history.items()
    }


def unpack_history(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """The history that `pack_history` packed."""
    return pd.DataFrame(columns, dtype=object).apply(pd.to_numeric)
