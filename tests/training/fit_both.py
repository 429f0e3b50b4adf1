"""Fits both estimators and prints their losses, in a process of its own.

    python -m tests.training.fit_both DEVICES DISTRIBUTION

DEVICES is how many virtual CPUs to make. Where the environment says that there are
several processes, it becomes one of them.
"""

import json
import os
import sys

DEVICES, DISTRIBUTION = int(sys.argv[1]), json.loads(sys.argv[2])
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
else:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES
    )

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from keras_seq import Forecaster, TextClassifier  # noqa: E402
from keras_seq.training.distribution import distributed  # noqa: E402

if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
    keras.distribution.initialize()

COMMON = {
    "distribution": DISTRIBUTION,
    "units": 4,
    "dropout": 0.0,  # each replica would draw masks of its own
    "global_clipnorm": 0.05,  # bites in every step, so that it matters where it is done
    "seed": 0,
}


def fit_text() -> dict:
    random = np.random.default_rng(0)
    words = np.array(["good", "bad", "number", "of", "the"])
    texts = [" ".join(random.choice(words, size=n)) for n in random.integers(2, 6, 90)]
    labels = ["good" in text for text in texts]
    clf = TextClassifier(
        embedding_dim=4,
        ngram_dropout=0.0,
        batch_size=16,  # 81 texts: the last batch is not full
        epochs=2,
        learning_rate=0.01,
        adversarial=0.1,
        baseline=False,
        **COMMON,
    )
    weights = random.uniform(0.5, 2.0, size=90)
    clf.fit(texts, labels, sample_weight=weights, verbose=0)
    return tell(clf, clf.predict_proba(["good bad", "the number", "bad"]))


def fit_series() -> dict:
    y = 10 * np.sin(np.arange(90)) + 50
    y[[5, 6, 20, 41]] = np.nan
    stamps = pd.date_range("2020-01-01", periods=90, freq="D")
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": y})
    forecaster = Forecaster(horizon=3, max_steps=20, **COMMON).fit(frame, verbose=0)
    return tell(forecaster, forecaster.predict()[["y_hat"]].to_numpy())


def tell(estimator, answers) -> dict:
    history = estimator.history_.drop(columns="seconds").to_dict(orient="list")
    return {**history, "answers": np.asarray(answers).ravel().tolist()}


with distributed(DISTRIBUTION) as replicas:
    pass
fits = {"text": fit_text(), "series": fit_series()}
print(json.dumps({"replicas": replicas, "fits": fits}))
