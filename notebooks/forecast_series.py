# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Forecast many series
#
# Monthly turnover of Australian retail, 152 series by state and industry, 1982 to 2018. It ships with the package. One network forecasts them all; four that end years before the others are left out, since a plan for the months after *their* end would be needed.

# %%
import numpy as np
import pandas as pd

import keras_seq
from keras_seq import Forecaster, datasets

df = datasets.load_aus_retail()
last = df.groupby("unique_id")["ds"].transform("max")
df = df[last == df["ds"].max()].copy()
df.tail(3)

# %% [markdown]
# The last 24 months are held out; nothing below sees them before they are scored.
#
# **Covariates** are more columns, named by when they are known. State and industry belong to a series (static). How many weekend days a month will have is known ahead (future), and shops are busy then. What all series sold together is known up to now (past).

# %%
months = pd.DatetimeIndex(df["ds"].unique())
weekends = [
    np.busday_count(m.date(), (m + pd.DateOffset(months=1)).date(), weekmask="0000011")
    for m in months
]
df["weekend_days"] = df["ds"].map(dict(zip(months, weekends, strict=True)))
df["total"] = df.groupby("ds")["y"].transform("sum")

cutoff = df["ds"].max() - pd.DateOffset(months=24)
train = df[df["ds"] <= cutoff]

# %% [markdown]
# ## Fit
#
# Frequency, season, lookback and scaling are found from the data. The target is scaled inside the network, window by window, so nothing has to be prepared and nothing can leak. (100 steps at most, to be quick; the default is 1,000.)

# %%
settings = {"horizon": 12, "max_steps": 100, "seed": 0}
covariates = {
    "static_covariates": ["State", "Industry"],
    "past_covariates": ["total"],
    "future_covariates": ["weekend_days"],
}
f = Forecaster(**settings, **covariates)
f.fit(train, verbose=0)
print(f.freq_, f.season_length_, f.lookback_, f.scaling_, f.best_step_)

# %%
plan = df.loc[df["ds"] > cutoff, ["unique_id", "ds", "weekend_days"]]
f.predict(future=plan).head(3)

# %%
_ = f.plot(future=plan)

# %% [markdown]
# ## Judge
#
# Two years, a year at a time: first from the training data, then from the history that is twelve months longer, without training again. `evaluate` refuses rows that `fit` has seen, and puts the seasonal naive forecast beside the network's. Do the covariates help? The same network without them is scored as well.

# %%
plain = Forecaster(**settings).fit(train, verbose=0)
results = {}
for year in range(2):
    start = cutoff + pd.DateOffset(months=12 * year)
    end = start + pd.DateOffset(months=12)
    history, future = df[df["ds"] <= start], df[(df["ds"] > start) & (df["ds"] <= end)]
    scores = f.evaluate(history, future)
    results[f"year {year + 1}"] = {
        "MASE": scores["mase"],
        "MASE without covariates": plain.evaluate(history, future)["mase"],
        "MASE of seasonal naive": scores["baselines"]["seasonal_naive"]["mase"],
        "inside the 80 % interval, %": 100 * scores["coverage"],
    }
pd.DataFrame(results).T.round(3)

# %% [markdown]
# After these few steps the covariates help (one seed), and the network is ahead of seasonal naive in both years. The default of 1,000 steps has MASE 0.928 over both, without covariates (`benchmarks/aus_retail.py`). Whether a covariate is worth having is a question for a backtest with and without it.
#
# ## Intervals
#
# The bounds of 80 % are trained. With `conformal=True` they are calibrated on what `fit` held back, step by step, and any `level` can be had; nothing is trained anew, so it may be set after `fit`.

# %%
year = df[(df["ds"] > cutoff) & (df["ds"] <= cutoff + pd.DateOffset(months=12))]
f.set_params(conformal=True)
forecast = f.predict(future=plan, level=[50, 80, 95]).merge(
    year, on=["unique_id", "ds"]
)
inside = {
    f"{level} %": forecast["y"].between(
        forecast[f"y_hat_lo{level}"], forecast[f"y_hat_hi{level}"]
    )
    for level in (50, 80, 95)
}
(100 * pd.DataFrame(inside).mean()).round(1).rename("inside, %").to_frame().T

# %% [markdown]
# Bounds of single months cannot be added. The total of a year needs sample paths:

# %%
paths = f.simulate(num_paths=200, future=plan, seed=0)
totals = paths.groupby(["unique_id", "path"])["y"].sum().groupby("unique_id")
bounds = totals.quantile([0.1, 0.9]).unstack()
actual = year.groupby("unique_id")["y"].sum()
share = actual.between(bounds[0.1], bounds[0.9]).mean()
print(f"totals of the year inside the 80 % interval: {share:.0%} of {len(actual)}")
_ = f.set_params(conformal=False)

# %% [markdown]
# ## Backtest
#
# `backtest` forecasts the past from any number of origins, with clones fitted on what came before; `score_backtest` scores it beside its baselines. (Few steps and twenty series, to be quick.)

# %%
some = df[df["unique_id"].isin(df["unique_id"].unique()[:20])]
quick = Forecaster(horizon=12, max_steps=50, refit_full=False)
windows = quick.backtest(some, num_windows=3, verbose=0)
scored = quick.score_backtest(windows, some)
scored[["model", "mae", "mase", "scaled_crps", "coverage", "skill"]].round(3)

# %% [markdown]
# ## Use
#
# Any history can be forecast, also of series the network has never seen. This one has no covariates, so the plain forecaster is asked.

# %%
mine = pd.Series(
    [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118] * 3,
    index=pd.date_range("2021-01-01", periods=36, freq="MS"),
    name="passengers",
)
plain.predict(mine, level=[80]).head(3)

# %% [markdown]
# ## Save

# %%
import tempfile
from pathlib import Path

path = Path(tempfile.mkdtemp()) / "retail.kseq"
f.save(path)
again = keras_seq.load(path)
again.predict(future=plan).equals(f.predict(future=plan))
