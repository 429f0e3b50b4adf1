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
# # Classify text
#
# From a table of raw strings to a saved classifier: the SMS Spam Collection, 5,574 messages, 13 % of them spam. It ships with the package.

# %%
import numpy as np
import pandas as pd

import keras_seq
from keras_seq import TextClassifier, datasets

df = datasets.load_sms_spam()
df.sample(5, random_state=0)

# %% [markdown]
# The same message often occurs several times. A split by row would put copies into both parts and flatter the score, so the split is by **distinct text**.

# %%
distinct = np.sort(df["text"].unique())
shuffled = np.random.default_rng(0).permutation(distinct)
held_out = df["text"].isin(shuffled[: len(shuffled) // 5])
train, test = df[~held_out], df[held_out]
print(f"{len(train)} messages to train on, {len(test)} held out")

# %% [markdown]
# ## Fit
#
# The defaults are a bidirectional LSTM with max pooling, and beside it a bag of word pairs that starts from naive Bayes; each has its own say, weighed on validation. `fit` holds a tenth of its texts back, finds out on them how many epochs are best, calibrates the probabilities there, and then trains on everything for as many. It counts before it trains, and would warn of what hurts.
#
# (At most five epochs here, to be quick; the default is 30, stopped by validation.)

# %%
clf = TextClassifier(epochs=5, seed=0)
clf.fit(train["text"], train["label"], verbose=0)
print(clf.report_.summary())
print(f"best after epoch {clf.best_epoch_}, temperature {clf.temperature_:.2f}")

# %%
_ = clf.plot()

# %% [markdown]
# ## Judge
#
# A score means little alone. Beside it stand the commonest class and TF-IDF + logistic regression, fitted on the same texts and scored on the same rows. `ece` is the calibration error: how far probabilities are from the share of answers that are right.

# %%
scores = clf.evaluate(test["text"], test["label"])
rows = {"network": scores, **scores["baselines"]}
pd.DataFrame(
    {
        name: {
            "accuracy": row["accuracy"],
            "F1 of spam": row["f1_per_class"]["spam"],
            "log loss": row["log_loss"],
            "ece": row["ece"],
        }
        for name, row in rows.items()
    }
).T.round(4)

# %%
_ = clf.plot(test["text"], test["label"])

# %% [markdown]
# The network and the linear model are equally right; the network's probabilities are better. Which messages does it get wrong, and how sure was it?

# %%
probability = clf.predict_proba(test["text"])
wrong = clf.classes_[probability.argmax(1)] != test["label"]
shown = test[wrong].assign(sure=probability.max(1)[wrong].round(2))
shown["text"] = shown["text"].str.slice(0, 80)
shown.sort_values("sure", ascending=False).head(5)

# %% [markdown]
# ## Use
#
# Raw strings go in; words never seen, other scripts and empty strings are fine.

# %%
messages = [
    "WINNER!! You have been selected, call 09061701461 to claim your £900 prize",
    "are we still on for lunch tomorrow?",
    "你好，明天见",
    "",
]
probabilities = clf.predict_proba(messages)
pd.DataFrame(probabilities, columns=clf.classes_, index=messages).round(3)

# %% [markdown]
# ## Save
#
# One file holds the network, the vocabulary and the labels. Nothing in it can execute.

# %%
import tempfile
from pathlib import Path

path = Path(tempfile.mkdtemp()) / "spam.kseq"
clf.save(path)
again = keras_seq.load(path)
print(f"{path.stat().st_size / 1e6:.1f} MB", again.predict(messages))
