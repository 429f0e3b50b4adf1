"""Scores of a backtest against a plain loop over series and cutoffs."""

import numpy as np
import pandas as pd
import pytest
from utilsforecast import losses

from keras_seq import Forecaster
from keras_seq.forecasting.panel import Columns, make_panel
from keras_seq.forecasting.scores import score_backtest

QUANTILES = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def df():
    random = np.random.default_rng(0)
    sizes = {"a": 1.0, "b": 10.0, "zero": 0.0}
    frames = [
        pd.DataFrame({"unique_id": name, "ds": range(40), "y": size * values})
        for (name, size), values in zip(
            sizes.items(), random.normal(size=(3, 40)), strict=True
        )
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def windows(df):
    """Forecasts of a pretended backtest."""
    random = np.random.default_rng(1)
    parts = []
    for cutoff in (29, 34):
        part = df[df["ds"].between(cutoff + 1, cutoff + 3)].assign(cutoff=cutoff)
        steps = random.normal(size=(len(part), 5))
        part = part.assign(y_hat=steps[:, 0], **{"y_hat_q0.5": steps[:, 0]})
        part["y_hat_q0.1"] = part["y_hat"] - np.abs(steps[:, 1])
        part["y_hat_q0.9"] = part["y_hat"] + np.abs(steps[:, 2])
        parts.append(part.assign(seasonal_naive=steps[:, 3], naive=steps[:, 4]))
    # one row less: series and cutoffs must not be weighed by their rows
    return pd.concat(parts, ignore_index=True).iloc[1:]


def score(windows, df, by=None):
    panel = make_panel(df, Columns())
    return score_backtest(windows, panel, season_length=4, quantiles=QUANTILES, by=by)


def slow_scores(windows, df, model):
    cells = []
    for (name, cutoff), rows in windows.groupby(["unique_id", "cutoff"]):
        error = (rows["y"] - rows[model]).abs()
        past = df[(df["unique_id"] == name) & (df["ds"] <= cutoff)]["y"].to_numpy()
        scale = np.mean(np.abs(past[4:] - past[:-4]))
        smape = 200 * error / (rows["y"].abs() + rows[model].abs())
        cells.append(
            {
                "mae": error.mean(),
                "rmse": np.sqrt((error**2).mean()),
                "smape": smape.mean(),
                "mase": error.mean() / scale if scale else np.nan,
            }
        )
    return pd.DataFrame(cells).mean()


def slow_crps(windows, model):
    total = 0.0
    for _, row in windows.iterrows():
        for q in QUANTILES:
            error = row["y"] - row[f"y_hat_q{q}" if model == "y_hat" else model]
            total += 2 * max(q * error, (q - 1) * error) / len(QUANTILES)
    return total / windows["y"].abs().sum()


def test_scores_are_those_of_a_plain_loop(windows, df):
    table = score(windows, df).set_index("model")
    assert list(table.index) == ["y_hat", "seasonal_naive", "naive"]
    for model in table.index:
        expected = slow_scores(windows, df, model)
        np.testing.assert_allclose(table.loc[model, expected.index], expected)
        crps = table.at[model, "scaled_crps"]
        np.testing.assert_allclose(crps, slow_crps(windows, model))
        skill = 1 - table.at[model, "mase"] / table.at["seasonal_naive", "mase"]
        assert table.at[model, "skill"] == pytest.approx(skill)
    inside = windows["y"].between(windows["y_hat_q0.1"], windows["y_hat_q0.9"])
    assert table.at["y_hat", "coverage"] == pytest.approx(inside.mean())
    assert (table.at["y_hat", "level"], table.at["y_hat", "n"]) == (80, 17)
    assert np.isnan(table.at["naive", "coverage"])


@pytest.mark.parametrize("by", ["series", "cutoff"])
def test_a_part_has_the_scores_of_its_rows_alone(windows, df, by):
    key = {"series": "unique_id", "cutoff": "cutoff"}[by]
    table = score(windows, df, by)
    assert len(table) == 3 * windows[key].nunique()
    for value, rows in windows.groupby(key):
        part = table[table[key] == value].drop(columns=key).reset_index(drop=True)
        pd.testing.assert_frame_equal(part, score(rows, df), check_dtype=False)


def test_crps_of_a_series_is_that_of_utilsforecast(windows, df):
    columns = [f"y_hat_q{q}" for q in QUANTILES]
    rows = windows.drop(columns="cutoff")
    theirs = losses.scaled_crps(rows, {"y_hat": columns}, np.array(QUANTILES))
    ours = score(windows, df, "series").query("model == 'y_hat'")
    ours = ours.set_index("unique_id")["scaled_crps"]
    for name in "ab":
        expected = theirs.set_index("unique_id").at[name, "y_hat"]
        assert ours[name] == pytest.approx(expected)
    assert np.isnan(ours["zero"])  # nothing to scale by


def test_backtest_of_other_names_is_scored(df):
    renamed = df.rename(columns={"unique_id": "shop", "ds": "t", "y": "sales"})
    forecaster = Forecaster(
        horizon=3,
        max_steps=5,
        units=2,
        lookback=8,
        season_length=4,
        refit_full=False,
        id_col="shop",
        time_col="t",
        target_col="sales",
    )
    windows = forecaster.backtest(renamed, 2, verbose=0)
    last = renamed.set_index(["shop", "t"])["sales"]
    for _, row in windows.iterrows():
        assert row["naive"] == last[row["shop"], row["cutoff"]]
    table = forecaster.score_backtest(windows, renamed, by="series")
    assert list(table.columns[:2]) == ["shop", "model"] and len(table) == 9
    overall = forecaster.score_backtest(windows, renamed).set_index("model")
    mae = (windows["sales"] - windows["y_hat"]).abs().mean()
    assert overall.at["y_hat", "mae"] == pytest.approx(mae)
    with pytest.raises(ValueError, match="It has no column 'cutoff'"):
        forecaster.score_backtest(windows.drop(columns="cutoff"), renamed)
    with pytest.raises(ValueError, match="`by` must be one of .*Did you mean 'series'"):
        forecaster.score_backtest(windows, renamed, by="serie")
