"""Precision and XLA: what is computed how, and that only the network knows of it."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_seq import Forecaster, TextClassifier, build_forecaster
from keras_seq import build_text_classifier as build_text
from keras_seq.training.optimizer import GradientNorms
from keras_seq.training.runtime import dtype_policy, resolve_precision
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

TEXT = {"num_classes": 2, "max_tokens": 9, "units": 4, "embedding_dim": 4, "seed": 0}
SERIES = {"lookback": 8, "horizon": 2, "units": 4, "num_future": 1, "seed": 0}
LEARN = {"units": 4, "seed": 0, "refit_full": False}


def text_batch():
    random = np.random.default_rng(0)
    tokens = random.integers(1, 9, size=(8, 6)).astype("int32")
    lengths = random.integers(1, 7, size=8).astype("int32")
    return {"tokens": tokens, "length": lengths}, (tokens[:, 0] > 4).astype("int32")


def series_batch():
    random = np.random.default_rng(0)
    values = 100 + random.normal(size=(8, 10)).astype("float32").cumsum(axis=1)
    future = random.normal(size=(8, 10, 1)).astype("float32")
    return {"target": values[:, :8], "future": future}, values[:, 8:]


TASKS = {"text": (build_text, TEXT, text_batch)}
TASKS["series"] = (build_forecaster, SERIES, series_batch)
TASKS["segments"] = (build_forecaster, {**SERIES, "segment_length": 3}, series_batch)


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_network_is_the_same_network_in_fewer_digits(task, precision):
    build, arguments, batch = task
    mixed, exact = build(**arguments, precision=precision), build(**arguments)
    inputs, _ = batch()
    output = np.asarray(mixed(inputs))
    assert output.dtype == np.float32
    assert mixed.get_layer("encoder").compute_dtype == precision.removeprefix("mixed_")
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    np.testing.assert_allclose(output, exact(inputs), rtol=2e-2)
    assert keras.config.dtype_policy().name == "float32"


def test_half_precision_records_gradients_without_the_loss_scale(task):
    build, arguments, batch = task
    model = build(**arguments, dropout=0.0, precision="mixed_float16")
    inputs, targets = batch()
    found = gradients(
        lambda: model.compute_loss(x=inputs, y=targets, y_pred=model(inputs)),
        model.trainable_variables,
    )
    norm = np.sqrt(sum(np.square(g.astype("float64")).sum() for g in found))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    logs = {}
    record = GradientNorms()
    record.set_model(model)
    model.fit(inputs, targets, verbose=0)
    record.on_epoch_end(0, logs)
    assert logs["grad_norm_mean"] == pytest.approx(norm, rel=1e-2)
    assert float(model.optimizer.dynamic_scale) == 2.0**15  # nothing overflowed


def test_double_precision(task):
    build, arguments, batch = task
    if keras.backend.backend() == "jax":
        with pytest.raises(ValueError, match="jax_enable_x64.*Received: precision="):
            build(**arguments, precision="float64")
        return
    model, single = build(**arguments, precision="float64"), build(**arguments)
    model.set_weights(single.get_weights())
    inputs, targets = batch()
    assert model.get_layer("encoder").compute_dtype == "float64"
    np.testing.assert_allclose(model(inputs), single(inputs), rtol=1e-5)
    assert np.isfinite(model.fit(inputs, targets, verbose=0).history["loss"]).all()


def test_the_global_policy_survives():
    with pytest.raises(RuntimeError), dtype_policy("mixed_bfloat16"):
        assert resolve_precision(None) == "mixed_bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ValueError, match="`precision` must be.*mixed_bfloat16'?"):
        build_forecaster(**SERIES, precision="mixed_bfloat")


def learn(kind, **arguments):
    """A fitted estimator and what it answers."""
    if kind == "text":
        texts = [f"{word} number {i}" for i in range(12) for word in ("good", "bad")]
        clf = TextClassifier(embedding_dim=4, epochs=2, baseline=False, **arguments)
        clf.fit(texts, ["up", "down"] * 12, verbose=0)
        return clf, clf.predict_proba
    stamps = pd.date_range("2020-01-01", periods=60, freq="D")
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": np.sin(np.arange(60))})
    forecaster = Forecaster(horizon=3, max_steps=5, **arguments)
    forecaster.fit(frame, verbose=0)
    return forecaster, lambda rows: forecaster.predict()[["y_hat"]].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", TASKS)
def test_estimators_keep_their_precision(kind, tmp_path):
    estimator, answer = learn(kind, precision="mixed_bfloat16", jit=True, **LEARN)
    assert estimator.model_.jit_compile is True
    expected = answer(["good", "bad"])
    assert np.isfinite(expected).all()
    assert np.isfinite(estimator.history_["grad_norm_max"]).all()
    estimator.save(tmp_path / "model.kseq")
    twin = type(estimator).load(tmp_path / "model.kseq")
    assert twin.model_.dtype_policy.name == "mixed_bfloat16"
    assert twin.get_params()["precision"] == "mixed_bfloat16"
    for a, b in zip(twin.model_.weights, estimator.model_.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    with dtype_policy("mixed_bfloat16"):  # None keeps what was set at `fit`
        estimator, _ = learn(kind, **LEARN)
    estimator.save(tmp_path / "model.kseq")
    twin = type(estimator).load(tmp_path / "model.kseq")
    assert twin.model_.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.slow
def test_xla_changes_no_answer(task):
    build, arguments, batch = task
    inputs, targets = batch()
    answers = []
    for jit in (True, False):  # XLA draws other dropout masks
        model = build(**arguments, dropout=0.0, jit=jit)
        assert model.jit_compile is jit
        model.train_on_batch(inputs, targets)
        answers.append(model.predict_on_batch(inputs))
    np.testing.assert_allclose(*answers, rtol=1e-5)
    assert build(**arguments).jit_compile is (keras.backend.backend() == "jax")
    with pytest.raises(ValueError, match="`jit` must be one of 'auto', True, False"):
        build(**arguments, jit="on")
