"""Forecaster from raw frames to forecasts: exact where it must be, honest always."""

import json
from copy import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import keras_seq
from keras_seq import ArtifactError, Forecaster, numpy_runtime
from keras_seq.forecasting.windows import WindowSource
from keras_seq.numpy_runtime.scaling import is_centered
from tests.grids import first, often

SMALL = {
    "horizon": 4,
    "max_steps": 10,
    "units": 8,
    "season_length": 6,
    "lookback": 12,
    "refit_full": False,  # half the time; the tests that need it ask for it
}
WHOLE = {**SMALL, "refit_full": True}


def seasonal_frame(num_series=3, length=60, level=0.0, seed=0):
    random = np.random.default_rng(seed)
    season = np.sin(2 * np.pi * np.arange(length) / 6)
    frames = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": pd.date_range("2020-01-01", periods=length, freq="D"),
                "y": level + 10 * season + random.normal(size=length),
            }
        )
        for i in range(num_series)
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    return seasonal_frame()


@pytest.fixture(scope="module")
def fitted(frame):
    return Forecaster(**SMALL).fit(frame, verbose=0)


@pytest.mark.numeric
def test_predict_after_the_training_data(fitted, frame):
    forecasts = fitted.predict()
    assert list(forecasts) == [
        *["unique_id", "ds", "y_hat"],
        *["y_hat_q0.1", "y_hat_q0.5", "y_hat_q0.9"],
    ]
    assert len(forecasts) == 3 * 4
    first = forecasts.groupby("unique_id")["ds"].min()
    assert (first == frame["ds"].max() + pd.Timedelta(days=1)).all()
    pd.testing.assert_frame_equal(fitted.predict(frame), forecasts)
    assert forecasts["ds"].dtype == frame["ds"].dtype


@pytest.mark.numeric
def test_quantiles_are_ordered_and_levels_named(fitted):
    forecasts = fitted.predict(level=[80])
    low, middle, high = (forecasts[f"y_hat_q{q}"] for q in ("0.1", "0.5", "0.9"))
    assert (low <= middle).all() and (middle <= high).all()
    np.testing.assert_array_equal(forecasts["y_hat_lo80"], low)
    np.testing.assert_array_equal(forecasts["y_hat_hi80"], high)
    with pytest.raises(ValueError, match=r"add \[0.025, 0.975\] to `quantiles`"):
        fitted.predict(level=[95])
    with pytest.raises(ValueError, match="`level` must be .*level=120"):
        fitted.predict(level=[120])


def test_shorter_horizon_is_the_beginning_of_the_longer(fitted):
    short, whole = fitted.predict(horizon=2), fitted.predict()
    kept = whole.groupby("unique_id").head(2).reset_index(drop=True)
    pd.testing.assert_frame_equal(short, kept)
    with pytest.raises(ValueError, match="`horizon` must be .*horizon=0"):
        fitted.predict(horizon=0)


@pytest.mark.numeric
@pytest.mark.parametrize("conformal", [False, True])
def test_a_longer_horizon_is_rolled_forward(fitted, frame, conformal):
    rolling = copy(fitted).set_params(conformal=conformal)
    once, whole = rolling.predict(), rolling.predict(horizon=10)
    assert whole.groupby("unique_id").size().tolist() == [10, 10, 10]
    step = whole.groupby("unique_id").cumcount()
    first, second = (whole[step // 4 == part].reset_index(drop=True) for part in (0, 1))
    pd.testing.assert_frame_equal(first, once)
    came = once.rename(columns={"y_hat": "y"})[["unique_id", "ds", "y"]]
    alone = rolling.predict(pd.concat([frame, came]))
    pd.testing.assert_frame_equal(
        second[["unique_id", "ds", "y_hat"]],
        alone[["unique_id", "ds", "y_hat"]],
        rtol=1e-5,
    )
    for quantile in ("y_hat_q0.1", "y_hat_q0.9"):
        own = alone[quantile] - alone["y_hat"]
        last = (once[quantile] - once["y_hat"])[3::4].repeat(4).to_numpy()
        expected = alone["y_hat"] + np.sign(own) * np.hypot(own, last)
        np.testing.assert_allclose(second[quantile], expected, rtol=1e-5)


@pytest.mark.numeric
def test_series_never_seen_and_very_short(fitted):
    new = seasonal_frame(1, 30, seed=9).assign(unique_id="new")
    single = new.tail(1).assign(unique_id="one value")
    with pytest.warns(UserWarning, match="a single value, .*: 'one value'"):
        forecasts = fitted.predict(pd.concat([new, single]))
    assert forecasts["unique_id"].unique().tolist() == ["new", "one value"]
    assert np.isfinite(forecasts.filter(like="y_hat")).all().all()


@pytest.mark.parametrize("stateful", [False, True])
def test_where_nothing_was_seen_there_is_no_forecast(frame, stateful, tmp_path):
    some = frame.copy()
    some.loc[some["unique_id"] == "s1", "y"] = np.nan
    options = {**SMALL, "stateful": stateful, "quantiles": (0.1, 0.9)}
    fitted = Forecaster(**options).fit(some, verbose=0)
    fitted.save(tmp_path / "some.kseq")
    runtime = numpy_runtime.load(tmp_path / "some.kseq")
    for ask in (
        fitted.predict,
        lambda: fitted.predict(some, horizon=9),
        lambda: fitted.simulate(5, horizon=9),
        lambda: pd.DataFrame(runtime.predict()),
    ):
        with pytest.warns(UserWarning, match="1 series have no value .* 's1'"):
            forecasts = ask()
        empty = forecasts["unique_id"] == "s1"
        values = forecasts.filter(regex="^y")
        assert values[empty].isna().all().all()
        assert values[~empty].notna().all().all()
    told = fitted.stream().step({"new": np.nan})
    assert np.isnan(told.values).all()


def test_missing_values_at_the_end_leave_something_to_hold_back(frame):
    plan = frame.groupby("unique_id").tail(4)
    plan = plan.assign(ds=plan["ds"] + pd.Timedelta(days=4), y=np.nan)
    with pytest.warns(UserWarning, match="3 series end in 4 steps or more without a"):
        whole = Forecaster(**SMALL).fit(pd.concat([frame, plan]), verbose=0)
    alone = Forecaster(**SMALL).fit(frame, verbose=0)
    assert whole.validation_ == alone.validation_
    pd.testing.assert_frame_equal(whole.predict(frame), alone.predict(frame))


def test_a_window_after_a_long_gap_is_not_forecast_but_scored_around(fitted, frame):
    history = frame[frame["ds"] <= fitted.fit_end_.max()].copy()
    gap = (history["unique_id"] == "s0") & (
        history.groupby("unique_id").cumcount() > 40
    )
    history.loc[gap, "y"] = np.nan
    future = seasonal_frame(3, 64).groupby("unique_id").tail(4)
    with pytest.warns(UserWarning, match="1 series have no value .* 's0'"):
        scores = fitted.evaluate(history, future)
    assert scores["n"] == 8 and np.isfinite(scores["mae"])


@pytest.mark.numeric
def test_forecasts_follow_their_own_series_only(fitted, frame):
    alone = fitted.predict(frame[frame["unique_id"] == "s1"])
    together = fitted.predict().query("unique_id == 's1'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together, rtol=1e-5)


@pytest.mark.numeric
def test_adding_a_constant_moves_the_forecasts_by_it(frame):
    near = Forecaster(**WHOLE).fit(frame, verbose=0).predict()
    far_frame = frame.assign(y=frame["y"] + 1e8)
    far = Forecaster(**WHOLE).fit(far_frame, verbose=0).predict()
    spread = frame["y"].max() - frame["y"].min()
    difference = far.filter(like="y_hat") - near.filter(like="y_hat") - 1e8
    assert np.abs(difference).max().max() < 1e-3 * spread


@pytest.mark.numeric
def test_same_seed_same_weights_zero_is_a_seed(frame, fitted):
    again = Forecaster(**SMALL).fit(frame, verbose=0)
    for a, b in zip(fitted.model_.weights, again.model_.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    other = Forecaster(**SMALL, seed=1).fit(frame, verbose=0)
    assert not np.allclose(
        fitted.model_.get_weights()[1], other.model_.get_weights()[1]
    )


@pytest.mark.numeric
def test_future_does_not_reach_the_backtest(frame):
    forecaster = Forecaster(**SMALL)
    before = forecaster.backtest(frame, num_windows=2, verbose=0)
    cutoff = before["cutoff"].min()
    spoilt = frame.assign(y=frame["y"].where(frame["ds"] <= cutoff, -1e9))
    after = forecaster.backtest(spoilt, num_windows=2, verbose=0)
    columns = ["y_hat", "y_hat_q0.1", "y_hat_q0.9", "seasonal_naive"]
    first, second = (f[f["cutoff"] == cutoff][columns] for f in (before, after))
    assert len(first) == 3 * 4
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_backtest_frame(frame):
    result = Forecaster(**SMALL).backtest(frame, 2, step_size=3, verbose=0)
    assert list(result)[:5] == ["unique_id", "cutoff", "ds", "y", "y_hat"]
    last = frame["ds"].max()
    expected = {last - pd.Timedelta(days=4), last - pd.Timedelta(days=7)}
    assert set(result["cutoff"]) == expected
    merged = result.merge(frame, on=["unique_id", "ds"])
    np.testing.assert_array_equal(merged["y_x"], merged["y_y"])
    naive = frame.assign(ds=frame["ds"] + pd.Timedelta(days=6))
    merged = result.merge(naive, on=["unique_id", "ds"])
    np.testing.assert_array_equal(merged["seasonal_naive"], merged["y_y"])


@pytest.mark.slow
def test_backtest_refit_sees_more(frame):
    forecaster = Forecaster(**SMALL)
    once = forecaster.backtest(frame, 2, verbose=0)
    each = forecaster.backtest(frame, 2, refit=True, verbose=0)
    first = once["cutoff"] == once["cutoff"].min()
    np.testing.assert_array_equal(once["y_hat"][first], each["y_hat"][first])
    assert not np.allclose(once["y_hat"][~first], each["y_hat"][~first])


def test_backtest_tells_which_series_end_before_it_and_scores_short_ones(frame):
    early = (frame["unique_id"] == "s1") & (frame["ds"] > "2020-02-20")
    late = (frame["unique_id"] == "s2") & (frame["ds"] < "2020-02-22")
    some = frame[~early & ~late]
    forecaster = Forecaster(**SMALL)
    with pytest.warns(UserWarning, match="1 of 3 series have no row .* 's1'"):
        windows = forecaster.backtest(some, num_windows=1, verbose=0)
    new = windows["unique_id"] == "s2"  # four steps of a season of six
    last = some.loc[some["unique_id"] == "s2", "y"].to_numpy()[-5]
    assert windows.loc[new, "seasonal_naive"].tolist()[:2] == [last] * 2
    scores = forecaster.score_backtest(windows, some, by="series")
    assert set(scores["unique_id"]) == {"s0", "s2"}
    assert scores["mae"].notna().all()


def test_backtest_ends_with_the_last_value(frame):
    plan = frame.assign(
        y=np.nan, ds=frame["ds"] + (frame["ds"].max() - frame["ds"].min())
    )
    plan = plan[plan["ds"] > frame["ds"].max()]
    forecaster = Forecaster(**SMALL)
    with pytest.warns(UserWarning) as caught:
        windows = forecaster.backtest(pd.concat([frame, plan]), 2, verbose=0)
        forecaster.fit(pd.concat([frame, plan]), verbose=0)
    pd.testing.assert_frame_equal(windows, forecaster.backtest(frame, 2, verbose=0))
    ours = [w for w in caught if "without a value" in str(w.message)]
    # only `fit` sees the plan, and its warning is at this file's line
    assert [w.filename for w in ours] == [__file__]


def test_backtest_of_too_short_data():
    with pytest.raises(ValueError, match="num_windows=9 at horizon=4.*the data span"):
        Forecaster(**SMALL).backtest(seasonal_frame(length=30), 9, verbose=0)


def test_evaluate_equals_its_definitions(frame):
    cut = frame["ds"].max() - pd.Timedelta(days=4)
    past, future = frame[frame["ds"] <= cut], frame[frame["ds"] > cut]
    forecaster = Forecaster(**SMALL).fit(past, verbose=0)
    scores = forecaster.evaluate(past, future)
    joined = future.merge(forecaster.predict(), on=["unique_id", "ds"])
    error = (joined["y"] - joined["y_hat"]).abs()
    np.testing.assert_allclose(scores["mae"], error.mean())
    smape = 200 * error / (joined["y"].abs() + joined["y_hat"].abs())
    np.testing.assert_allclose(scores["smape"], smape.mean())
    scale = past.groupby("unique_id")["y"].apply(lambda y: y.diff(6).abs().mean())
    mase = error.groupby(joined["unique_id"]).mean() / scale
    np.testing.assert_allclose(scores["mase"], mase.mean())
    inside = joined["y"].between(joined["y_hat_q0.1"], joined["y_hat_q0.9"])
    assert (scores["coverage"], scores["level"]) == (inside.mean(), 80)
    naive = scores["baselines"]["seasonal_naive"]["mase"]
    np.testing.assert_allclose(scores["skill"], 1 - scores["mase"] / naive)
    assert scores["n"] == 12


def test_evaluate_refuses_rows_it_was_fitted_on(fitted, frame):
    cut = frame["ds"].max() - pd.Timedelta(days=4)
    past, future = frame[frame["ds"] <= cut], frame[frame["ds"] > cut]
    with pytest.raises(ValueError, match="must lie after `fit_end_`.*12 rows"):
        fitted.evaluate(past, future)
    unseen = future.assign(unique_id="unseen")
    fitted.evaluate(past.assign(unique_id="unseen").iloc[:56], unseen.iloc[:4])


def test_evaluate_refuses_rows_outside_of_the_horizon(fitted, frame):
    later = frame.tail(1).assign(ds=frame["ds"].max() + pd.Timedelta(days=9))
    with pytest.raises(ValueError, match="within the horizon.*1 of 1 rows"):
        fitted.evaluate(frame, later)


@pytest.mark.numeric
@pytest.mark.parametrize("cell", often(["rnn", "lstm", "gru"], "gru"))
def test_save_and_load(tmp_path, frame, cell):
    forecaster = Forecaster(**{**SMALL, "units": (4, 3)}, num_layers=2, cell=cell)
    forecaster.fit(frame, verbose=0).save(tmp_path / "f.kseq")
    for load in (keras_seq.load, Forecaster.load):
        twin = load(tmp_path / "f.kseq")
        pd.testing.assert_frame_equal(twin.predict(), forecaster.predict())
        pd.testing.assert_frame_equal(
            twin.predict(frame), forecaster.predict(frame), rtol=1e-6
        )
    assert twin.get_params()["units"] in ((4, 3), [4, 3])
    assert twin.validation_ == forecaster.validation_
    pd.testing.assert_frame_equal(twin.history_, forecaster.history_)
    pd.testing.assert_series_equal(twin.fit_end_, forecaster.fit_end_)
    with pytest.raises(ArtifactError, match="holds a Forecaster, not a TextClass"):
        keras_seq.TextClassifier.load(tmp_path / "f.kseq")


@pytest.mark.numeric
def test_segments_are_settled_by_fit_and_saved(tmp_path, frame):
    forecaster = Forecaster(**{**SMALL, "units": 3}, segment_length=5)
    forecaster.fit(frame, verbose=0).save(tmp_path / "f.kseq")
    assert forecaster._builder_args["decoder"] == "segment"
    assert forecaster.model_.get_layer("encoder").input.shape == (None, 3, 3)
    twin = keras_seq.load(tmp_path / "f.kseq")
    pd.testing.assert_frame_equal(twin.predict(), forecaster.predict())
    with pytest.raises(ValueError, match="`segment_length` must not exceed.*=12"):
        Forecaster(**SMALL, segment_length=13).fit(frame)


@pytest.mark.parametrize("count", first([1, 2], 1))
def test_files_from_before_there_were_other_decoders(tmp_path, count):
    small = {**SMALL, "lookback": 96, "units": 3, "decoder_units": 16}
    forecaster = Forecaster(**small, decoder="direct", ensemble=count)
    forecaster.fit(seasonal_frame(1, 120), verbose=0)
    for own in forecaster._member_args():
        for name in ("decoder", "segment_length", "decoder_units"):
            del own[name]
    forecaster.save(tmp_path / "f.kseq")
    twin = keras_seq.load(tmp_path / "f.kseq")
    pd.testing.assert_frame_equal(twin.predict(), forecaster.predict())
    # Snapshots of its sessions, of then and of the other runtime, still fit.
    kept = json.loads(json.dumps(forecaster._builder_args))  # without tuples
    assert twin._builder_args == kept
    twin.stream(history="fit").snapshot(tmp_path / "f.session")
    in_numpy = numpy_runtime.load(tmp_path / "f.kseq").stream()
    in_numpy.restore(tmp_path / "f.session")


def test_other_names_integer_time_and_no_id(frame):
    renamed = frame[frame["unique_id"] == "s0"].assign(t=range(60))
    renamed = renamed.rename(columns={"y": "load"})[["t", "load"]]
    forecaster = Forecaster(**SMALL, id_col=None, time_col="t", target_col="load")
    forecasts = forecaster.fit(renamed, verbose=0).predict()
    assert list(forecasts)[:2] == ["t", "y_hat"]
    assert forecasts["t"].tolist() == [60, 61, 62, 63]


def test_single_series_with_a_datetime_index(frame):
    series = frame[frame["unique_id"] == "s0"].set_index("ds")["y"]
    forecasts = Forecaster(**SMALL).fit(series, verbose=0).predict()
    assert len(forecasts) == 4


@pytest.mark.numeric
def test_gaps_and_missing_values_are_masked(frame):
    holes = frame.drop(index=range(70, 80))
    holes.loc[holes.index[::7], "y"] = np.nan
    forecaster = Forecaster(**SMALL, freq="D").fit(holes, verbose=0)
    assert np.isfinite(forecaster.predict()["y_hat"]).all()
    assert np.isfinite(forecaster.history_["loss"]).all()
    record = forecaster.history_[["grad_norm_mean", "grad_norm_max"]]
    assert np.isfinite(record).all(axis=None) and (record > 0).all(axis=None)
    assert forecaster.history_["clipped_fraction"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.numeric
def test_refit_trains_on_the_end_as_well(frame, monkeypatch):
    # Where training starts is chosen on the held-back end.
    monkeypatch.setattr("keras_seq.forecasting.fitting.find_start", lambda *_: None)
    changed = frame.copy()
    changed.loc[frame["ds"] > frame["ds"].max() - pd.Timedelta(days=4), "y"] += 30
    history = frame[frame["ds"] < "2020-02-15"]
    for options, same in ((SMALL, True), (WHOLE, False)):
        one, two = (
            Forecaster(**options).fit(f, verbose=0).predict(history)["y_hat"]
            for f in (frame, changed)
        )
        # only early stopping sees the held-back end, and ten steps are one epoch
        assert np.allclose(one, two) == same


def test_a_fit_that_fails_leaves_an_unfitted_forecaster(frame):
    forecaster = Forecaster(**SMALL).fit(frame, verbose=0)
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        forecaster.set_params(learning_rate=1e30).fit(frame, verbose=0)
    with pytest.raises(NotFittedError):
        forecaster.predict()


@pytest.mark.numeric
def test_short_constant_zero_and_negative_series(frame):
    stamps = pd.date_range("2020-01-01", periods=30, freq="D")
    odd = {
        "short": [3.0, 4.0],
        "one": [5.0],
        "constant": [7.0] * 30,
        "zero": [0.0] * 30,
        "negative": [-20.0 + k % 6 for k in range(30)],
    }
    extra = [
        pd.DataFrame({"unique_id": name, "ds": stamps[: len(y)], "y": y})
        for name, y in odd.items()
    ]
    forecaster = Forecaster(**{**SMALL, "max_steps": 50})
    forecaster.fit(pd.concat([frame, *extra]), verbose=0)
    with pytest.warns(UserWarning, match="1 series have a single value, .*: 'one'"):
        forecasts = forecaster.predict()
    assert np.isfinite(forecasts.filter(like="y_hat")).all().all()
    by_id = forecasts.groupby("unique_id")["y_hat"]
    assert by_id.apply(lambda y: np.abs(y - 7).max())["constant"] < 1
    assert by_id.apply(lambda y: np.abs(y).max())["zero"] < 1
    assert (by_id.max()["negative"]) < 0


def test_values_too_far_apart_for_a_window(frame):
    step = frame.groupby("unique_id").cumcount()
    sparse = frame.assign(y=frame["y"].where(step % 20 == 19))
    with pytest.raises(ValueError, match="`lookback` and `horizon` .* 20 steps apart"):
        Forecaster(**{**SMALL, "lookback": 5}).fit(sparse, verbose=0)
    long = Forecaster(**{**SMALL, "lookback": 20}).fit(sparse, verbose=0)
    assert np.isfinite(long.validation_["mae"])
    # where only the end is sparse, it cannot be held back
    ending = frame.assign(y=frame["y"].where((step < 40) | (step == step.max())))
    with pytest.warns(UserWarning, match="Nothing can be held back .*=5 and horizon=4"):
        fitted = Forecaster(**{**SMALL, "lookback": 5}).fit(ending, verbose=0)
    assert fitted.validation_ == {}
    with pytest.warns(UserWarning, match="have a single value"):
        assert np.isfinite(fitted.predict()["y_hat"]).all()
    with pytest.raises(ValueError, match="two values in 'y'. .* 3 series, 3 values"):
        Forecaster(**SMALL).fit(frame.assign(y=frame["y"].where(step == 9)), verbose=0)


def test_all_series_shorter_than_the_horizon():
    frame = seasonal_frame(5, 3)
    forecaster = Forecaster(horizon=12, max_steps=5, units=4).fit(frame, verbose=0)
    assert forecaster.validation_ == {}
    assert np.isfinite(forecaster.predict()["y_hat"]).all()


@pytest.mark.numeric
@pytest.mark.parametrize(
    "scaling", often(["mean_abs", "standard", "log", "none"], "log")
)
def test_every_scaling_runs(frame, scaling):
    positive = frame.assign(y=frame["y"] + 50)
    forecaster = Forecaster(**SMALL, scaling=scaling).fit(positive, verbose=0)
    assert forecaster.scaling_ == scaling
    assert forecaster.predict()["y_hat"].between(0, 100).all()


@pytest.mark.numeric
def test_logarithms_of_a_high_level_may_fall_as_they_rise(frame):
    high = frame.assign(y=1e7 + frame["y"])  # its spread is less than 1 in 10,000
    assert is_centered("log") is is_centered("mixed") is None
    forecaster = Forecaster(**SMALL, scaling="log").fit(high, verbose=0)
    windows = WindowSource(forecaster._tail, forecaster._spec)
    shift = windows.gather(np.arange(3), forecaster._tail.lengths).shift
    by_series = high.groupby("unique_id")["y"]
    assert (0 < shift).all()  # float32 holds the digits of what is above it
    assert (shift < by_series.min() - 10 * by_series.std()).all()
    lowest = forecaster.simulate(50).groupby("unique_id")["y"].min().to_numpy()
    assert (lowest < high.groupby("unique_id")["y"].last().to_numpy()).all()


@pytest.mark.numeric
def test_learns_what_the_baseline_cannot():
    # Each step is minus the one before last: no season of length 1 repeats it.
    random = np.random.default_rng(0)
    rows = []
    for name in "abcdefgh":
        y = list(random.normal(size=2))
        for _ in range(118):
            y.append(-y[-2] + 0.05 * random.normal())
        rows.append(pd.DataFrame({"unique_id": name, "ds": range(120), "y": y}))
    frame = pd.concat(rows)
    forecaster = Forecaster(horizon=3, units=16, max_steps=300, lookback=12)
    past, future = frame[frame["ds"] < 117], frame[frame["ds"] >= 117]
    scores = forecaster.fit(past, verbose=0).evaluate(past, future)
    assert scores["skill"] > 0.5


def test_not_fitted():
    with pytest.raises(NotFittedError, match="This Forecaster is not fitted yet"):
        Forecaster(horizon=3).predict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "`horizon` must be a whole number of at least 1"),
        ({"lookback": 2.5}, "`lookback` must be a whole number"),
        ({"cell": "gur"}, "`cell` must be one of.*Did you mean 'gru'"),
        ({"calendar": "year"}, "`calendar` must be 'auto' or a list of some of"),
        ({"calendar": ["day"]}, r"\['week', 'year'\], .* longer than a step of 'D'"),
        ({"scaling": "minmax"}, "`scaling` must be one of"),
        ({"scaling": "log"}, "`scaling` must not be 'log' where 'y' is negative"),
        ({"quantiles": (0.9, 0.1)}, "`quantiles` must increase strictly"),
        ({"quantiles": (0.1, 0.1000001)}, "must differ in their first six digits"),
        ({"quantiles": (0.4999999,)}, "`quantiles`, with 0.5, must differ"),
        ({"dropout": 1.5}, r"`dropout` must be a number in \[0, 1\)"),
        ({"learning_rate": -1}, "`learning_rate` must be .*above 0"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "exclude each other"),
        ({"past_covariates": ("x",)}, r"no column 'x' \(past_covariates\)"),
        ({"lookback": 60}, "has 60 steps, so 59 is the longest usable.*lookback=60"),
        ({"max_steps": 0}, "`max_steps` must be"),
        ({"seed": -1}, "`seed` must be"),
    ],
)
def test_bad_arguments(frame, arguments, message):
    with pytest.raises(ValueError, match=message):
        Forecaster(**{**SMALL, **arguments}).fit(frame, verbose=0)


NEW_YEARS = {f"s{i}": pd.Timestamp(f"202{i}-01-01") for i in range(3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": lambda f: f["y"] * 1e37}, r"size between 1e-15 and 1e\+30"),
        ({"y": lambda f: f["y"] * 1e-22}, "size between 1e-15 and"),
        ({"unique_id": lambda f: f["unique_id"].map(NEW_YEARS)}, "strings or numbers"),
        ({"unique_id": lambda f: [(i,) for i in f["unique_id"]]}, r"\('s0',\)"),
    ],
)
def test_frames_that_cannot_be_learned_or_saved(frame, change, message):
    with pytest.raises(ValueError, match=message):
        Forecaster(**SMALL, freq="D").fit(frame.assign(**change), verbose=0)


def test_an_offset_as_the_time_step_is_saved_by_its_name(frame, tmp_path):
    fitted = Forecaster(**SMALL, freq=pd.offsets.Day()).fit(frame, verbose=0)
    fitted.save(tmp_path / "days.kseq")
    again = keras_seq.load(tmp_path / "days.kseq")
    assert again.freq == fitted.freq_ == "D"
    pd.testing.assert_frame_equal(again.predict(), fitted.predict())


def test_windows_that_reach_back_beyond_what_stamps_can_say(frame):
    stamps = pd.date_range("1680-01-01", periods=60, freq="YS", unit="ns")
    old = frame.assign(ds=np.tile(stamps, 3))
    forecasts = Forecaster(**SMALL).fit(old, verbose=0).predict()
    assert forecasts["ds"].min() == pd.Timestamp("1740-01-01")


def test_misspelt_argument_is_suggested():
    with pytest.raises(TypeError, match="'horizn'. Did you mean 'horizon'"):
        Forecaster(horizn=3)
    with pytest.raises(ValueError, match="'unit'. Did you mean 'units'"):
        Forecaster(horizon=3).set_params(unit=3)


def test_follows_scikit_learn_conventions():
    forecaster = Forecaster(horizon=3, units=(4, 5), num_layers=2)
    twin = clone(forecaster)
    assert twin.get_params() == forecaster.get_params()
    assert twin.set_params(horizon=5).horizon == 5


def test_a_season_longer_than_the_series_can_be_saved(tmp_path):
    """MASE has nothing to divide by then, and JSON no word for it."""
    frame = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("2023-01-01", periods=40, freq="W"),
            "y": np.random.default_rng(0).normal(size=40) + 10,
        }
    )
    forecaster = Forecaster(horizon=4, max_steps=5, units=4).fit(frame, verbose=0)
    assert np.isnan(forecaster.validation_["mase"])
    forecaster.save(tmp_path / "short.kseq")
    again = keras_seq.load(tmp_path / "short.kseq")
    assert np.isnan(again.validation_["mase"])
    assert again.validation_["mae"] == forecaster.validation_["mae"]
