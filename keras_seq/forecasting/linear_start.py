"""The linear map that forecasts start from, found by least squares before training."""

import keras
import numpy as np

from keras_seq.forecasting.weights import WindowWeights
from keras_seq.forecasting.windows import Split, WindowSource, split_origins
from keras_seq.layers.scaling import WindowScaler

# Windows that a map is found by.
_ROWS = 4096
# Strengths of the ridge, in mean squares of what it shrinks.
_MIXTURE_RIDGES = (1e-3, 1e-1, 1.0)
_RIDGES = 10.0 ** np.arange(-2.5, 2.75, 0.5)
# Steps ahead are solved together, in as many groups.
_GROUPS = 12
# What a map must gain on validation windows, or the season alone is the start.
_GAIN = 0.02


def find_start(
    scaler: WindowScaler,
    source: WindowSource,
    split: Split,
    season_length: int,
    weights: WindowWeights | None,
    seed: int,
) -> np.ndarray | None:
    """What to add to the season repeated for a network to start from a good forecast.

    A season ago is a poor start where seasons are long or noisy, and gradient steps
    learn a few hundred windows by heart before they have found a better one. So maps
    are tried that have a handful of numbers to learn, mixtures of simple forecasts,
    and maps free in each number but drawn to such a mixture. The best on the
    validation windows is found anew for all that training may see.

    Args:
        scaler: Of the network, with the least scale set.
        source: Windows.
        split: Origins to train on.
        season_length: Steps of the season that the network repeats.
        weights: What windows count; None: all alike.
        seed: Of the windows drawn.

    Returns:
        float32, `(lookback, horizon)`, from scaled windows to scaled targets; None
        where nothing is held back, or no map is better than the season alone.
    """
    lengths = source.panel.observed_lengths
    held = split_origins(lengths, source.spec, validation=True)
    if not len(held.series):
        return None

    def sample(of: Split) -> tuple[np.ndarray, np.ndarray]:
        drawn = of.draw(_ROWS, np.random.default_rng(seed))
        return _scaled(scaler, source, *drawn, of.end, season_length, weights)

    maps = _fit_maps(*sample(held), season_length)
    whole = source.panel.lengths
    past, rest = _scaled(
        scaler, source, held.series, held.origins, whole, season_length, weights
    )
    if not np.isfinite(rest).any():
        return None
    errors = [np.nanmean(np.abs(rest - past @ found)) for found in maps]
    best = int(np.argmin(errors))
    if not errors[best] < (1 - _GAIN) * np.nanmean(np.abs(rest)):
        return None
    if not len(split.series):  # nothing is held back from this training
        maps = _fit_maps(*sample(split), season_length)
    return maps[best].astype(np.float32)


def _scaled(
    scaler: WindowScaler,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    end: np.ndarray,
    season_length: int,
    weights: WindowWeights | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows, and how far targets are from the season repeated, as errors count.

    Returns:
        float64, `(batch, lookback)`, 0 where missing, and `(batch, horizon)`, NaN where
        missing.
    """
    windows = source.gather(series, origins, end)
    scaled, _, location, scale = scaler(windows.past)
    target = scaler.transform(windows.target, location, scale)
    past, target = (
        keras.ops.convert_to_numpy(x).astype(np.float64) for x in (scaled, target)
    )
    rest = target - past @ _repeat(*_shape(source), season_length)
    if weights is None:
        return past, rest
    counts = weights(windows, series)[:, None]
    return past * counts, rest * counts


def _shape(source: WindowSource) -> tuple[int, int]:
    return source.spec.lookback, source.spec.horizon


def _repeat(lookback: int, horizon: int, season_length: int) -> np.ndarray:
    """The map that repeats the last season: `(lookback, horizon)`."""
    ahead = np.arange(horizon)
    found = np.zeros((lookback, horizon))
    found[lookback - season_length + ahead % season_length, ahead] = 1
    return found


def _simple_maps(lookback: int, horizon: int, season_length: int) -> list[np.ndarray]:
    """Forecasts to mix, less the season repeated: each `(lookback, horizon)`.

    Means of the last 1, 2, 4, ... steps, of the last season and of all seasons; each
    once as it is and once growing with the step ahead.
    """
    lasts = [1 << power for power in range(lookback.bit_length())]
    maps = []
    for last in sorted({*lasts, season_length}):
        mean = np.zeros((lookback, horizon))
        mean[lookback - last :] = 1 / last
        maps.append(mean)
    seasons = lookback // season_length
    whole = np.zeros((lookback, horizon))
    for season in range(seasons):
        steps = lookback - season * season_length
        whole[:steps] += _repeat(steps, horizon, season_length) / seasons
    maps.append(whole)
    slope = np.linspace(-0.5, 0.5, horizon) if horizon > 1 else np.zeros(1)
    away = [each - _repeat(lookback, horizon, season_length) for each in maps]
    return [each * growth for each in away for growth in (np.ones(horizon), slope)]


def _fit_maps(
    past: np.ndarray, rest: np.ndarray, season_length: int
) -> list[np.ndarray]:
    """Mixtures of simple forecasts, and free maps drawn to the first of them."""
    simple = _simple_maps(past.shape[1], rest.shape[1], season_length)
    maps = _mixtures(past, rest, simple)
    return maps + _free_maps(past, rest, maps[0])


def _mixtures(
    past: np.ndarray, rest: np.ndarray, simple: list[np.ndarray]
) -> list[np.ndarray]:
    """One for each of `_MIXTURE_RIDGES`: `(lookback, horizon)`."""
    known = np.isfinite(rest)
    parts = np.stack([(past @ each)[known] for each in simple], axis=-1)
    values, vectors, along = _decompose(parts, rest[known])
    return [
        np.tensordot(
            vectors @ (along / (values + ridge * values.mean() + 1e-12)), simple, axes=1
        )
        for ridge in _MIXTURE_RIDGES
    ]


def _free_maps(
    past: np.ndarray, rest: np.ndarray, start: np.ndarray
) -> list[np.ndarray]:
    """One for each of `_RIDGES`: `(lookback, horizon)`."""
    maps = [start.copy() for _ in _RIDGES]
    rest = rest - past @ start
    horizon = rest.shape[1]
    for ahead in np.array_split(np.arange(horizon), min(_GROUPS, horizon)):
        known = np.isfinite(rest[:, ahead]).all(axis=1)
        values, vectors, along = _decompose(past[known], rest[known][:, ahead])
        for found, ridge in zip(maps, _RIDGES, strict=True):
            shrunk = (values + ridge * values.mean() + 1e-12)[:, None]
            found[:, ahead] += vectors @ (along / shrunk)
    return maps


def _decompose(
    parts: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the squares of `parts`: eigenvalues, eigenvectors, and `rest` along them."""
    values, vectors = np.linalg.eigh(parts.T @ parts)
    return np.maximum(values, 0), vectors, vectors.T @ (parts.T @ rest)
