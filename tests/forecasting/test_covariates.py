"""Covariates: as in the frame, as the network sees them, and what they may not tell."""

import json

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq import Forecaster
from keras_seq.forecasting.columns import Columns
from keras_seq.forecasting.features import CovariateEncoder
from keras_seq.forecasting.panel import make_panel
from keras_seq.forecasting.windows import WindowSource, WindowSpec

pytestmark = pytest.mark.numeric

COLUMNS = Columns(
    "shop",
    "day",
    "sales",
    static=["region", "area"],
    past=["visits"],
    future=["promo", "holiday"],
)
LOOKBACK, HORIZON = 5, 3


def shops(lengths=(12, 7, 1), freq="D"):
    """Shops in two regions, with gaps and every kind of missing value."""
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "shop": f"shop {i}",
                "day": pd.date_range("2024-01-01", periods=12, freq=freq)[-length:],
                "sales": random.normal(size=length) + 20,
                "region": ["north", "south", None][i % 3],
                "area": [100.0, 250.0, np.nan][i % 3],
                "visits": random.normal(size=length) + 1e9,
                "promo": random.random(length) < 0.5,
                "holiday": random.choice(["", "new year", "easter"], size=length),
            }
        )
        for i, length in enumerate(lengths)
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[3, "visits"] = np.nan
    frame.loc[5, "holiday"] = None
    return frame.drop(index=[6])


def encode(frame, end=None, columns=COLUMNS, freq="D"):
    panel = make_panel(frame, columns, freq)
    encoder = CovariateEncoder.learn(panel, panel.lengths if end is None else end)
    spec = WindowSpec(LOOKBACK, HORIZON, True, encoder)
    return panel, encoder, WindowSource(panel, spec)


def ahead(frame, steps=HORIZON, columns=COLUMNS):
    """Known rows after the end of each series."""
    last = frame.groupby("shop")["day"].max()
    rows = [
        {"shop": shop, "day": day + pd.Timedelta(days=k)}
        for shop, day in last.items()
        for k in range(1, steps + 1)
    ]
    return pd.DataFrame(rows).assign(promo=True, holiday="easter")


def slow_inputs(frame, shop, origin, end):
    """The documented inputs of one window, one number at a time."""
    train = frame[frame["day"] < end]
    days = pd.date_range(end=origin, periods=LOOKBACK + 1)[:-1]
    known = pd.date_range(days[0], periods=LOOKBACK + HORIZON)
    own = frame[frame["shop"] == shop].set_index("day")
    visits = own["visits"].reindex(days).to_numpy()
    statistics = train["visits"].mean(), train["visits"].std(ddof=0)
    observed = ~np.isnan(visits)
    scaled = np.where(observed, (visits - statistics[0]) / statistics[1], 0)
    promo = own["promo"].reindex(known).astype(float).to_numpy()
    mean, deviation = train["promo"].mean(), train["promo"].std(ddof=0)
    promo_observed = ~np.isnan(promo)
    future = [np.where(promo_observed, (promo - mean) / deviation, 0), promo_observed]
    holidays = own["holiday"].reindex(known)
    categories = [c for c in frame["holiday"].dropna().drop_duplicates()]
    return {
        "past": np.stack([scaled, observed], axis=-1),
        "future": np.stack(future, axis=-1),
        "holidays": {c: (holidays == c).to_numpy().astype(float) for c in categories},
    }


def test_inputs_equal_a_plain_loop():
    frame = shops()
    panel, encoder, source = encode(frame.sample(frac=1, random_state=0))
    series, origins = np.array([0, 0, 0, 1, 2]), np.array([4, 9, 12, 2, 1])
    got = source.gather(series, origins).covariates
    starts = frame.groupby("shop")["day"].min().to_numpy()
    end = pd.Timestamp("2030-01-01")
    order = encoder.columns[-1].categories
    for k in range(len(series)):
        shop = panel.ids[series[k]]
        origin = starts[series[k]] + pd.Timedelta(days=origins[k])
        expected = slow_inputs(frame, shop, origin, end)
        np.testing.assert_allclose(got["past"][k], expected["past"], atol=1e-6)
        holidays = np.stack([expected["holidays"][c] for c in order], axis=-1)
        future = np.concatenate([expected["future"], holidays], axis=-1)
        np.testing.assert_allclose(got["future"][k], future, atol=1e-6)
    # region: unknown is 0; area: standardised over series, and whether it is known
    assert got["static_ids"][[0, 3, 4], 0].tolist() == [1, 2, 0]
    np.testing.assert_allclose(got["static"][[0, 3, 4]], [[-1, 1], [1, 1], [0, 0]])
    assert {a.dtype.name for a in got.values()} == {"float32", "int32"}
    widths = {"num_static": 2, "num_past": 2, "num_future": 5}
    assert encoder.widths() == {**widths, "static_cardinalities": [3]}


def test_nothing_from_the_origin_on_reaches_the_inputs_but_what_is_known_ahead():
    frame = shops()
    later = frame["day"] >= "2024-01-08"
    spoilt = frame.copy()
    spoilt.loc[later, ["sales", "visits"]] = -1e6
    end = np.array([7, 2, 0])  # steps before that day
    found = []
    for changed in (frame, spoilt):
        _, encoder, source = encode(changed, end)
        windows = source.gather(np.array([0, 1]), end[:2])
        found.append((encoder, windows.past, windows.covariates))
    (one, past, covariates), (two, past_two, covariates_two) = found
    assert one == two
    np.testing.assert_array_equal(past, past_two)
    for name, array in covariates.items():
        np.testing.assert_array_equal(array, covariates_two[name])


def test_parts_of_a_panel_and_state_round_trip():
    panel, encoder, _ = encode(shops())
    cut = panel.until(7)
    assert cut.ids.tolist() == ["shop 0", "shop 1"]
    beside = cut.covariates
    assert len(beside.past) == cut.lengths.sum() == 9
    assert np.diff(beside.offsets).tolist() == [12, 7]  # what is known ahead stays
    np.testing.assert_array_equal(beside.future[7:12], panel.covariates.future[7:12])
    state, arrays = panel.tail(4).get_state()
    twin = type(panel).from_state(json.loads(json.dumps(state)), arrays)
    again = CovariateEncoder.from_state(json.loads(json.dumps(encoder.get_state())))
    assert again == encoder
    one, two = (
        WindowSource(p, WindowSpec(3, 2, True, again)).gather(
            np.array([0, 1]), p.lengths[:2]
        )
        for p in (twin, panel)
    )
    for name, array in one.covariates.items():
        np.testing.assert_array_equal(array, two.covariates[name])


def test_categories_of_every_kind():
    frame = shops()
    frame["region"] = frame["shop"].map({"shop 0": 7, "shop 1": 3}).astype("category")
    frame["holiday"] = pd.Categorical(frame["holiday"])
    frame["promo"] = frame["promo"].astype(object).where(frame.index != 2, None)
    _, encoder, source = encode(frame)
    levels = encoder.levels()
    assert levels["region"] == [7, 3] and isinstance(levels["promo"], float)
    new = frame.assign(region=3)  # the type was lost on the way, the values were not
    new["holiday"] = frame["holiday"].astype(str).replace("easter", "strike")
    panel = make_panel(new, COLUMNS, "D", levels)
    windows = WindowSource(panel, source.spec).gather(np.array([0]), np.array([12]))
    assert windows.covariates["static_ids"].tolist() == [[2]]
    unknown = (new["holiday"] == "strike")[:4]  # a category that fit did not see
    assert unknown.any()
    windows = WindowSource(panel, source.spec).gather(np.array([0]), np.array([5]))
    shown = windows.covariates["future"][0, :4, 2:]
    np.testing.assert_array_equal(shown.sum(axis=-1), 1 - unknown)


def test_numbers_where_categories_were_text_are_told():
    frame = shops()
    levels = make_panel(frame, COLUMNS, "D").covariates.levels
    coded = frame.assign(region=frame["region"].map({"north": 0, "south": 1}))
    coded["region"] = coded["region"].astype("Int64").astype("category")
    with pytest.warns(UserWarning, match=r"'region' .* saw \['north', .* \[0, 1\]"):
        panel = make_panel(coded, COLUMNS, "D", levels)
    assert panel.covariates.static[:2, 0].tolist() == [2, 3]  # none that fit saw


def test_what_is_known_ahead_is_found_whatever_the_order_and_the_rest():
    frame = shops()
    future = ahead(frame, steps=HORIZON + 4)
    future["promo"] = future["promo"].astype(object).where(future.index != 1, None)
    future["holiday"] = ["easter", "strike"] * 10 + ["easter"]
    extra = future.assign(shop="closed")
    mixed = pd.concat([future, extra, frame]).sample(frac=1, random_state=1)
    panel, encoder, _ = encode(frame)
    one, two = (
        panel.with_future(f, COLUMNS, HORIZON).covariates for f in (future, mixed)
    )
    np.testing.assert_array_equal(one.future, two.future)
    np.testing.assert_array_equal(one.offsets, [0, 15, 25, 29])
    source = WindowSource(
        panel.with_future(future, COLUMNS, HORIZON), WindowSpec(5, 3, True, encoder)
    )
    windows = source.gather(np.array([0]), panel.lengths[:1])
    shown = windows.covariates["future"][0, 5:]
    assert shown[:, 1].tolist() == [1, 0, 1]  # NaN is missing, not an error
    assert shown[:, 2:].sum(axis=1).tolist() == [1, 0, 1]  # so is what is not known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop(index=[4, 5]),
            r"(?s)2024-01-15 00:00:00, without 2 steps of 1 series.*shop 1 2024-01-14\n"
            " *shop 1 2024-01-15",
        ),
        (lambda f: f.assign(day=f["day"] - pd.Timedelta(days=30)), "without 9 steps"),
        (lambda f: f.assign(shop=1), "2024-01-15.* of other series alone, without 9"),
        (lambda f: f.iloc[:0], "Received: no rows, without 9 steps of 3 series"),
        (lambda f: pd.concat([f, f[:1]]), "one row per series and 'day'.*1 of 10 rows"),
        (lambda f: f.drop(columns="promo"), "must have the columns.*without 'promo'"),
        (lambda f: f.assign(promo="yes"), "'promo' .*same as in `fit`.*'yes'"),
    ],
)
def test_bad_future(change, message):
    frame = shops()
    with pytest.raises(ValueError, match=message):
        make_panel(frame, COLUMNS, "D").with_future(
            change(ahead(frame)), COLUMNS, HORIZON
        )


@pytest.mark.parametrize(
    ("columns", "change", "message"),
    [
        ({"past": ["sales"]}, {}, "`past_covariates` must name.*'sales' is in `target"),
        ({"static": ["shop"]}, {}, "'shop' is in `id_col` already"),
        (
            {"past": ["promo"]},
            {},
            "`future_covariates` must.*`past_covariates` already",
        ),
        ({"past": "visits"}, {}, "`past_covariates` must be a list.*'visits'"),
        ({"past": ["visit"]}, {}, "'visit' .past_covariates.. Did you mean 'visits'"),
        ({}, {"visits": np.inf}, r"'visits' \(past_covariates\) must be finite"),
        ({}, {"visits": pd.Timestamp("2024-01-01")}, "'visits'.*must hold numbers"),
        (
            {},
            {"area": lambda f: np.arange(len(f))},
            r"(?s)'area' \(static_covariates\) must have one value.*2 series.*shop 0",
        ),
        (
            {},
            {"area": lambda f: f["day"].astype(str).astype("category")},
            "'area' .*one value per series",
        ),
    ],
)
def test_bad_columns(columns, change, message):
    with pytest.raises(ValueError, match=message):
        frame = shops().assign(**change)
        make_panel(frame, Columns(**{**vars(COLUMNS), **columns}), "D")


def test_a_covariate_that_never_changes_is_ignored_and_told():
    constant = shops()[:3].assign(visits=4.0)
    alone = Columns("shop", "day", "sales", past=["visits"])
    with pytest.warns(UserWarning, match="'visits' is the same in all rows"):
        _, _, source = encode(constant, columns=alone)
    windows = source.gather(np.array([0]), np.array([3]))
    assert windows.covariates == {}
    # what was missing at times still tells something
    _, encoder, _ = encode(shops().assign(visits=lambda f: f["visits"] * 0))
    assert encoder.widths()["num_past"] == 1


def test_too_many_categories_are_refused():
    frame = shops((12, 12, 12)).assign(holiday=lambda f: f["day"].astype(str))
    many = pd.concat(
        frame.assign(shop=f"{k}", holiday=frame["holiday"] + f"{k}") for k in range(9)
    )
    many = many.drop_duplicates(["shop", "day"]).assign(region="a", area=1.0)
    with pytest.raises(ValueError, match="'holiday' .*at most 100 different.*108"):
        encode(many)


def test_polars_frames_are_taken_as_they_are():
    polars = pytest.importorskip("polars")
    frame = shops().astype({"region": "category"})
    one, two = (encode(f) for f in (frame, polars.from_pandas(frame)))
    pd.testing.assert_frame_equal(one[0].observed(), two[0].observed())
    assert one[1] == two[1]
    future = polars.from_pandas(ahead(frame))
    known = two[0].with_future(future, COLUMNS, HORIZON).covariates.future
    assert np.isfinite(known[-HORIZON:]).all()
    with pytest.raises(TypeError, match="LazyFrame has no rows yet: give .*collect"):
        make_panel(polars.from_pandas(frame).lazy(), COLUMNS)
    digests = {keras_seq.fingerprint.hash_data(f) for f in (future, future[:-1])}
    assert len(digests) == 2


SMALL = {
    "horizon": 3,
    "max_steps": 4,
    "units": 4,
    "lookback": 7,
    "refit_full": False,
    "id_col": "shop",
    "time_col": "day",
    "target_col": "sales",
    "static_covariates": ["region", "area"],
    "past_covariates": ["visits"],
    "future_covariates": ["promo", "holiday"],
}


def promo_frame(num_series=4, length=50):
    """Sales of a weekly season that a promotion, drawn at random, raises by 10."""
    random = np.random.default_rng(0)
    frames = []
    for i in range(num_series):
        promo = random.random(length) < 0.3
        season = 3 * np.sin(2 * np.pi * np.arange(length) / 7)
        sales = 20 * (i + 1) + season + 10 * promo + 0.3 * random.normal(size=length)
        frames.append(
            pd.DataFrame(
                {
                    "shop": f"shop {i}",
                    "day": pd.date_range("2024-01-01", periods=length, freq="D"),
                    "sales": sales,
                    "region": ["north", "south"][i % 2],
                    "area": 100.0 * i,
                    "visits": sales + random.normal(size=length),
                    "promo": promo,
                    "holiday": random.choice(["", "easter"], size=length),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    return promo_frame()


@pytest.fixture(scope="module")
def fitted(frame):
    return Forecaster(**SMALL).fit(cut(frame)[0], verbose=0)


def cut(frame):
    later = frame["day"] > "2024-02-16"  # three days are left
    return frame[~later], frame[later]


def test_predict_with_what_is_known_ahead(fitted, frame, tmp_path):
    past, future = cut(frame)
    forecasts = fitted.predict(future=future)
    assert list(forecasts)[:3] == ["shop", "day", "y_hat"]
    pd.testing.assert_frame_equal(
        fitted.predict(past, future[["holiday", "day", "promo", "shop"]]),
        forecasts,
        rtol=1e-5,
    )
    other = fitted.predict(future=future.assign(promo=~future["promo"]))
    assert (np.abs(other["y_hat"] - forecasts["y_hat"]) > 1e-4).all()
    short = fitted.predict(future=future[future["day"] == "2024-02-17"], horizon=1)
    assert len(short) == 4
    fitted.save(tmp_path / "f.kseq")
    twin = keras_seq.load(tmp_path / "f.kseq")
    pd.testing.assert_frame_equal(twin.predict(future=future), forecasts)
    pd.testing.assert_frame_equal(
        twin.predict(past, future), fitted.predict(past, future), rtol=1e-6
    )
    scores = fitted.evaluate(past, future[future["day"] < "2024-02-20"])
    error = future.merge(forecasts, on=["shop", "day"]).eval("abs(sales - y_hat)")
    assert scores["mae"] == pytest.approx(error.mean(), rel=1e-5)
    one_day = future[future["day"] == "2024-02-17"]  # the rest is not scored
    assert fitted.evaluate(past, one_day)["n"] == 4
    (ax,) = fitted.plot(past, future, ids=["shop 1"])
    assert ax.figure.get_supylabel() == "sales"


def test_rolling_forward_knows_what_is_known_ahead_and_no_more(fitted, frame):
    late = frame["day"] > "2024-02-13"  # twice the horizon is left
    past, future = frame[~late], frame[late]
    whole = fitted.predict(past, future, horizon=6)
    days = whole["day"].drop_duplicates()
    part = whole[whole["day"].isin(days[:3])][["shop", "day", "y_hat"]]
    came = future.merge(part, on=["shop", "day"])
    came = came.assign(sales=came["y_hat"], visits=np.nan).drop(columns="y_hat")
    alone = fitted.predict(pd.concat([past, came]), future)
    second = whole[whole["day"].isin(days[3:])].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        second[["shop", "day", "y_hat"]], alone[["shop", "day", "y_hat"]], rtol=1e-5
    )
    with pytest.raises(ValueError, match="without 12 steps of 4 series"):
        fitted.predict(past, future, horizon=9)


def test_new_series_of_a_single_value(fitted, frame):
    day = pd.Timestamp("2024-05-01")
    new = frame[:1].assign(shop="new", region="east", area=np.nan, day=day)
    days = pd.date_range(day, periods=4)[1:]
    future = pd.DataFrame({"shop": "new", "day": days, "promo": True, "holiday": None})
    with pytest.warns(UserWarning, match="1 series have a single value, .* 'new'"):
        forecasts = fitted.predict(new, future)
    assert forecasts["day"].tolist() == list(days)
    assert np.isfinite(forecasts.filter(like="y_hat")).all(axis=None)


def test_what_predict_needs_is_asked_for(fitted, frame):
    with pytest.raises(ValueError, match=r"`future` must be given.*\['promo', 'holid"):
        fitted.predict()
    with pytest.raises(ValueError, match="no column 'visits' .past_covariates"):
        fitted.predict(frame.drop(columns="visits"), frame)
    with pytest.raises(ValueError, match="without 12 steps of 4 series"):
        fitted.predict(future=frame[frame["day"] < "2024-02-17"])


def test_backtest_sees_ahead_only_what_is_known_ahead(fitted, frame):
    past, future = cut(frame)
    spoilt = pd.concat([past, future.assign(sales=-1e9, visits=1e9)])
    result = Forecaster(**SMALL).backtest(spoilt, 1, verbose=0)
    expected = fitted.predict(future=future)  # its fit had no row of them
    np.testing.assert_allclose(result["y_hat"], expected["y_hat"], rtol=1e-5)


def test_a_promotion_known_ahead_halves_the_error_of_who_cannot_know_it(frame):
    past, future = cut(frame)
    options = {**SMALL, "static_covariates": [], "past_covariates": []}
    options |= {"future_covariates": ["promo"], "max_steps": 150, "units": 8}
    scores = Forecaster(**options).fit(past, verbose=0).evaluate(past, future)
    # Without it, the least expected error is that of "no promotion", all else known.
    blind = 10 * future["promo"].mean()
    assert scores["mae"] < 0.5 * blind
    assert scores["skill"] > 0.5


def test_past_and_static_covariates_tell_what_neither_tells_alone():
    """y[t + 1] is x[t] on one side, -x[t] on the other; values tell nothing."""
    random = np.random.default_rng(0)
    frames = []
    for i, sign in enumerate([1, -1] * 4):
        x = random.normal(size=80)
        y = np.append(0, sign * x[:-1])
        frame = pd.DataFrame({"unique_id": i, "ds": range(80), "y": y, "x": x})
        frames.append(frame.assign(side="minus" if sign < 0 else "plus"))
    forecaster = Forecaster(
        horizon=1,
        lookback=4,
        units=8,
        max_steps=150,
        learning_rate=0.02,
        refit_full=False,
        past_covariates=["x"],
        static_covariates=["side"],
    )
    forecaster.fit(pd.concat(frames), verbose=0)
    # about 0.9 with either alone
    assert forecaster.validation_["mase"] < 0.6
