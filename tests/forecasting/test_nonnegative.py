"""What is never negative is not forecast to be, and what is usual stays as it is."""

import json
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, numpy_runtime
from keras_seq.forecasting.fitting import forecast_scaled
from keras_seq.forecasting.intervals import accumulate
from keras_seq.forecasting.nonnegative import bend, find_knees, unbend
from keras_seq.forecasting.windows import WindowSource
from keras_seq.streaming import open_session

SMALL = {
    "horizon": 6,
    "season_length": 1,
    "lookback": 12,
    "max_steps": 20,
    "units": 4,
    "refit_full": False,
    "conformal": True,
}


def falling_frame(lowest=0.5, num_series=40, length=60):
    """Straight lines that end near zero, where a network goes on falling."""
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": np.arange(length),
                "y": np.maximum(
                    np.linspace(40.0 + i, 1.0, length) + random.normal(size=length),
                    lowest,
                ),
            }
        )
        for i in range(num_series)
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    return falling_frame()


@pytest.fixture(scope="module")
def fitted(frame):
    return Forecaster(**SMALL).fit(frame, verbose=0)


@pytest.fixture(scope="module")
def straight(frame):
    return Forecaster(**SMALL, nonnegative=False).fit(frame, verbose=0)


def outputs(forecasts):
    return forecasts.filter(like="y_hat").to_numpy()


def test_the_knee_is_the_lowest_tenth_and_at_most_half_the_mean():
    count = np.arange(21.0) + 100
    past = np.array(
        [
            np.where(count < 103, count - 99, count),  # 1, 2, 3, 103, ...
            np.where(count < 118, 100.0, np.nan),
            np.where(count < 117, 0.0, 50.0),
            count - 100.5,  # from -0.5 on
            np.full(21, np.nan),
        ]
    )
    np.testing.assert_allclose(find_knees(past), [3.0, 50.0, 0.0, -np.inf, -np.inf])


def test_below_the_knee_forecasts_leave_the_line_smoothly_and_stay_in_order():
    values = np.linspace(-300.0, 30.0, 3301)[None]
    bent = bend(values, np.array([10.0]))
    np.testing.assert_array_equal(bent[values >= 10], values[values >= 10])
    assert (bent > 0).all() and (np.diff(bent) > 0).all()
    slopes = np.diff(bent)[0] / 0.1
    at = np.searchsorted(values[0], 10.0)
    np.testing.assert_allclose(slopes[at - 2 : at + 1], 1.0, atol=0.03)
    near = values[values > -50]
    again = unbend(bend(near[None], np.array([10.0])), np.array([10.0]))
    np.testing.assert_allclose(again[0], near, atol=1e-9)


def test_knees_of_zero_clip_and_none_leaves_all_as_it_is():
    values = np.array([[[-3.0, 2.0]], [[-3.0, np.nan]]])
    bent = bend(values, np.array([0.0, -np.inf]))
    np.testing.assert_array_equal(bent, [[[0.0, 2.0]], [[-3.0, np.nan]]])
    np.testing.assert_array_equal(unbend(values, np.array([0.0, -np.inf])), values)


@pytest.mark.numeric
def test_forecasts_are_those_of_the_line_bent(fitted, straight, frame):
    assert fitted.nonnegative_ and not straight.nonnegative_
    # How far quantiles spread was learned from held-back values of the line.
    head, other = (x.model_.get_layer("quantiles") for x in (straight, fitted))
    own = np.array(head.spread)
    head.spread.assign(np.array(other.spread))
    plain = straight.set_params(conformal=False).predict()
    head.spread.assign(own)
    bent = fitted.set_params(conformal=False).predict()
    straight.set_params(conformal=True)
    fitted.set_params(conformal=True)
    assert (outputs(plain) < 0).any()  # or there would be nothing to see
    ends = np.stack([y.to_numpy()[-12:] for _, y in frame.groupby("unique_id")["y"]])
    wanted = bend(outputs(plain).reshape(40, -1), find_knees(ends))
    np.testing.assert_allclose(outputs(bent).reshape(40, -1), wanted, rtol=1e-5)


@pytest.mark.numeric
def test_nothing_falls_below_zero_whatever_is_asked_for(fitted):
    for horizon in (3, 6, 15):
        forecasts = fitted.predict(level=[80, 95], horizon=horizon)
        within = forecasts.groupby("unique_id").cumcount() < 6
        assert (outputs(forecasts)[within] > 0).all()
        assert (outputs(forecasts) >= 0).all()
        for low, high in (("y_hat_lo80", "y_hat"), ("y_hat_lo95", "y_hat_lo80")):
            assert (forecasts[low] <= forecasts[high] * (1 + 1e-9)).all()
        assert (fitted.simulate(50, horizon=horizon)["y"] >= 0).all()


def test_errors_are_compared_where_forecasts_are_not_bent(fitted, frame):
    panel = fitted._panel(frame)
    source = WindowSource(panel, fitted._spec)
    series, origins = np.arange(40), panel.lengths - 6
    windows = source.gather(series, origins)
    values, scaled = forecast_scaled(fitted.model_, source, series, origins)
    actual = windows.target + windows.shift[:, None]
    assert (actual < scaled.knees[:, None]).any()
    np.testing.assert_allclose(scaled.unscale(scaled.actual), actual, rtol=1e-4)
    np.testing.assert_allclose(
        scaled.unscale(scaled.values), values[..., :3], rtol=1e-4
    )


@pytest.mark.parametrize("engine", ["numpy", "keras"])
def test_sessions_and_the_numpy_runtime_bend_alike(fitted, frame, engine, tmp_path):
    fitted.save(tmp_path / "model.kseq")
    expected = fitted.predict(level=[80])
    loaded = Forecaster.load(tmp_path / "model.kseq")
    pd.testing.assert_frame_equal(loaded.predict(level=[80]), expected)
    light = numpy_runtime.load(tmp_path / "model.kseq")
    for horizon in (6, 15):
        told = light.predict(level=[80], horizon=horizon)
        wanted = fitted.predict(level=[80], horizon=horizon)
        for name in wanted.filter(like="y_hat"):
            np.testing.assert_allclose(told[name], wanted[name], rtol=1e-4, atol=1e-4)
    last = frame["ds"] == frame["ds"].max()
    session = open_session(fitted, engine=engine, history=frame[~last])
    found = session.step(frame[last]).to_frame().sort_values(["unique_id", "ds"])
    columns = list(found.filter(like="y_hat"))
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-4, atol=1e-4)


def test_files_from_before_forecast_as_they_did(straight, tmp_path):
    path = tmp_path / "model.kseq"
    straight.save(path)
    with ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        weights = archive.read("weights.npz")
    del manifest["params"]["nonnegative"]
    del manifest["state"]["learned"]["nonnegative_"]
    with ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("weights.npz", weights)
    expected = straight.predict()
    pd.testing.assert_frame_equal(Forecaster.load(path).predict(), expected)
    light = numpy_runtime.load(path).predict()
    np.testing.assert_allclose(light["y_hat"], expected["y_hat"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_negative_value_turns_it_off_and_an_order_is_refused(frame):
    below = frame.assign(y=frame["y"].where(frame.index != 7, -2.5))
    few = {**SMALL, "conformal": False}
    assert not Forecaster(**few).fit(below, verbose=0).nonnegative_
    with pytest.raises(ValueError, match="must be False where 'y' is negative.*-2.5"):
        Forecaster(**few, nonnegative=True).fit(below, verbose=0)
    with pytest.raises(ValueError, match="does not go with stateful=True"):
        Forecaster(**few, nonnegative=True, stateful=True).fit(frame, verbose=0)
    assert not Forecaster(**few, stateful=True).fit(frame, verbose=0).nonnegative_
    with pytest.raises(ValueError, match="`nonnegative` must be one of"):
        Forecaster(**few, nonnegative="yes").fit(frame, verbose=0)


def test_counts_with_zeros_are_clipped_at_zero():
    counts = falling_frame(lowest=0.0).assign(
        y=lambda f: np.where(f.groupby("unique_id").cumcount() > 40, 0.0, f["y"])
    )
    forecaster = Forecaster(**SMALL).fit(counts, verbose=0)
    forecasts = outputs(forecaster.predict(level=[95], horizon=15))
    assert (forecasts >= 0).all() and (forecasts == 0).any()


def test_errors_add_up_by_distance_where_the_median_is_next_to_zero():
    """By ratio the next part's upper quantile would be 1,500."""
    parts = [np.array([[[0.001, 0.01, 5.0]]]), np.array([[[1.0, 3.0, 5.0]]])]
    whole = accumulate(parts, middle=1, log=False, nonnegative=True)
    np.testing.assert_array_equal(whole[:, 0], parts[0][:, 0])
    wanted = [3 - np.hypot(2, 0.009), 3, 3 + np.hypot(2, 4.99)]
    np.testing.assert_allclose(whole[0, 1], wanted)
    falling = [parts[1], parts[0]]
    assert accumulate(falling, 1, False, nonnegative=True)[0, 1, 0] == 0
    assert accumulate(falling, 1, False, nonnegative=False)[0, 1, 0] < -1
