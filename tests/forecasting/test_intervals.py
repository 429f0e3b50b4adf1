"""Intervals that hold their share, and paths that agree with them."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from sklearn.base import clone

import keras_seq
from keras_seq import Forecaster
from keras_seq.forecasting.intervals import Calibration, ScaledForecasts, draw_shares

pytestmark = [
    pytest.mark.numeric,
    # ten steps of training: true, and of no interest here
    pytest.mark.filterwarnings("ignore:The network hardly does more than repeat"),
]

TINY = {
    "horizon": 3,
    "max_steps": 10,
    "units": 2,
    "season_length": 1,
    "lookback": 6,
    "refit_full": False,
}


def make_forecasts(count, seed=0, levels=(0.1, 0.5, 0.9), bias=0.0, horizon=3):
    """Normal errors that grow with the step and differ from window to window.

    The quantiles know which windows are uncertain, but are too narrow by half and
    know nothing of the step.
    """
    random = np.random.default_rng(seed)
    sizes = random.uniform(0.5, 2.0, size=(count, 1))
    error = random.normal(size=(count, horizon)) * np.arange(1, horizon + 1) + bias
    median = random.normal(size=(count, horizon))
    away = 0.5 * sizes[..., None] * ndtri(np.array(levels))
    nothing = np.zeros((count, 1))
    return ScaledForecasts(
        values=median[..., None] + away,
        levels=levels,
        actual=median + sizes * error,
        location=nothing,
        scale=nothing + 1,
        shift=nothing,
        log=False,
        knees=np.full(count, -np.inf),
    )


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.5, 0.8), (0.5,)])
def test_intervals_hold_their_share_of_new_values_at_each_step(levels):
    calibration = Calibration.learn(make_forecasts(1000, 0, levels))
    new = make_forecasts(20_000, 1, levels)
    shares = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
    bounds = calibration.quantiles(new, shares)
    for low, high, level in ((1, 3, 0.8), (0, 4, 0.95)):
        inside = (bounds[..., low] <= new.actual) & (new.actual <= bounds[..., high])
        # a thousand errors fix a share of 0.8 to 0.013, standard deviation
        np.testing.assert_allclose(inside.mean(axis=0), level, atol=0.04)
    assert (np.diff(bounds, axis=-1) >= 0).all()
    np.testing.assert_array_equal(bounds[..., 2], new.median)
    width = (bounds[..., 4] - bounds[..., 0]).mean(axis=0)
    assert width[2] > 2 * width[0]


def test_few_errors_still_hold_their_share_on_average():
    """The ranks of n + 1: without them ten errors would hold 0.73, not 0.8."""
    shares, found = np.array([0.1, 0.9]), []
    for seed in range(300):
        calibration = Calibration.learn(make_forecasts(10, seed, horizon=1))
        new = make_forecasts(200, 1000 + seed, horizon=1)
        low, high = np.moveaxis(calibration.quantiles(new, shares), -1, 0)
        found.append(((low <= new.actual) & (new.actual <= high)).mean())
    assert 0.79 < np.mean(found) < 0.84


def test_quantiles_are_the_ranks_of_a_plain_loop():
    forecasts = make_forecasts(50)
    forecasts.actual[3, 1] = np.nan
    calibration = Calibration.learn(forecasts)
    found = calibration.quantiles(forecasts, np.array([0.1, 0.5, 0.9]))
    for step in range(3):
        deviations = []
        for window in range(50):
            low, middle, high = forecasts.values[window, step]
            error = forecasts.actual[window, step] - middle
            deviations.append(error / (high - middle if error > 0 else middle - low))
        ranked = sorted(d for d in deviations if not np.isnan(d))
        n = len(ranked)
        for window in range(50):
            low, middle, high = forecasts.values[window, step]
            expected = [
                middle + ranked[int(0.1 * (n + 1)) - 1] * (middle - low),
                middle,
                middle + ranked[int(np.ceil(0.9 * (n + 1))) - 1] * (high - middle),
            ]
            np.testing.assert_allclose(found[window, step], expected, rtol=1e-5)


def test_windows_without_a_scale_do_not_stretch_the_others():
    lively = make_forecasts(200)
    flat = replace(lively, actual=1e3 * lively.actual, scale=np.full((200, 1), 1e-3))
    both = ScaledForecasts(
        **{
            name: np.concatenate([getattr(x, name) for x in (lively, flat)])
            if isinstance(value, np.ndarray)
            else value
            for name, value in vars(lively).items()
        }
    )
    found = Calibration.learn(both, floor=1e-3).quantiles(lively, [0.025, 0.975])
    alone = Calibration.learn(lively, floor=1e-3).quantiles(lively, [0.025, 0.975])
    np.testing.assert_array_equal(found, alone)
    # Where there is nothing else, they are better than nothing.
    assert Calibration.learn(flat, floor=1e-3).usable


@pytest.mark.parametrize("bias", [-30.0, 30.0])
def test_quantiles_never_cross_the_median(bias):
    calibration = Calibration.learn(make_forecasts(100, bias=bias))
    new = make_forecasts(10, 1)
    bounds = calibration.quantiles(new, np.linspace(0.01, 0.99, 99))
    assert (np.diff(bounds, axis=-1) >= 0).all()
    np.testing.assert_array_equal(bounds[..., 49], new.median)


def test_steps_with_few_errors_borrow_from_their_neighbours():
    deviations = np.full((60, 5), np.nan, np.float32)
    deviations[:, 0], deviations[:, 1], deviations[:, 4] = 1, 2, 5
    deviations[50:, 3] = 4
    calibration = Calibration(deviations)
    assert set(calibration._pool(1)) == {2}
    assert set(calibration._pool(3)) == {4, 5}
    assert set(calibration._pool(2)) == {2, 4}


def test_what_few_errors_cannot_tell_is_warned_of():
    calibration = Calibration.learn(make_forecasts(50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration.warn_of_tails([0.025, 0.975])
    with pytest.warns(UserWarning, match="of 99 % needs 199 held-back .* there are 50"):
        calibration.warn_of_tails([0.005, 0.995])
    far, farther = calibration._deviation(0, np.array([0.99, 0.999]))
    largest = calibration._pool(0)[-1]
    assert largest < far < farther


def test_paths_between_and_beyond_trained_quantiles_are_normal():
    forecasts = make_forecasts(4)
    shares = np.array([0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
    found = forecasts.interpolate(np.broadcast_to(shares, (4, 3, 6)))
    sizes = (forecasts.values[..., 2:] - forecasts.values[..., :1]) / 2
    expected = forecasts.median[..., None] + sizes * ndtri(shares) / ndtri(0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="need a quantile beside the median"):
        make_forecasts(4, levels=(0.5,)).interpolate(np.full((4, 3, 1), 0.3))


def test_each_slice_of_the_distribution_holds_one_path():
    shares = draw_shares(np.eye(3), 20, np.array(["a", "b"], object), seed=0)
    expected = np.broadcast_to(np.arange(20), (2, 3, 20))
    np.testing.assert_array_equal(np.sort((20 * shares).astype(int), -1), expected)


def test_paths_go_together_as_the_errors_did():
    random = np.random.default_rng(0)
    errors = np.zeros((2000, 6))
    for step in range(6):
        before = errors[:, step - 1] if step else 0.0
        errors[:, step] = 0.8 * before + random.normal(size=2000)
    truth = np.corrcoef(errors.T)
    errors[random.uniform(size=errors.shape) < 0.1] = np.nan
    # any increasing function has the same ranks
    learned = Calibration(np.exp(errors).astype(np.float32)).correlation()
    np.testing.assert_allclose(learned, truth, atol=0.06)
    shares = draw_shares(learned, 4000, np.array(["a"], object), seed=0)
    np.testing.assert_allclose(np.corrcoef(ndtri(shares[0])), truth, atol=0.08)


def test_paths_of_several_forecasts_go_on_from_their_ends():
    correlation = 0.5 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    own = np.array([[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]])
    shares = draw_shares(correlation, 4000, np.array(["a"], object), 0, own)
    sizes = np.zeros((9, 9))  # errors of each forecast by itself
    np.fill_diagonal(sizes, np.append(own, [1.0, 1.0]))
    alone = sizes @ np.kron(np.eye(3), correlation) @ sizes
    carried = np.eye(9)
    carried[3:, 2], carried[6:, 5] = 1.0, 1.0
    total = (carried @ alone @ carried.T)[:7, :7]
    sizes = np.sqrt(np.diag(total))
    truth = total / np.outer(sizes, sizes)
    np.testing.assert_allclose(np.corrcoef(ndtri(shares[0])), truth, atol=0.05)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_correlation_of_few_windows_is_one(count):
    random = np.random.default_rng(0)
    deviations = random.normal(size=(count, 8)).astype(np.float32)
    deviations[::2, :5] = np.nan
    correlation = Calibration(deviations).correlation()
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert np.linalg.eigvalsh(correlation).min() > 0
    if count < 10:
        assert correlation[3, 7] == pytest.approx(np.sqrt(4 / 8))


def noise_frame(num_series=40, length=60, seed=0):
    """White noise of very different size."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(num_series, length))
    values *= 10.0 ** random.uniform(-1, 4, size=(num_series, 1))
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{i:02}" for i in range(num_series)], length),
            "ds": np.tile(np.arange(length), num_series),
            "y": values.ravel(),
        }
    )


@pytest.fixture(scope="module")
def frame():
    return noise_frame()


def compile_for_any_number(forecaster, frame):
    """As it is after `fit`; a graph for one number of rows rounds otherwise."""
    forecaster.predict(frame[frame["unique_id"] < "s02"])
    forecaster.predict(frame[frame["unique_id"] < "s03"])


@pytest.fixture(scope="module")
def fitted(frame):
    return Forecaster(**TINY, conformal=True).fit(frame, verbose=0)


def test_calibrated_levels_that_were_not_trained(fitted):
    new = noise_frame(400, 63, seed=1)
    past, future = new[new["ds"] < 60], new[new["ds"] >= 60]
    forecasts = fitted.predict(past, level=[80, 95])
    assert list(forecasts)[2:] == [
        *["y_hat", "y_hat_q0.1", "y_hat_q0.5", "y_hat_q0.9"],
        *["y_hat_lo80", "y_hat_hi80", "y_hat_lo95", "y_hat_hi95"],
    ]
    joined = future.merge(forecasts, on=["unique_id", "ds"])
    for level in (80, 95):
        inside = joined["y"].between(
            joined[f"y_hat_lo{level}"], joined[f"y_hat_hi{level}"]
        )
        # ten steps of training leave the network's own intervals far off
        assert inside.mean() == pytest.approx(level / 100, abs=0.05)
    np.testing.assert_array_equal(joined["y_hat_lo80"], joined["y_hat_q0.1"])
    ordered = ["lo95", "lo80", "q0.5", "hi80", "hi95"]
    ordered = forecasts[[f"y_hat_{name}" for name in ordered]].to_numpy()
    assert (np.diff(ordered, axis=1) >= 0).all()


def test_calibration_changes_neither_network_nor_median(fitted, frame):
    plain = clone(fitted).set_params(conformal=False).fit(frame, verbose=0)
    one, two = plain.predict(), fitted.predict()
    np.testing.assert_allclose(one["y_hat"], two["y_hat"], rtol=1e-5)
    assert not np.allclose(one["y_hat_q0.9"], two["y_hat_q0.9"], rtol=0.01)
    with pytest.raises(ValueError, match="`quantiles` and .* or fit with conformal"):
        plain.predict(level=[95])


def test_calibration_is_of_the_training_that_had_not_seen_the_values(fitted, frame):
    whole = clone(fitted).set_params(refit_full=True).fit(frame, verbose=0)
    np.testing.assert_array_equal(
        whole._calibration.deviations, fitted._calibration.deviations
    )
    assert not np.allclose(whole.predict()["y_hat"], fitted.predict()["y_hat"])


def test_calibration_is_saved(fitted, frame, tmp_path):
    fitted.save(tmp_path / "f.kseq")
    twin = keras_seq.load(tmp_path / "f.kseq")
    compile_for_any_number(twin, frame)
    pd.testing.assert_frame_equal(twin.predict(level=[95]), fitted.predict(level=[95]))
    pd.testing.assert_frame_equal(twin.simulate(5), fitted.simulate(5))


@pytest.mark.parametrize(
    ("conformal", "scaling"), [(True, "standard"), (True, "log"), (False, "log")]
)
@pytest.mark.parametrize("horizon", [3, 8])
def test_paths_are_distributed_as_the_quantiles_say(frame, conformal, scaling, horizon):
    positive = frame[frame["unique_id"] < "s10"].assign(
        y=lambda f: np.exp(f["y"] / 1e4)
    )
    forecaster = Forecaster(**TINY, conformal=conformal, scaling=scaling)
    forecaster.fit(positive, verbose=0)
    paths = forecaster.simulate(1000, horizon=horizon)
    assert list(paths) == ["unique_id", "path", "ds", "y"]
    assert len(paths) == 10 * 1000 * horizon
    marginal = paths.groupby(["unique_id", "ds"])["y"]
    forecasts = forecaster.predict(horizon=horizon).set_index(["unique_id", "ds"])
    spread = forecasts["y_hat_q0.9"] - forecasts["y_hat_q0.1"]
    for share in (0.1, 0.9):
        difference = marginal.quantile(share) - forecasts[f"y_hat_q{share}"]
        assert (difference.abs() / spread).max() < 0.01
    if not conformal:  # there is no mass between the errors next to the median
        difference = marginal.median() - forecasts["y_hat"]
        assert (difference.abs() / spread).max() < 0.01
    if scaling == "log":
        assert (paths["y"] > 0).all()


def test_point_may_be_the_mean_beside_calibrated_quantiles(frame, tmp_path):
    sales = frame.assign(y=(frame["y"] / frame["y"].std() > 0.5) * 3.0)
    forecaster = Forecaster(**TINY, point="mean", conformal=True)
    forecaster.fit(sales, verbose=0).save(tmp_path / "f.kseq")
    forecasts = forecaster.predict(level=[90])
    assert not np.allclose(forecasts["y_hat"], forecasts["y_hat_q0.5"])
    twin = keras_seq.load(tmp_path / "f.kseq")
    compile_for_any_number(twin, sales)
    pd.testing.assert_frame_equal(twin.predict(level=[90]), forecasts, atol=1e-6)
    assert len(forecaster.simulate(2)) == 40 * 2 * 3


@pytest.mark.parametrize("quantiles", [(0.9, 0.1), (0.1, 0.1), (), 0.5, (0.1, 1.0)])
def test_bad_quantiles(frame, quantiles):
    with pytest.raises(ValueError, match="`quantiles` must .*Received: quantiles="):
        Forecaster(**TINY, quantiles=quantiles).fit(frame, verbose=0)


def test_paths_are_repeatable_and_each_series_has_its_own(fitted, frame):
    paths = fitted.simulate(7, seed=3)
    pd.testing.assert_frame_equal(paths, fitted.simulate(7, seed=3))
    assert not np.allclose(paths["y"], fitted.simulate(7, seed=4)["y"])
    alone = fitted.simulate(7, frame[frame["unique_id"] == "s05"], seed=3)
    together = paths.query("unique_id == 's05'").reset_index(drop=True)
    # the atol is a millionth of the noise: near zero, one rounding is a large share
    pd.testing.assert_frame_equal(alone, together, rtol=1e-5, atol=1e-4)
    short = fitted.simulate(7, seed=3, horizon=2)
    kept = paths[paths["ds"] < 62].reset_index(drop=True)
    pd.testing.assert_frame_equal(short, kept)


def test_paths_go_on_beyond_the_horizon_from_where_they_were(fitted):
    paths = fitted.simulate(400, seed=3, horizon=8)
    within = paths[paths["ds"] < 63].reset_index(drop=True)
    pd.testing.assert_frame_equal(within, fitted.simulate(400, seed=3))
    beyond = paths[paths["ds"] >= 63]
    ends = within[within["ds"] == 62][["unique_id", "path", "y"]]
    both = beyond.merge(ends, on=["unique_id", "path"])
    ranks = both.groupby(["unique_id", "ds"])[["y_x", "y_y"]].rank()
    assert ranks["y_x"].corr(ranks["y_y"]) > 0.6


def test_nothing_held_back_is_told_and_leaves_the_network_quantiles():
    short = noise_frame(5, 5)
    with pytest.warns(UserWarning, match="too little held back to calibrate"):
        options = {**TINY, "lookback": 4, "conformal": True}
        forecaster = Forecaster(**options).fit(short, verbose=0)
    assert np.isfinite(forecaster.predict()["y_hat_q0.9"]).all()
    assert np.isfinite(forecaster.simulate(3)["y"]).all()
    with pytest.raises(ValueError, match="quantiles that were not trained"):
        forecaster.predict(level=[95])


@pytest.mark.parametrize("level", [[0], [100], [-5], [float("nan")], ["80"], 80, "80"])
def test_bad_levels(fitted, level):
    with pytest.raises(ValueError, match="`level` must be .*Received"):
        fitted.predict(level=level)


def test_bad_number_of_paths(fitted):
    with pytest.raises(ValueError, match="`num_paths` must be"):
        fitted.simulate(0)
    with pytest.raises(ValueError, match="`seed` must be"):
        fitted.simulate(3, seed=-1)
    with pytest.raises(ValueError, match="`horizon` must be"):
        fitted.simulate(3, horizon=0)
