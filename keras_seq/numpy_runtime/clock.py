"""Clock: stamps at regular steps, without pandas where the frequency is a plain one.

A step is a fixed span (`"h"`, `"15min"`, `"D"`, `"W-SUN"`), a number of months
(`"MS"`, `"QE-DEC"`, `"YS-JAN"`), a weekday (`"B"`) or a whole number. Other frequencies
of pandas, and time zones, are left to pandas, which must then be installed.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_SPANS: dict[str, Any] = {
    "ns": np.timedelta64(1, "ns"),
    "us": np.timedelta64(1, "us"),
    "ms": np.timedelta64(1, "ms"),
    "s": np.timedelta64(1, "s"),
    "min": np.timedelta64(1, "m"),
    "h": np.timedelta64(1, "h"),
    "D": np.timedelta64(1, "D"),
    "W": np.timedelta64(7, "D"),
}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_WITHIN_DAY = ("ns", "us", "ms", "s", "min", "h")
_DAYS = ("D", "B", "C")
# Rounds of the calendar, the shortest first.
ROUNDS = ("day", "week", "year")


@dataclass(frozen=True)
class Rule:
    """A frequency's parts: `"2QE-DEC"` is 2 times `"QE"`."""

    count: int
    name: str


def parse_rule(freq: str) -> Rule:
    """Takes a frequency of pandas apart; the anchor follows from the stamps."""
    found = re.fullmatch(r"(\d*)([A-Za-z]+)(-[A-Z0-9-]+)?", freq)
    if found is None:
        raise ValueError(f"`freq` must be a pandas frequency. Received: freq={freq!r}")
    return Rule(int(found[1] or 1), found[2])


def calendar_rounds(freq: str | int) -> tuple[str, ...]:
    """The rounds of the calendar in which steps of a frequency have different places.

    Args:
        freq: Time step, as pandas writes it; whole numbers have no calendar.

    Returns:
        Of `ROUNDS`, those longer than a step.
    """
    if isinstance(freq, int):
        return ()
    name = parse_rule(freq).name
    if name in _WITHIN_DAY:
        return ROUNDS
    if name in _DAYS:
        return ROUNDS[1:]
    return ROUNDS[2:] if name == "W" or "M" in name or "Q" in name else ()


def by_days(freq: str | int) -> bool:
    """Whether a place in the year is a day of it; if not, it is a month."""
    names = (*_WITHIN_DAY, *_DAYS, "W")
    return not isinstance(freq, int) and parse_rule(freq).name in names


def calendar(
    wall: Array, freq: str | int, rounds: tuple[str, ...] | None = None
) -> Array:
    """Positions in the day, week and year as points on circles.

    Each position gives a sine and cosine of the first two harmonics.

    Args:
        wall: datetime64, any shape: the time that a clock on the wall shows; or whole
            numbers, which have no calendar.
        freq: Time step of the stamps, as pandas writes it.
        rounds: Some of `calendar_rounds(freq)`, in that order; None: all of them.

    Returns:
        float32, one more axis than `wall`, `num_features`: none for yearly and integer
        stamps.
    """
    return calendar_waves(calendar_places(wall, freq, rounds), wall.shape)


def calendar_places(
    wall: Array, freq: str | int, rounds: tuple[str, ...] | None = None
) -> list[tuple[Array, float]]:
    """Minute of the day, day of the week and of the year, or month, from 0.

    Args:
        wall: As of `calendar`, and so the others.
        freq: Time step.
        rounds: In which places are asked for.

    Returns:
        For each round: uint16, of the shape of `wall`, and how many make a round.
    """
    rounds = calendar_rounds(freq) if rounds is None else rounds
    if isinstance(freq, int) or not np.issubdtype(wall.dtype, np.datetime64):
        return []
    days = wall.astype("datetime64[D]")
    places: list[tuple[Array, float]] = []
    for name in rounds:
        if name == "day":
            places.append(((wall - days).astype("timedelta64[m]"), 1440))
        elif name == "week":
            places.append(((days.astype(np.int64) + 3) % 7, 7))  # 0 was a Thursday
        elif by_days(freq):
            year = days.astype("datetime64[Y]").astype("datetime64[D]")
            places.append((days - year, 365.25))
        else:
            places.append((wall.astype("datetime64[M]").astype(np.int64) % 12, 12))
    return [(at.astype(np.int64).astype(np.uint16), period) for at, period in places]


def calendar_waves(places: list[tuple[Array, float]], shape: tuple[int, ...]) -> Array:
    """The features of `calendar` at places of `calendar_places`, each of a shape."""
    parts = [_circle(period)[at] for at, period in places]
    return np.concatenate([np.zeros((*shape, 0), np.float32), *parts], axis=-1)


@lru_cache
def _circle(period: float) -> Array:
    """Sines and cosines of two harmonics: float32, `(places, 4)`."""
    angle = np.arange(int(np.ceil(period))) / period
    waves = [
        wave(2 * np.pi * harmonic * angle)
        for harmonic in (1, 2)
        for wave in (np.sin, np.cos)
    ]
    return np.stack(waves, axis=-1).astype(np.float32)


class Clock:
    """Stamps `start`, `start + freq`, ... and their places in that row.

    Args:
        freq: A frequency as pandas writes it, or a whole number for integer stamps.
        start: The stamp at position 0: a datetime64 (or an ISO string), which lies on
            the frequency, or a whole number.
        tz: Time zone; None for none. `start` and all stamps are then in UTC.
        rounds: As of `calendar`, for `features`.
    """

    def __init__(
        self,
        freq: str | int,
        start: Any,
        tz: str | None = None,
        rounds: tuple[str, ...] | None = None,
    ):
        self.freq: Any = freq
        self.tz = tz
        self.rounds = rounds
        self.start: Any = int(start) if isinstance(freq, int) else np.datetime64(start)
        self._rule = None if isinstance(freq, int) else parse_rule(freq)

    @property
    def _months(self) -> int:
        """Months in a step; 0 where a step is no number of months."""
        if self._rule is None or self._rule.name not in (
            "MS",
            "ME",
            "QS",
            "QE",
            "YS",
            "YE",
        ):
            return 0
        return self._rule.count * _MONTHS[self._rule.name[0]]

    @property
    def plain(self) -> bool:
        """Whether NumPy alone will do."""
        if self._rule is None:
            return True
        known = self._months or self._rule.name in (*_SPANS, "B")
        return bool(known) and self.tz is None

    def stamps(self, positions: Array) -> Array:
        """The stamps at positions, which may be negative: int64, or datetime64."""
        positions = np.asarray(positions, np.int64)
        if self._rule is None:
            return self.start + self.freq * positions
        if not self.plain:
            return self._pandas_stamps(positions)
        unit = self.start.dtype
        if self._rule.name in _SPANS:
            span = (self._rule.count * _SPANS[self._rule.name]).astype(
                f"timedelta64[{np.datetime_data(unit)[0]}]"
            )
            return self.start + positions * span
        day = self.start.astype("datetime64[D]")
        time_of_day = self.start - day
        if self._months:
            month = day.astype("datetime64[M]") + positions * self._months
            if self._rule.name.endswith("E"):
                days = (month + 1).astype("datetime64[D]") - 1
            else:
                days = month.astype("datetime64[D]")
        else:
            days = np.busday_offset(day, positions * self._rule.count)
        return (days + time_of_day).astype(unit)

    def positions(self, stamps: Any) -> Array:
        """Where stamps stand: int64, of their shape.

        Raises:
            ValueError: If a stamp does not lie on the frequency; it is named.
        """
        stamps = np.asarray(stamps)
        if self._rule is None:
            if not np.issubdtype(stamps.dtype, np.integer):
                raise ValueError(
                    "Stamps must be whole numbers, as those of the training data. "
                    f"Received: {stamps.ravel()[:3].tolist()}"
                )
            found = (stamps - self.start) // self.freq
        elif not np.issubdtype(stamps.dtype, np.datetime64) or np.isnat(stamps).any():
            raise ValueError(
                "Stamps must be datetime64 without NaT, as those of the training data. "
                f"Received: {stamps.dtype}, {stamps.ravel()[:3].tolist()}"
            )
        elif not self.plain:
            return self._pandas_positions(stamps)
        elif self._rule.name in _SPANS:
            span = self._rule.count * _SPANS[self._rule.name]
            found = (stamps - self.start) // span
        elif self._months:
            month = self.start.astype("datetime64[M]")
            found = (stamps.astype("datetime64[M]") - month).astype(np.int64)
            found = found // self._months
        else:
            day = self.start.astype("datetime64[D]")
            days = np.busday_count(day, stamps.astype("datetime64[D]"))
            found = days // self._rule.count
        found = np.asarray(found).astype(np.int64)
        off = self.stamps(found) != stamps
        if off.any():
            raise ValueError(
                f"Stamps must lie on freq={self.freq!r}, counted from {self.start}. "
                f"Received: {np.atleast_1d(stamps)[np.atleast_1d(off)][:3].tolist()}"
            )
        return found

    def features(self, positions: Array) -> Array:
        """What the network sees of the calendar: float32, `(..., num_features)`."""
        stamps = self.stamps(positions)
        if self.tz is not None:
            import pandas as pd

            index = pd.DatetimeIndex(stamps.ravel(), tz="UTC").tz_convert(self.tz)
            stamps = index.tz_localize(None).to_numpy().reshape(stamps.shape)
        return calendar(stamps, self.freq, self.rounds)

    def _index(self, low: int, high: int) -> Any:
        """The stamps from one position to another, as pandas has them."""
        import pandas as pd

        start: Any = pd.Timestamp(self.start)
        if self.tz is not None:
            start = start.tz_localize("UTC").tz_convert(self.tz)
        before = pd.date_range(end=start, periods=max(-low, 0) + 1, freq=self.freq)
        count = max(high, 0) + max(-low, 0) + 1
        return pd.date_range(before[0], periods=count, freq=self.freq), min(low, 0)

    def _pandas_stamps(self, positions: Array) -> Array:
        if not positions.size:
            return np.zeros(positions.shape, self.start.dtype)
        index, first = self._index(int(positions.min()), int(positions.max()))
        if self.tz is not None:
            index = index.tz_convert("UTC").tz_localize(None)
        return index.to_numpy().astype(self.start.dtype)[positions - first]

    def _pandas_positions(self, stamps: Array) -> Array:
        if not stamps.size:
            return np.zeros(stamps.shape, np.int64)
        import pandas as pd

        wanted = pd.DatetimeIndex(stamps.ravel())
        low, high = min(wanted.min(), pd.Timestamp(self.start)), wanted.max()
        # No step of these frequencies is shorter than the shortest fixed one in use.
        count = 64
        while True:
            index, first = self._index(-count, count)
            plain = index.tz_convert("UTC").tz_localize(None) if self.tz else index
            if plain[0] <= low and plain[-1] >= high:
                break
            count *= 4
        found = plain.get_indexer(wanted.as_unit(plain.unit))
        if (found < 0).any():
            raise ValueError(
                f"Stamps must lie on freq={self.freq!r}, counted from {self.start}. "
                f"Received: {wanted[found < 0][:3].tolist()}"
            )
        return (found + first).reshape(stamps.shape).astype(np.int64)
