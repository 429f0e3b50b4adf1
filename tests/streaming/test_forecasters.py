"""Sessions of fitted forecasters: step by step, what `predict` says of the whole."""

from copy import copy

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster
from keras_seq.streaming import open_session

SMALL = {
    "horizon": 3,
    "max_steps": 2,
    "units": 6,
    "season_length": 4,
    "lookback": 10,
    "refit_full": False,
}


def make_frame(num_series=3, length=50, freq="D", level=0.0, seed=0):
    random = np.random.default_rng(seed)
    stamps = (
        np.arange(7, 7 + 2 * length, 2)
        if freq == 2
        else pd.date_range("2021-01-03", periods=length, freq=freq)
    )
    season = np.sin(2 * np.pi * np.arange(length) / 4)
    frames = [
        pd.DataFrame(
            {
                "shop": f"s{i}",
                "when": stamps,
                "sold": level
                + 10 * (i + 1) * (2 + season)
                + random.normal(size=length),
            }
        )
        for i in range(num_series)
    ]
    return pd.concat(frames, ignore_index=True)


COLUMNS = {"id_col": "shop", "time_col": "when", "target_col": "sold"}


def fit(frame, **arguments):
    return Forecaster(**{**SMALL, **COLUMNS, **arguments}).fit(frame, verbose=0)


@pytest.fixture(scope="module")
def daily():
    return fit(make_frame(), freq="D")


@pytest.fixture(scope="module")
def whole_numbers():
    options = {"scaling": "log", "quantiles": (0.2, 0.5), "point": "mean"}
    return fit(make_frame(freq=2), freq=2, **options)


@pytest.fixture(scope="module")
def hourly():
    frame = make_frame(freq="h").assign(
        when=lambda f: f["when"].dt.tz_localize("Europe/Vienna")
    )
    return fit(frame, freq="h")


def check_equal(found, expected):
    """Both as frames: same rows and columns, numbers to 1e-5 of their scale."""
    found = found.sort_values(list(found)[:2]).reset_index(drop=True)
    for name in expected.filter(like="y_hat"):
        scale = np.abs(expected[name] - expected[name].mean()).max()
        np.testing.assert_allclose(
            found[name], expected[name], rtol=0, atol=1e-5 * scale
        )
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-2)


ENGINES = ["numpy", "keras"]


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("daily", "numpy"),
        pytest.param("daily", "keras", marks=pytest.mark.numeric),
        ("whole_numbers", "numpy"),
        pytest.param("hourly", "numpy", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:2 series have a single value")
def test_stepping_one_by_one_equals_predict(request, name, engine):
    """From the first value on, when most of the window has not come yet."""
    forecaster = request.getfixturevalue(name)
    freq = {"daily": "D", "whole_numbers": 2, "hourly": "h"}[name]
    frame = make_frame(2, 16, freq, seed=5)
    frame = frame[(frame["shop"] == "s0") | (frame.groupby("shop").cumcount() < 12)]
    if name == "hourly":
        frame["when"] = frame["when"].dt.tz_localize("Europe/Vienna")
    frame.loc[4, "sold"] = np.nan
    session = open_session(forecaster, engine=engine)
    for stamp, rows in frame.groupby("when"):
        answer = session.step(rows)
        if rows.index[0] in (0, 5, 15):
            history = frame[frame["when"] <= stamp]
            told = forecaster.predict(history)
            told = told[told["shop"].isin(answer.keys)].reset_index(drop=True)
            check_equal(answer.to_frame(), told)
    assert session.num_missing == 1 and len(session) == 2
    at_once = open_session(forecaster, engine=engine).step(frame)
    check_equal(at_once.to_frame(), forecaster.predict(frame))


def test_gaps_are_missing_steps(daily):
    frame = make_frame(2, 40, seed=6)
    kept = frame.drop([7, 8, 9, 39, *range(52, 75)])  # longer than the window, too
    session = open_session(daily, engine="keras")
    for _, rows in kept.groupby("when"):
        answer = session.step(rows)
    expected = daily.predict(kept)
    last = expected[expected["shop"] == "s1"].reset_index(drop=True)
    check_equal(answer.to_frame(), last)
    check_equal(open_session(daily, engine="keras").step(kept).to_frame(), expected)


def test_values_without_stamps_follow_the_training_data(daily):
    frame = make_frame()
    session = open_session(daily, history="fit", engine="keras")
    assert sorted(session.keys) == ["s0", "s1", "s2"]
    end = frame["when"].max()
    assert session.stamp("s0") == end
    rows, values = [frame], {"s2": 30.0, "s0": None, "s1": 20.0}
    for day in (1, 2):
        answer = session.step(values)
        stamp = end + pd.Timedelta(days=day)
        rows.append(pd.DataFrame({"shop": list(values), "when": stamp}))
        rows[-1]["sold"] = np.array(list(values.values()), float)
        assert answer.keys == ["s2", "s0", "s1"]
        check_equal(answer.to_frame(), daily.predict(pd.concat(rows)))
    assert answer.outputs == ("y_hat", "y_hat_q0.1", "y_hat_q0.5", "y_hat_q0.9")


def test_a_history_is_where_keys_start(daily, tmp_path):
    frame = make_frame(4, 25, seed=8)
    session = open_session(daily, history=frame, engine="keras")
    stamp = frame["when"].max() + pd.Timedelta(days=1)
    more = pd.DataFrame({"shop": ["s3"], "when": stamp, "sold": 12.0})
    answer = session.step({"s3": 12.0})
    expected = daily.predict(pd.concat([frame[frame["shop"] == "s3"], more]))
    check_equal(answer.to_frame(), expected)
    early = open_session(daily, history=frame, engine="keras")
    early.snapshot(tmp_path / "states")
    restored = open_session(daily, engine="keras")
    restored.restore(tmp_path / "states")
    for each in (early, restored):  # nobody is there yet
        assert each.step({"new": 1.0}).ds[0, 0] == stamp + pd.Timedelta(days=1)
    fresh = session.step({"new": 1.0})
    assert fresh.ds[0, 0] == stamp + pd.Timedelta(days=1)
    with pytest.raises(ValueError, match="`history` must be .*history='end'"):
        open_session(daily, history="end")


@pytest.mark.parametrize("name", ["daily", "whole_numbers"])
def test_a_level_of_1e8_loses_nothing(request, name):
    forecaster = request.getfixturevalue(name)
    freq = {"daily": "D", "whole_numbers": 2}[name]
    frame = make_frame(2, 20, freq, level=1e8, seed=3)
    answer = open_session(forecaster, engine="keras").step(frame)
    check_equal(answer.to_frame(), forecaster.predict(frame))


@pytest.mark.parametrize("name", ["daily", "whole_numbers"])
def test_conformal_intervals(request, name):
    plain = request.getfixturevalue(name)
    freq = {"daily": "D", "whole_numbers": 2}[name]
    forecaster = copy(plain).set_params(conformal=True)
    assert forecaster._calibration.usable
    history = make_frame(3, 15, freq, seed=9)
    answer = open_session(forecaster, engine="auto").step(history)
    check_equal(answer.to_frame(), forecaster.predict(history))
    other = open_session(plain, engine="auto").step(history)
    assert np.abs(other.values - answer.values).max() > 0.01


@pytest.mark.exhaustive
def test_an_ensemble_of_lookbacks():
    forecaster = fit(make_frame(), freq="D", lookback="auto", ensemble=[4, 9])
    history = make_frame(3, 15, seed=9)
    for engine in ENGINES:
        answer = open_session(forecaster, engine=engine).step(history)
        check_equal(answer.to_frame(), forecaster.predict(history))


def test_one_series_without_names(daily):
    frame = make_frame(1).drop(columns="shop")
    forecaster = copy(daily).set_params(id_col=None)
    session = open_session(forecaster, engine="auto")
    for value in frame["sold"]:
        answer = session.step(value)
    assert answer.keys == ["series"]
    begun = forecaster.fit_end_.iloc[0] + pd.Timedelta(days=1)
    moved = frame.assign(when=pd.date_range(begun, periods=len(frame)))
    check_equal(answer.to_frame(), forecaster.predict(moved))


def test_snapshots_are_of_one_model(daily, whole_numbers, tmp_path):
    session = open_session(daily, history="fit", engine="keras")
    session.snapshot(tmp_path / "states")
    again = open_session(daily, engine="keras")
    again.restore(tmp_path / "states")
    values = {"s0": 3.0, "new": 1.0}
    np.testing.assert_array_equal(
        again.step(values).values, session.step(values).values
    )
    other = open_session(whole_numbers, engine="keras")
    with pytest.raises(ValueError, match="snapshot of another model"):
        other.restore(tmp_path / "states")


def test_loaded_it_is_the_same_model(daily, tmp_path):
    daily.save(tmp_path / "model.kseq")
    open_session(daily, history="fit", engine="keras").snapshot(tmp_path / "states")
    loaded = Forecaster.load(tmp_path / "model.kseq")
    session = open_session(loaded, engine="keras")
    session.restore(tmp_path / "states")
    assert len(session) == 3
