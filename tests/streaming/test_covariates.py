"""Sessions of forecasters with covariates: what `predict` says of the same history."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from keras_seq import numpy_runtime
from keras_seq.forecasting.features import CovariateEncoder, Encoding
from keras_seq.forecasting.names import Columns
from keras_seq.forecasting.streams import read_states
from keras_seq.forecasting.windows import WindowSource
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming import ForecastSession, WindowedStepper
from keras_seq.streaming.covariate_rows import CovariateReader
from keras_seq.streaming.covariates import CovariateMemory
from tests.numpy_runtime.fitted import columns_of, fit_forecaster, make_frame

STATIC, PAST, FUTURE = ["size", "region"], ["visitors", "sky"], ["promotion", "holiday"]
KEYS = ["unique_id", "ds"]
COVARIATES = {
    "static_covariates": STATIC,
    "past_covariates": PAST,
    "future_covariates": FUTURE,
}
HORIZON = 4


def make_rich(length=40, ids=("b", "a", "c"), seed=0, ahead=0):
    """Rows with covariates of all kinds, some of which are missing."""
    frame = make_frame("D", length, ids, seed, ahead)
    random = np.random.default_rng(seed + 1)
    frame["sky"] = random.choice(["blue", "grey", "white"], len(frame))
    for name in ("y", *PAST, *FUTURE):
        nothing = None if name in ("sky", "holiday") else np.nan
        frame.loc[random.random(len(frame)) < 0.07, name] = nothing
    return frame


def fit(path, **arguments):
    options = {**COVARIATES, "horizon": HORIZON, "lookback": 9, "season_length": 4}
    return fit_forecaster(path, make_rich(), **{**options, **arguments})


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    path = tmp_path_factory.mktemp("windowed") / "model.kseq"
    return fit(path, conformal=True)


@pytest.fixture(scope="module")
def stateful(tmp_path_factory):
    path = tmp_path_factory.mktemp("stateful") / "model.kseq"
    options = {"stateful": True, "cell": "lstm", "scaling": "mean_abs"}
    forecaster, _ = fit(path, **options)
    # Where the streams stand follows from the weights, which are others now.
    panel = forecaster._panel(make_rich(), fitted=True)
    source = WindowSource(panel, forecaster._spec)
    states = read_states(forecaster.model_, source, panel.lengths - 1)
    after = forecaster._tail.lengths - 1
    forecaster._stream = replace(states, after=after)
    forecaster.save(path)
    return forecaster, numpy_runtime.load(path)


@pytest.fixture(params=["windowed", "stateful"])
def model(request):
    """A forecaster, and the same in NumPy."""
    return request.getfixturevalue(request.param)


def check_equal(answer, expected):
    found = answer.to_frame().sort_values(KEYS).reset_index(drop=True)
    expected = expected.sort_values(KEYS).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[KEYS], expected[KEYS])
    for name in expected.filter(like="y_hat"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * scale)


def split(frame, steps):
    """History, the first rows of each series, and the future covariates of others."""
    place = frame.groupby("unique_id").cumcount()
    return frame[place < steps], frame.loc[place >= steps, [*KEYS, *FUTURE]]


def test_stepping_one_by_one_equals_predict(model):
    """Cold, of series that `fit` has not seen, to the end and on the way."""
    forecaster, _ = model
    frame = make_rich(110, ids=("m", "n"), seed=5, ahead=HORIZON)
    frame["region"] = frame["unique_id"].map({"m": "south", "n": "unseen"})
    frame.loc[frame["unique_id"] == "n", "size"] = np.nan
    frame.loc[60, "holiday"] = "unseen"
    sessions = [forecaster.stream(engine=engine) for engine in ("numpy", "keras")]
    days = sorted(frame["ds"].unique())
    for number in range(104):
        rows = frame[frame["ds"] == days[number]]
        answers = [session.step(rows, future=frame) for session in sessions]
        if number in (6, 103):
            history, future = split(frame, number + 1)
            expected = forecaster.predict(history, future)
            for answer in answers:
                check_equal(answer, expected)
    at_once = forecaster.stream().step(history, future=future)
    check_equal(at_once, expected)
    assert [s.num_missing for s in sessions] == [history["y"].isna().sum()] * 2


def test_gaps_and_what_was_told_ahead(model):
    """Steps that are left out have no value, but covariates that were told ahead."""
    forecaster, _ = model
    frame = make_rich(50, ids=("m",), seed=6, ahead=HORIZON)
    session = forecaster.stream()
    steps = [0, 1, 2, 5, 6, 13, 14, 32, 35, 37, 38]  # longer than the window, too
    for step in steps:
        answer = session.step(frame[step : step + 1], future=frame)
    history = frame[:39].copy()
    gaps = history.index.difference(steps)
    history.loc[gaps, ["y", "visitors"]] = np.nan
    history.loc[gaps, "sky"] = None
    told = {step + ahead for step in steps for ahead in range(HORIZON + 1)}
    untold = history.index.difference(sorted(told))
    history.loc[untold, "promotion"] = np.nan
    history.loc[untold, "holiday"] = None
    assert len(untold) > 10 and len(gaps) > len(untold)
    check_equal(answer, forecaster.predict(history, frame[39:]))


def test_from_the_end_of_training(model):
    forecaster, numpy_model = model
    frame, whole = make_rich(), make_rich(ahead=12, seed=0)
    unknown = ~whole.set_index(KEYS).index.isin(frame.set_index(KEYS).index)
    whole = pd.concat([frame, whole[unknown]]).sort_values(KEYS)
    sessions = [each.stream(history="fit") for each in (forecaster, numpy_model)]
    ends = whole["unique_id"].map(frame.groupby("unique_id").size())
    place = whole.groupby("unique_id").cumcount()
    for step in range(2):  # static covariates are known from training
        rows = whole[place == ends + step].drop(columns=STATIC)
        answers = [session.step(rows, future=whole) for session in sessions]
    known = place < ends + 2
    expected = forecaster.predict(whole[known], whole[~known])
    for answer in answers:
        check_equal(answer, expected)


def test_from_a_history_and_snapshots(model, tmp_path):
    forecaster, numpy_model = model
    frame = make_rich(30, ids=("m", "n"), seed=8, ahead=9)
    history, rest = split(frame, 20)
    place = frame.groupby("unique_id").cumcount()
    session = forecaster.stream(history=history)
    plain = numpy_model.stream(history=columns_of(history))
    framed = numpy_model.stream(history=history)
    row = frame[place == 20]
    session.step(row, future=rest)
    session.snapshot(tmp_path / "states")
    forked = session.fork()
    restored = numpy_model.stream()
    restored.restore(tmp_path / "states")
    other = row.assign(ds=row["ds"] + pd.Timedelta(days=1), promotion=9.0, y=99.0)
    session.step(other, future=rest)
    for each in (plain, framed):
        each.step(columns_of(row), future=columns_of(rest))
    told, ahead = split(frame, 22)
    expected = forecaster.predict(told, ahead)
    for each in (forked, restored, plain, framed):  # not the one that went elsewhere
        check_equal(each.step(frame[place == 21], future=rest), expected)
    assert restored.drop("m") == 1
    row = frame[place == 22].drop(columns=STATIC)
    with pytest.raises(ValueError, match=r"is new must come with.*\['m'\]"):
        restored.step(row, future=rest)
    assert restored.keys == ["n"]


def test_each_step_need_be_told_once(model):
    """What is told ahead counts, until a newer value that is not missing."""
    forecaster, _ = model
    frame = make_rich(30, ids=("m",), seed=9, ahead=9)
    frame["promotion"] = frame["promotion"].fillna(0.5)
    session = forecaster.stream()
    session.step(frame[:12], future=frame)
    corrected = frame.copy()
    corrected.loc[13, "promotion"] = 7.0  # told in `future` before, now otherwise
    corrected.loc[15, "promotion"] = 5.0
    row = frame[12:13].drop(columns=FUTURE)
    session.step(row, future=corrected[13:17])
    silent = corrected[13:14].assign(promotion=np.nan, holiday=None)
    changed = corrected[16:18].assign(promotion=[8.0, 2.0])
    corrected.loc[[16, 17], "promotion"] = [8.0, 2.0]
    answer = session.step(silent, future=changed)
    expected = forecaster.predict(corrected[:14], corrected[14:18])
    check_equal(answer, expected)


def test_what_is_not_told_is_named(windowed):
    forecaster, _ = windowed
    frame = make_rich(30, ids=("m", "n"), seed=9, ahead=9)
    place = frame.groupby("unique_id").cumcount()
    session = forecaster.stream()
    rows, row = frame[place < 12], frame[place == 12]

    def refuse(message, *given, **options):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            session.step(*given, **options)

    refuse("`future` must have a row.*future=None, without 8 steps of 2 series", rows)
    known = frame[(frame["unique_id"] == "m") | (place != 14)]
    refuse(
        "without 1 steps of 1 series, the first:\n'n': 2019-06-14", rows, future=known
    )
    assert len(session) == 0
    session.step(rows, future=frame)
    refuse("future=None, without 2 steps of 2 series", row)  # the others were told
    refuse("no column 'sky'.*past_cov", row.drop(columns="sky"), future=frame)
    refuse("no column 'holiday'", row.drop(columns="holiday"), future=frame)
    refuse("without 'promotion'", row, future=frame.drop(columns="promotion"))
    twice = pd.concat([frame, frame[place == 14]])
    refuse("2 that repeat.*'m': 2019-06-14", row, future=twice)
    refuse("mapping of keys to numbers has no place for.*'visitors'", {"m": 1.0})
    late = frame[place == 18].drop(columns=FUTURE)
    refuse("Rows must have the future.*2 steps of 2 series", late, future=frame)
    varying = frame[(place < 14) & (place >= 12)].assign(size=np.arange(4.0))
    refuse("'size'.*one value per series.*'m', 'n'", varying, future=frame)
    refuse("must hold numbers", row.assign(visitors="many"), future=frame)
    check = frame[place == 12]
    history, future = split(frame, 13)
    check_equal(session.step(check, future=frame), forecaster.predict(history, future))


SEEN, AHEAD = 3, 2


def make_plain(kinds=("static", "past", "future"), **options):
    """Forecasts what the network is given of one covariate of each kind."""
    columns = [Encoding(kind, kind, scale=1.0) for kind in kinds]
    names = {kind: [kind] for kind in kinds}
    reader = CovariateReader(CovariateEncoder(tuple(columns)), Columns(**names))
    memory = CovariateMemory(reader, SEEN, AHEAD)
    clock = Clock(1, 0)

    def forward(inputs):
        count = len(inputs["target"])
        parts = [inputs[kind].reshape(count, -1) for kind in kinds]
        told = np.nan_to_num(np.concatenate(parts, axis=1))
        return np.repeat(told[:, None], AHEAD, axis=1)

    stepper = WindowedStepper(
        lookback=SEEN,
        horizon=AHEAD,
        clock=clock,
        centered=False,
        nonnegative=False,
        forward=forward,
        fingerprint="plain",
        memory=memory,
        finish=lambda raw, past, shift: raw - shift[:, None, None],
    )
    sizes = {"static": 1, "past": SEEN, "future": SEEN + AHEAD}
    width = sum(sizes[kind] for kind in kinds)
    outputs = [str(number) for number in range(width)]
    return ForecastSession(stepper, clock, outputs=outputs, memory=memory, **options)


@pytest.mark.parametrize("limit", [None, 2])
def test_rings_equal_a_plain_loop(limit, tmp_path):
    """Any keys in any call, with gaps, rows told ahead or not, and keys written out."""
    random = np.random.default_rng(0)
    options = {"max_keys": limit, "on_full": "write", "spill": tmp_path}
    session = make_plain(**(options if limit else {}))
    past, future = {}, {}
    static = {key: float(key) for key in range(5)}
    last = dict.fromkeys(range(5), -1)
    for _ in range(60):
        rows, ahead = [], []
        for key in random.permutation(5)[: random.integers(1, 5)].tolist():
            steps = last[key] + np.cumsum(random.choice([1, 1, 1, 2, 6], 3))
            for step in steps[: random.integers(1, 4)].tolist():
                y, own, known = random.normal(size=3).round(3)
                if random.random() < 0.3 and (key, step) in future:
                    known = np.nan
                rows.append((key, step, y, static[key], own, known))
                past[key, step] = own
                if known == known:
                    future[key, step] = known
                last[key] = step
            for step in range(last[key] + 1, last[key] + 6):
                known = random.normal()
                if step > last[key] + AHEAD:  # not read
                    ahead.append((key, step, known))
                elif (key, step) not in future or random.random() < 0.5:
                    ahead.append((key, step, known))
                    future[key, step] = known
        random.shuffle(rows)
        names = ["unique_id", "ds", "y", "static", "past", "future"]
        table = pd.DataFrame(rows, columns=names)
        plan = pd.DataFrame(ahead, columns=["unique_id", "ds", "future"])
        answer = session.step(table, future=plan)
        for key, found in zip(answer.keys, answer.values, strict=True):
            seen = range(last[key] - SEEN + 1, last[key] + 1)
            around = range(last[key] - SEEN + 1, last[key] + AHEAD + 1)
            expected = [
                static[key],
                *(past.get((key, step), 0.0) for step in seen),
                *(future.get((key, step), 0.0) for step in around),
            ]
            np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-6)
    assert len(session) == 5


def test_more_keys_than_are_kept_lose_no_covariates():
    """What one call knew of a key counts in it, though the key made room meanwhile."""
    session = make_plain(("static", "future"), max_keys=2)
    rows = {"unique_id": list("ab"), "ds": [0, 0], "y": [1.0, 2.0]}
    rows |= {"static": [5.0, 6.0], "future": [0.1, 0.2]}
    keys = [*"aaabbb", *"cccddd", *"eee"]
    plan = {"unique_id": keys, "ds": [1, 2, 3] * 5, "future": np.arange(15.0)}
    session.step(rows, future=plan)
    every = {"unique_id": list("cdeab"), "ds": [1] * 5, "y": [1.0] * 5}
    every |= {"static": [1.0, 2.0, 3.0, np.nan, np.nan], "future": [np.nan] * 5}
    answer = session.step(every, future=plan)
    assert answer.values[:, 0, 0].tolist()[3:] == [5.0, 6.0]
    assert answer.values[3, 0, -3:].tolist() == [0.0, 1.0, 2.0]
    assert len(session) == 2


def test_numbers_alone_do_where_all_else_is_told():
    session = make_plain(("static", "future"))
    rows = {"unique_id": ["a"], "ds": [0], "y": [1.0], "static": [3.0], "future": [7.0]}
    session.step(rows, future={"unique_id": ["a"] * 2, "ds": [1, 2], "future": [8, 9]})
    further = {"unique_id": ["a", "z"], "ds": [3, 9], "future": [10.0, 0.0]}
    answer = session.step({"a": 2.0}, future=further)
    assert answer.values[0, 0].tolist() == [3, 0, 7, 8, 9, 10]
    with pytest.raises(ValueError, match=r"new must come with .*\['static'\].*\['b'\]"):
        session.step({"b": 1.0}, future=further)
    with pytest.raises(ValueError, match="`future` must be left out"):
        make_plain(("static",)).step({**rows}, future=rows)
    known = make_plain(("static",))
    known.step(rows)
    assert known.step({"a": 4.0}).values[0, 0].tolist() == [3]
