"""What the defaults must reach on the data that ships, on parts never trained on."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, TextClassifier, datasets

# The demo's test asks nearly as much of one seed, in `make test-slow`.
pytestmark = pytest.mark.exhaustive


def test_sms_spam_beats_the_published_scores():
    df = datasets.load_sms_spam()
    distinct = np.sort(df["text"].unique())
    shuffled = np.random.default_rng(0).permutation(distinct)
    held_out = df["text"].isin(shuffled[: len(shuffled) // 5])
    train, test = df[~held_out], df[held_out]
    scores = [
        TextClassifier(seed=seed)
        .fit(train["text"], train["label"], verbose=0)
        .evaluate(test["text"], test["label"])
        for seed in range(3)
    ]
    assert np.mean([s["accuracy"] for s in scores]) >= 0.983
    assert np.mean([s["f1_per_class"]["spam"] for s in scores]) >= 0.943


def test_aus_retail_beats_seasonal_naive():
    df = datasets.load_aus_retail()
    cutoff = df["ds"].max() - pd.DateOffset(months=24)
    forecaster = Forecaster(horizon=12).fit(df[df["ds"] <= cutoff], verbose=0)
    scores = []
    for months in (0, 12):
        start = cutoff + pd.DateOffset(months=months)
        end = start + pd.DateOffset(months=12)
        rows = df[(df["ds"] > start) & (df["ds"] <= end)]
        scores.append(forecaster.evaluate(df[df["ds"] <= start], rows))
    mase = np.mean([s["mase"] for s in scores])
    naive = np.mean([s["baselines"]["seasonal_naive"]["mase"] for s in scores])
    assert naive == pytest.approx(1.145, abs=0.001)  # the windows are those meant
    assert mase <= 0.88 * naive
    assert 0.74 <= np.mean([s["coverage"] for s in scores]) <= 0.86
