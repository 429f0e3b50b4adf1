"""Sessions of forecasters with covariates: what `predict` says of the same history."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import load, numpy_runtime
from tests.numpy_runtime.fitted import columns_of, fit_forecaster, make_frame

STATIC, PAST, FUTURE = ["size", "region"], ["visitors", "sky"], ["promotion", "holiday"]
KEYS = ["unique_id", "ds"]
COVARIATES = {
    "static_covariates": STATIC,
    "past_covariates": PAST,
    "future_covariates": FUTURE,
}
HORIZON = 4
ENGINES = ["numpy", "keras"]


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
    return *fit(path, conformal=True), path


@pytest.fixture(scope="module")
def stateful(tmp_path_factory):
    path = tmp_path_factory.mktemp("stateful") / "model.kseq"
    return *fit(path, stateful=True, cell="lstm", scaling="mean_abs"), path


KINDS = ["windowed", "stateful"]


@pytest.fixture(params=KINDS)
def model(request):
    """A forecaster, the same in NumPy, and its file."""
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


@pytest.mark.parametrize("engine", ENGINES)
def test_stepping_one_by_one_equals_predict(model, engine):
    """Cold, of series that `fit` has not seen, to the end and on the way."""
    forecaster, _, _ = model
    frame = make_rich(110, ids=("m", "n"), seed=5, ahead=HORIZON)
    frame["region"] = frame["unique_id"].map({"m": "south", "n": "unseen"})
    frame.loc[frame["unique_id"] == "n", "size"] = np.nan
    frame.loc[60, "holiday"] = "unseen"
    session = forecaster.stream(engine=engine)
    days = sorted(frame["ds"].unique())
    for number in range(104):
        rows = frame[frame["ds"] == days[number]]
        answer = session.step(rows, future=frame)
        if number in (0, 6, 103):
            history, future = split(frame, number + 1)
            check_equal(answer, forecaster.predict(history, future))
    at_once = forecaster.stream(engine=engine).step(history, future=future)
    np.testing.assert_allclose(at_once.values, answer.values, rtol=1e-4)
    assert session.num_missing == history["y"].isna().sum()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [0, 1])
def test_gaps_and_what_was_told_ahead(model, engine, seed):
    """Steps that are left out have no value, but covariates that were told ahead."""
    forecaster, _, _ = model
    random = np.random.default_rng(seed)
    frame = make_rich(80, ids=("m", "n"), seed=6, ahead=40)
    known = pd.Series(False, frame.index)  # what any call has told
    session = forecaster.stream(engine=engine)
    at, seen = -1, {"m": [], "n": []}
    for call in range(8):
        at += int(random.choice([1, 1, 2, 3, 7, 16]))
        rows = frame[frame["ds"] == frame["ds"][at]]
        if call % 3 == 1:
            rows = rows[rows["unique_id"] == "m"]
        for key, index in zip(rows["unique_id"], rows.index, strict=True):
            seen[key].append(index)
            ahead = range(index + 1, index + 1 + HORIZON)
            known[[index, *ahead]] = True
        answer = session.step(rows, future=frame)
    history, future = [], []
    for key in answer.keys:
        first, last = seen[key][0], seen[key][-1]
        own = frame.loc[first:last].copy()
        gone = own.index.difference(seen[key])
        own.loc[gone, ["y", "visitors"]] = np.nan
        own.loc[gone, "sky"] = None
        untold = own.index[~known[own.index]]
        own.loc[untold, "promotion"] = np.nan
        own.loc[untold, "holiday"] = None
        history.append(own)
        future.append(frame.loc[last + 1 : last + HORIZON])
    expected = forecaster.predict(pd.concat(history), pd.concat(future))
    check_equal(answer, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_from_the_end_of_training(model, engine):
    forecaster, numpy_model, path = model
    frame, whole = make_rich(), make_rich(ahead=12, seed=0)
    whole = pd.concat([frame, whole[~whole.set_index(KEYS).index.isin(
        frame.set_index(KEYS).index)]]).sort_values(KEYS)
    sessions = [forecaster.stream(history="fit", engine=engine)]
    if engine == "numpy":
        sessions += [numpy_model.stream(history="fit"), load(path).stream(history="fit")]
    lengths = frame.groupby("unique_id").size()
    place = whole.groupby("unique_id").cumcount()
    for step in range(2):
        rows = whole[place == whole["unique_id"].map(lengths) + step]
        rows = rows.drop(columns=STATIC)  # which training has told
        answers = [session.step(rows, future=whole) for session in sessions]
    ends = whole["unique_id"].map(lengths) + 2
    expected = forecaster.predict(whole[place < ends], whole[place >= ends])
    for answer in answers:
        check_equal(answer, expected)


def test_from_a_history_and_snapshots(model, tmp_path):
    forecaster, numpy_model, _ = model
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


def test_spilled_and_evicted_keys_keep_their_covariates(windowed, tmp_path):
    forecaster = windowed[0]
    frame = make_rich(12, ids=tuple("abcde"), seed=3, ahead=30)
    options = {"max_keys": 2, "on_full": "write", "spill": tmp_path}
    session, plain = forecaster.stream(**options), forecaster.stream()
    for day in frame["ds"].unique()[:5]:
        rows = frame[frame["ds"] == day]
        answer, expected = (s.step(rows, future=frame) for s in (session, plain))
        assert answer.keys == expected.keys
        np.testing.assert_allclose(answer.values, expected.values, rtol=1e-6)


def test_each_step_need_be_told_once(model):
    """What is told ahead counts, until a newer value that is not missing."""
    forecaster, _, _ = model
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


def test_what_is_not_told_is_named(model):
    forecaster, _, _ = model
    frame = make_rich(30, ids=("m", "n"), seed=9, ahead=9)
    place = frame.groupby("unique_id").cumcount()
    session = forecaster.stream()
    rows, row = frame[place < 12], frame[place == 12]

    def refuse(message, *given, **options):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            session.step(*given, **options)

    refuse("`future` must have a row.*future=None, without 8 steps of 2 series", rows)
    known = frame[(frame["unique_id"] == "m") | (place != 14)]
    refuse("without 1 steps of 1 series, the first:\n'n': 2019-06-14", rows, future=known)
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
    varying = frame[place < 14][place >= 12].assign(size=np.arange(4.0))
    refuse("'size'.*one value per series.*'m', 'n'", varying, future=frame)
    refuse("must hold numbers", row.assign(visitors="many"), future=frame)
    check = frame[place == 12]
    history, future = split(frame, 13)
    check_equal(session.step(check, future=frame), forecaster.predict(history, future))


def test_numbers_alone_do_where_all_is_told(tmp_path):
    """Of a forecaster without past covariates; static ones are known from training."""
    forecaster, numpy_model = fit_forecaster(
        tmp_path / "m", make_rich(), horizon=HORIZON, lookback=9,
        static_covariates=STATIC, future_covariates=FUTURE,
    )
    frame = make_rich(ahead=9)
    for session in (forecaster.stream(history="fit"), numpy_model.stream(history="fit")):
        with pytest.raises(ValueError, match="without columns|no such columns"):
            session.step({"a": 3.0}, future=frame)
    with pytest.raises(ValueError, match="`future` must be left out"):
        forecaster.set_params(future_covariates=[]).stream().step({"a": 1.0}, future=1)
