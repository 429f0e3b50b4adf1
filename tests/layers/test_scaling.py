"""Scaling and quantiles: exact inverses, honest floors, order kept."""

import numpy as np
import pytest
from keras import ops

from keras_seq import build_forecaster
from keras_seq.layers.quantiles import QuantileHead
from keras_seq.layers.scaling import SCALINGS, WindowScaler, WindowUnscaler
from keras_seq.layers.state import RunningScaler
from keras_seq.layers.stream import StreamScaler

pytestmark = pytest.mark.numeric

WINDOW = np.array(
    [[1.0, 2.0, np.nan, 4.0], [10.0, 10.0, 10.0, 10.0], [np.nan] * 4, [0.0] * 4],
    "float32",
)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_unscaler_is_the_inverse(scaling):
    scaler = WindowScaler(scaling)
    scaled, observed, location, scale = scaler(WINDOW)
    np.testing.assert_array_equal(observed, ~np.isnan(WINDOW))
    assert np.isfinite(scaled).all()
    raw = WindowUnscaler(scaling)(ops.expand_dims(scaled, -1), location, scale)[..., 0]
    kept = np.asarray(observed) > 0
    # log has no zero: its floor stands in
    np.testing.assert_allclose(np.asarray(raw)[kept], WINDOW[kept], atol=2e-6)


def test_statistics_of_observed_steps_only():
    row = WINDOW[:1]
    _, _, location, scale = WindowScaler("standard")(row)
    values = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(location[0, 0], values.mean(), rtol=1e-6)
    np.testing.assert_allclose(scale[0, 0], values.std(), rtol=1e-6)
    _, _, location, scale = WindowScaler("mean_abs")(-row)
    np.testing.assert_allclose(scale[0, 0], values.mean(), rtol=1e-6)
    assert location[0, 0] == 0


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_robust_is_median_and_median_distance_from_it(count):
    random = np.random.default_rng(count)
    row = np.full((1, 9), np.nan, "float32")
    row[0, random.permutation(9)[:count]] = random.normal(50, 9, count)
    scaler = WindowScaler("robust")
    _, _, location, scale = scaler(row)
    known = row[0, ~np.isnan(row[0])]
    middle = np.median(known) if count else 0.0
    np.testing.assert_allclose(location[0, 0], middle, rtol=1e-6)
    distance = 1.4826 * np.median(np.abs(known - middle)) if count > 1 else 1e-6
    np.testing.assert_allclose(scale[0, 0], distance, rtol=1e-5)


def test_robust_where_most_values_are_equal_takes_the_squares():
    row = np.array([[0, 0, 0, 0, 0, 7, 9]], "float32")
    _, _, location, scale = WindowScaler("robust")(row)
    assert location[0, 0] == 0
    np.testing.assert_allclose(scale[0, 0], np.sqrt((row**2).mean()), rtol=1e-6)


def test_an_outlier_does_not_move_the_robust_scale():
    row = np.random.default_rng(0).normal(size=(1, 49)).astype("float32")
    before = [float(x[0, 0]) for x in WindowScaler("robust")(row)[2:]]
    row[0, 7] = 1e6
    after = [float(x[0, 0]) for x in WindowScaler("robust")(row)[2:]]
    np.testing.assert_allclose(after, before, atol=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StreamScaler("robust", context=4),
        lambda: RunningScaler("robust", batch_size=2),
        lambda: build_forecaster(
            lookback=4, horizon=1, scaling="robust", stateful=True, batch_size=2
        ),
    ],
)
def test_streams_have_no_median(make):
    with pytest.raises(ValueError, match="`scaling` must be one of .*'robust'"):
        make()


def test_floor_holds_up_constant_windows():
    scaler = WindowScaler("standard")
    scaler.build((None, 4))
    scaler.floor.assign(0.5)
    _, _, location, scale = scaler(WINDOW[1:2])
    assert (float(location[0, 0]), float(scale[0, 0])) == (10.0, 0.5)


def test_large_values_do_not_overflow():
    window = np.array([[1e30, 3e30, 2e30, 2e30]], "float32")
    _, _, _, scale = WindowScaler("standard")(window)
    np.testing.assert_allclose(scale, window.astype("float64").std(), rtol=1e-5)


@pytest.mark.parametrize("quantiles", [(0.5,), (0.1, 0.5, 0.9), (0.6, 0.7, 0.95)])
def test_quantiles_never_cross(quantiles):
    head = QuantileHead(quantiles)
    random = np.random.default_rng(0)
    center = random.normal(size=(64, 3)).astype("float32")
    features = random.normal(size=(64, 3, 5)).astype("float32")
    start = head(center, features)
    np.testing.assert_allclose(start[..., head.middle], center, atol=1e-6)
    for weight in head.trainable_weights:
        weight.assign(5 * random.normal(size=weight.shape))
    head.spread.assign([0.3, 4.0])
    output = np.asarray(head(center, features))
    assert output.shape == (64, 3, len(quantiles))
    assert (np.diff(output, axis=-1) >= 0).all()


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        ((0.9, 0.1), "must increase strictly"),
        ((0.5, 0.5), "must increase strictly"),
        ((0.0, 0.5), "above 0 and below 1"),
        ((), "at least one"),
    ],
)
def test_bad_quantiles(quantiles, message):
    with pytest.raises(ValueError, match=message):
        QuantileHead(quantiles)
