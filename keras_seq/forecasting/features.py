"""Calendar features, known for the future because the calendar is."""

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

# Steps in a season, by the leading part of the pandas frequency.
_SEASONS = {
    "h": 24,
    "D": 7,
    "B": 5,
    "C": 5,
    "W": 52,
    "MS": 12,
    "ME": 12,
    "BMS": 12,
    "BME": 12,
    "QS": 4,
    "QE": 4,
    "BQS": 4,
    "BQE": 4,
}
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def default_season_length(freq: str | int) -> int:
    """Steps in the usual season: a day for hours and less, a week for days, a year.

    Args:
        freq: A pandas frequency, or a whole number (no season: 1).
    """
    if isinstance(freq, int):
        return 1
    offset = to_offset(freq)
    name = offset.rule_code.split("-")[0]
    if name in _SECONDS:
        return max(86400 // (_SECONDS[name] * offset.n), 1)
    season = _SEASONS.get(name, 1)
    return season // offset.n if season % offset.n == 0 else 1


def calendar_features(stamps: pd.Index, freq: str | int) -> np.ndarray:
    """Positions in the day, week and year as points on circles.

    Each position gives a sine and cosine of the first two harmonics; only those that
    vary at this frequency and longer than a step are used.

    Args:
        stamps: DatetimeIndex, or integers (which have no calendar).
        freq: Time step of the stamps.

    Returns:
        float32, `(len(stamps), num_features)`; no feature for yearly and integer
        stamps.
    """
    angles = []
    if isinstance(stamps, pd.DatetimeIndex) and not isinstance(freq, int):
        name = to_offset(freq).rule_code.split("-")[0]
        within_day = name in _SECONDS or name in ("ms", "us", "ns")
        within_week = within_day or name in ("D", "B", "C")
        if within_day:
            angles.append((stamps.hour + stamps.minute / 60) / 24)
        if within_week:
            angles.append(stamps.day_of_week / 7)
        if within_week or name == "W":
            angles.append((stamps.day_of_year - 1) / 365.25)
        elif "M" in name or "Q" in name or name == "SME":
            angles.append((stamps.month - 1) / 12)
    waves = [
        wave(2 * np.pi * harmonic * np.asarray(angle, dtype=np.float64))
        for angle in angles
        for harmonic in (1, 2)
        for wave in (np.sin, np.cos)
    ]
    if not waves:
        return np.zeros((len(stamps), 0), np.float32)
    return np.stack(waves, axis=1).astype(np.float32)
