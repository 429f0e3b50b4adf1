"""One small search per task, with real networks; the same code on every backend."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from keras_seq import Forecaster, TextClassifier, tune

pytestmark = pytest.mark.numeric


def _series() -> pd.DataFrame:
    steps = np.arange(60)
    stamps = pd.date_range("2020-01-01", periods=60, freq="MS")
    frames = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": stamps,
                "y": 10 * i + np.sin(2 * np.pi * steps / 12) + 0.1 * np.cos(i + steps),
            }
        )
        for i in range(1, 5)
    ]
    return pd.concat(frames, ignore_index=True)


def test_a_forecaster_is_searched_and_refitted() -> None:
    frame = _series()
    forecaster = Forecaster(horizon=6, units=4, max_steps=5, lookback=12, batch_size=8)
    space = {"units": [4, 8], "clipvalue": (0.1, 1.0), "clipnorm": (0.1, 1.0, "log")}
    result = tune(forecaster, frame, space=space, max_trials=2, verbose=0)
    table = result.trials_
    assert table["status"].tolist() == ["completed"] * 2
    assert table["score"].equals(table["val_mase"].rename("score"))
    # A trial is exactly what a user who types its arguments gets.
    own = clone(forecaster).set_params(refit_full=False).fit(frame, verbose=0)
    assert table.loc[0, "score"] == pytest.approx(own.validation_["mase"], rel=1e-6)
    assert table.loc[1, ["clipvalue", "clipnorm"]].notna().sum() == 1
    best = result.best_estimator_
    assert result.best_score_ == table["score"].min()
    typed = clone(forecaster).set_params(**result.best_params_).fit(frame, verbose=0)
    pd.testing.assert_frame_equal(best.predict(), typed.predict(), rtol=1e-6)


def test_a_text_classifier_is_searched_and_refitted() -> None:
    texts = [f"{mood} day {i}" for i in range(20) for mood in ("good", "bad")]
    labels = [1, 0] * 20
    classifier = TextClassifier(units=2, embedding_dim=2, epochs=1)
    result = tune(
        classifier,
        texts,
        labels,
        space={"dropout": (0.0, 0.5)},
        max_trials=2,
        verbose=0,
    )
    assert result.objective == "log_loss"
    assert result.best_score_ == result.trials_["val_log_loss"].min()
    best = result.best_estimator_
    # Trials spare the baseline; what the user gets has it.
    assert "tfidf_logreg" in best.evaluate(texts, labels)["baselines"]
    typed = clone(classifier).set_params(**result.best_params_)
    typed.fit(texts, labels, verbose=0)
    np.testing.assert_allclose(
        best.predict_proba(texts), typed.predict_proba(texts), rtol=1e-6
    )
