"""A network starts from the best linear forecast of a few, or from the season alone."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster
from keras_seq.forecasting import linear_start
from keras_seq.forecasting.linear_start import find_start
from keras_seq.forecasting.panel import Columns, make_panel
from keras_seq.forecasting.parts import tile_season
from keras_seq.forecasting.weights import WindowWeights
from keras_seq.forecasting.windows import WindowSource, WindowSpec, split_origins
from keras_seq.layers.scaling import LOCATION_INVARIANT, WindowScaler
from tests.grids import first

pytestmark = pytest.mark.numeric

LOOKBACK, HORIZON, SEASON = 12, 5, 4


def make_source(*series, scaling="standard"):
    rows = [
        pd.DataFrame({"unique_id": i, "ds": np.arange(len(y)), "y": y})
        for i, y in enumerate(series)
    ]
    panel = make_panel(pd.concat(rows), Columns("unique_id", "ds", "y"))
    centered = scaling in LOCATION_INVARIANT
    return WindowSource(panel, WindowSpec(LOOKBACK, HORIZON, centered))


def make_scaler(scaling="standard"):
    scaler = WindowScaler(scaling)
    scaler.build((None, LOOKBACK))
    return scaler


def start_of(source, *, validation=True, scaling="standard", weighed=True):
    scaler = make_scaler(scaling)
    split = split_origins(source.panel.lengths, source.spec, validation)
    weights = None
    if weighed:
        weights = WindowWeights.learn(scaler, source, split, SEASON, 0)
    return find_start(scaler, source, split, SEASON, weights, 0)


def slow(seed, length=300, noise=1.0):
    """A slow wave under noise: what was a season ago says less than a mean does."""
    t = np.arange(length)
    return 5 * np.sin(t / 40) + noise * np.random.default_rng(seed).normal(size=length)


def error(source, start, scaling="standard"):
    """Of the season repeated, and of it with what is added; validation windows."""
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    windows = source.gather(split.series, split.origins)
    scaler = make_scaler(scaling)
    scaled, _, location, scale = map(np.asarray, scaler(windows.past))
    target = np.asarray(scaler.transform(windows.target, location, scale))
    season = scaled[:, -SEASON:][:, np.arange(HORIZON) % SEASON]
    added = scaled @ start
    return [np.nanmean(np.abs(target - x)) for x in (season, season + added)]


@pytest.mark.parametrize("scaling", ["standard", "robust", "mean_abs", "log", "none"])
def test_it_is_better_than_the_season_where_seasons_are_noise(scaling):
    source = make_source(*(20 + slow(seed) for seed in range(3)), scaling=scaling)
    start = start_of(source, scaling=scaling)
    assert start.shape == (LOOKBACK, HORIZON)
    assert start.dtype == np.float32
    alone, mixed = error(source, start, scaling)
    assert mixed < 0.85 * alone


def test_a_free_map_finds_what_no_mixture_holds():
    random = np.random.default_rng(0)
    y = list(random.normal(size=LOOKBACK))
    for _ in range(1500):  # of the values 7 and 11 steps ago: no mean, no season
        y.append(0.9 * y[-7] - 0.5 * y[-11] + 0.1 * random.normal())
    source = make_source(np.array(y))
    alone, found = error(source, start_of(source))
    assert found < 0.5 * alone


def test_the_season_alone_is_kept_where_nothing_is_better():
    t = np.arange(200)
    noise = 0.01 * np.random.default_rng(0).normal(size=200)
    assert start_of(make_source(np.array([0.0, 3, 1, 8])[t % SEASON] + noise)) is None


def test_without_a_held_back_part_there_is_nothing_to_choose_by():
    assert (
        start_of(make_source(*(slow(seed, 2 * HORIZON) for seed in range(9)))) is None
    )


def test_held_back_values_choose_but_teach_nothing(monkeypatch):
    monkeypatch.setattr(linear_start, "_RIDGES", linear_start._RIDGES[:0])
    monkeypatch.setattr(linear_start, "_MIXTURE_RIDGES", (1e-3,))
    y = slow(0)
    other = y.copy()
    other[-30:] += np.random.default_rng(1).normal(size=30)
    one, two = (start_of(make_source(x), weighed=False) for x in (y, other))
    np.testing.assert_array_equal(one, two)
    # What is trained on everything learns from them too.
    refitted = start_of(make_source(other), validation=False, weighed=False)
    assert np.abs(refitted - two).max() > 1e-3


def test_a_level_and_a_unit_change_nothing():
    one = start_of(make_source(slow(0), slow(1)))
    two = start_of(make_source(1e8 + 1e3 * slow(0), 1e8 + 1e3 * slow(1)))
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_missing_values_leave_it_finite():
    y = slow(0)
    y[np.random.default_rng(1).random(len(y)) < 0.3] = np.nan
    source = make_source(y, np.full(300, np.nan), np.full(300, 7.0))
    start = start_of(source)
    assert np.isfinite(start).all()
    alone, mixed = error(make_source(y), start)
    assert mixed < alone


def test_the_season_is_repeated_as_the_network_does():
    scaled = np.random.default_rng(0).normal(size=(3, LOOKBACK)).astype("float32")
    ours = scaled @ linear_start._repeat(LOOKBACK, HORIZON, SEASON)
    theirs = keras.ops.convert_to_numpy(tile_season(scaled, SEASON, HORIZON))
    np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize("season", [1, 4, 5, 12])
def test_simple_maps_are_weighted_means(season):
    for found in linear_start._simple_maps(LOOKBACK, HORIZON, season)[::2]:
        whole = found + linear_start._repeat(LOOKBACK, HORIZON, season)
        np.testing.assert_allclose(whole.sum(axis=0), 1)


class Kernels(keras.callbacks.Callback):
    """What the linear map of each training begins with."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_begin(self, logs=None):
        kernel = self.model.get_layer("linear").kernel
        self.seen.append(keras.ops.convert_to_numpy(kernel))


@pytest.mark.parametrize("ensemble", first([1, [12, 8]], 1))
def test_fit_starts_each_network_from_its_own(ensemble):
    frame = pd.concat(
        pd.DataFrame({"unique_id": i, "ds": np.arange(200), "y": slow(i, 200)})
        for i in range(2)
    )
    kernels = Kernels()
    forecaster = Forecaster(
        horizon=HORIZON,
        season_length=SEASON,
        ensemble=ensemble,
        units=4,
        max_steps=2,
        **({} if ensemble != 1 else {"lookback": LOOKBACK}),
    )
    forecaster.fit(frame, callbacks=[kernels], verbose=0)
    lookbacks = [LOOKBACK] if ensemble == 1 else ensemble
    assert [len(x) for x in kernels.seen] == lookbacks * 2
    assert all(np.abs(x).max() > 0.01 for x in kernels.seen)
