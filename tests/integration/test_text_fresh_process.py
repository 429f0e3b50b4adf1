"""A saved text classifier answers the same in a new process, on either backend."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_seq import TextClassifier, datasets
from tests.grids import often

pytestmark = pytest.mark.numeric

UNSEEN = ["xylophones qwertzuiop", "免费！现在打电话", "FREE entry, txt now 😀", ""]

SCRIPT = """
import sys
import numpy as np
import keras_seq

clf = keras_seq.load(sys.argv[1])
texts = np.load(sys.argv[2], allow_pickle=False)["texts"].tolist()
np.savez(sys.argv[3], proba=clf.predict_proba(texts), labels=clf.predict(texts))
"""


@pytest.fixture(scope="module")
def fitted():
    df = datasets.load_sms_spam()[:300]
    clf = TextClassifier(units=8, max_length=60, epochs=2, refit_full=False)
    return clf.fit(df["text"], df["label"] == "spam", verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", often(["tensorflow", "jax"], "tensorflow"))
def test_same_answers(fitted, tmp_path, backend):
    texts = [*datasets.load_sms_spam()["text"][300:330], *UNSEEN]
    fitted.save(tmp_path / "clf.kseq")
    np.savez(tmp_path / "texts.npz", texts=np.array(texts))
    files = [str(tmp_path / name) for name in ("clf.kseq", "texts.npz", "answers.npz")]
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *files],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    answers = np.load(files[2])
    np.testing.assert_allclose(answers["proba"], fitted.predict_proba(texts), atol=1e-6)
    assert answers["labels"].dtype == bool
    np.testing.assert_array_equal(answers["labels"], fitted.predict(texts))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:20.3% of the validation tokens")
def test_several_labels_on_another_backend(tmp_path):
    df = datasets.load_sms_spam()[:200]
    labels = [
        [name for name in ("call", "free") if name in text.lower()]
        for text in df["text"]
    ]
    options = {"units": 4, "max_length": 60, "epochs": 2, "baseline": False}
    clf = TextClassifier(multi_label=True, **options).fit(df["text"], labels, verbose=0)
    clf.save(tmp_path / "clf.kseq")
    script = (
        "import json, sys, keras_seq; clf = keras_seq.load(sys.argv[1]); "
        "texts = json.loads(sys.argv[2]); "
        "print(json.dumps([clf.predict(texts), clf.predict_proba(texts).tolist()]))"
    )
    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "clf.kseq"), json.dumps(UNSEEN)],
        env={**os.environ, "KERAS_BACKEND": other},
        check=True,
        capture_output=True,
        text=True,
    )
    predicted, probabilities = json.loads(done.stdout.splitlines()[-1])
    assert predicted == clf.predict(UNSEEN)
    np.testing.assert_allclose(probabilities, clf.predict_proba(UNSEEN), atol=1e-6)
