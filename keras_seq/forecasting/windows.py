"""Windows: which origins to train on, and their gathering, batch by batch."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from keras_seq.forecasting.features import (
    CalendarRows,
    CovariateEncoder,
    steps_per_day,
)
from keras_seq.forecasting.nonnegative import find_knees, no_knees
from keras_seq.forecasting.plain_panel import PlainPanel as Panel
from keras_seq.numpy_runtime.clock import calendar_rounds

# float32 holds 7 digits: beyond this ratio the spread would have fewer than 3.
_LEVEL_OVER_SPREAD = 1e4
# How many spreads above zero such windows are put where their logarithms are taken: as
# many as other series are, whose relative errors tell the width of intervals.
LEVEL_OF_LOGS = 30.0
# Windows that are looked at before all are.
_SAMPLE = 512
# Longest lookback that is chosen to show the days of a week.
_LONGEST_WEEK = 1024


@dataclass(frozen=True)
class WindowSpec:
    """Window lengths in time steps, and how windows become numbers.

    Attributes:
        lookback: Steps the model sees.
        horizon: Steps it forecasts.
        centered: Whether each window's last observed value is subtracted on the host,
            in float64; if not, only windows whose level dwarfs their spread are
            moved. True for scalings that do not see the level anyway; None, for
            logarithms, leaves such windows some spreads above zero.
        encoder: Of covariates; None where there are none.
        rounds: Of the calendar, as of `calendar_features`.
        nonnegative: Whether forecasts are bent where they would fall below zero.
    """

    lookback: int
    horizon: int
    centered: bool | None
    encoder: CovariateEncoder | None = None
    rounds: tuple[str, ...] | None = None
    nonnegative: bool = False


@dataclass(frozen=True)
class Windows:
    """A batch of windows.

    Attributes:
        past: float32, `(batch, lookback)`, NaN where missing or before the series.
        target: float32, `(batch, horizon)`, NaN where missing or after the series.
        calendar: float32, `(batch, lookback + horizon, num_features)`.
        shift: float64, `(batch,)`; was subtracted from `past` and `target`. NaN where
            nothing was seen, so that forecasts are NaN and no target is learned from.
        covariates: The network's inputs of `CovariateEncoder.gather`.
    """

    past: np.ndarray
    target: np.ndarray
    calendar: np.ndarray
    shift: np.ndarray
    covariates: dict[str, np.ndarray] = field(default_factory=dict)


class WindowSource:
    """Cuts windows out of a panel on demand; never holds more than a batch.

    Args:
        panel: Checked series.
        spec: Window lengths.
    """

    def __init__(self, panel: Panel, spec: WindowSpec):
        self.panel = panel
        self.spec = spec
        self._lengths = panel.lengths
        # One row per grid position, from `lookback` before the first stamp on.
        count = spec.lookback + panel.end + spec.horizon
        freq, rounds = panel.grid.freq, spec.rounds
        if rounds is None:
            rounds = calendar_rounds(freq)
        # Who tells no place in a round needs no stamps, which may not go back so far.
        stamps = (
            panel.grid.stamps(-spec.lookback, count)
            if rounds
            else np.zeros(count, "datetime64[s]")
        )
        self.calendar = CalendarRows(stamps, freq, rounds)

    def gather(
        self, series: np.ndarray, origins: np.ndarray, end: np.ndarray | None = None
    ) -> Windows:
        """Cuts the lookback before and the horizon from each origin on.

        Windows never cross a series' border: steps outside are NaN.

        Args:
            series: int64, `(batch,)`: which series.
            origins: int64, `(batch,)`: steps of that series before the first target,
                1 to its length.
            end: int64, `(num_series,)`: steps of each series that may be seen; None:
                all.

        Raises:
            ValueError: If an origin lies outside its series.
        """
        lookback = self.spec.lookback
        steps, flat = self._places(series, origins, end)
        values = self._values(flat)
        past, target = values[:, :lookback], values[:, lookback:]
        shift = window_shift(past, self.spec.centered)
        covariates = {}
        if self.spec.encoder is not None and self.panel.covariates is not None:
            covariates = self.spec.encoder.gather(
                self.panel.covariates, series, steps, flat[:, :lookback]
            )
        # row 0 of the calendar is `lookback` steps before grid position 0
        rows = self.panel.first[series][:, None] + steps + lookback
        return Windows(
            past=(past - shift[:, None]).astype(np.float32),
            target=(target - shift[:, None]).astype(np.float32),
            calendar=self.calendar[rows],
            shift=shift,
            covariates=covariates,
        )

    def tell(
        self, series: np.ndarray, origins: np.ndarray, end: np.ndarray | None = None
    ) -> np.ndarray:
        """Whether windows hold both a value to see and one to forecast: `(batch,)`.

        Arguments as of `gather`.
        """
        _, flat = self._places(series, origins, end)
        known = np.isfinite(self._values(flat))
        lookback = self.spec.lookback
        return known[:, :lookback].any(axis=1) & known[:, lookback:].any(axis=1)

    def can_train(self, split: "Split") -> bool:
        """Whether some training window tells anything, as of `tell`."""
        drawn = split.draw(_SAMPLE, np.random.default_rng(0))
        if self.tell(*drawn, split.end).any():
            return True
        # Such a window lies about a value and the next one of the same series.
        known = np.flatnonzero(np.isfinite(self.panel.values))
        owner = np.searchsorted(self.panel.offsets, known, side="right") - 1
        steps = known - self.panel.offsets[owner]
        one, two, series = steps[:-1], steps[1:], owner[1:]
        lookback, horizon = self.spec.lookback, self.spec.horizon
        low = np.maximum.reduce([one + 1, two - horizon + 1, split.low[series]])
        high = np.minimum.reduce([two, one + lookback, split.high[series]])
        usable = (owner[:-1] == series) & (two < split.end[series]) & (low <= high)
        return bool(usable.any())

    def _places(
        self, series: np.ndarray, origins: np.ndarray, end: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps of windows in their series, and where the panel holds them, or -1."""
        lengths = self._lengths[series]
        if (origins < 1).any() or (origins > lengths).any():
            raise ValueError(
                "Origins must lie within 1 and the length of their series. Received: "
                f"{origins[(origins < 1) | (origins > lengths)][:5]}"
            )
        around = np.arange(-self.spec.lookback, self.spec.horizon)
        steps = origins[:, None] + around  # (batch, steps)
        seen = lengths if end is None else end[series]
        inside = (steps >= 0) & (steps < seen[:, None])
        return steps, np.where(inside, self.panel.offsets[series, None] + steps, -1)

    def _values(self, flat: np.ndarray) -> np.ndarray:
        return np.where(flat < 0, np.nan, self.panel.values[flat])

    def knees(self, windows: Windows) -> np.ndarray:
        """Where forecasts begin to bend, `(batch,)`; -inf, where they do not."""
        if not self.spec.nonnegative:
            return no_knees(len(windows.past))
        return find_knees(windows.past + windows.shift[:, None])


def window_shift(past: np.ndarray, centered: bool | None) -> np.ndarray:
    """What to subtract from each window before it becomes float32.

    Args:
        past: float64, `(batch, lookback)`; NaN is missing.
        centered: Whether it is each window's last observed value; if not, it is only
            where the level dwarfs the spread, else 0; None: so, less some spreads.

    Returns:
        float64, `(batch,)`; NaN where nothing was observed, of which no level is known.
    """
    seen = ~np.isnan(past)
    newest = past.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    last = past[np.arange(len(past)), newest]  # NaN where nothing is seen
    if centered:
        return last
    spread = np.where(seen, np.abs(past - last[:, None]), 0.0).max(axis=1)
    near = np.abs(last) <= _LEVEL_OVER_SPREAD * spread
    if centered is None:
        # Logarithms are nearly straight there, and values may fall below the last.
        near |= spread == 0
        return np.where(near, 0.0 * last, last - LEVEL_OF_LOGS * spread)
    return np.where(near, 0.0, last)


def model_inputs(windows: Windows) -> dict[str, np.ndarray]:
    """The dict a model of `build_forecaster` takes; parts of width 0 are left out."""
    inputs = {"target": windows.past, **windows.covariates}
    if windows.calendar.shape[-1]:
        known = [windows.calendar, *([inputs["future"]] if "future" in inputs else [])]
        inputs["future"] = np.concatenate(known, axis=-1)
    return inputs


@dataclass(frozen=True)
class Split:
    """Origins for training and validation, series by series.

    Attributes:
        low: int64, `(num_series,)`: first training origin of each series.
        high: int64, `(num_series,)`: last one; below `low` if there is none.
        end: int64, `(num_series,)`: steps that training may see, targets included.
        series: int64, `(num_windows,)`: series of each validation window.
        origins: int64, `(num_windows,)`: its origin.
    """

    low: np.ndarray
    high: np.ndarray
    end: np.ndarray
    series: np.ndarray
    origins: np.ndarray

    def draw(
        self, count: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Random windows to train on: series, drawn evenly, and an origin of each."""
        which = random.integers(len(self._eligible), size=count)
        series = self._eligible[which]
        return series, random.integers(self.low[series], self.high[series] + 1)

    @cached_property
    def _eligible(self) -> np.ndarray:
        """Series that have a training origin."""
        return np.flatnonzero(self.high >= self.low)


def choose_lookback(
    lengths: np.ndarray, season_length: int, horizon: int, freq: str | int
) -> int:
    """Two to four seasons, but no more than three of four series can fill.

    Too few steps harm more than steps that are missing: a horizon and two seasons are
    seen even where most series are shorter. Where days are the seasons, weeks show too:
    seven days are seen if most series are three times as long.

    Args:
        lengths: int64, `(num_series,)`.
        season_length: Steps in a season.
        horizon: Steps to forecast.
        freq: Time step.
    """
    wanted = max(12, 2 * season_length, min(4 * season_length, 36))
    usual = int(np.quantile(lengths, 0.25))
    least = min(wanted, max(horizon, 2 * season_length), int(lengths.max()) - 1)
    if season_length > 1 and season_length == steps_per_day(freq):
        days = min(7, _LONGEST_WEEK // season_length)
        if usual >= 3 * days * season_length:
            wanted = max(wanted, days * season_length)
    return max(min(wanted, usual - horizon), least, 1)


def split_origins(
    lengths: np.ndarray, spec: WindowSpec, validation: bool, max_windows: int = 2048
) -> Split:
    """Holds the end of each series back for validation; the rest is for training.

    The held-back part is a tenth of a series and at least one horizon; a series of
    two horizons or less serves training only. Training targets end before it.

    Args:
        lengths: int64, `(num_series,)`: up to the last value of each series, since
            what is held back must hold one.
        spec: Window lengths.
        validation: False gives everything to training.
        max_windows: Limit of validation windows; beyond it series are thinned evenly.
    """
    horizon = spec.horizon
    held = np.maximum(lengths // 10, horizon)
    held = np.where(validation & (lengths > 2 * horizon), held, 0)
    end = lengths - held
    # One target is enough: a whole horizon would keep the newest values from being
    # seen as context, and from all targets but the farthest.
    high = end - 1
    # A long series has full windows enough; a short one starts half way.
    low = np.minimum(spec.lookback, np.maximum(high // 2, 1))
    series, origins = [], []
    for i in np.flatnonzero(held):
        found = np.arange(lengths[i] - horizon, end[i] - 1, -max(horizon // 2, 1))
        series.append(np.full(len(found), i))
        origins.append(found)
    all_series = np.concatenate([*series, np.zeros(0, np.int64)]).astype(np.int64)
    all_origins = np.concatenate([*origins, np.zeros(0, np.int64)]).astype(np.int64)
    if len(all_series) > max_windows:
        kept = np.linspace(0, len(all_series) - 1, max_windows).astype(np.int64)
        all_series, all_origins = all_series[kept], all_origins[kept]
    return Split(low, high, end, all_series, all_origins)
