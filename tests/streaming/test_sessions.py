"""ForecastSession around a model that can be checked by hand."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from keras_seq import ArtifactError
from keras_seq.forecasting.names import Columns
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming import ForecastSession, WindowedStepper


class Sums:
    """Forecasts sum and count of the values so far; NaN counts as a step alone."""

    arrays = {"sums": ((2,), np.float64)}
    fingerprint = "sums"
    horizon, lookback, windowed = 2, 1, False

    def cold(self, count):
        return {"sums": np.zeros((count, 2))}

    def step(self, state, values, positions, forecast):
        state["sums"][:, 0] += np.where(np.isnan(values), 0.0, values)
        state["sums"][:, 1] += 1
        return np.repeat(state["sums"][:, None], 2, axis=1) if forecast else None


def make_session(**options):
    clock = options.pop("clock", None) or Clock("D", np.datetime64("2024-01-01", "us"))
    stepper = options.pop("stepper", None) or Sums()
    return ForecastSession(stepper, clock, outputs=("y_hat", "n"), **options)


def make_windowed(**options):
    """Forecasts the window itself, as two outputs of two steps."""
    clock = Clock("D", np.datetime64("2024-01-01", "us"))

    def forward(inputs):
        return inputs["target"].reshape(-1, 2, 2)

    stepper = WindowedStepper(
        lookback=4,
        horizon=2,
        clock=clock,
        centered=False,
        nonnegative=False,
        forward=forward,
        fingerprint="window",
    )
    return make_session(clock=clock, stepper=stepper, **options)


def day(number):
    return np.datetime64("2024-01-01") + number


def told(answer):
    """Sum and number of steps by key."""
    return {k: tuple(v[0]) for k, v in zip(answer.keys, answer.values, strict=True)}


def test_any_keys_in_any_call():
    session = make_session(start=5)
    answer = session.step({"a": 1.0, 7: 2.0})
    assert told(answer) == {"a": (1, 1), 7: (2, 1)}
    assert answer.ds[0].tolist() == [datetime(2024, 1, 7), datetime(2024, 1, 8)]
    assert told(session.step({7: 3.0})) == {7: (5, 2)}
    # a new one stands where the latest is, and beside those of its own call
    assert session.step({"b": 1.0}).positions.tolist() == [6]
    assert session.step({"c": 1.0, 7: 1.0}).positions.tolist() == [7, 7]
    assert session.step({"a": 1.0}).positions.tolist() == [6]
    assert sorted(map(str, session.keys)) == ["7", "a", "b", "c"] and len(session) == 4
    shown = repr(session)
    assert shown.startswith("<ForecastSession: 4 keys, ") and "0 late" in shown
    assert session.stamp("a") == day(6)
    with pytest.raises(KeyError):
        session.stamp("z")


def test_rows_of_a_frame_in_any_order():
    frame = pd.DataFrame(
        {
            "unique_id": ["b", "a", "b", "a", "c", "b"],
            "ds": [day(i) for i in (4, 2, 1, 0, 3, 2)],
            "y": [8.0, 2.0, 1.0, 1.0, 5.0, 2.0],
        }
    )
    expected = {"b": (11, 4), "a": (3, 3), "c": (5, 1)}
    for data in (frame, frame.iloc[::-1], {n: frame[n].to_numpy() for n in frame}):
        session = make_session()
        assert told(session.step(data)) == expected
        assert session.num_missing == 0
    one_by_one = make_session()
    for _, rows in frame.sort_values("ds").groupby("ds"):
        answer = one_by_one.step(rows)
    assert told(answer) == {"b": (11, 4)}
    found = session.step(frame.assign(ds=frame["ds"] + pd.Timedelta(days=9))).to_frame()
    assert list(found) == ["unique_id", "ds", "y_hat", "n"]
    assert found["ds"].tolist()[:2] == [pd.Timestamp(day(i)) for i in (14, 15)]


def test_names_of_columns_are_the_estimators():
    session = make_session(names=Columns("shop", "when", "sold"))
    rows = {"shop": np.array(["x"]), "when": np.array([day(3)]), "sold": [2]}
    frame = session.step(rows).to_frame()
    assert list(frame) == ["shop", "when", "y_hat", "n"]
    with pytest.raises(ValueError, match=r"no column 'sold' \(target_col\)"):
        session.step(pd.DataFrame({"shop": ["x"], "when": [day(4)]}))
    alone = make_session(names=Columns(None))
    assert list(alone.step(3.0).to_frame()) == ["ds", "y_hat", "n"]
    assert told(alone.step({"ds": [day(4)], "y": [1.0]})) == {"series": (4, 5)}


def test_late_stamps_raise_and_change_nothing(tmp_path):
    session = make_session()
    session.step({"a": 1.0, "b": 1.0}, ds=day(3))
    session.snapshot(tmp_path / "before")
    rows = {
        "unique_id": ["c", "b", "a"],
        "ds": [day(9), day(9), day(3)],
        "y": [1, 2, 3],
    }
    with pytest.raises(ValueError, match="'a' at 2024-01-04") as caught:
        session.step(pd.DataFrame(rows))
    assert "'b'" not in str(caught.value)
    rows = {"unique_id": ["c", "c"], "ds": [day(9), day(9)], "y": [np.inf, 2]}
    with pytest.raises(ValueError, match="repeated, such as 'c' at 2024-01-10"):
        session.step(pd.DataFrame(rows))
    for bad in ({"c": "much"}, {"c": 1.0, 2.5: 1.0}, {"c": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="Received: "):
            session.step(bad)
    with pytest.raises(ValueError, match="must lie on freq='D'"):
        session.step({"c": 1.0}, ds=datetime(2024, 1, 9, 12))
    assert session.keys == ["a", "b"] and session.num_invalid == 0
    again = make_session()
    again.restore(tmp_path / "before")
    assert told(again.step({"a": 1.0})) == told(session.step({"a": 1.0}))


def test_late_stamps_are_skipped_where_asked():
    session = make_session(on_late="skip")
    session.step({"a": 1.0, "b": 1.0}, ds=day(3))
    rows = {
        "unique_id": ["a", "a", "b", "c", "c"],
        "ds": [day(2), day(4), day(3), day(5), day(5)],
        "y": [9.0, 1.0, 9.0, 1.0, 9.0],
    }
    answer = session.step(pd.DataFrame(rows))
    assert answer.keys == ["a", "b", "c"] and session.num_late == 3
    assert np.isnan(answer.values[1]).all()
    assert tuple(answer.values[0, 0]) == (2, 2) and tuple(answer.values[2, 0]) == (1, 1)
    assert answer.positions.tolist() == [4, 3, 5]


def test_gaps_advance_as_missing_steps():
    session = make_session()
    session.step({"a": 1.0, "b": 1.0}, ds=day(0))
    answer = session.step({"a": 1.0, "b": 1.0, "c": 1.0}, ds=day(6))
    assert told(answer) == {"a": (2, 7), "b": (2, 7), "c": (1, 1)}
    assert session.num_missing == 0


def test_what_a_window_forgets_is_not_run():
    """Years of gap, and rows that are older than the window, cost nothing."""
    session = make_windowed()
    session.step({"a": 1.0, "b": 1.0}, ds=day(0))
    answer = session.step({"a": 2.0}, ds=day(50_000_000))
    np.testing.assert_array_equal(answer.values[0].ravel(), [np.nan, np.nan, np.nan, 2])
    answer = session.step({"b": 2.0}, ds=day(3))
    np.testing.assert_array_equal(answer.values[0].ravel(), [1, np.nan, np.nan, 2])
    answer = session.step({"b": 3.0}, ds=day(6))
    np.testing.assert_array_equal(answer.values[0].ravel(), [2, np.nan, np.nan, 3])
    rows = pd.DataFrame(
        {"unique_id": "c", "ds": day(0) + np.arange(90_000), "y": np.arange(90_000.0)}
    )
    calls = []
    step = session.stepper.step
    session.stepper.step = lambda *given: calls.append(1) or step(*given)
    answer = session.step(rows.drop(89_998))
    np.testing.assert_array_equal(
        answer.values[0].ravel(), [89_996, 89_997, np.nan, 89_999]
    )
    assert len(calls) == 4


def test_missing_and_invalid_values_are_masked():
    session = make_session()
    values = {"a": np.nan, "b": None, "c": -np.inf, "d": 1e300, "e": 1.0}
    with pytest.warns(UserWarning, match=r"2 of 'c', 'd'\.") as caught:
        answer = session.step(values)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert told(answer) == {k: (float(k == "e"), 1) for k in values}
    assert (session.num_missing, session.num_invalid) == (2, 2)
    many = {i: np.inf for i in range(9)}
    with pytest.warns(UserWarning, match="9 of 0, 1, 2, 3, 4 and 4 more"):
        session.step(many)
    assert np.isfinite(session.step({**many, **dict.fromkeys(many, 1.0)}).values).all()


@pytest.mark.parametrize("block", [3, 16_384])
def test_blocks_and_ragged_rows_equal_one_key_after_another(block, monkeypatch):
    monkeypatch.setattr("keras_seq.streaming.sessions.BLOCK", block)
    random = np.random.default_rng(0)
    together = make_session()
    apart = {key: make_session() for key in range(10)}
    begin = 0
    for _ in range(5):
        parts = []
        for key in random.permutation(10)[: random.integers(1, 10)]:
            days = np.flatnonzero(random.random(6) < 0.5) + begin
            if len(days):
                rows = {"unique_id": int(key), "ds": day(0) + days}
                parts.append(pd.DataFrame({**rows, "y": random.normal(size=len(days))}))
        begin += 6
        frame = pd.concat(parts).sample(frac=1, random_state=1)
        answer = together.step(frame)
        for key, value in zip(answer.keys, answer.values, strict=True):
            alone = apart[key].step(frame[frame["unique_id"] == key])
            np.testing.assert_allclose(value, alone.values[0], rtol=1e-12)


def test_least_recently_used_keys_start_cold():
    session = make_session(max_keys=2)
    session.step({"a": 1.0, "b": 1.0})
    session.step({"a": 1.0})
    session.step({"c": 1.0})
    assert set(session.keys) == {"a", "c"}
    assert told(session.step({"b": 1.0})) == {"b": (1, 1)}
    # more keys than there is room for, in one call
    answer = session.step({key: 1.0 for key in "abcdefg"}, ds=day(9))
    assert len(session) == 2 and np.isfinite(answer.values).all()


def test_spilled_keys_go_on(tmp_path):
    spilling = make_session(max_keys=3, on_full="write", spill=tmp_path)
    plain = make_session()
    random = np.random.default_rng(0)
    for _ in range(40):
        values = {int(k): float(k) for k in random.permutation(20)[:5]}
        expected = plain.step(values)
        assert told(spilling.step(values)) == told(expected)
    spilling.snapshot(tmp_path / "all")
    again = make_session(max_keys=4)
    again.restore(tmp_path / "all")
    assert len(again) == 4 and len(spilling) == 20
    newest = {int(k): 1.0 for k in again.keys}
    assert told(again.step(newest)) == told(plain.step(newest))


def test_forks_and_drops():
    session = make_session()
    session.step({"a": 1.0, "b": 1.0})
    forked = session.fork()
    forked.step({"a": 5.0, "x": 1.0})
    assert told(session.step({"a": 1.0})) == {"a": (2, 2)}
    assert forked.keys == ["a", "b", "x"] and session.keys == ["a", "b"]
    assert session.drop("a") == 1 and session.drop(["a", "b"]) == 1
    assert len(session) == 0 and told(forked.step({"b": 1.0})) == {"b": (2, 2)}


def test_time_zones():
    clock = Clock("h", np.datetime64("2024-03-30T23:00", "us"), "Europe/Vienna")
    session = make_session(clock=clock)
    stamps = pd.date_range("2024-03-31 00:00", periods=4, freq="h", tz="Europe/Vienna")
    rows = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": 1.0})
    answer = session.step(rows)
    assert told(answer) == {"a": (4, 4)}  # over the night without a third hour
    frame = answer.to_frame()
    assert frame["ds"].tolist() == [stamps[-1] + pd.Timedelta(hours=i) for i in (1, 2)]
    assert str(frame["ds"].dtype.tz) == "Europe/Vienna"
    session.step({"a": 1.0}, ds=datetime(2024, 3, 31, 3, tzinfo=UTC))
    session.step({"a": 1.0}, ds=pd.Timestamp("2024-03-31 06:00", tz="Europe/Vienna"))
    with pytest.raises(ValueError, match="must be in a time zone"):
        session.step({"a": 1.0}, ds=datetime(2024, 3, 31, 7))
    with pytest.raises(ValueError, match="must be in a time zone"):
        session.step(rows.assign(ds=rows["ds"].dt.tz_localize(None)))
    with pytest.raises(ValueError, match="must have no time zone"):
        make_session().step({"a": 1.0}, ds=datetime(2024, 3, 31, tzinfo=UTC))


def test_threads_on_keys_of_their_own():
    session, alone = make_session(max_keys=1000), make_session()
    values = np.random.default_rng(0).normal(size=(8, 60, 5))
    found: dict = {}

    def work(number):
        keys = [f"{number}/{i}" for i in range(5)]
        for step, row in enumerate(values[number]):
            given = dict(zip(keys, row, strict=True))
            found[number, step] = told(session.step(given, ds=day(step)))
            if step == 30:
                session.step({f"{number}/other": 1.0}, ds=day(0))
                session.drop(f"{number}/other")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        for step, row in enumerate(values[number]):
            keys = [f"{number}/{i}" for i in range(5)]
            given = dict(zip(keys, row, strict=True))
            assert found[number, step] == told(alone.step(given, ds=day(step)))
    assert len(session) == 40 and len(found) == 480


@pytest.fixture
def snapshot(tmp_path):
    session = make_session()
    session.step({f"key {i}": float(i) for i in range(300)})
    session.step({"\ud800": 1.0, -3: 2.0})
    session.snapshot(tmp_path / "states")
    return tmp_path / "states"


def test_restored_it_goes_on(snapshot):
    session, again = make_session(), make_session()
    session.restore(snapshot)
    again.step({"other": 1.0})
    again.restore(snapshot)
    assert set(again.keys) == {*(f"key {i}" for i in range(300)), "\ud800", -3}
    values = {"key 7": 1.0, "\ud800": 1.0, -3: np.nan, "new": 1.0}
    answer = again.step(values)
    assert told(answer) == {
        "key 7": (8, 2),
        "\ud800": (2, 2),
        -3: (2, 2),
        "new": (1, 1),
    }
    assert session.step(values).positions.tolist() == answer.positions.tolist()
    assert again.num_missing == 1


def test_damaged_and_foreign_snapshots(snapshot):
    whole = snapshot.read_bytes()
    session = make_session()
    session.step({"mine": 1.0})

    def refuse(content, message):
        snapshot.write_bytes(content)
        with pytest.raises(ArtifactError, match=message):
            session.restore(snapshot)
        assert session.keys == ["mine"]

    random = np.random.default_rng(0)
    for place in random.integers(20, len(whole), 30).tolist():
        changed = bytearray(whole)
        changed[place] ^= 0x10
        refuse(bytes(changed), "damaged or truncated")
        refuse(whole[:place], "damaged or truncated")
    refuse(whole + b"x", "damaged or truncated")
    refuse(b"", "no snapshot")
    refuse(b"PK" + whole, "no snapshot")
    snapshot.write_bytes(whole)
    with pytest.raises(ArtifactError, match="another model"):
        make_windowed().restore(snapshot)
    with pytest.raises(ArtifactError, match="counts time otherwise"):
        make_session(clock=Clock("h", np.datetime64("2024-01-01"))).restore(snapshot)
    with pytest.raises(FileNotFoundError):
        session.restore(snapshot.with_name("none"))


_WRITER = """
import sys
import numpy as np
from tests.streaming.test_sessions import make_session

session, count = make_session(), 60_000
while True:
    session.step({number: 1.0 for number in range(count)})
    session.snapshot(sys.argv[1])
    print(flush=True)
"""


def kill_while_writing(folder, times):
    """Each time the file is whole, and no older than what was reported written."""
    random = np.random.default_rng(0)
    path = folder / "states"
    for _ in range(times):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)],
            stdout=subprocess.PIPE,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        )
        written = 0
        for _ in range(random.integers(1, 3)):
            writer.stdout.readline()
            written += 1
        time.sleep(random.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        written += len(writer.stdout.read())
        writer.wait()
        writer.stdout.close()
        session = make_session()
        session.restore(path)
        answer = session.step(dict.fromkeys(range(60_000), 1.0))
        assert len(np.unique(answer.values[..., 1])) == 1
        # It may have been moved into place just before it would have been told.
        assert answer.values[0, 0, 1] - 1 in (written, written + 1)


def test_killed_while_writing(tmp_path):
    kill_while_writing(tmp_path, 3)


@pytest.mark.slow
def test_killed_fifty_times_while_writing(tmp_path):
    kill_while_writing(tmp_path, 50)


def test_needs_numpy_alone():
    code = (
        "import sys, keras_seq.streaming\n"
        "heavy = 'tensorflow', 'jax', 'keras', 'pandas', 'sklearn', 'scipy'\n"
        "assert not [m for m in heavy if m in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`on_late` must be .*on_late='drop'"):
        make_session(on_late="drop")
    session = make_session()
    with pytest.raises(ValueError, match="`ds` belongs to"):
        session.step({"unique_id": ["a"], "ds": [day(1)], "y": [1.0]}, ds=day(1))
    with pytest.raises(TypeError, match="must be a pandas DataFrame"):
        session.step(["a"])
    with pytest.raises(ValueError, match="as many rows"):
        session.step({"unique_id": ["a", "b"], "ds": [day(1)], "y": [1.0]})
    with pytest.raises(ValueError, match="freq='D'. Received: 5"):
        session.step({"a": 1.0}, ds=5)
    with pytest.raises(ValueError, match="one stamp, of all keys"):
        make_session(clock=Clock(1, 0)).step({"a": 1.0}, ds=[1, 2])
    with pytest.raises(TypeError, match="column 'unique_id'. Received: 3.0"):
        session.step(3.0)
    for value in (np.datetime64(1, "D"), 1j, 10**400, "1", {}):
        with pytest.raises(ValueError, match="must hold numbers: .*Received"):
            session.step({"a": value})
    with pytest.raises(ValueError, match="must hold numbers: strings"):
        session.step({"a": "1", "b": None})
    rows = pd.DataFrame({"unique_id": ["a"], "ds": [day(1)], "y": ["1"]})
    with pytest.raises(ValueError, match="`y` must hold numbers: strings"):
        session.step(rows)
    assert len(session) == 0


def test_tables_without_rows_answer_nothing():
    session = make_session()
    session.step({"a": 1.0})
    empty = pd.DataFrame(columns=["unique_id", "ds", "y"])
    for rows in ({}, empty, {name: [] for name in empty}):
        answer = session.step(rows)
        assert answer.values.shape == (0, 2, 2) and answer.to_frame().empty


def test_numbers_and_stamps_of_numpy(tmp_path):
    session = make_session()
    for value in (1.0, np.nan):
        session.step({7: np.float64(value)})
    session.snapshot(tmp_path / "states")
    session.restore(tmp_path / "states")
    assert session.num_missing == 1 and np.int64(7) in session
    assert session.drop(np.int64(7)) == 1
    stamps = np.array(["2024-02-01", "2024-02-02"])
    answer = session.step({"unique_id": ["a", "a"], "ds": stamps, "y": [1.0, 2.0]})
    assert told(answer) == {"a": (3, 2)}
