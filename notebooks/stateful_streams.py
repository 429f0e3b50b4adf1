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
# # Stateful streams
#
# A window forgets what lies before it, and is read again at every step. A **stateful** forecaster reads each series once, from its first step on, and keeps what it needs in a state: in training across the chunks that gradients reach through, and afterwards for each series that a service watches.
#
# The data: monthly turnover of Australian retail, which ships with the package; thirty series here.

# %%
import numpy as np
import pandas as pd

from keras_seq import Forecaster, datasets, numpy_runtime

df = datasets.load_aus_retail()
names = df["unique_id"].unique()[:30]
df = df[df["unique_id"].isin(names)]
history, later = df[df["ds"] < "2015-01-01"], df[df["ds"] >= "2015-01-01"]

# %% [markdown]
# `chunk_length` steps are trained at a time; the state goes on from chunk to chunk, and is emptied where a row of the batch passes to the next series. There is a forecast, and its loss, at *every* step, each scaled by what came up to it.

# %%
f = Forecaster(horizon=12, stateful=True, chunk_length=60, max_steps=300, seed=0)
f.fit(history, verbose=0)
f.validation_

# %% [markdown]
# ## A session
#
# It goes on where the training data end. Each month brings one value per series; the answer is the forecast after them. `to_frame()` makes a frame of it, if one is wanted.

# %%
session = f.stream(history="fit")
errors, expected = [], None
for month, rows in later.groupby("ds"):
    actual = rows.set_index("unique_id")["y"]
    if expected is not None:
        errors.append((actual - expected).abs().mean())
    out = session.step(actual.to_dict(), ds=month.to_datetime64())
    expected = pd.Series(out.values[:, 0, 0], index=out.keys)  # one month ahead
print(f"{len(session)} series, mean absolute error {np.mean(errors):.1f}")
out.to_frame().head(3)

# %% [markdown]
# Stepping equals reading at once: after the same values, `predict` says the same.

# %%
at_once = f.predict(df)
difference = (out.to_frame()["y_hat"] - at_once["y_hat"]).abs().max()
print(f"largest difference: {difference:.1e}, where values reach {df['y'].max():.0f}")

# %%
key = names[0]
f.plot(df, ids=[key])
# %% [markdown]
# ## Gaps, new keys, and what if
#
# Months that are left out advance as missing, and so do NaN and infinite values: they are counted, and no state is poisoned. A new key starts cold. `fork` copies a session, to try something out.

# %%
what_if = session.fork()
what_if.step({key: float("nan"), "a new shop": 42.0})
dropped = what_if.step({key: 0.0})
kept = session.step({key: float(df[df["unique_id"] == key]["y"].iloc[-1])})
print(
    f"after a zero: {dropped.values[0, 0, 0]:.1f}, after the usual: {kept.values[0, 0, 0]:.1f}"
)
print(f"missing: {what_if.num_missing}, series: {len(what_if)}")

# %% [markdown]
# ## Kept over night, and without TensorFlow
#
# A snapshot is one file with a checksum, written whole or not at all. A saved model streams with NumPy alone, where a service starts in a fraction of a second; a snapshot of one runtime fits the other.

# %%
session.snapshot("today.session")
f.save("retail.kseq")
light = numpy_runtime.load("retail.kseq").stream()
light.restore("today.session")
values = {key: 100.0}
same = light.step(values).values - session.step(values).values
print(f"{len(light)} series restored; largest difference: {np.abs(same).max():.1e}")
