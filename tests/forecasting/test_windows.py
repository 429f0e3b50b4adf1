"""Windows equal a plain loop, and nothing after an origin reaches them."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from keras_seq.forecasting.features import (
    CalendarRows,
    calendar_features,
    choose_rounds,
    default_season_length,
)
from keras_seq.forecasting.panel import Columns, Panel, TimeGrid
from keras_seq.forecasting.panel import make_panel as make_panel_of
from keras_seq.forecasting.windows import (
    WindowSource,
    WindowSpec,
    choose_lookback,
    split_origins,
)

pytestmark = pytest.mark.numeric


def make_panel(lengths, level=0.0, seed=0):
    values = np.random.default_rng(seed).normal(size=sum(lengths)) + level
    values[2] = np.nan
    return Panel(
        ids=np.arange(len(lengths)).astype(object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        values=values,
        first=np.arange(len(lengths)),
        grid=TimeGrid("MS", pd.Timestamp("2020-01-01")),
    )


def slow_window(panel, series, origin, spec):
    row = panel.values[panel.offsets[series] : panel.offsets[series + 1]]
    steps = range(origin - spec.lookback, origin + spec.horizon)
    return np.array([row[t] if 0 <= t < len(row) else np.nan for t in steps])


def test_whether_windows_tell_anything_equals_a_plain_loop():
    random = np.random.default_rng(5)
    found = set()
    for number in range(60):
        panel = make_panel([30, 21], seed=number)
        share = random.choice([0.04, 0.1])
        panel.values[random.random(len(panel.values)) > share] = np.nan
        spec = WindowSpec(*random.integers(1, 4, 2).tolist(), True)
        split = split_origins(panel.observed_lengths, spec, validation=number % 2 == 0)
        if not (split.high >= split.low).any():
            continue
        source, each = WindowSource(panel, spec), []
        for series in range(2):
            for origin in range(split.low[series], split.high[series] + 1):
                seen = panel.values[panel.offsets[series] :][: split.end[series]]
                parts = (
                    seen[max(origin - spec.lookback, 0) : origin],
                    seen[origin : origin + spec.horizon],
                )
                each.append(all(np.isfinite(part).any() for part in parts))
                told = source.tell(np.array([series]), np.array([origin]), split.end)
                assert told.tolist() == each[-1:]
        found.add(any(each))
        assert source.can_train(split) == any(each)
        # however many windows are drawn at first
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("keras_seq.forecasting.windows._SAMPLE", 0)
            assert source.can_train(split) == any(each)
    assert found == {True, False}


@pytest.mark.parametrize("centered", [False, True])
def test_equals_a_plain_loop(centered):
    panel, spec = make_panel([9, 4, 1]), WindowSpec(5, 3, centered)
    series = np.array([0, 0, 0, 1, 1, 2])
    origins = np.array([1, 6, 9, 2, 4, 1])
    windows = WindowSource(panel, spec).gather(series, origins)
    for k in range(len(series)):
        expected = slow_window(panel, series[k], origins[k], spec)
        past = expected[:5]
        seen = past[~np.isnan(past)]
        # a window of one value has no spread beside which its level would be small
        shift = seen[-1] if centered or len(seen) == 1 else 0.0
        assert windows.shift[k] == shift
        got = np.concatenate([windows.past[k], windows.target[k]])
        np.testing.assert_array_equal(got, (expected - shift).astype("float32"))
        stamps = pd.date_range("2020-01-01", periods=40, freq="MS")
        begin = series[k] + origins[k] - 5  # grid position of the window's first step
        if begin >= 0:
            np.testing.assert_array_equal(
                windows.calendar[k], calendar_features(stamps[begin : begin + 8], "MS")
            )


def test_future_does_not_reach_the_past():
    panel, spec = make_panel([30, 30]), WindowSpec(8, 4, True)
    changed = Panel(**{**vars(panel), "values": panel.values.copy()})
    for start in panel.offsets[:-1]:
        changed.values[start + 20 : start + 30] = -1e9
    series, origins = np.array([0, 1]), np.array([20, 20])
    one = WindowSource(panel, spec).gather(series, origins)
    two = WindowSource(changed, spec).gather(series, origins)
    np.testing.assert_array_equal(one.past, two.past)
    np.testing.assert_array_equal(one.shift, two.shift)


def test_end_hides_later_targets():
    panel, spec = make_panel([10]), WindowSpec(4, 3, False)
    source = WindowSource(panel, spec)
    windows = source.gather(np.array([0]), np.array([6]), end=np.array([7]))
    assert np.isnan(windows.target[0]).tolist() == [False, True, True]


def test_far_levels_are_moved_only_when_they_must():
    spec = WindowSpec(5, 3, False)
    near = WindowSource(make_panel([9], level=50), spec)
    assert near.gather(np.array([0]), np.array([7])).shift[0] == 0
    far = WindowSource(make_panel([9], level=1e8), spec)
    windows = far.gather(np.array([0]), np.array([7]))
    exact = slow_window(far.panel, 0, 7, spec) - windows.shift[0]
    np.testing.assert_allclose(windows.past[0], exact[:5], rtol=1e-7)


def test_origin_outside_its_series():
    source = WindowSource(make_panel([9]), WindowSpec(4, 3, False))
    with pytest.raises(ValueError, match="within 1 and the length.*10"):
        source.gather(np.array([0]), np.array([10]))


@pytest.mark.parametrize("length", [1, 2, 5, 7, 20, 400])
def test_training_never_sees_the_validation_part(length):
    spec = WindowSpec(12, 6, False)
    split = split_origins(np.array([length]), spec, validation=True)
    if length <= 2 * spec.horizon:
        assert len(split.series) == 0
        assert split.end[0] == length
    else:
        assert split.origins.min() >= split.end[0]
        assert split.origins.max() == length - spec.horizon
        assert length - split.end[0] >= max(spec.horizon, length // 10)
    if length >= 2:
        assert 1 <= split.low[0] <= split.high[0]
        assert split.high[0] == split.end[0] - 1  # all but the last value are context
    else:
        assert split.high[0] < split.low[0]


def test_validation_windows_are_thinned_evenly():
    split = split_origins(np.full(500, 100), WindowSpec(12, 6, False), True, 100)
    assert len(split.series) == 100
    assert len(np.unique(split.series)) == 100


@pytest.mark.parametrize(
    ("freq", "season"),
    [("h", 24), ("30min", 48), ("D", 7), ("B", 5), ("W-MON", 52), ("MS", 12)]
    + [("QE-DEC", 4), ("3MS", 4), ("YS-JAN", 1), ("2h", 12), (1, 1)],
)
def test_default_season(freq, season):
    assert default_season_length(freq) == season


@pytest.mark.parametrize(
    ("freq", "period"), [("h", 24 * 7), ("D", 7), ("MS", 12), ("QS", 4)]
)
def test_calendar_repeats_with_its_period(freq, period):
    stamps = pd.date_range("2021-01-01", periods=period * 3, freq=freq)
    features = calendar_features(stamps, freq)
    assert features.dtype == np.float32 and np.abs(features).max() <= 1
    weekly = features if freq in ("MS", "QS") else features[:, :-4]
    np.testing.assert_allclose(weekly[:period], weekly[period : 2 * period], atol=1e-6)
    assert len(np.unique(weekly[:period].round(5), axis=0)) == period


@pytest.mark.parametrize(
    ("lengths", "season", "horizon", "freq", "expected"),
    [
        ([72] * 4, 12, 12, "MS", 36),
        ([72, 40, 40, 40], 12, 12, "MS", 28),  # what three of four can fill
        ([72, 20, 20, 20], 12, 12, "MS", 24),  # no less than two seasons
        ([14] * 4, 1, 6, "YS", 8),
        ([11] * 4, 1, 6, "YS", 6),  # no less than a horizon
        ([5] * 4, 1, 6, "YS", 4),  # a step is left to forecast
        ([2], 12, 12, "MS", 1),
        ([160], 52, 8, "W", 104),
        ([2000], 24, 24, "h", 168),  # a week
        ([400], 24, 24, "h", 48),
        ([2000], 24, 24, 1, 48),  # whole numbers have no days
        ([9000], 96, 96, "15min", 672),
        ([9000], 288, 12, "5min", 864),  # three days
        ([50000], 1440, 60, "min", 2880),
        ([90], 2, 4, "12h", 14),
        ([90], 1, 4, "36h", 12),
    ],
)
def test_the_lookback_is_of_some_seasons(lengths, season, horizon, freq, expected):
    assert choose_lookback(np.array(lengths), season, horizon, freq) == expected


def test_a_long_series_takes_few_bytes_a_step():
    count = 200_000
    frame = pd.DataFrame(
        {
            "ds": pd.date_range("1990-01-01", periods=count, freq="h"),
            "y": np.random.default_rng(0).normal(size=count),
        }
    )
    tracemalloc.start()
    try:
        panel = make_panel_of(frame, Columns(id=None, time="ds", target="y"))
        source = WindowSource(panel, WindowSpec(168, 24, True))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(source.calendar) == count + 168 + 24
    # Values and three places in the calendar are 14; the frame has 16.
    assert held < 15 * count
    assert peak < 40 * count


@pytest.mark.parametrize(
    ("freq", "steps", "expected"),
    [
        ("h", 47, ()),
        ("h", 48, ("day",)),
        ("h", 14 * 24, ("day", "week")),
        ("h", 729 * 24, ("day", "week")),
        ("h", 730 * 24, ("day", "week", "year")),
        ("D", 40, ("week",)),
        ("B", 10, ("week",)),
        ("W-SUN", 104, ()),
        ("W-SUN", 105, ("year",)),
        ("MS", 23, ()),
        ("MS", 24, ("year",)),
        ("QE", 8, ("year",)),
        ("YS", 50, ()),
        (1, 1000, ()),
    ],
)
def test_only_what_comes_round_twice_is_told(freq, steps, expected):
    start = 0 if freq == 1 else pd.date_range("2022-03-01", periods=1, freq=freq)[0]
    assert choose_rounds(TimeGrid(freq, start), steps) == expected


@pytest.mark.parametrize("freq", ["h", "7min", "D", "W-SUN", "MS", "B"])
def test_rows_of_the_calendar_are_its_features(freq):
    stamps = pd.date_range(
        "2019-12-30", periods=70_000 if freq == "h" else 400, freq=freq
    )
    rows = CalendarRows(stamps, freq)
    expected = calendar_features(stamps, freq)
    chosen = np.array([[0, 1], [399, len(stamps) - 1]])
    assert rows.width == expected.shape[1]
    np.testing.assert_array_equal(rows[chosen], expected[chosen])
