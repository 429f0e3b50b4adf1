"""One small search per task, with real networks; the same code on every backend."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from keras_seq import Forecaster, TextClassifier, tune
from keras_seq.tuning.default_space import default_space
from keras_seq.tuning.space import make_space


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


@pytest.mark.slow
@pytest.mark.numeric
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


@pytest.mark.slow
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


def test_the_default_space_depends_on_the_estimator_and_the_data() -> None:
    frame = _series()
    space = default_space(Forecaster(horizon=6), (frame,))
    assert space["lookback"] == [18, "auto", 54]  # 6 of 60 steps are to forecast
    assert space["scaling"] == ["log", "mean_abs", "auto"]
    below = frame.assign(y=frame["y"] - 30)
    other = Forecaster(horizon=6, lookback=20, units=48, scaling="none", cell="rnn")
    space = default_space(other, (below,))
    assert space["lookback"] == [18, 36, 54, 20]
    assert space["scaling"] == ["mean_abs", "standard", "none"]
    assert space["units"] == [32, 64, 128, 48]
    assert space["cell"] == ["gru", "lstm", "rnn"]
    # What an estimator is itself teaches the search about the space.
    for estimator, data in (
        (Forecaster(horizon=6), (frame,)),
        (other, (below,)),
        (TextClassifier(), (["a"], ["b"])),
        (TextClassifier(units=(32, 16), num_layers=2), (["a"], ["b"])),
        (Forecaster(horizon=6, cell="transformer"), (frame,)),
    ):
        params = estimator.get_params(deep=False)
        space = default_space(estimator, data)
        assert make_space(space, params).encode(params) is not None
    assert "units" not in default_space(TextClassifier(units=(32, 16)), ())
    assert "cell" not in default_space(Forecaster(horizon=6, cell="transformer"), data)


def test_folds_of_series_are_rolling_origins() -> None:
    frame = _series().sample(frac=1, random_state=0)
    folds = list(Forecaster(horizon=6).split_folds(3, frame))
    ends = [data[0]["ds"].max() for data, _ in folds]
    assert [end.strftime("%Y-%m") for end in ends] == ["2023-12", "2024-06", "2024-12"]
    assert [len(data[0]) for data, _ in folds] == [4 * 48, 4 * 54, 4 * 60]
    one = frame[frame["unique_id"] == "s1"].sort_values("ds").set_index("ds")["y"]
    alone = Forecaster(horizon=6, id_col=None).split_folds(2, one)
    assert [len(data[0]) for data, _ in alone] == [54, 60]
    with pytest.raises(ValueError, match="`folds` must leave a series of more than"):
        list(Forecaster(horizon=6).split_folds(9, frame))


def test_folds_of_texts_are_stratified_and_keep_copies_together() -> None:
    texts = [f"{mood} {i // 2}" for i in range(24) for mood in ("good", "bad", "so")]
    labels = ["yes", "no", "no"] * 24
    seen: list[str] = []
    for (kept, values), options in TextClassifier().split_folds(4, texts, labels):
        held, held_values = options["validation_data"]
        assert not set(kept) & set(held)
        assert held_values.count("yes") == 6 and len(held) == 18
        assert len(kept) == len(values) == 54
        seen += held
    assert sorted(seen) == sorted(texts)
    with pytest.raises(ValueError, match="folds=13, and 12 of class 'yes'"):
        list(TextClassifier().split_folds(13, texts, labels))


@pytest.mark.slow
def test_hyperband_goes_on_with_a_real_network() -> None:
    forecaster = Forecaster(horizon=6, units=4, max_steps=450, lookback=12)
    settings = {"space": {"units": [4, 6]}, "max_trials": 2, "verbose": 0}
    halted = tune(forecaster, _series(), algorithm="hyperband", **settings)
    whole = tune(forecaster, _series(), algorithm="random", **settings)
    # A trial that paused twice is one that never did.
    assert halted.trials_["units"].tolist() == whole.trials_["units"].tolist()
    assert halted.trials_["score"].tolist() == whole.trials_["score"].tolist()


@pytest.mark.slow
def test_a_trial_is_scored_by_all_of_its_folds() -> None:
    forecaster = Forecaster(horizon=6, units=4, max_steps=5, lookback=12)
    space = {"units": [4, 6]}
    result = tune(forecaster, _series(), space=space, folds=2, max_trials=1, verbose=0)
    scores = [
        clone(forecaster).fit(*data, verbose=0).validation_["mase"]
        for data, _ in forecaster.split_folds(2, _series())
    ]
    assert result.best_score_ == pytest.approx(np.mean(scores), rel=1e-6)


@pytest.mark.slow
def test_a_search_reads_texts_in_files(tmp_path: Path) -> None:
    numbers = [f"{number // 6} {number % 6}" for number in range(30)]
    texts = [f"{word} {number}" for number in numbers for word in ("good", "bad")]
    frame = pd.DataFrame({"text": texts, "label": ["yes", "no"] * 30})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    clf = TextClassifier(cell="rnn", units=2, embedding_dim=4, epochs=1, baseline=False)
    options: Any = {"space": {"units": [2]}, "max_trials": 1, "folds": 2, "verbose": 0}
    found = tune(clf, tmp_path / "texts.csv", executor=None, **options)
    expected = tune(clf, texts, frame["label"].tolist(), executor=None, **options)
    assert found.best_score_ == expected.best_score_
    assert len(found.best_estimator_.predict(tmp_path / "texts.csv")) == 60
