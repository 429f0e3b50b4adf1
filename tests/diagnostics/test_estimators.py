"""The instruments read what estimators read, raw."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from keras_seq import Forecaster, TextClassifier, datasets
from keras_seq.diagnostics import (
    RecordGradientFlow,
    gradient_flow,
    inspect_gradients,
    suggest_clipping,
)

# So few texts have many words of their own.
pytestmark = pytest.mark.filterwarnings("ignore:.*of the validation tokens")


@pytest.fixture(scope="module")
def messages():
    df = datasets.load_sms_spam()[:120]
    return df["text"], df["label"]


@pytest.mark.slow
def test_text_classifier(messages):
    clf = TextClassifier(epochs=2, units=8, embedding_dim=8, baseline=False, ngrams=0)
    record = RecordGradientFlow(messages, clf, num_rows=4)
    clf.fit(*messages, verbose=0, callbacks=[record])
    assert list(record.reports_) == [*range(clf.best_epoch_ + 1)]  # of the refit
    flow = gradient_flow(clf, messages, num_rows=8)
    assert set(flow["layer"]) == {"encoder/forward_0", "encoder/backward_0"}
    # At lag 0 are all rows, at the last lag the longest.
    assert flow["rows"].max() == 8
    assert np.isfinite(flow[["norm", "norm_c", "jacobian"]].to_numpy()).all()
    report = inspect_gradients(clf, messages, num_rows=8)
    assert "embedding/embeddings" in set(report.weights["weight"])
    assert suggest_clipping(clf, messages, num_steps=3).global_clipnorm > 0


@pytest.mark.slow
def test_forecaster():
    df = datasets.load_aus_retail()
    some = df[df["unique_id"].isin(df["unique_id"].unique()[:4])]
    f = Forecaster(horizon=3, max_steps=20, units=8, lookback=24)
    with pytest.raises(TypeError, match="after `fit`. Received: Forecaster"):
        gradient_flow(f, some)
    record = RecordGradientFlow(some, f, num_rows=4)
    f.fit(some, verbose=0, callbacks=[record])
    assert set(record.reports_) == {0, 1}
    report = inspect_gradients(f, some)
    assert list(report.memory["lookback"]) == [f.lookback_]
    # Scaling is in the model: raw units change nothing but the raw loss's.
    other = inspect_gradients(f, some.assign(y=some["y"] * 1000.0))
    for column in ("norm", "jacobian", "influence"):
        np.testing.assert_allclose(
            other.flow[column], report.flow[column], rtol=1e-3, atol=1e-6
        )
    assert suggest_clipping(f, some, num_steps=3).global_clipnorm > 0


def test_data_of_the_wrong_kind_is_named(messages):
    clf = TextClassifier(epochs=1, units=4, embedding_dim=4, baseline=False)
    with pytest.raises((TypeError, NotFittedError), match="fit"):
        gradient_flow(clf, messages)
    clf.fit(*messages, verbose=0)
    with pytest.raises(TypeError, match=r"`data` must be \(texts, labels\)"):
        gradient_flow(clf, messages[0])
