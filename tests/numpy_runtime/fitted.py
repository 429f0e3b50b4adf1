"""Small fitted estimators whose networks were not trained to be anything simple."""

import warnings

import numpy as np
import pandas as pd

from keras_seq import Forecaster, TextClassifier, numpy_runtime
from tests.numpy_runtime.networks import randomize

FUTURE = {"future_covariates": ["promotion", "holiday"]}
COVARIATES = {
    "static_covariates": ["size", "region"],
    "past_covariates": ["visitors"],
    **FUTURE,
}


def make_frame(freq="MS", length=40, ids=("b", "a", "c"), seed=0, ahead=0, start=None):
    random = np.random.default_rng(seed)
    parts = []
    for number, name in enumerate(ids):
        count = length - 3 * number + ahead
        if freq is None:
            stamps = np.arange(10, 10 + 2 * count, 2)
        else:
            stamps = pd.date_range(start or "2019-05-31", periods=count, freq=freq)
        part = {
            "unique_id": name,
            "ds": stamps,
            "y": random.lognormal(2 + number, 0.4, count) + np.arange(count) % 4,
            "size": 3.0 + number,
            "region": ["north", "south"][number % 2],
            "visitors": random.normal(50, 9, count),
            "promotion": random.integers(0, 2, count).astype(float),
            "holiday": random.choice(["none", "eid", "easter"], count),
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def fit_forecaster(path, frame, **arguments):
    """A saved forecaster whose network was not trained to be anything simple."""
    options = {"horizon": 4, "units": 3, "max_steps": 1, "refit_full": False}
    forecaster = Forecaster(**{**options, **arguments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of covariates, few errors
        forecaster.fit(frame, verbose=0)
    randomize(forecaster.model_, scale=0.3)
    forecaster.save(path)
    return forecaster, numpy_runtime.load(path)


def columns_of(frame):
    return {str(name): frame[name].to_numpy() for name in frame}


WORDS = "so good bad film plot Straße naïve \ufb01ne 電影 好 don't 42 , ! ไทย".split()


def make_texts(count=40, seed=0):
    random = np.random.default_rng(seed)
    return [
        " ".join(random.choice(WORDS, random.integers(1, 12))) for _ in range(count)
    ]


ODD_TEXTS = ["", "   ", "unknown words only", *make_texts(7, seed=4), "so good " * 60]


def fit_classifier(path, labels, load=None, **arguments):
    """A saved classifier whose network was not trained to be anything simple."""
    options = {"units": 3, "embedding_dim": 4, "epochs": 1, "refit_full": False}
    options |= {"baseline": False, "ngram_buckets": 64}
    classifier = TextClassifier(**{**options, **arguments})
    texts = make_texts(len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few texts, copies
        classifier.fit(texts, labels, verbose=0)
    randomize(classifier.model_, scale=0.4)
    classifier.temperature_ = 1.7
    classifier.save(path)
    return classifier, numpy_runtime.load(path, **(load or {}))
