"""Ensembles: the median of networks that would have been trained alone just so."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, load, numpy_runtime
from keras_seq.forecasting.arguments import choose_scalings
from keras_seq.forecasting.plain_panel import PlainPanel
from keras_seq.training.checkpoint import TrainingState
from keras_seq.training.ensemble import member_seed, members_of
from keras_seq.tuning.default_space import default_space
from tests.grids import first

pytestmark = pytest.mark.numeric

TINY = {
    "horizon": 3,
    "units": 2,
    "season_length": 7,
    "max_steps": 10,
    "refit_full": False,  # half the time; the tests that need it ask for it
    "seed": 5,
    "static_covariates": ["region"],
    "past_covariates": ["visits"],
    "future_covariates": ["promo"],
}
LOOKBACKS = [8, 14, 5]
ANSWERS = ["y_hat", "y_hat_q0.1", "y_hat_q0.5", "y_hat_q0.9"]


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    length = 50
    frames = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": pd.date_range("2024-01-01", periods=length, freq="D"),
                "y": 20 * (i + 1) + random.normal(size=length).cumsum(),
                "region": ["north", "south"][i % 2],
                "visits": random.normal(size=length),
                "promo": random.random(length) < 0.3,
            }
        )
        for i in range(4)
    ]
    return pd.concat(frames, ignore_index=True)


def cut(frame):
    later = frame["ds"] > "2024-02-16"
    return frame[~later], frame[later]


def fit(frame, **changed):
    options = {**TINY, **changed}
    return Forecaster(**options).fit(cut(frame)[0], verbose=0)


@pytest.fixture(scope="module")
def fitted(frame):
    return fit(frame, ensemble=LOOKBACKS)


def test_it_is_the_median_of_networks_trained_alone(fitted, frame, tmp_path):
    past, future = cut(frame)
    assert fitted.lookback_ == 14 and len(fitted.best_step_) == 3
    assert fitted.history_["member"].unique().tolist() == [1, 2, 3]
    alone = []
    for number, lookback in enumerate(sorted(LOOKBACKS, reverse=True), start=1):
        own = fit(frame, lookback=lookback, seed=member_seed(5, number))
        steps = fitted.history_.query("member == @number")["val_pinball"]
        np.testing.assert_allclose(steps, own.history_["val_pinball"], rtol=1e-4)
        alone.append(own.predict(past, future)[ANSWERS].to_numpy())
    forecasts = fitted.predict(past, future)
    expected = np.median(alone, axis=0)
    np.testing.assert_allclose(forecasts[ANSWERS], expected, rtol=1e-4)
    assert fitted.validation_["mase"] > 0 and fitted.validation_["pinball"] > 0
    fitted.save(tmp_path / "f.kseq")
    twin = load(tmp_path / "f.kseq")
    pd.testing.assert_frame_equal(twin.predict(past, future), forecasts)
    conformal = twin.set_params(conformal=True).predict(past, future, level=[70])
    np.testing.assert_allclose(conformal["y_hat"], forecasts["y_hat"], rtol=1e-6)
    assert (conformal["y_hat_lo70"] < conformal["y_hat_hi70"]).all()
    assert np.isfinite(twin.simulate(5, past, future)["y"]).all()
    assert fitted.plot(past, future, ids=["s1"]) is not None


@pytest.mark.slow
def test_every_second_network_takes_logarithms_of_what_grows(frame, tmp_path):
    grown = frame.assign(y=np.exp(frame["y"] / 10))
    past, future = cut(grown)
    fitted = fit(grown, ensemble=2, lookback=6)
    assert fitted.scaling_ == "mixed"
    alone = [
        fit(grown, lookback=6, scaling=scaling, seed=member_seed(5, number))
        for number, scaling in enumerate(["log", "standard"], start=1)
    ]
    expected = np.mean([f.predict(past, future)[ANSWERS] for f in alone], axis=0)
    forecasts = fitted.predict(past, future)
    np.testing.assert_allclose(forecasts[ANSWERS], expected, rtol=1e-3)
    fitted.save(tmp_path / "f.kseq")
    in_numpy = numpy_runtime.load(tmp_path / "f.kseq").predict(past, future)
    np.testing.assert_allclose(in_numpy["y_hat"], forecasts["y_hat"], rtol=1e-5)


def test_intervals_where_not_all_networks_take_logarithms(tmp_path):
    values = np.random.default_rng(0).lognormal(sigma=2.0, size=160)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([*"abcd"], 40),
            "ds": np.tile(range(40), 4),
            "y": values,
        }
    )
    options = {"horizon": 3, "units": 2, "season_length": 7, "lookback": 6}
    few = {"max_steps": 10, "refit_full": False, "conformal": True, "ensemble": 2}
    fitted = Forecaster(**options, **few).fit(frame, verbose=0)
    assert fitted.scaling_ == "mixed" and fitted.model_.scaler.scaling == "standard"
    forecasts = fitted.predict()
    np.testing.assert_allclose(forecasts["y_hat"], forecasts["y_hat_q0.5"], rtol=1e-6)
    fitted.save(tmp_path / "f.kseq")
    in_numpy = numpy_runtime.load(tmp_path / "f.kseq")
    newest = frame["ds"] == 39
    for model in (fitted, in_numpy):
        session = model.stream(history=frame[~newest])
        answer = pd.DataFrame(session.step(frame[newest]).to_frame())
        answer = answer.sort_values(["unique_id", "ds"])
        np.testing.assert_allclose(
            answer[ANSWERS], forecasts[ANSWERS], rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("level", first([1e5, 3e8], 1e5))
def test_one_series_of_a_high_level_among_those_that_grow(level):
    steps = np.arange(90)
    rows = [20 * 1.02**steps + np.sin(steps + i) for i in range(3)]
    rows.append(level + np.sin(steps / 7))
    frame = pd.DataFrame(
        {"unique_id": np.repeat([*"abcd"], 90), "ds": np.tile(steps, 4)}
    ).assign(y=np.concatenate(rows))
    options = {"horizon": 4, "units": 4, "max_steps": 30, "refit_full": False}
    fitted = Forecaster(**options, season_length=7, lookback=14, ensemble=2)
    forecasts = fitted.fit(frame, verbose=0).predict().query("unique_id == 'd'")
    assert fitted.scaling_ == "mixed"
    assert (forecasts[ANSWERS] - level).abs().max(axis=None) < 10  # as it varies by 2


def test_only_positive_values_that_change_much_are_taken_as_logarithms():
    values = np.array([1.0, np.nan, 3.0, 5.0, 9.0, np.nan])
    offsets, first = np.array([0, 3, 5, 6]), np.zeros(3, np.int64)
    panel = PlainPanel(np.arange(3), offsets, values, first, None)
    mixed = ["log", "standard", "log"]
    assert choose_scalings("auto", 3, panel) == mixed
    assert choose_scalings("auto", 1, panel) == ["standard"]
    assert choose_scalings("mean_abs", 2, panel) == ["mean_abs", "mean_abs"]
    for other in (values - 1, values + 1e8):  # a zero; hardly any change
        panel = PlainPanel(np.arange(3), offsets, other, first, None)
        assert choose_scalings("auto", 2, panel) == ["standard", "standard"]


@pytest.mark.slow
def test_an_even_count_trained_again_on_everything(frame):
    past, future = cut(frame)
    fitted = fit(frame, ensemble=2, lookback=6, refit_full=True, point="mean")
    first = fit(frame, lookback=6, refit_full=True, point="mean")
    a, b = members_of(fitted.model_)
    for one, other in zip(a.get_weights(), first.model_.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert (a.get_weights()[1] != b.get_weights()[1]).any()
    assert fitted.model_.point_index == 3
    assert np.isfinite(fitted.predict(past, future)["y_hat"]).all()


@pytest.mark.slow
def test_a_fit_killed_in_the_second_member_goes_on_there(frame, tmp_path, monkeypatch):
    past, future = cut(frame)
    options = {**TINY, "ensemble": 2, "lookback": 6, "refit_full": True}
    whole = Forecaster(**options).fit(past, verbose=0)
    write, stages = TrainingState.write, []

    def write_and_die(state, path):
        write(state, path)
        stages.append(path.name)
        if "member 2" in path.name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingState, "write", write_and_die)
        Forecaster(**options).fit(past, verbose=0, checkpoint=tmp_path)
    again = Forecaster(**options).fit(past, verbose=0, checkpoint=tmp_path)
    assert stages[-1] == "fit member 2 of 2.npz" and not list(tmp_path.iterdir())
    expected = whole.predict(past, future)
    pd.testing.assert_frame_equal(again.predict(past, future), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ensemble": 0}, "`ensemble` must be a whole number of at least 1"),
        ({"ensemble": "many"}, "`ensemble` must be a whole number"),
        ({"ensemble": []}, "must hold lookbacks"),
        ({"ensemble": [8, 0]}, "ensemble=0"),
        ({"ensemble": [8, 47]}, "46 is the longest usable. Received: ensemble=47"),
        ({"ensemble": [8], "lookback": 8}, "`lookback` be 'auto'"),
    ],
)
def test_bad_ensembles(frame, changed, message):
    with pytest.raises(ValueError, match=message):
        fit(frame, **changed)


def test_a_search_leaves_the_lookbacks_of_an_ensemble_alone(frame):
    past, _ = cut(frame)
    assert "lookback" in default_space(Forecaster(**TINY), (past,))
    assert "lookback" not in default_space(
        Forecaster(**TINY, ensemble=LOOKBACKS), (past,)
    )
