"""Frames in every state users have them: accepted and laid out, or refused by name."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from keras_seq.forecasting.panel import Columns, make_panel

pytestmark = pytest.mark.numeric

COLUMNS = Columns()


def long_frame(freq="MS", lengths=(5, 3), start="2020-01-01"):
    frames = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(start, periods=length, freq=freq),
                "y": np.arange(length) + 10.0 * index,
            }
        )
        for index, (name, length) in enumerate(zip("ab", lengths, strict=True))
    ]
    return pd.concat(frames, ignore_index=True)


def test_lays_series_end_to_end():
    panel = make_panel(long_frame(), COLUMNS)
    assert list(panel.ids) == ["a", "b"]
    np.testing.assert_array_equal(panel.offsets, [0, 5, 8])
    np.testing.assert_array_equal(panel.values, [0, 1, 2, 3, 4, 10, 11, 12])
    assert panel.grid.freq == "MS"
    assert list(panel.last_stamps()) == [
        pd.Timestamp("2020-05-01"),
        pd.Timestamp("2020-03-01"),
    ]


def test_row_order_does_not_matter():
    frame = long_frame()
    shuffled = frame.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        make_panel(shuffled, COLUMNS).observed(), make_panel(frame, COLUMNS).observed()
    )


@pytest.mark.parametrize(
    "freq", ["h", "D", "B", "W-SUN", "MS", "ME", "QS-JAN", "YS-JAN"]
)
def test_infers_the_frequency(freq):
    frame = long_frame(freq, (30, 12))
    panel = make_panel(frame, COLUMNS)
    assert panel.grid.freq == freq
    pd.testing.assert_frame_equal(
        panel.observed(), frame.astype({"unique_id": object}), check_dtype=False
    )


def test_gaps_become_missing():
    frame = long_frame("D", (9, 5)).drop(index=[3])
    panel = make_panel(frame, COLUMNS, "D")
    np.testing.assert_array_equal(np.isnan(panel.values).nonzero()[0], [3])
    assert panel.lengths.tolist() == [9, 5]


def test_frequency_of_a_series_with_gaps_is_inferred_and_said():
    frame = long_frame("D", (20, 20)).drop(index=[3, 25])
    with pytest.warns(UserWarning, match="freq='D' was inferred.*without gaps"):
        panel = make_panel(frame, COLUMNS)
    assert np.isnan(panel.values).sum() == 2


def test_working_days_without_holidays_are_working_days():
    def of_days(days, name="a"):
        return pd.DataFrame({"unique_id": name, "ds": days, "y": 1.0})

    days = pd.date_range("2024-01-01", periods=60, freq="B").delete([10, 21, 33])
    with pytest.warns(UserWarning, match="freq='B' was inferred"):
        panel = make_panel(pd.concat([of_days(days), of_days(days[:5], "b")]), COLUMNS)
    assert panel.grid.freq == "B" and panel.lengths.tolist() == [60, 5]
    assert panel.grid.stamps(60, 5).day_of_week.tolist() == [0, 1, 2, 3, 4]
    assert make_panel(of_days(days[:5]), COLUMNS).grid.freq == "D"  # who can tell


def test_integer_time_and_other_names():
    frame = pd.DataFrame({"shop": [7, 7, 3], "week": [4, 6, 4], "sales": [1, 3, 5]})
    panel = make_panel(frame, Columns("shop", "week", "sales"), 1)
    assert panel.ids.tolist() == [3, 7]
    np.testing.assert_array_equal(panel.values, [5, 1, np.nan, 3])
    assert panel.observed()["ds"].tolist() == [4, 4, 6]


def test_single_series_as_a_series_or_without_id():
    index = pd.date_range("2024-01-01", periods=4, freq="D")
    series = pd.Series([1.0, 2.0, 3.0, 4.0], index=index, name="sales")
    panel = make_panel(series, COLUMNS)
    assert panel.ids.tolist() == ["sales"]
    frame = series.rename("y").rename_axis("ds").reset_index()
    np.testing.assert_array_equal(
        make_panel(frame, Columns(id=None)).values, panel.values
    )


def test_time_zone_survives():
    frame = long_frame("h", (5, 4))
    frame["ds"] = frame["ds"].dt.tz_localize("Europe/Berlin")
    panel = make_panel(frame, COLUMNS)
    assert str(panel.observed()["ds"].dt.tz) == "Europe/Berlin"


def test_until_and_tail():
    panel = make_panel(long_frame(lengths=(5, 3)), COLUMNS)
    np.testing.assert_array_equal(panel.until(2).values, [0, 1, 10, 11])
    np.testing.assert_array_equal(panel.tail(2).values, [3, 4, 11, 12])
    assert panel.tail(2).first.tolist() == [3, 1]
    assert panel.until(0).ids.tolist() == []


@pytest.mark.parametrize("tz", [None, "Asia/Tokyo"])
def test_state_round_trip(tz):
    frame = long_frame("h")
    frame["ds"] = frame["ds"].dt.tz_localize(tz)
    panel = make_panel(frame, COLUMNS)
    twin = type(panel).from_state(*panel.get_state())
    pd.testing.assert_frame_equal(twin.observed(), panel.observed())


def change(**columns):
    return long_frame().assign(**columns)


MIXED_ZONES = pd.Series(
    [pd.Timestamp("2020-01-01", tz=tz) for tz in ["UTC", "Asia/Tokyo"] * 4],
    dtype=object,
)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (long_frame().drop(columns="y"), "no column 'y' \\(target_col\\)"),
        (
            long_frame().rename(columns={"unique_id": "uniqe_id"}),
            "no column 'unique_id' \\(id_col\\). Did you mean 'uniqe_id'",
        ),
        (long_frame().iloc[:0], "no rows"),
        (
            pd.concat([long_frame(), long_frame().iloc[[2]]]),
            r"one row per 'ds'; these are repeated. 1 of 9 rows.*\n.*\n2 +a 2020-03-01",
        ),
        (change(y=[0, 1, np.inf, 3, 4, 5, -np.inf, 7]), "finite or NaN. 2 of 8 rows"),
        (change(y=[*"01234567"]), "'y' must hold numbers.*'0'"),
        (change(y=["1", "2", "x", *"45678"]), r"'y' must hold numbers.*\['x'\]"),
        (pd.concat([long_frame(), long_frame()[["y"]]], axis=1), "one column 'y'"),
        (change(ds=[*"abcdefgh"]), "'ds' must hold timestamps or whole numbers"),
        (change(ds=MIXED_ZONES), "mixes time zones.*Asia/Tokyo.*UTC"),
        (
            long_frame().assign(ds=lambda f: f["ds"].where(f.index != 4)),
            "'ds' must not have missing values. 1 of 8 rows",
        ),
        (
            long_frame().assign(unique_id=lambda f: f["unique_id"].where(f.index > 0)),
            "'unique_id' must not have missing values",
        ),
    ],
)
def test_bad_frames(frame, message):
    with pytest.raises(ValueError, match=message):
        make_panel(frame, COLUMNS)


@pytest.mark.parametrize(
    ("freq", "message"),
    [
        ("MS", r"Freq='MS' does not fit the stamps in 'ds'. 8 of 8 rows"),
        ("nonsense", "must be a pandas frequency.*freq='nonsense'"),
        (3, "where the stamps are timestamps.*freq=3"),
    ],
)
def test_bad_frequency(freq, message):
    with pytest.raises(ValueError, match=message):
        make_panel(long_frame("D", start="2020-01-25"), COLUMNS, freq)


def test_whole_numbers_where_stamps_are_needed():
    frame = pd.DataFrame({"unique_id": "a", "ds": range(5), "y": 1.0})
    with pytest.raises(ValueError, match=r"timestamps, since .* 'MS'.*\[0, 1, 2\]"):
        make_panel(frame, COLUMNS, "MS")


def test_frequency_that_cannot_be_inferred_is_asked_for():
    with pytest.raises(ValueError, match="cannot be inferred: no series has three"):
        make_panel(long_frame(lengths=(2, 1)), COLUMNS)
    mixed = pd.concat([long_frame("D"), long_frame("MS").assign(unique_id="c")[:5]])
    with pytest.raises(ValueError, match=r"different ones \(D, MS\)"):
        make_panel(mixed, COLUMNS)


def test_step_of_whole_numbers_is_asked_for_where_it_is_not_one():
    frame = pd.DataFrame({"unique_id": [*"aaabb"], "ds": [0, 10, 30, 5, 25], "y": 1.0})
    with pytest.raises(ValueError, match="multiples of 10, so freq=10, or freq=1"):
        make_panel(frame, COLUMNS)
    assert make_panel(frame[:4], COLUMNS, 5).lengths.tolist() == [7, 1]
    assert make_panel(frame.assign(ds=[0, 3, 4, 9, 9]).iloc[:4], COLUMNS).end == 10


def test_a_wild_stamp_is_shown_before_it_fills_the_memory():
    frame = pd.DataFrame({"unique_id": "a", "ds": [0, 1, 2, 10**12], "y": 1.0})
    with pytest.raises(ValueError, match=r"1000000000001 steps of 1(.|\n)* 10{12} "):
        make_panel(frame, COLUMNS)


def test_numbers_of_every_type():
    numbers = [1.5, 2.0, np.nan]
    frame = pd.DataFrame({"unique_id": "a", "ds": range(3), "y": numbers})
    decimals = [Decimal("1.5"), Decimal(2), None]
    for values in (decimals, pd.Series([1.5, 2, None], dtype=object)):
        panel = make_panel(frame.assign(y=values), COLUMNS)
        np.testing.assert_array_equal(panel.values, numbers)


def test_not_a_frame():
    with pytest.raises(TypeError, match="pandas DataFrame in long format.*list"):
        make_panel([1, 2, 3], COLUMNS)
