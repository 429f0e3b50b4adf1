"""From windows to batches, and from a network back to numbers."""

from typing import Any

import keras
import numpy as np

from keras_seq.forecasting.windows import Split, Windows, WindowSource
from keras_seq.training.fit import Batches
from keras_seq.training.runtime import derive_seed


def model_inputs(windows: Windows) -> dict[str, np.ndarray]:
    """The dict a model of `build_forecaster` takes; parts of width 0 are left out."""
    inputs = {"target": windows.past}
    if windows.calendar.shape[-1]:
        inputs["future"] = windows.calendar
    return inputs


def training_batches(
    source: WindowSource, split: Split, batch_size: int, steps_per_epoch: int, seed: int
) -> Batches:
    """Endless random windows: series are drawn evenly, then an origin within each."""
    eligible = np.flatnonzero(split.high >= split.low)

    def get_batch(epoch: int, step: int) -> tuple[Any, ...]:
        random = np.random.default_rng(derive_seed(seed, epoch, step, "windows"))
        series = eligible[random.integers(len(eligible), size=batch_size)]
        origins = random.integers(split.low[series], split.high[series] + 1)
        windows = source.gather(series, origins, split.end)
        return model_inputs(windows), windows.target

    return Batches(steps_per_epoch, get_batch, endless=True)


def validation_batches(source: WindowSource, split: Split, batch_size: int) -> Batches:
    """The validation windows in order; the last batch is filled with NaN targets."""
    count = len(split.series)

    def get_batch(_: int, step: int) -> tuple[Any, ...]:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)
        kept = np.minimum(rows, count - 1)
        windows = source.gather(split.series[kept], split.origins[kept])
        target = np.where(rows[:, None] < count, windows.target, np.float32(np.nan))
        return model_inputs(windows), target

    return Batches(-(-count // batch_size), get_batch)


def learn_floor(
    model: keras.Model, source: WindowSource, split: Split, seed: int
) -> None:
    """Sets the least scale to a tenth of the lowest usual one in the training rows.

    A window that is all zero or constant has no scale of its own. The floor lies
    below the scale of 99 % of the windows that have one, so it takes nothing from a
    series of small numbers.
    """
    windows, _ = training_batches(source, split, 2048, 1, seed)[0]
    scaler = model.get_layer("scaler")
    scaler.floor.assign(1e-30)
    if scaler.scaling == "log":
        values = np.abs(windows["target"])
    else:
        values = np.asarray(scaler(windows["target"])[3])
    positive = values[np.isfinite(values) & (values > 1e-20)]
    if len(positive):
        scaler.floor.assign(0.1 * np.quantile(positive, 0.01))
    else:
        scaler.floor.assign(1e-6)


def forecast(
    model: keras.Model,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    batch_size: int = 1024,
) -> np.ndarray:
    """Forecasts from the given origins, in the unit of the target column.

    Args:
        model: Of `build_forecaster`.
        source: Windows of the panel to forecast.
        series: int64, `(num_windows,)`.
        origins: int64, `(num_windows,)`.
        batch_size: Windows at a time.

    Returns:
        float64, `(num_windows, horizon, num_quantiles)`.
    """
    parts = []
    for start in range(0, len(series), batch_size):
        chosen = slice(start, start + batch_size)
        windows = source.gather(series[chosen], origins[chosen])
        raw = np.asarray(model.predict_on_batch(model_inputs(windows)))
        parts.append(raw.astype(np.float64) + windows.shift[:, None, None])
    return np.concatenate(parts)
