"""A fit that was broken off goes on, to exactly what an undisturbed one reaches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, TextClassifier
from keras_seq.training.checkpoint import Checkpoint, TrainingState
from keras_seq.training.fit import Batches, fit_model
from keras_seq.training.optimizer import RecordingAdam
from tests.training.test_fit import get_batch, make_model

pytestmark = pytest.mark.numeric


class Crash(RuntimeError):
    pass


class CrashIn(keras.callbacks.Callback):
    """Raises in the middle of the n-th epoch that it sees, whichever training's."""

    def __init__(self, number: int):
        super().__init__()
        self.left = number

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.left == 1:
            raise Crash

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.left -= 1


def _series() -> pd.DataFrame:
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2015-01-01", periods=96, freq="MS"),
                "y": 50 + 9 * np.sin(np.arange(96) / 2) + random.normal(size=96),
            }
        )
        for name in "ab"
    ]
    return pd.concat(parts, ignore_index=True)


def _texts() -> tuple[list[str], list[str]]:
    random = np.random.default_rng(0)
    words = np.array(["good", "bad", "film", "of", "the", "not", "a"])
    texts = [" ".join(random.choice(words, size=n)) for n in random.integers(2, 9, 160)]
    return texts, ["yes" if "good" in text else "no" for text in texts]


# Every part that a checkpoint must hold: moments, a falling learning rate, dropout,
# moving averages of a normalisation, early stopping with its best weights.
FITS: dict[str, Any] = {
    "text": (
        TextClassifier(
            units=4,
            embedding_dim=4,
            epochs=5,
            patience=1,
            batch_size=16,
            learning_rate=0.02,
            normalization="batch",
            baseline=False,
        ),
        _texts(),
    ),
    "series": (
        Forecaster(horizon=3, units=4, dropout=0.2, max_steps=200, patience=2),
        (_series(),),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FITS)
def test_a_fit_broken_off_in_both_trainings_reaches_the_same(
    kind: str, tmp_path: Path
) -> None:
    estimator, data = FITS[kind]
    expected = _clone(estimator).fit(*data, verbose=0)
    crashes = 0
    for number in (1, 2, 3, 3, 99):
        fitted = _clone(estimator)
        callbacks = [CrashIn(number)]
        try:
            fitted.fit(*data, verbose=0, callbacks=callbacks, checkpoint=tmp_path)
        except Crash:
            crashes += 1
            assert not hasattr(fitted, "model_")
        else:
            break
    assert crashes >= 3
    for ours, theirs in zip(
        fitted.model_.get_weights(), expected.model_.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    pd.testing.assert_frame_equal(
        fitted.history_.drop(columns="seconds"),
        expected.history_.drop(columns="seconds"),
    )
    assert fitted.history_["seconds"].is_monotonic_increasing
    assert fitted.validation_ == expected.validation_
    assert list(tmp_path.iterdir()) == []  # nothing is left of a fit that has ended


def test_a_refit_that_was_done_keeps_the_average_of_its_weights(tmp_path: Path) -> None:
    batches = Batches(3, get_batch, endless=True)

    def trained(model: keras.Model, **options: Any) -> list[np.ndarray]:
        fit_model(model, batches, epochs=2, seed=0, verbose=0, **options)
        return model.get_weights()

    def averaging() -> keras.Model:
        model = make_model()
        model.compile(RecordingAdam(0.1, use_ema=True, ema_momentum=0.5), "mse")
        return model

    kept = Checkpoint(tmp_path)
    expected = trained(averaging(), title="refit", checkpoint=kept)
    again = trained(
        averaging(), title="refit", checkpoint=kept
    )  # nothing is left to do
    for ours, theirs in zip(again, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_only_its_own_files_go_when_a_fit_has_ended(tmp_path: Path) -> None:
    own = ["fit.npz", "refit member 2 of 3.npz"]
    others = ["fitted.npz", "fit to print.npz"]
    for name in [*own, *others]:
        (tmp_path / name).touch()
    Checkpoint(tmp_path, keep=False).end()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(others)


def _clone(estimator: Any) -> Any:
    return type(estimator)(**estimator.get_params(deep=False))


@pytest.mark.slow
def test_no_epoch_is_trained_twice(tmp_path: Path) -> None:
    estimator, data = FITS["series"]
    seen: list[int] = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch)
    )
    for number in (3, 99):
        callbacks = [note, CrashIn(number)]
        clone = _clone(estimator).set_params(refit_full=False, patience=99)
        try:
            clone.fit(*data, verbose=0, callbacks=callbacks, checkpoint=tmp_path)
        except Crash:
            assert seen == [0, 1]
    assert seen == [0, 1, 2, 3]


def test_another_fit_is_refused_with_what_changed(tmp_path: Path) -> None:
    estimator, data = FITS["series"]
    with pytest.raises(Crash):
        _clone(estimator).fit(
            *data, verbose=0, callbacks=[CrashIn(2)], checkpoint=tmp_path
        )
    other = _clone(estimator).set_params(units=5)
    with pytest.raises(ValueError, match="'units' was 4 and is 5"):
        other.fit(*data, verbose=0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="another fit, .*: the data differ"):
        _clone(estimator).fit(data[0][5:], verbose=0, checkpoint=tmp_path)


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    estimator, data = FITS["series"]
    with pytest.raises(Crash):
        _clone(estimator).fit(
            *data, verbose=0, callbacks=[CrashIn(2)], checkpoint=tmp_path
        )
    file = tmp_path / "fit.npz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="`checkpoint` is damaged: .*fit.npz"):
        _clone(estimator).fit(*data, verbose=0, checkpoint=tmp_path)


@pytest.mark.slow
def test_a_paused_fit_goes_on_as_if_it_had_not_paused(tmp_path: Path) -> None:
    estimator, data = FITS["series"]
    whole = _clone(estimator).set_params(refit_full=False).fit(*data, verbose=0)
    kept = Checkpoint(tmp_path)
    lengths = []
    for part in (0.25, 0.5, 1.0, 1.0):
        fitted = _clone(estimator).set_params(refit_full=False)
        fitted.fit(*data, verbose=0, checkpoint=replace(kept, part=part))
        lengths.append(len(fitted.history_))
    assert lengths == [1, 2, 4, 4]
    for ours, theirs in zip(
        fitted.model_.get_weights(), whole.model_.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_state_of_early_stopping_is_kept(tmp_path: Path) -> None:
    validation = Batches(2, get_batch)
    results = []
    for folder, epochs in ((None, (20,)), (tmp_path, (1, 2, 3, 4, 20))):
        for limit in epochs:
            model = make_model(learning_rate=-0.01)  # it only climbs
            checkpoint = Checkpoint(folder, part=limit / 20) if folder else None
            result = fit_model(
                model,
                Batches(4, get_batch, endless=True),
                epochs=20,
                seed=0,
                validation=validation,
                patience=3,
                verbose=0,
                checkpoint=checkpoint,
            )
        results.append((result.best_epoch, len(result.history), model.get_weights()))
    (best, length, weights), (best_after, length_after, weights_after) = results
    assert length == best + 3 < 20
    assert (best, length) == (best_after, length_after)
    for a, b in zip(weights, weights_after, strict=True):
        np.testing.assert_array_equal(a, b)
    state = TrainingState.read(tmp_path / "fit.npz")
    assert state is not None and state.stopped


def test_texts_are_known_by_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **options: Any) -> None:
        raise Crash

    monkeypatch.setattr(TextClassifier, "_learn", crash)
    texts = ["so good", "half a \ud800 character", "bad", "so bad"]
    labels = [["yes"], ["yes"], ["no"], ["no"]]
    column = pd.Series(texts, index=list("dcba"), dtype=object)
    clf = TextClassifier(multi_label=True, validation_split=0.5)
    for given in (texts, np.array(texts, object), column, (text for text in texts)):
        with pytest.raises(Crash):  # and none is another fit
            clf.fit(given, pd.Series(labels), verbose=0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="the data differ"):
        clf.fit([*texts[:3], "worse"], labels, verbose=0, checkpoint=tmp_path)
