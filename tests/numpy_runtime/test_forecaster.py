"""A saved Forecaster answers with NumPy alone what it answers with Keras."""

from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq import ArtifactError, artifact, numpy_runtime
from tests.numpy_runtime.fitted import (
    COVARIATES,
    columns_of,
    fit_forecaster,
    make_frame,
)


def assert_same(actual, expected, scale=None):
    """Equal in columns, ids, stamps and, relative to the scale, numbers."""
    assert list(actual) == list(expected.columns)
    for name in expected:
        wanted = expected[name].to_numpy()
        if name.startswith("y_hat"):
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(actual[name], wanted, atol=1e-5 * scale)
        else:
            np.testing.assert_array_equal(np.asarray(actual[name]), wanted)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    path = tmp_path_factory.mktemp("rich") / "model.kseq"
    frame = make_frame("D")
    frame.loc[5, ["visitors", "holiday"]] = np.nan, None
    return fit_forecaster(
        path, frame, **COVARIATES, scaling="log", point="mean", lookback=9
    )


@pytest.mark.parametrize("horizon", [None, 3, 11])
def test_after_the_training_data(series_model, horizon):
    forecaster, model, _ = series_model
    options = {"horizon": horizon, "level": [80, 60]}
    assert_same(model.predict(**options), forecaster.predict(**options))


def test_after_any_history_in_any_order_with_gaps_and_unseen_series(series_model):
    forecaster, model, _ = series_model
    frame = make_frame(length=30, ids=("z", "a"), seed=3).drop(index=[4, 9, 40])
    frame.loc[7, "y"] = np.nan
    shuffled = frame.sample(frac=1.0, random_state=0)
    expected = forecaster.predict(shuffled)
    table = columns_of(shuffled)
    assert_same(model.predict(table), expected)
    texts = {**table, "ds": [str(stamp)[:10] for stamp in table["ds"]]}
    assert_same(model.predict(texts), expected)
    dates = {**table, "ds": [pd.Timestamp(s).to_pydatetime() for s in table["ds"]]}
    dates["y"] = [None if np.isnan(v) else v for v in table["y"]]
    assert_same(model.predict(dates), expected)
    framed = model.predict(shuffled)
    pd.testing.assert_frame_equal(framed, expected, rtol=1e-5)


def test_covariates_of_all_kinds_known_ahead_or_missing(rich):
    forecaster, model = rich
    known = make_frame("D", ahead=9)
    for horizon in (4, 9):
        expected = forecaster.predict(future=known, horizon=horizon)
        actual = model.predict(future=columns_of(known), horizon=horizon)
        assert_same(actual, expected)
    history = make_frame("D", length=25, ids=("n", "m"), seed=5)
    history["region"] = "east"  # a category that no training row had
    history.loc[3, "visitors"] = np.nan
    future = make_frame("D", length=25, ids=("n", "m"), seed=5, ahead=4)
    future.loc[26, "holiday"] = "diwali"
    expected = forecaster.predict(history, future)
    assert_same(model.predict(columns_of(history), columns_of(future)), expected)
    pd.testing.assert_frame_equal(model.predict(history, future), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("freq", "arguments"),
    [
        ("W-SUN", {"ensemble": [12, 8], "scaling": "mean_abs", "season_length": 4}),
        (None, {"freq": 2, "id_col": None, "time_col": "t", "target_col": "v"}),
        (
            "BMS",
            {
                "cell": "lstm",
                "decoder": "segment",
                "season_length": 4,
                "scaling": "robust",
            },
        ),
    ],
)
def test_frequencies_ensembles_and_names(tmp_path, freq, arguments):
    ids = ("a",) if "id_col" in arguments else ("a", "b")
    frame = make_frame(freq, ids=ids)[["unique_id", "ds", "y"]]
    if "id_col" in arguments:
        frame = frame.rename(columns={"ds": "t", "y": "v"})
    forecaster, model = fit_forecaster(tmp_path / "m", frame, **arguments)
    assert_same(model.predict(horizon=6), forecaster.predict(horizon=6))
    late = frame.iloc[6:30]
    assert_same(model.predict(columns_of(late)), forecaster.predict(late))


@pytest.mark.parametrize(
    ("freq", "rounds"), [("h", ("day",)), ("D", ("week",)), ("MS", ("year",))]
)
def test_places_in_the_calendar_that_a_network_is_told(tmp_path, freq, rounds):
    """Of forty hours, days and months; the same in sessions, and after loading."""
    frame = make_frame(freq, ids=("a",), length=60)[["unique_id", "ds", "y"]]
    told = {"calendar": rounds} if freq == "h" else {}
    forecaster, model = fit_forecaster(tmp_path / "m", frame, **told)
    assert forecaster.calendar_ == rounds
    assert forecaster._builder_args["num_future"] == 4
    assert keras_seq.load(tmp_path / "m").calendar_ == rounds
    expected = forecaster.predict()
    assert_same(model.predict(), expected)
    for session in (model.stream(), forecaster.stream()):
        found = session.step(frame).to_frame().tail(4)
        assert_same(found, expected)


def test_files_from_before_it_was_chosen_are_told_all_of_the_calendar(tmp_path):
    frame = make_frame("D", ids=("a",))[["unique_id", "ds", "y"]]
    forecaster, _ = fit_forecaster(tmp_path / "m", frame, calendar=["week", "year"])
    expected = forecaster.predict()
    with ZipFile(tmp_path / "m") as old, ZipFile(tmp_path / "old", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".json"):
                content = content.replace(b'"calendar_"', b'"unknown_"')
            new.writestr(name, content)
    assert_same(numpy_runtime.load(tmp_path / "old").predict(), expected)
    twin = keras_seq.load(tmp_path / "old")
    assert twin.calendar_ == ("week", "year")
    pd.testing.assert_frame_equal(twin.predict(), expected)


def test_sessions_count_in_the_time_zone_of_the_training_data(tmp_path, monkeypatch):
    frame = make_frame("D")[["unique_id", "ds", "y"]]
    frame["ds"] = frame["ds"].dt.tz_localize("Europe/Berlin")
    forecaster, model = fit_forecaster(tmp_path / "m", frame)
    expected = forecaster.predict(frame).sort_values(["unique_id", "ds"])
    found = model.stream().step(frame).to_frame().sort_values(["unique_id", "ds"])
    assert_same(found, expected)
    before, after = forecaster.stream(history="fit"), model.stream()
    before.snapshot(tmp_path / "states")
    after.restore(tmp_path / "states")
    answer, again = (
        session.step({"a": np.float64(9.0)}) for session in (before, after)
    )
    np.testing.assert_array_equal(answer.ds, again.ds)
    np.testing.assert_allclose(answer.values, again.values, rtol=1e-5)
    monkeypatch.setattr("keras_seq.numpy_runtime.forecaster.find_spec", lambda _: None)
    with pytest.raises(ArtifactError, match="pandas.*tz='Europe/Berlin'"):
        numpy_runtime.load(tmp_path / "m")


def test_what_breaks_a_rule_is_named(series_model, rich):
    _, model, _ = series_model
    table = columns_of(make_frame(length=12, ids=("a",)))

    def changed(**columns):
        return {**table, **columns}

    stamps = table["ds"].copy()
    repeated, off = stamps.copy(), stamps.copy()
    repeated[3] = repeated[2]
    off[3] += np.timedelta64(2, "D")
    for bad, message in (
        ({"y": table["y"]}, "no column 'unique_id' .id_col."),
        (changed(ds=repeated), "one row per 'ds'; these are repeated.*unique_id=a, ds"),
        (changed(ds=off), r"req='MS' does not fit the stamps.*1 of 12 rows.*ds=2019"),
        (changed(ds=stamps + np.timedelta64(3, "D")), "req='MS' does not fit"),
        (changed(ds=np.arange(12)), "must hold timestamps.*int64"),
        (changed(ds=["yesterday"] * 12), "must hold timestamps.*yesterday"),
        (changed(y=["much"] * 12), "must hold numbers.*'much'"),
        (changed(y=np.full(12, np.inf)), "must be finite or NaN"),
        (changed(y=table["y"][:5]), "same number of rows"),
        (changed(unique_id=[None] * 12), "must not have missing values"),
        ({name: [] for name in table}, "has no rows"),
    ):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            model.predict(bad)
    with pytest.raises(TypeError, match="mapping of columns"):
        model.predict([1.0, 2.0])
    with pytest.raises(ValueError, match="`future` must be left out"):
        model.predict(future=table)
    with pytest.raises(ValueError, match="`horizon` must be a whole number"):
        model.predict(horizon=0)
    with pytest.raises(ValueError, match="`level` must be a number|`level`"):
        model.predict(level=[120])


def test_arguments_of_sessions_are_named(series_model):
    with pytest.raises(TypeError, match="'max_key'. Did you mean 'max_keys'"):
        series_model[1].stream(max_key=3)


def test_what_is_not_known_ahead_is_named(rich):
    _, model = rich
    known = columns_of(make_frame("D", ahead=4))
    with pytest.raises(ValueError, match="`future` must be given.*'promotion'"):
        model.predict()
    with pytest.raises(ValueError, match="without 'holiday'"):
        model.predict(future={n: x for n, x in known.items() if n != "holiday"})
    short = {name: x[:-1] for name, x in known.items()}
    with pytest.raises(ValueError, match="(?s)1 steps of 1 series are missing.*c: 20"):
        model.predict(future=short)
    twice = {name: np.append(x, x[-1:]) for name, x in known.items()}
    with pytest.raises(ValueError, match="(?s)these repeat.*unique_id=c"):
        model.predict(future=twice)
    static = columns_of(make_frame("D", length=12, ids=("a",)))
    static["size"] = np.arange(12.0)
    with pytest.raises(ValueError, match="'size'.*one value per series"):
        model.predict(static, known)


def test_damaged_and_foreign_files_are_refused(series_model, tmp_path):
    _, _, path = series_model
    manifest, arrays = artifact.read(path)
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ArtifactError, match="no saved keras_seq model"):
        numpy_runtime.load(tmp_path / "text")
    artifact.write(tmp_path / "other", {**manifest, "estimator": "Oracle"}, arrays)
    with pytest.raises(ArtifactError, match="unknown estimator 'Oracle'"):
        numpy_runtime.load(tmp_path / "other")
    builder = {**manifest["builder"], "stateful": True}
    artifact.write(tmp_path / "new", {**manifest, "builder": builder}, arrays)
    with pytest.raises(ArtifactError, match="does not know the argument"):
        numpy_runtime.load(tmp_path / "new")
    less = {name: x for name, x in arrays.items() if "linear/kernel" not in name}
    artifact.write(tmp_path / "less", manifest, less)
    with pytest.raises(ArtifactError, match="lack 'linear/kernel'"):
        numpy_runtime.load(tmp_path / "less")
    with pytest.raises(ValueError, match=r"no other argument. Received: \['units'\]"):
        numpy_runtime.load(path, units=3)
