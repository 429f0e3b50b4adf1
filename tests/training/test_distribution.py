"""Several devices train what one does; what would be ignored in silence is an error.

Both estimators on several devices and processes: tests/integration/test_devices.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_seq import TextClassifier, build_forecaster
from keras_seq.training import distribution, fit
from keras_seq.training.distribution import check_distribution, distributed

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
TEXTS = [f"{word} {i}" for i in range(9) for word in ("good", "bad")], ["a", "b"] * 9

# Two virtual CPUs; half of the batch has little weight, and the clip always bites.
TRAIN = """
import os, sys
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
else:
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
import numpy as np
from keras_seq import build_text_classifier
from keras_seq.training.distribution import distributed, on_one_device
from keras_seq.training.fit import Batches, fit_model

def build():
    return build_text_classifier(
        num_classes=2, max_tokens=9, units=3, embedding_dim=4, dropout=0.0,
        cell="gru", bidirectional=False, global_clipnorm=0.1, learning_rate=0.1, seed=0,
    )

def get_batch(epoch, step):
    random = np.random.default_rng(step)
    tokens = random.integers(1, 9, size=(8, 5)).astype("int32")
    inputs = {"tokens": tokens, "length": np.full(8, 5, "int32")}
    weights = np.array([1, 2, 3, 4, 1, 0, 0, 0], "float32")
    return inputs, (tokens[:, 0] > 4).astype("int32"), weights

results = []
for chosen, expected in ((None, 1), ("auto", 2)):
    with distributed(chosen) as count:
        assert count == expected
        model = build()
        batches = Batches(3, get_batch, endless=True)
        history = fit_model(model, batches, epochs=2, seed=0, verbose=0).history
    model = on_one_device(model, build, count)
    output = np.asarray(model.predict_on_batch(get_batch(0, 0)[0]))
    assert output.shape == (8, 2)
    results.append((history.drop(columns="seconds").to_numpy(), output))
for alone, together in zip(*results):
    np.testing.assert_allclose(alone, together, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.numeric
def test_two_devices_train_what_one_does():
    command = [sys.executable, "-W", "ignore", "-c", TRAIN]
    environment = {**os.environ, "KERAS_BACKEND": BACKEND}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.numeric
def test_one_device_is_left_alone():
    for chosen in (None, "auto"):
        with distributed(chosen) as count:
            assert count == 1 and keras.distribution.distribution() is None
            model = build_forecaster(lookback=4, horizon=2, units=2)
        assert distribution.on_one_device(model, build_forecaster, count) is model


@pytest.mark.numeric
@pytest.mark.parametrize(
    "given", ["mirrored", True, keras.distribution.DataParallel(devices=["cpu:0"])]
)
def test_what_it_may_be(given):
    with pytest.raises(ValueError, match="must be None or 'auto'.*Received: distrib"):
        TextClassifier(distribution=given).fit(*TEXTS, verbose=0)


@pytest.mark.numeric
def test_replicas_share_a_batch_evenly():
    distribution.check_divisible(12, 4)
    with pytest.raises(ValueError, match="multiple of the 4 devices.*such as 12"):
        distribution.check_divisible(9, 4)
    assert [distribution.round_up(n, 3) for n in (1, 3, 512)] == [3, 3, 513]


@pytest.mark.numeric
def test_each_process_feeds_its_own_rows(monkeypatch):
    whole = fit.Batches(2, lambda epoch, step: (np.arange(8), {"a": np.ones((8, 2))}))
    assert fit.local_part(whole) is whole
    parts = []
    for rank in range(4):
        monkeypatch.setattr(fit, "process_share", lambda rank=rank: (rank, 4))
        rows, inputs = fit.local_part(whole)[1]
        assert inputs["a"].shape == (2, 2)
        parts.append(rows)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(8))


@on_tensorflow
def test_keras_distribution_on_tensorflow_is_refused():
    ambient = keras.distribution.DataParallel(devices=["cpu:0"])
    with ambient.scope(), pytest.raises(ValueError, match="Keras ignores.*KERAS_BACK"):
        build_forecaster(lookback=4, horizon=2)


@on_tensorflow
def test_several_workers_of_tensorflow_are_refused(monkeypatch):
    import tensorflow as tf

    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ValueError, match="JAX backend.*TF_CONFIG with 2 workers"):
        build_forecaster(lookback=4, horizon=2)
    cluster["cluster"]["worker"].pop()
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    check_distribution(None)
    kind = tf.distribute.MultiWorkerMirroredStrategy
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: object.__new__(kind))
    with pytest.raises(ValueError, match="does not work with Keras 3.*Received: "):
        build_forecaster(lookback=4, horizon=2)


@on_tensorflow
def test_an_estimator_opens_its_own_scope():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        with pytest.raises(ValueError, match="outside of any strategy's scope"):
            TextClassifier(baseline=False).fit(*TEXTS, verbose=0)


@on_tensorflow
@pytest.mark.parametrize("option", [{"precision": "mixed_float16"}, {"jit": True}])
def test_what_several_devices_cannot_do(monkeypatch, option):
    import tensorflow as tf

    cpu = tf.config.list_logical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: cpu * 2)
    with pytest.raises(ValueError, match="several devices of TensorFlow.*Received: "):
        with distributed("auto", **option):
            pass


@on_jax
def test_only_batches_are_split_on_jax():
    mesh = keras.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    layout = keras.distribution.LayoutMap(mesh)
    with keras.distribution.ModelParallel(layout_map=layout).scope():
        with pytest.raises(ValueError, match="split batches, not networks"):
            check_distribution(None)
    ambient = keras.distribution.DataParallel(devices=["cpu:0"])
    with ambient.scope(), distributed(None) as count:
        assert count == 1 and keras.distribution.distribution() is ambient


@on_jax
def test_processes_that_would_train_apart_are_refused(monkeypatch):
    import jax

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="pass 'auto'.*2 processes"):
        check_distribution(None)
