"""What the network sees beside the values: the calendar, and covariates as numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from keras_seq.errors import warn
from keras_seq.forecasting.covariates import Covariates, Levels, ranges
from keras_seq.numpy_runtime.clock import (
    calendar,
    calendar_places,
    calendar_rounds,
    calendar_waves,
)

if TYPE_CHECKING:
    from keras_seq.forecasting.plain_panel import PlainPanel

# Categories that change with time are shown as one number each.
MAX_CATEGORIES = 100
# Farther from the mean than this many deviations says no more.
MAX_SCALED_COVARIATE = 20.0

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
# Of each round of the calendar.
_DAYS_OF_ROUND = {"day": 1, "week": 7, "year": 365}
# Stamps whose calendar is computed at a time.
_CHUNK = 1 << 16
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def steps_per_day(freq: str | int) -> int:
    """Of a frequency of hours or less; 0 for others and for whole numbers."""
    if isinstance(freq, int):
        return 0
    from pandas.tseries.frequencies import to_offset

    offset = to_offset(freq)
    if offset.rule_code not in _SECONDS:
        return 0
    return max(86400 // (_SECONDS[offset.rule_code] * offset.n), 1)


def default_season_length(freq: str | int) -> int:
    """Steps in the usual season: a day for hours and less, a week for days, a year.

    Args:
        freq: A pandas frequency, or a whole number (no season: 1).
    """
    if isinstance(freq, int):
        return 1
    if day := steps_per_day(freq):
        return day
    from pandas.tseries.frequencies import to_offset

    offset = to_offset(freq)
    name = offset.rule_code.split("-")[0]
    season = _SEASONS.get(name, 1)
    return season // offset.n if season % offset.n == 0 else 1


def calendar_features(
    stamps: Any, freq: str | int, rounds: tuple[str, ...] | None = None
) -> np.ndarray:
    """Positions in the day, week and year as points on circles.

    Args:
        stamps: DatetimeIndex, or integers (which have no calendar).
        freq: Time step of the stamps.
        rounds: As of `numpy_runtime.clock.calendar`.

    Returns:
        float32, `(len(stamps), num_features)`; no feature for yearly and integer
        stamps.
    """
    return calendar(_wall(stamps), freq, rounds)


def choose_rounds(grid: Any, steps: int) -> tuple[str, ...]:
    """The rounds of the calendar that a number of steps goes through twice.

    What was seen once may be anything: a network told the day of the year on one year
    of rows learns by heart what happened on it.

    Args:
        grid: Of a panel.
        steps: From its start on.
    """
    rounds = calendar_rounds(grid.freq)
    if not rounds:
        return ()
    days = (grid.stamps(steps, 1)[0] - grid.start).days
    return tuple(name for name in rounds if days >= 2 * _DAYS_OF_ROUND[name])


class CalendarRows:
    """The calendar features of many stamps, in a few bytes each.

    Args:
        stamps: As of `calendar_features`, and so the others.
        freq: Time step of the stamps.
        rounds: What the features tell.

    Attributes:
        width: Number of features.
    """

    def __init__(
        self, stamps: Any, freq: str | int, rounds: tuple[str, ...] | None = None
    ):
        wall = _wall(stamps)
        self._count = len(wall)
        parts = [
            calendar_places(wall[first : first + _CHUNK], freq, rounds)
            for first in range(0, max(len(wall), 1), _CHUNK)
        ]
        self._places = [
            (np.concatenate([part[index][0] for part in parts]), period)
            for index, (_, period) in enumerate(parts[0])
        ]
        self.width = self[np.zeros(0, np.int64)].shape[1]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """float32, one more axis than `rows`, `width`."""
        places = [(at[rows], period) for at, period in self._places]
        return calendar_waves(places, rows.shape)


def _wall(stamps: Any) -> np.ndarray:
    """What a clock on the wall shows."""
    if getattr(stamps, "tz", None):
        stamps = stamps.tz_localize(None)
    return np.asarray(stamps)


@dataclass(frozen=True)
class Encoding:
    """How one column becomes numbers.

    Attributes:
        kind: `"static"`, `"past"` or `"future"`.
        name: Of the column.
        mean: Of its training rows.
        scale: Their standard deviation; 0 where they are all the same, and then the
            number is not shown.
        flagged: Whether a second number, 1.0 or 0.0, tells the observed from the
            missing: where training rows were missing.
        categories: The known ones, or None for numbers.
    """

    kind: str
    name: Any
    mean: float = 0.0
    scale: float = 0.0
    flagged: bool = False
    categories: list[Any] | None = None

    @property
    def width(self) -> int:
        """Numbers that it becomes: one for each category, unless it is static."""
        if self.categories is not None:
            return len(self.categories)
        return (self.scale > 0) + self.flagged

    def stored(self, covariates: Covariates, rows: np.ndarray) -> tuple[Any, Any]:
        """Its values in a panel, NaN where `rows` is -1, and what they count from."""
        index = covariates.names[self.kind].index(self.name)
        array = getattr(covariates, self.kind)
        values = np.where(rows < 0, np.nan, array[rows, index])
        return values.astype(array.dtype), covariates.levels[self.name]

    def encode(self, values: np.ndarray, level: list[Any] | float) -> np.ndarray:
        """Numbers for the network; missing ones and unknown categories are 0.

        Args:
            values: Any shape, as stored in a panel.
            level: What they are relative to there.

        Returns:
            float32, of the shape of `values` and one more axis, `width`.
        """
        if self.categories is not None:
            ids = self.number(values, level)
            return (ids[..., None] == np.arange(1, self.width + 1)).astype(np.float32)
        parts, missing = [], np.isnan(values)
        if self.scale > 0:
            scaled = (values - (self.mean - float(level))) / self.scale  # type: ignore[arg-type]
            scaled = np.clip(scaled, -MAX_SCALED_COVARIATE, MAX_SCALED_COVARIATE)
            parts.append(np.where(missing, 0.0, scaled))
        if self.flagged:
            parts.append(~missing)
        return np.stack(parts, axis=-1).astype(np.float32)

    def number(self, codes: np.ndarray, level: Any) -> np.ndarray:
        """Ids from a panel's codes: int32, from 1 on; 0 is missing or unknown."""
        known = {value: index + 1 for index, value in enumerate(self.categories or ())}
        ids = np.array([*(known.get(value, 0) for value in level), 0], np.int32)
        return ids[np.where(np.isnan(codes), -1, codes).astype(np.int64)]


@dataclass(frozen=True)
class CovariateEncoder:
    """What `fit` learned of the covariates: numbers' statistics, and categories.

    Attributes:
        columns: In the order of the constructor's arguments.
    """

    columns: tuple[Encoding, ...]

    @classmethod
    def learn(cls, panel: "PlainPanel", end: np.ndarray) -> Self | None:
        """Learns from a panel; None where it has no covariates.

        Args:
            panel: Series.
            end: int64, `(num_series,)`: steps of each series that train. Statistics
                are those of these steps; categories may come from any step.
        """
        covariates = panel.covariates
        if covariates is None:
            return None
        _, training = ranges(panel.offsets[:-1], end)
        _, known = ranges(covariates.offsets[:-1], panel.lengths)
        _, known_training = ranges(covariates.offsets[:-1], end)
        everything = slice(None)
        rows: dict[str, tuple[Any, Any]] = {
            "static": (everything, everything),
            "past": (everything, training),
            "future": (known, known_training),
        }
        columns = []
        for kind, names in covariates.names.items():
            stored = getattr(covariates, kind)
            for index, name in enumerate(names):
                level, (any_step, trained) = covariates.levels[name], rows[kind]
                if isinstance(level, list):
                    values = stored[any_step, index]
                    columns.append(_learn_categories(kind, name, values, level))
                else:
                    values = stored[trained, index]
                    columns.append(_learn_numbers(kind, name, values, level))
        for column in columns:
            if not column.width:
                warn(
                    f"Covariate {column.name!r} is the same in all rows that train, "
                    "which says nothing: it is ignored."
                )
        return cls(tuple(columns))

    def widths(self) -> dict[str, Any]:
        """Arguments of `build_forecaster`: widths of the inputs, without a calendar."""
        count = {
            f"num_{kind}": sum(column.width for column in self._shown(kind))
            for kind in ("static", "past", "future")
        }
        sizes = [len(column.categories or ()) + 1 for column in self._static_ids()]
        return {**count, "static_cardinalities": sizes}

    def levels(self) -> Levels:
        """What new panels store their columns relative to."""
        return {
            column.name: column.mean
            if column.categories is None
            else list(column.categories)
            for column in self.columns
        }

    def gather(
        self,
        covariates: Covariates,
        series: np.ndarray,
        steps: np.ndarray,
        rows: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """The network's inputs for windows; parts of width 0 are left out.

        Args:
            covariates: Of the panel.
            series: int64, `(batch,)`.
            steps: int64, `(batch, lookback + horizon)`: counted within each series.
            rows: int64, `(batch, lookback)`: rows of the panel of those before the
                origin; -1 outside.

        Returns:
            `past`, `future` and `static`, float32, and `static_ids`, int32.
        """
        begin = covariates.offsets[series][:, None]
        last = covariates.offsets[series + 1][:, None]
        ahead = np.where((steps >= 0) & (begin + steps < last), begin + steps, -1)
        found = {
            "past": self._encode("past", covariates, rows),
            "future": self._encode("future", covariates, ahead),
            "static": self._encode("static", covariates, series),
        }
        ids = [
            column.number(*column.stored(covariates, series))
            for column in self._static_ids()
        ]
        if ids:
            found["static_ids"] = np.stack(ids, axis=-1)
        return {name: array for name, array in found.items() if array.shape[-1]}

    def get_state(self) -> list[dict[str, Any]]:
        """JSON-able values that `from_state` takes."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_state(cls, state: Sequence[dict[str, Any]]) -> Self:
        """Rebuilds it from `get_state`."""
        return cls(tuple(Encoding(**column) for column in state))

    def _encode(
        self, kind: str, covariates: Covariates, rows: np.ndarray
    ) -> np.ndarray:
        parts = [np.zeros((*rows.shape, 0), np.float32)]
        for column in self._shown(kind):
            parts.append(column.encode(*column.stored(covariates, rows)))
        return np.concatenate(parts, axis=-1)

    def _shown(self, kind: str) -> Iterator[Encoding]:
        """Columns that become numbers."""
        for column in self.columns:
            embedded = kind == "static" and column.categories is not None
            if column.kind == kind and column.width and not embedded:
                yield column

    def _static_ids(self) -> Iterator[Encoding]:
        """Columns that become ids, which the network embeds."""
        for column in self.columns:
            if column.kind == "static" and column.categories is not None:
                if column.width:
                    yield column


def _learn_numbers(kind: str, name: Any, values: np.ndarray, level: float) -> Encoding:
    found = values[~np.isnan(values)].astype(np.float64)
    if not len(found):
        return Encoding(kind, name, mean=level)
    mean = float(found.mean())
    scale = float(found.std()) if found.min() < found.max() else 0.0
    return Encoding(kind, name, level + mean, scale, len(found) < len(values))


def _learn_categories(
    kind: str, name: Any, codes: np.ndarray, level: list[Any]
) -> Encoding:
    present = np.unique(codes)  # NaN, if any, is the last
    missing = bool(len(present)) and bool(np.isnan(present[-1]))
    categories = [level[int(code)] for code in present[~np.isnan(present)]]
    if len(categories) == 1 and not missing:
        categories = []
    if kind != "static" and len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"Column {name!r} ({kind}_covariates) must have at most {MAX_CATEGORIES} "
            f"different categories. Received: {len(categories)}, such as "
            f"{categories[:3]}. Numbers stored as text or categories must be made "
            "numbers first."
        )
    return Encoding(kind, name, categories=categories)
