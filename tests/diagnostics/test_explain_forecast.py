"""Explanations of forecasts add up, and point at what drives the series."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster
from keras_seq.diagnostics import attention_weights, explain_forecast

HORIZON = 3


def _make_frame() -> pd.DataFrame:
    """Noise about a level, and at each step six times that step's `price`."""
    random = np.random.default_rng(0)
    frames = []
    for name, level in (("a", 50.0), ("b", 400.0)):
        price, other = random.normal(size=(2, 150))
        frames.append(
            pd.DataFrame(
                {
                    "shop": name,
                    "day": pd.date_range("2024-01-01", periods=150),
                    "sales": level + 6 * price + 0.3 * random.normal(size=150),
                    "price": price,
                    "rain": other,
                    "kind": f"kind {name}",
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


COLUMNS = {"id_col": "shop", "time_col": "day", "target_col": "sales"}
COVARIATES = {
    "static_covariates": ["kind"],
    "past_covariates": ["rain"],
    "future_covariates": ["price"],
}


@pytest.fixture(scope="module")
def data():
    df = _make_frame()
    last = df["day"].max() - pd.Timedelta(days=HORIZON)
    return df[df["day"] <= last], df[df["day"] > last]


@pytest.fixture(scope="module")
def forecaster(data):
    return Forecaster(
        horizon=HORIZON,
        lookback=10,
        season_length=1,
        units=8,
        max_steps=150,
        refit_full=False,
        **COLUMNS,
        **COVARIATES,
    ).fit(data[0], verbose=0)


def _check_complete(forecaster, explanation, forecast):
    table = explanation.forecasts
    np.testing.assert_allclose(table["y_hat"], forecast["y_hat"], rtol=1e-5)
    assert (table[COLUMNS["time_col"]] == forecast[COLUMNS["time_col"]]).all()
    keys = [COLUMNS["id_col"], "horizon_step"]
    parts = explanation.contributions.groupby(keys, sort=False)["contribution"]
    difference = (table["y_hat"] - table["baseline"]).to_numpy()
    np.testing.assert_allclose(
        parts.sum().to_numpy() - difference, table["gap"], atol=1e-3
    )
    sizes = parts.apply(lambda values: values.abs().sum()).to_numpy()
    assert (table["gap"].abs() <= 0.05 * sizes).all()


@pytest.mark.numeric
def test_contributions_add_up(forecaster, data):
    explanation = explain_forecast(forecaster, *data)
    _check_complete(forecaster, explanation, forecaster.predict(*data))


def test_the_driver_is_found_at_its_step(forecaster, data):
    history, future = data
    explanation = explain_forecast(forecaster, history, future)
    table = explanation.contributions
    assert set(table["input"]) == {"sales", "calendar", "rain", "price", "kind"}
    # What drives a step is the price of that very step.
    told, true = [], []
    for name in ("a", "b"):
        for step in range(1, HORIZON + 1):
            own = table[(table["shop"] == name) & (table["horizon_step"] == step)]
            actual = future[future["shop"] == name].iloc[step - 1]
            price = own[own["input"] == "price"]
            at = price[price["lag"] == 0].iloc[0]
            assert at["day"] == actual["day"]
            told.append(at["contribution"])
            true.append(6 * actual["price"])
            # The forecast starts from the last value, which owes something to its own
            # price; no other one says anything.
            others = price[~price["lag"].isin([0, step])]
            if abs(actual["price"]) > 0.5:
                assert abs(at["contribution"]) > others["contribution"].abs().max()
    assert np.corrcoef(told, true)[0, 1] > 0.9
    timed = table[table["input"] == "sales"]
    last = history.groupby("shop")["day"].max()
    distance = (timed["shop"].map(last) - timed["day"]).dt.days + timed["horizon_step"]
    assert (distance == timed["lag"]).all()
    assert table.loc[table["input"] == "kind", "day"].isna().all()
    totals = explanation.totals()
    assert totals["contribution"].sum() == pytest.approx(table["contribution"].sum())


def test_chosen_series_and_steps_are_parts_of_all(forecaster, data):
    everything = explain_forecast(forecaster, *data).contributions
    some = explain_forecast(forecaster, *data, series="b", step=2).contributions
    own = everything[(everything["shop"] == "b") & (everything["horizon_step"] == 2)]
    np.testing.assert_allclose(
        some["contribution"], own["contribution"], rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ValueError, match="`step` must not exceed.*3.*Received: step=4"):
        explain_forecast(forecaster, *data, step=4)
    with pytest.raises(ValueError, match="`series` must be among.*Received: 'c'"):
        explain_forecast(forecaster, *data, series="c")
    with pytest.raises(TypeError, match="after `fit`. Received: Forecaster"):
        explain_forecast(Forecaster(horizon=3), *data)


def test_missing_steps_add_nothing_and_levels_are_no_matter(forecaster, data):
    history, future = data
    gaps = history.copy()
    gaps.loc[gaps.groupby("shop").tail(3).index, "sales"] = np.nan
    explanation = explain_forecast(forecaster, gaps, future)
    _check_complete(forecaster, explanation, forecaster.predict(gaps, future))
    targets = explanation.contributions.query("input == 'sales'")
    assert (targets["lag"] - targets["horizon_step"]).min() == 3
    # The same series a million higher has the same explanation.
    high = history.assign(sales=history["sales"] + 1e6)
    raised = explain_forecast(forecaster, high, future)
    here = explain_forecast(forecaster, history, future)
    np.testing.assert_allclose(
        raised.contributions["contribution"],
        here.contributions["contribution"],
        atol=0.05,
    )


@pytest.mark.exhaustive
def test_ensemble_of_lookbacks_and_self_attention(data):
    history = data[0].drop(columns=["price", "rain", "kind"])
    f = Forecaster(
        horizon=HORIZON,
        ensemble=[12, 8],
        season_length=1,
        cell="transformer",
        units=8,
        max_steps=50,
        refit_full=False,
        **COLUMNS,
    ).fit(history, verbose=0)
    _check_complete(f, explain_forecast(f), f.predict())
    weights = attention_weights(f, history)
    sums = weights.groupby(["row", "layer", "head", "query"])["weight"].sum()
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    assert weights["day"].max() == history["day"].max()
    later = weights[weights["key"] > weights["query"]]
    assert (later["weight"] == 0).all()  # causal


def test_one_series_without_a_name(data):
    history = data[0].query("shop == 'a'")[["day", "sales"]]
    f = Forecaster(
        horizon=2,
        lookback=6,
        season_length=1,
        units=4,
        max_steps=5,
        refit_full=False,
        **{**COLUMNS, "id_col": None},
    ).fit(history, verbose=0)
    explanation = explain_forecast(f)
    assert "shop" not in explanation.contributions
    assert set(explanation.totals()["input"]) == {"sales", "calendar"}
    assert "baseline" in explanation.to_html()
    assert str(explanation).startswith("series, step 1")
    assert explanation.plot().get_title().startswith("step 1")


def test_html_escapes_names(forecaster, data):
    history, future = (
        part.assign(shop=part["shop"].map({"a": "<script>", "b": "b"})) for part in data
    )
    shown = explain_forecast(forecaster, history, future, step=1).to_html()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
