"""From a few quantiles to whole distributions: calibrated intervals, sample paths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from keras_seq.errors import warn
from keras_seq.forecasting.nonnegative import bend, unbend
from keras_seq.forecasting.windows import WindowSource
from keras_seq.hashing import derive_seed
from keras_seq.numpy_runtime.special import ndtri

# The least distance from the median to an outer quantile, in scales of the window.
_LEAST_WIDTH = 1e-3
# Steps with fewer held-back errors than this borrow those of the steps beside them:
# 39 are what a 95 % interval needs.
_ENOUGH = 40
# With fewer in all there is no calibration; with fewer windows, no correlation.
_FEWEST = 10


@dataclass(frozen=True)
class ScaledForecasts:
    """Forecasts in the scale of their window, where errors of all series compare.

    Attributes:
        values: float64, `(num_windows, horizon, num_quantiles)`, scaled.
        levels: The quantile of each, 0.5 among them.
        actual: float64, `(num_windows, horizon)`, scaled; NaN where unknown.
        location: float64, `(num_windows, 1)`, of the scaling.
        scale: float64, `(num_windows, 1)`, of the scaling.
        shift: float64, `(num_windows, 1)`: was subtracted before scaling.
        log: Whether the scaled unit is a logarithm.
        knees: float64, `(num_windows,)`: below, unscaled forecasts are bent (see
            `nonnegative`), which scaled values know nothing of.
    """

    values: np.ndarray
    levels: tuple[float, ...]
    actual: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    log: bool
    knees: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """float64, `(num_windows, horizon)`, scaled."""
        return self.values[..., self.levels.index(0.5)]

    def width(self, upper: np.ndarray | bool) -> np.ndarray:
        """From the median to the outermost quantile of that side.

        One scale where none was trained on that side.

        Args:
            upper: Which side, as an array that `(num_windows, horizon)` broadcasts to.
        """
        above, below = np.ones_like(self.median), np.ones_like(self.median)
        if self.levels[-1] > 0.5:
            above = self.values[..., -1] - self.median
        if self.levels[0] < 0.5:
            below = self.median - self.values[..., 0]
        return np.maximum(np.where(upper, above, below), _LEAST_WIDTH)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Back to the unit of the target: `(num_windows, horizon, ...)`."""
        shape = (-1,) + (1,) * (scaled.ndim - 1)
        location, scale, shift = (
            x.reshape(shape) for x in (self.location, self.scale, self.shift)
        )
        if self.log:
            return np.exp(np.minimum(scaled + location, 80.0)) + shift
        return bend(scaled * scale + location + shift, self.knees)

    def interpolate(self, shares: np.ndarray) -> np.ndarray:
        """The distribution that the trained quantiles suggest, scaled.

        Between two quantiles as a normal distribution through both, beyond the
        outermost as one through the last two.

        Args:
            shares: Probabilities, `(num_windows, horizon, num_shares)`.
        """
        if len(self.levels) < 2:
            raise ValueError(
                "Sample paths need a quantile beside the median, or conformal=True. "
                f"Received: quantiles={self.levels}"
            )
        return interpolate_quantiles(self.values, self.levels, shares)


def interpolate_quantiles(
    values: np.ndarray, levels: Sequence[float] | np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Quantiles from others: as of a normal distribution through the two beside each.

    Args:
        values: `(num_windows, horizon, num_levels)`.
        levels: The quantile of each, at least two, in order.
        shares: Which are asked for, `(num_windows, horizon, num_shares)`.

    Returns:
        `(num_windows, horizon, num_shares)`.
    """
    knots, scores = ndtri(np.array(levels)), ndtri(shares)
    left = np.clip(np.searchsorted(knots, scores) - 1, 0, len(knots) - 2)
    weight = (scores - knots[left]) / (knots[left + 1] - knots[left])
    low = np.take_along_axis(values, left, axis=-1)
    high = np.take_along_axis(values, left + 1, axis=-1)
    return low + weight * (high - low)


def scale_forecasts(
    model: Any,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    values: np.ndarray,
    knees: np.ndarray,
    scales: Sequence[np.ndarray] | None = None,
    batch_size: int = 1024,
) -> ScaledForecasts:
    """Brings forecasts to the scale of their windows, and what came beside them.

    Args:
        model: Of `build_forecaster`, or a `ForecastNetwork` of the NumPy runtime.
        source: Windows.
        series: int64, `(num_windows,)`.
        origins: int64, `(num_windows,)`.
        values: float64, `(num_windows, horizon, num_outputs)`, not bent.
        knees: float64, `(num_windows,)`, of `WindowSource.knees`.
        scales: Location, scale and shift of each, `(num_windows, 1)`; None: those of
            the windows.
        batch_size: Windows at a time.
    """
    scaler = model.scaler
    parts: list[tuple[Any, ...]] = []
    for start in range(0, len(series), batch_size):
        chosen = slice(start, start + batch_size)
        windows = source.gather(series[chosen], origins[chosen])
        target, shift = windows.target, windows.shift[:, None]
        if scales is None:
            _, _, location, scale = scaler(windows.past)
        else:
            target = target + (shift - scales[2][chosen])
            location, scale, shift = (x[chosen] for x in scales)
        if source.spec.nonnegative:
            straight = unbend(target + shift, knees[chosen])
            target = (straight - shift).astype(np.float32)
        actual = scaler.transform(target, location, scale)
        parts.append((actual, location, scale, shift))
    actual, location, scale, shift = (
        np.concatenate([np.asarray(x, np.float64) for x in column])
        for column in zip(*parts, strict=True)
    )
    levels = model.quantiles
    moved = values[..., : len(levels)] - shift[..., None]
    if scaler.scaling == "log":
        # the least float32: an exponential may have become 0
        scaled = np.log(np.maximum(moved, 1e-38)) - location[..., None]
    else:
        scaled = (moved - location[..., None]) / scale[..., None]
    return ScaledForecasts(
        scaled, levels, actual, location, scale, shift, scaler.scaling == "log", knees
    )


@dataclass(frozen=True)
class Calibration:
    """Where held-back values fell within their forecasts: split conformal prediction.

    A value's deviation is its distance from the median, in units of the distance from
    the median to the outermost trained quantile of that side (CQR-r of Sesia & Candès
    2020, after Romano et al. 2019), so that the network still says which windows are
    uncertain, and series of any size share. The quantiles of a step are those of its
    deviations, with ranks taken out of one more than there are and rounded outwards:
    were errors exchangeable, an interval would hold at least its share of new values.
    Errors of one month or one series are not quite, so the promise is approximate.

    The median stays as the network gives it, quantiles below it never rise above it,
    and all follow from one sorted list, so that none cross.

    Attributes:
        deviations: float32, `(num_windows, horizon)`; NaN where no value was.
    """

    deviations: np.ndarray

    @classmethod
    def learn(cls, forecasts: ScaledForecasts, floor: float = 0.0) -> Self:
        """Compares forecasts of held-back windows with what came.

        Windows of one value throughout have no scale of their own: what came after them
        is any number of least scales away, and would stretch the intervals of all
        series. They are left out, unless there are few others.

        Args:
            forecasts: Of the windows.
            floor: The least scale; 0 where windows are not scaled.
        """
        error = forecasts.actual - forecasts.median
        deviations = (error / forecasts.width(error > 0)).astype(np.float32)
        lively = np.where(forecasts.scale > (1 + 1e-6) * floor, deviations, np.nan)
        calibration = cls(lively)
        return calibration if calibration.usable else cls(deviations)

    @property
    def usable(self) -> bool:
        """Whether enough was held back to calibrate with."""
        return int(np.isfinite(self.deviations).sum()) >= _FEWEST

    def quantiles(self, forecasts: ScaledForecasts, shares: np.ndarray) -> np.ndarray:
        """Calibrated quantiles, scaled.

        Args:
            forecasts: Of the windows.
            shares: Which; broadcasts to `(num_windows, horizon, num_shares)`.

        Returns:
            float64, `(num_windows, horizon, num_shares)`, in the order of `shares`.
        """
        size = (*forecasts.median.shape, np.shape(shares)[-1])
        shares = np.broadcast_to(shares, size)
        away = np.stack(
            [self._deviation(step, shares[:, step]) for step in range(size[1])], axis=1
        )
        width = forecasts.width(True)[..., None], forecasts.width(False)[..., None]
        return forecasts.median[..., None] + away * np.where(shares > 0.5, *width)

    def warn_of_tails(self, shares: Sequence[float]) -> None:
        """Warns where the held-back errors are too few for a quantile."""
        outermost = max(max(share, 1 - share) for share in shares)
        needed = int(np.ceil(round(outermost / (1 - outermost), 6)))
        steps = range(self.deviations.shape[1])
        least = min(len(self._pool(step)) for step in steps)
        if least < needed:
            warn(
                f"The interval of {100 * (2 * outermost - 1):g} % needs {needed} "
                f"held-back errors for each step; there are {least}. It is drawn out "
                "as a normal distribution would be, and may hold less."
            )

    def correlation(self) -> np.ndarray:
        """How errors of a window's steps go together.

        Of the normal scores of their ranks, step by step; drawn towards the mean of
        their distance in steps where windows are few. Without a validation part,
        that of a random walk's errors, sqrt(i / j): totals over the steps then spread
        rather too wide than too narrow.

        Returns:
            float64, `(horizon, horizon)`.
        """
        count, horizon = self.deviations.shape
        steps = np.arange(1, horizon + 1)
        walk = np.sqrt(np.minimum.outer(steps, steps) / np.maximum.outer(steps, steps))
        if count < _FEWEST:
            return walk
        scores = _normal_scores(self.deviations)
        seen = np.isfinite(scores)
        scores = np.where(seen, scores, 0.0)
        pairs = seen.astype(np.float64).T @ seen
        size = (scores**2).T @ seen  # of a step, where the other is seen as well
        found = (scores.T @ scores) / np.maximum(np.sqrt(size * size.T), 1e-12)
        found = np.where(pairs >= _FEWEST, found, walk)
        lag = np.abs(np.subtract.outer(steps, steps))
        mean = np.bincount(lag.ravel(), found.ravel()) / np.bincount(lag.ravel())
        share = pairs / (pairs + horizon)
        return _nearest_correlation(share * found + (1 - share) * mean[lag])

    def _pool(self, step: int) -> np.ndarray:
        """The deviations of a step, sorted, with its neighbours' where they are few."""
        horizon = self.deviations.shape[1]
        for reach in range(horizon):
            near = self.deviations[:, max(step - reach, 0) : step + reach + 1]
            if np.isfinite(near).sum() >= _ENOUGH:
                break
        return np.sort(near[np.isfinite(near)]).astype(np.float64)

    def _deviation(self, step: int, shares: np.ndarray) -> np.ndarray:
        """The deviation that a share of a step's values lies below."""
        pool = self._pool(step)
        upper = shares > 0.5
        rank = shares * (len(pool) + 1)
        rank = np.where(upper, np.ceil(rank - 1e-9), np.floor(rank + 1e-9))
        found = pool[np.clip(rank, 1, len(pool)).astype(np.int64) - 1]
        outside = (rank < 1) | (rank > len(pool))
        drawn_out = np.abs(ndtri(shares)) / ndtri(len(pool) / (len(pool) + 1))
        found = np.where(outside, found * drawn_out, found)
        found = np.where(upper, np.maximum(found, 0.0), np.minimum(found, 0.0))
        return np.where(shares == 0.5, 0.0, found)


def accumulate(
    parts: Sequence[np.ndarray], middle: int, log: bool, nonnegative: bool
) -> np.ndarray:
    """Joins forecasts that each began at the end of the one before.

    A forecast takes what it begins with for given. What the one before may have missed
    at its last step is added as independent errors add up: distances from the median
    by their squares.

    Args:
        parts: `(num_series, steps, num_quantiles)` each, quantiles in order.
        middle: Which quantile is the median.
        log: Whether distances are ratios; values are then positive.
        nonnegative: Whether what no part of a series falls below, zero, the whole
            does not either.

    Returns:
        `(num_series, sum of steps, num_quantiles)`; the first part as it was.
    """
    joined, carried = [parts[0]], np.zeros(1)
    for last, values in zip(parts, parts[1:], strict=False):
        before, after = (np.log(x) if log else x for x in (last[:, -1:], values))
        carried = np.hypot(carried, before - before[..., middle, None])
        median = after[..., middle, None]
        away = after - median
        total = median + np.sign(away) * np.hypot(away, carried)
        joined.append(np.exp(total) if log else total)
    whole = np.concatenate(joined, axis=1)
    if not nonnegative:
        return whole
    kept = np.min([part.min(axis=(1, 2)) for part in parts], axis=0) >= 0
    return np.where(kept[:, None, None], np.maximum(whole, 0.0), whole)


def all_positive(parts: Sequence[np.ndarray]) -> bool:
    """Whether distances of all forecasts may be taken for ratios."""
    return not any(bool((part <= 0).any()) for part in parts)  # NaN is no forecast


def draw_shares(
    correlation: np.ndarray,
    num_paths: int,
    ids: np.ndarray,
    seed: int,
    spread: np.ndarray | None = None,
) -> np.ndarray:
    """Draws where sample paths run, as shares of each step's distribution.

    A normal copula gives the order of the paths at each step, and each of `num_paths`
    equal slices of the distribution holds one of them (as in ensemble copula coupling,
    Schefzik et al. 2013), so that the quantiles of few paths are the forecast's.

    Args:
        correlation: Of the steps of one forecast, `(steps, steps)`.
        num_paths: Paths of each series.
        ids: Names of the series; each has random numbers of its own.
        seed: Of the draws.
        spread: How far each step's own forecast may stray, `(num_series, horizon)`,
            where forecasts follow each other (see `accumulate`): each goes on from
            where the path was at the end of the one before. None: there is one.

    Returns:
        float64, `(num_series, horizon, num_paths)`, within (0, 1).
    """
    steps = len(correlation)
    if spread is None:
        spread = np.ones((len(ids), steps))
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(steps))
    shares = np.empty((*spread.shape, num_paths))
    for index, name in enumerate(ids):
        random = np.random.default_rng(derive_seed(seed, str(name), "paths"))
        carried = np.zeros(num_paths)
        for start in range(0, spread.shape[1], steps):
            own = spread[index, start : start + steps, None]
            scores = root @ random.standard_normal((steps, num_paths))
            errors = own * scores[: len(own)] + carried
            carried = errors[-1]
            rank = np.argsort(np.argsort(errors, axis=1), axis=1)
            within = random.uniform(0.001, 0.999, rank.shape)
            shares[index, start : start + steps] = (rank + within) / num_paths
    return shares


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Ranks within each column as quantiles of a normal distribution; NaN stays."""
    order = np.argsort(np.argsort(values, axis=0), axis=0)  # NaN comes last
    count = np.isfinite(values).sum(axis=0)
    scores = ndtri(np.minimum((order + 1) / (count + 1), 1 - 1e-9))
    return np.where(np.isfinite(values), scores, np.nan)


def _nearest_correlation(matrix: np.ndarray) -> np.ndarray:
    """Without negative eigenvalues, which pairs of unlike rows can bring about."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    matrix = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    size = np.sqrt(np.diag(matrix))
    return matrix / np.outer(size, size)
