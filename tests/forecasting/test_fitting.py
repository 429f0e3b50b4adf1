"""What is chosen on validation: how long to train, how wide to spread."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, build_forecaster
from keras_seq.forecasting import fitting
from keras_seq.forecasting.panel import Panel, TimeGrid
from keras_seq.forecasting.windows import WindowSource, WindowSpec, split_origins
from keras_seq.layers.scaling import WindowScaler

pytestmark = pytest.mark.numeric


def make_source(noise, num_series=60, length=60):
    """White noise around 50: the right 80 % interval is 2.56 deviations wide."""
    random = np.random.default_rng(0)
    values = 50 + noise * random.normal(size=num_series * length)
    panel = Panel(
        np.arange(num_series).astype(object),
        np.arange(num_series + 1) * length,
        values,
        np.zeros(num_series, np.int64),
        TimeGrid(1, 0),
    )
    return WindowSource(panel, WindowSpec(12, 4, False))


def make_model(source, width):
    """Forecasts about the last value, quantiles `width` scales above and below."""
    model = build_forecaster(
        lookback=12, horizon=4, units=2, quantiles=(0.1, 0.5, 0.9), scaling="none"
    )
    head = model.get_layer("quantiles")
    bias = np.log(np.expm1(width))
    head.dense.bias.assign([bias, 0, bias])
    return model


@pytest.mark.parametrize(("width", "direction"), [(6.0, -1), (0.6, 1)])
def test_spread_moves_towards_what_validation_shows(width, direction):
    source = make_source(noise=1.0)
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    model = make_model(source, width)
    before = fitting.forecast(model, source, split.series, split.origins)
    factors = fitting.calibrate(model, source, split)
    after = fitting.forecast(model, source, split.series, split.origins)
    assert (np.sign(factors - 1) == direction).all()
    np.testing.assert_allclose(after[..., 1], before[..., 1])
    np.testing.assert_allclose(
        after[..., 2] - after[..., 1],
        (before[..., 2] - before[..., 1]) * factors[1],
        rtol=1e-4,
    )
    actual = source.gather(split.series, split.origins).target
    shares = [
        ((f[..., 0] <= actual) & (actual <= f[..., 2])).mean() for f in (before, after)
    ]
    assert abs(shares[1] - 0.8) < abs(shares[0] - 0.8)


def test_few_targets_move_the_spread_little():
    source = make_source(noise=1.0, num_series=2)
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    factors = fitting.calibrate(make_model(source, 6.0), source, split)
    assert (factors > 0.8).all()


def test_longest_training_that_is_as_good_as_the_best():
    history = pd.DataFrame(
        {"step": [50, 100, 150, 200], "val_pinball": [2.0, 1.0, 1.015, 1.03]}
    )
    assert fitting.choose_step(history) == 150


def test_validation_batches_hold_every_window_once():
    source = make_source(noise=1.0, num_series=7)
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    batches = fitting.validation_batches(source, split, batch_size=4)
    targets = [batches[step][1] for step in range(len(range(batches.num_batches)))]
    assert all(target.shape == (4, 4) for target in targets)
    flat = np.concatenate(targets)
    kept = flat[~np.isnan(flat).all(axis=1)]
    expected = source.gather(split.series, split.origins).target
    np.testing.assert_array_equal(kept, expected)


def test_training_windows_end_before_the_validation_part():
    source = make_source(noise=1.0)
    split = split_origins(source.panel.lengths, source.spec, validation=True)
    hidden = source.panel.values.reshape(60, 60)
    hidden[:, split.end[0] :] = -1e9
    batches = fitting.training_batches(source, split, 64, steps_per_epoch=5, seed=0)
    for step in range(5):
        inputs, target = batches[step]
        assert np.nanmin(inputs["target"]) > 0 and np.nanmin(target) > 0


def test_floor_lies_below_nearly_all_scales():
    source = make_source(noise=1.0)
    split = split_origins(source.panel.lengths, source.spec, validation=False)
    floor = fitting.find_floor(WindowScaler("standard"), source, split, seed=0)
    assert 0.01 < floor < 0.1


@pytest.mark.parametrize(("windows", "size"), [(1, 32), (400, 64), (10**6, 256)])
def test_batch_size_grows_with_the_windows(windows, size):
    split = split_origins(np.array([2]), WindowSpec(1, 1, False), False)
    vars(split)["high"][0] = split.low[0] + windows - 1
    assert fitting.choose_batch_size(split) == size


def test_some_windows_are_those_of_young_series():
    source = make_source(noise=1.0)
    split = split_origins(source.panel.lengths, source.spec, validation=False)
    batch = fitting.training_batches(source, split, 4000, 1, 0, young=0.5)[0]
    seen = np.isfinite(batch[0]["target"])
    steps = seen.sum(axis=1)
    # A twelfth of those that are drawn keep all of their steps.
    assert 0.4 < (steps < 12).mean() < 0.5
    assert set(steps) == set(range(1, 13))
    # What is left are the last steps, as of a series that has just begun.
    np.testing.assert_array_equal(seen, np.arange(12) >= 12 - steps[:, None])
    whole = fitting.training_batches(source, split, 4000, 1, 0)[0][0]["target"]
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[seen], batch[0]["target"][seen])


@pytest.mark.slow
def test_intervals_of_new_series_are_as_wide_as_they_should_be():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "unique_id": np.arange(60).repeat(60),
            "ds": np.tile(np.arange(60), 60),
            "y": 50 + random.normal(size=3600),
        }
    )
    fitted = Forecaster(horizon=4, lookback=12, units=8, max_steps=300)
    fitted.fit(frame[frame["ds"] < 50], verbose=0)
    young = frame[frame["ds"].between(47, 49)]  # three values of each
    found = fitted.predict(young).merge(frame, on=["unique_id", "ds"])
    inside = found["y"].between(found["y_hat_q0.1"], found["y_hat_q0.9"])
    assert inside.mean() > 0.62  # .48 if none were trained on
