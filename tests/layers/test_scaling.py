"""Scaling and quantiles: exact inverses, honest floors, order kept."""

import numpy as np
import pytest
from keras import ops

from keras_seq.layers.quantiles import QuantileHead
from keras_seq.layers.scaling import SCALINGS, WindowScaler, WindowUnscaler

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
