"""Each window counts so that its errors are in the unit that MASE gives them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from keras_seq.forecasting.builder import build_forecaster
from keras_seq.forecasting.fitting import training_batches, validation_batches
from keras_seq.forecasting.panel import Columns, make_panel
from keras_seq.forecasting.scores import naive_scale
from keras_seq.forecasting.weights import WindowWeights
from keras_seq.forecasting.windows import WindowSource, WindowSpec, split_origins

pytestmark = pytest.mark.numeric

LENGTH, SEASON = 80, 4


def make_source(*series, centered=True):
    rows = [
        pd.DataFrame({"unique_id": name, "ds": np.arange(len(y)), "y": y})
        for name, y in zip("abcdef", series, strict=False)
    ]
    panel = make_panel(pd.concat(rows), Columns("unique_id", "ds", "y"))
    return WindowSource(panel, WindowSpec(12, 3, centered))


def lively(seed=0):
    """Waves that grow: late windows are some ten times as wide as early ones."""
    t = np.arange(LENGTH)
    noise = np.random.default_rng(seed).normal(size=LENGTH)
    return np.exp(t / 40) * (np.sin(2 * np.pi * t / SEASON) + 0.3 * noise)


@pytest.mark.parametrize("scaling", ["standard", "robust", "mean_abs"])
def test_the_loss_is_the_error_in_units_of_seasonal_naive(scaling):
    source = make_source(lively(0), 1000 * lively(1))
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    model = build_forecaster(
        lookback=12, horizon=3, units=4, season_length=SEASON, scaling=scaling
    )
    weights = WindowWeights.learn(model.scaler, source, split, SEASON, 0)
    batch = training_batches(source, split, 64, 1, 0, weights)
    inputs, target, weight = batch[0]
    said = np.random.default_rng(2).normal(size=(64, 3, 1)).astype("float32")
    said *= np.where(np.nanmax(np.abs(target), axis=1) > 100, 1000, 1)[:, None, None]
    loss = float(model.compute_loss(inputs, target, said, weight))

    # Which series a window is of shows in its size.
    unit = naive_scale(source.panel, SEASON, split.end)
    usual = weights.unit / unit
    np.testing.assert_allclose(usual, usual[0])
    error = np.abs(said[..., 0] - target)  # NaN after the end
    big = np.nanmax(np.abs(target), axis=1) > 100
    in_units = error / np.where(big, *unit[::-1])[:, None] / usual[0]
    total = (weight[:, None] * np.isfinite(target)).sum()
    np.testing.assert_allclose(loss, np.nansum(in_units) / total, rtol=1e-4)
    # Windows of the same series do not count alike, and series on average do.
    assert weight[big].max() > 3 * weight[big].min()
    assert 0.5 < weight[big].mean() / weight[~big].mean() < 2


def test_validation_is_weighed_as_training_is():
    source = make_source(lively())
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    model = build_forecaster(lookback=12, horizon=3, units=4, scaling="standard")
    weights = WindowWeights.learn(model.scaler, source, split, SEASON, 0)
    _, _, weight = validation_batches(source, split, 8, weights)[0]
    windows = source.gather(split.series, split.origins)
    np.testing.assert_array_equal(
        weight[: len(split.series)], weights(windows, split.series)
    )


def test_what_has_no_unit_or_no_scale_still_counts():
    """A constant series, one with a single lively spot, and one without a season."""
    spot = np.zeros(LENGTH)
    spot[40:44] = [5, -3, 1e6, 2]
    source = make_source(np.full(LENGTH, 7.0), spot, lively()[:4])
    split = split_origins(source.panel.lengths, source.spec, validation=False)
    model = build_forecaster(lookback=12, horizon=3, units=4, scaling="standard")
    weights = WindowWeights.learn(model.scaler, source, split, SEASON, 0)
    series = np.array([0, 1, 1, 2])
    windows = source.gather(series, np.array([30, 30, 46, 3]))
    np.testing.assert_allclose(weights(windows, series), [1, 0.1, 1, 1], rtol=0.3)
    narrow = replace(weights, unit=weights.unit / 1000)
    np.testing.assert_array_equal(narrow(windows, series)[2], 10)


def test_logarithms_count_by_the_level():
    """Shares of the level, times the level, are errors."""
    level = np.geomspace(1, 30, LENGTH)
    source = make_source(level * np.exp(0.1 * lively() / 10), centered=False)
    split = split_origins(source.panel.lengths, source.spec, validation=False)
    model = build_forecaster(lookback=12, horizon=3, units=4, scaling="log")
    weights = WindowWeights.learn(model.scaler, source, split, SEASON, 0)
    series, origins = np.zeros(2, int), np.array([30, 60])
    windows = source.gather(series, origins)
    early, late = weights(windows, series)
    means = np.abs(windows.past).mean(axis=1)
    assert late / early == pytest.approx(means[1] / means[0], rel=1e-4)


def test_where_nothing_is_scaled_windows_count_alike():
    source = make_source(lively())
    split = split_origins(source.panel.lengths, source.spec, validation=False)
    model = build_forecaster(lookback=12, horizon=3, units=4, scaling="none")
    assert WindowWeights.learn(model.scaler, source, split, SEASON, 0) is None
    assert len(training_batches(source, split, 8, 1, 0)[0]) == 2
