"""A network that repeats the last value is told from data where that is right.

A warning that is not expected fails a test.
"""

import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster
from keras_seq.forecasting import fitting


def make_frame(kind, num_series=10, length=80):
    random = np.random.default_rng(0)
    frames = []
    for index in range(num_series):
        noise = random.normal(size=length)
        values = {
            "walk": noise.cumsum(),
            "wave": 10 * np.sin(np.arange(length) + index) + 0.3 * noise,
            "constant": np.full(length, 3.0),
        }[kind]
        rows = {"unique_id": f"s{index}", "ds": range(length), "y": values}
        frames.append(pd.DataFrame(rows))
    return pd.concat(frames)


def fit(frame, **options):
    options = {"max_steps": 5, "learning_rate": 1e-6, **options}
    forecaster = Forecaster(horizon=1, lookback=12, units=4, **options)
    return forecaster.fit(frame, verbose=0)


@pytest.fixture
def last_value(monkeypatch):
    """Networks start from the last value, where they would from a linear map."""
    monkeypatch.setattr(fitting, "find_start", lambda *_: None)


def test_an_untrained_copy_of_a_wave_is_told(last_value):
    with pytest.warns(UserWarning, match="repeat the last value.*A linear map.*less"):
        fit(make_frame("wave"), refit_full=False)


@pytest.mark.slow
def test_a_season_that_the_network_is_not_told_of_is_named(last_value):
    frame = make_frame("wave")
    frame["y"] = np.tile([0.0, 5, -3, 8, 1], 160) + frame["y"] / 1e3
    with pytest.warns(UserWarning, match="repeat the last value"):
        fit(frame, refit_full=False)
    fit(frame, refit_full=False, season_length=5)


def test_an_untrained_network_is_no_copy_where_a_linear_map_is_better():
    fit(make_frame("wave"), refit_full=False)


@pytest.mark.parametrize("kind", ["walk", "constant"])
def test_where_the_last_value_is_the_best_there_is_nothing_to_tell(kind):
    fit(make_frame(kind), refit_full=False)


@pytest.mark.numeric
def test_a_trained_network_is_no_copy():
    fit(make_frame("wave"), max_steps=100, learning_rate=1e-2, refit_full=False)
