"""Forecaster(stateful=True): series read as streams, from raw frame to forecasts."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, diagnostics, load, numpy_runtime
from tests.grids import first

OPTIONS = {
    **{"horizon": 3, "freq": 1, "lookback": 6, "units": 12, "stateful": True},
    **{"max_steps": 100, "batch_size": 8, "chunk_length": 16, "jit": False},
}


def make_frame(series=12, steps=70, level=0.0, seed=0):
    """A wave of 8 steps with an own size, and noise."""
    random = np.random.default_rng(seed)
    parts = []
    for i in range(series):
        count = steps - 3 * i  # of different lengths, which no chunk divides
        wave = (2 + i) * np.sin(2 * np.pi * np.arange(count) / 8 + i)
        y = level + 10 + i + wave + 0.1 * random.normal(size=count)
        frame = {"unique_id": f"s{i:02}", "ds": np.arange(count), "y": y}
        parts.append(pd.DataFrame(frame))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    frame = make_frame()
    frame.loc[frame.sample(frac=0.05, random_state=0).index, "y"] = np.nan
    return Forecaster(**OPTIONS, conformal=True).fit(frame, verbose=0), frame


@pytest.mark.slow
@pytest.mark.numeric
def test_it_learns_what_repeating_does_not_know(fitted):
    forecaster, _ = fitted
    scores = forecaster.validation_
    assert scores["mase"] < 0.7 * scores["mase_naive"]
    assert list(forecaster.history_.columns)[:2] == ["step", "loss"]


@pytest.mark.numeric
def test_the_end_of_training_equals_the_whole_history(fitted):
    forecaster, frame = fitted
    for horizon in (None, 8):  # beyond the fitted one it rolls on
        kept = forecaster.predict(horizon=horizon)
        whole = forecaster.predict(frame, horizon=horizon)
        pd.testing.assert_frame_equal(kept, whole, rtol=1e-4, atol=1e-4)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    forecaster, frame = fitted
    forecaster.save(tmp_path / "stateful.kseq")
    again = load(tmp_path / "stateful.kseq")
    assert again.stateful and again.chunk_length == 16
    pd.testing.assert_frame_equal(again.predict(), forecaster.predict())
    level = {"level": [70]}
    pd.testing.assert_frame_equal(
        again.predict(frame, **level), forecaster.predict(frame, **level)
    )
    pd.testing.assert_frame_equal(again.simulate(4), forecaster.simulate(4))


def test_numpy_alone_says_the_same(fitted, tmp_path):
    forecaster, frame = fitted
    forecaster.save(tmp_path / "stateful.kseq")
    again = numpy_runtime.load(tmp_path / "stateful.kseq")
    for horizon in (None, 8):
        kept = pd.DataFrame(again.predict(horizon=horizon, level=[70]))
        expected = forecaster.predict(horizon=horizon, level=[70])
        pd.testing.assert_frame_equal(kept, expected, rtol=1e-4, atol=1e-4)
    whole = again.predict(frame)
    pd.testing.assert_frame_equal(
        whole, forecaster.predict(frame), rtol=1e-4, atol=1e-4
    )
    values = {"s03": 11.0, "new": 3.0}
    one, two = again.stream(history="fit"), forecaster.stream(history="fit")
    answers = one.step(values), two.step(values)
    np.testing.assert_array_equal(answers[0].values, answers[1].values)
    two.snapshot(tmp_path / "session")
    one.restore(tmp_path / "session")  # of the same model, in the other runtime
    np.testing.assert_array_equal(one.step(values).values, two.step(values).values)


@pytest.mark.parametrize(
    "scaling", first(["standard", "mean_abs", "log", "none"], "mean_abs")
)
def test_nothing_is_said_of_a_series_without_a_value(scaling, tmp_path):
    frame = make_frame(series=2)
    frame.loc[frame["unique_id"] == "s01", "y"] = np.nan
    options = {**OPTIONS, "max_steps": 2, "scaling": scaling, "refit_full": False}
    forecaster = Forecaster(**options).fit(frame, verbose=0)
    forecaster.save(tmp_path / "stateful.kseq")
    alone = numpy_runtime.load(tmp_path / "stateful.kseq")
    with pytest.warns(UserWarning, match="1 series have no value .*: 's01'"):
        several = [
            forecaster.predict(),
            forecaster.predict(frame),
            pd.DataFrame(alone.predict()),
        ]
    for found in several:
        known = np.isfinite(found.filter(like="y_hat")).all(axis=1)
        assert known.tolist() == [True] * 3 + [False] * 3
    for engine in ("numpy", "keras"):
        session = forecaster.stream(history="fit", engine=engine)
        for value, known in ((np.nan, False), (7.0, True), (np.nan, True)):
            values = session.step({"s01": value, "new": value}).values
            assert (np.isfinite(values) == known).all()


@pytest.mark.parametrize("engine", ["numpy", "keras"])
def test_steps_one_by_one_equal_one_pass(fitted, engine):
    """Cold, over 500 observations with gaps."""
    forecaster, _ = fitted
    random = np.random.default_rng(3)
    values = 20 + 3 * np.sin(np.arange(500) / 3) + random.normal(size=500)
    values[random.random(500) < 0.1] = np.nan
    session = forecaster.stream(engine=engine)
    for value in values:
        answer = session.step({"new": value})
    frame = pd.DataFrame({"unique_id": "new", "ds": np.arange(500), "y": values})
    expected = forecaster.predict(frame)
    names = list(answer.outputs)
    np.testing.assert_allclose(
        answer.values[0], expected[names].to_numpy(), rtol=1e-5, atol=1e-4
    )


def test_a_session_goes_on_from_the_end_of_training(fitted):
    forecaster, frame = fitted
    session = forecaster.stream(history="fit")
    last = frame.groupby("unique_id")["ds"].max()
    new = pd.DataFrame({"unique_id": last.index, "ds": last.to_numpy() + 1, "y": 12.0})
    answer = session.step(new).to_frame()
    expected = forecaster.predict(pd.concat([frame, new]))
    pd.testing.assert_frame_equal(answer, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_constant_moves_the_forecasts_by_itself():
    plain = Forecaster(**OPTIONS).fit(make_frame(series=4), verbose=0).predict()
    moved = Forecaster(**OPTIONS).fit(make_frame(series=4, level=1e8), verbose=0)
    difference = moved.predict()["y_hat"] - plain["y_hat"] - 1e8
    assert difference.abs().max() < 1e-3 * make_frame(series=4)["y"].std()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The network hardly does more")
@pytest.mark.filterwarnings("ignore:10 of 12 series have no row")
def test_a_backtest_sees_only_what_came_before(fitted):
    forecaster, frame = fitted
    clone = Forecaster(**{**OPTIONS, "max_steps": 20})
    windows = clone.backtest(frame, num_windows=2, verbose=0)
    cut = windows["cutoff"].max()
    changed = frame.copy()
    changed.loc[changed["ds"] > cut, "y"] = 1e3
    again = clone.backtest(changed, num_windows=2, verbose=0)
    np.testing.assert_array_equal(windows["y_hat"], again["y_hat"])


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    class Kill(BaseException):
        pass

    class Killer(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise Kill

    options = {**OPTIONS, "max_steps": 150, "refit_full": False}
    frame = make_frame(series=5)
    whole = Forecaster(**options).fit(frame, verbose=0)
    folder = tmp_path / "kept"
    with pytest.raises(Kill):
        Forecaster(**options).fit(
            frame, verbose=0, checkpoint=folder, callbacks=[Killer()]
        )
    resumed = Forecaster(**options).fit(frame, verbose=0, checkpoint=folder)
    for one, two in zip(whole.model_.weights, resumed.model_.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@pytest.mark.slow
def test_covariates_of_all_kinds_reach_the_stream():
    """A promotion known ahead doubles the value; no history tells when."""
    frame = make_frame(series=8, steps=90)
    random = np.random.default_rng(0)
    frame["promotion"] = (random.random(len(frame)) < 0.3).astype(float)
    frame["y"] = 10 + 5 * frame["promotion"] + 0.1 * random.normal(size=len(frame))
    frame["visits"] = random.normal(size=len(frame))
    frame["kind"] = np.where(frame["unique_id"] < "s04", "a", "b")
    cut = frame.groupby("unique_id")["ds"].transform("max") - 3
    history, future = frame[frame["ds"] <= cut], frame[frame["ds"] > cut]
    forecaster = Forecaster(
        **{**OPTIONS, "max_steps": 200},
        static_covariates=["kind"],
        past_covariates=["visits"],
        future_covariates=["promotion"],
    ).fit(history, verbose=0)
    told = forecaster.predict(future=future).merge(future, on=["unique_id", "ds"])
    assert (told["y_hat"] - told["y"]).abs().mean() < 1.0


def test_instruments_that_look_into_windows_refuse_it(fitted):
    forecaster, frame = fitted
    for instrument in (diagnostics.gradient_flow, diagnostics.explain_forecast):
        with pytest.raises(ValueError, match="must have stateful=False"):
            instrument(forecaster, frame)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "transformer"}, "`cell` must be"),
        ({"ensemble": 2}, "`ensemble` does not go with stateful=True"),
        ({"decoder": "segment"}, "`decoder` does not go with stateful=True"),
        ({"decoder_units": 8}, "`decoder_units` does not go with stateful=True"),
        ({"auxiliary": "next_step"}, "`auxiliary` does not go with stateful=True"),
        ({"recurrent_dropout": 0.1}, "`recurrent_dropout` does not go"),
        ({"chunk_length": 0}, "`chunk_length` must be a whole number"),
        ({"stateful": "yes"}, "`stateful` must be"),
    ],
)
def test_what_does_not_go_together_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Forecaster(**{**OPTIONS, **arguments}).fit(make_frame(series=2), verbose=0)
