"""Clock equals pandas on every frequency, with pandas and without."""

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.frequencies import to_offset

from keras_seq.numpy_runtime.clock import Clock, calendar

PLAIN = (
    *("15min", "h", "2h", "D", "3D", "W-SUN", "2W-WED", "B", "s", "250ms"),
    *("MS", "ME", "3MS", "QS-OCT", "QE-DEC", "YS-JAN", "YE-MAR", "2YE-DEC"),
)
OTHERS = ("BMS", "BQE-DEC", "SME-15", "2B")


def make_index(freq, unit="ns", periods=60, start="2019-12-27 06:30"):
    return pd.date_range(start, periods=periods, freq=freq, unit=unit)


@pytest.mark.parametrize("freq", PLAIN + OTHERS)
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_stamps_and_positions_are_those_of_pandas(freq, unit):
    if freq == "250ms" and unit == "s":
        pytest.skip("a second holds no quarter of it")
    index = make_index(freq, unit)
    clock = Clock(to_offset(freq).freqstr, index[20].to_datetime64())
    assert clock.plain == (freq in PLAIN or freq == "2B")
    places = np.arange(-20, 40)
    np.testing.assert_array_equal(clock.stamps(places), index.to_numpy())
    np.testing.assert_array_equal(clock.positions(index.to_numpy()), places)
    assert clock.positions(index[3].to_datetime64()) == -17


@pytest.mark.parametrize("freq", ["15min", "D", "W-SUN", "B", "MS", "QE-DEC", "BMS"])
def test_a_stamp_between_two_steps_is_named(freq):
    index = make_index(freq)
    clock = Clock(to_offset(freq).freqstr, index[0].to_datetime64())
    between = index[5].to_datetime64() + np.timedelta64(7, "m")
    with pytest.raises(ValueError, match="must lie on freq="):
        clock.positions(np.array([index[1].to_datetime64(), between]))


def test_whole_numbers_count_in_steps_of_freq():
    clock = Clock(3, 10)
    np.testing.assert_array_equal(clock.stamps(np.array([-1, 0, 5])), [7, 10, 25])
    np.testing.assert_array_equal(clock.positions(np.array([7, 10, 25])), [-1, 0, 5])
    with pytest.raises(ValueError, match="must lie on freq=3"):
        clock.positions(np.array([11]))
    with pytest.raises(ValueError, match="whole numbers"):
        clock.positions(np.array([1.5]))
    assert clock.features(np.arange(4)).shape == (4, 0)


def test_local_days_of_a_time_zone_are_not_all_as_long():
    index = pd.date_range(
        "2024-03-29", periods=5, freq="D", tz="Europe/Berlin", unit="ns"
    )
    utc = index.tz_convert("UTC").tz_localize(None).to_numpy()
    clock = Clock("D", utc[0], tz="Europe/Berlin")
    np.testing.assert_array_equal(clock.stamps(np.arange(5)), utc)
    np.testing.assert_array_equal(clock.positions(utc), np.arange(5))
    local = index.tz_localize(None).to_numpy()
    np.testing.assert_array_equal(clock.features(np.arange(5)), calendar(local, "D"))


def test_the_calendar_equals_that_of_pandas():
    """Positions in day, week and year, each by pandas's own words for them."""
    index = pd.date_range("2023-11-05 13:45", periods=900, freq="7h", unit="ns")
    angles = [
        (index.hour + index.minute / 60) / 24,
        index.day_of_week / 7,
        (index.day_of_year - 1) / 365.25,
    ]
    expected = [
        wave(2 * np.pi * harmonic * np.asarray(angle))
        for angle in angles
        for harmonic in (1, 2)
        for wave in (np.sin, np.cos)
    ]
    features = calendar(index.to_numpy(), "7h")
    np.testing.assert_allclose(features, np.stack(expected, axis=1), atol=1e-6)
    assert calendar(index.to_numpy(), "W").shape == (900, 4)
    month = calendar(index.to_numpy(), "MS")[:, 0]
    np.testing.assert_allclose(
        month, np.sin(2 * np.pi * (index.month - 1) / 12), atol=1e-6
    )
    assert calendar(index.to_numpy(), "YS").shape == (900, 0)


@pytest.mark.parametrize("tz", [None, "Europe/Vienna"])
def test_no_stamps_have_no_positions(tz):
    clock = Clock("h", np.datetime64("2024-01-01", "us"), tz)
    assert clock.positions(np.zeros(0, "datetime64[us]")).shape == (0,)
