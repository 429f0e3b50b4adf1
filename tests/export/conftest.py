"""Small fitted estimators that the tests of exports share."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, TextClassifier

TEXTS = [f"{mood} day {i} 你好" for i in range(12) for mood in ("good", "bad", "so")]
LABELS = ["up", "down", "level"] * 12
NEW_TEXTS = ["good day! 好", "", "Cafe\u0301 bad \U0001f600", "so " * 30, "bad 한"]
SMALL_TEXT = {
    "units": 3,
    "embedding_dim": 4,
    "epochs": 1,
    "refit_full": False,
    "baseline": False,
    "ngram_buckets": 64,
    "learning_rate": 0.05,  # so that probabilities differ
}
FORWARD = {"bidirectional": False, "ngrams": 0}
SMALL_SERIES = {
    "horizon": 3,
    "max_steps": 4,
    "units": 4,
    "season_length": 4,
    "lookback": 8,
    "refit_full": False,
    "learning_rate": 0.05,
}


def fit_text(multi_label=False, **options):
    labels = LABELS
    if multi_label:
        labels = [[label] if label != "level" else ["up", "down"] for label in LABELS]
    classifier = TextClassifier(**{**SMALL_TEXT, **options}, multi_label=multi_label)
    classifier.fit(TEXTS, labels, verbose=0)
    classifier.temperature_ = 1.7  # as if validation had asked for it
    return classifier


def make_series(covariates=False):
    steps = np.arange(40)
    frames = []
    for i in range(3):
        random = np.random.default_rng(i)
        values = 100.0 * i + 5 * np.sin(steps / 2) + random.normal(size=40)
        stamps = pd.date_range("2020-01-01", periods=40, freq="D")
        frame = pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": values})
        frame.loc[[7, 38], "y"] = np.nan
        if covariates:
            frame["promo"] = random.normal(size=40)
            frame["visits"] = random.normal(size=40)
            frame["size"] = float(i)
            frame["kind"] = ["a", "b", "a"][i]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def fit_series(covariates=False, **options):
    if covariates:
        options |= {
            "future_covariates": ["promo"],
            "past_covariates": ["visits"],
            "static_covariates": ["size", "kind"],
        }
    forecaster = Forecaster(**{**SMALL_SERIES, **options})
    return forecaster.fit(make_series(covariates), verbose=0)


@pytest.fixture(scope="session")
def forward():
    return fit_text(cell="gru", **FORWARD)


@pytest.fixture(scope="session")
def stateful():
    return fit_text(cell="lstm", stateful=True, batch_size=4, chunk_length=8)


@pytest.fixture(scope="session")
def forecaster():
    return fit_series()
