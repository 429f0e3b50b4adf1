"""A saved text classifier answers the same in a new process, on either backend."""

import os
import subprocess
import sys

import numpy as np
import pytest

from keras_seq import TextClassifier, datasets

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
    clf = TextClassifier(units=8, max_length=12, epochs=2, refit_full=False)
    return clf.fit(df["text"], df["label"] == "spam", verbose=0)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
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
