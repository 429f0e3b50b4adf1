"""A saved TextClassifier answers with NumPy alone what it answers with Keras."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_seq import ArtifactError, numpy_runtime
from tests.numpy_runtime.fitted import ODD_TEXTS, fit_classifier, make_texts


def assert_same(model, classifier, texts=ODD_TEXTS):
    actual, expected = model.predict_proba(texts), classifier.predict_proba(texts)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    predicted, wanted = model.predict(texts), classifier.predict(texts)
    np.testing.assert_array_equal(model.classes_, classifier.classes_)
    if isinstance(wanted, list):
        assert predicted == wanted
    else:
        np.testing.assert_array_equal(predicted, wanted)
        assert predicted.dtype == wanted.dtype


def test_labels_and_calibrated_probabilities(text_model):
    classifier, model, _ = text_model
    assert_same(model, classifier)
    many = make_texts(150, seed=9)  # more than a batch
    assert_same(model, classifier, many)
    assert_same(model, classifier, tuple(many[:1]))


@pytest.mark.slow
def test_several_labels_by_thresholds_from_an_ensemble(tmp_path):
    lists = [["a"], ["a", "b"], [], ["b", "c"]] * 10
    arguments = {"multi_label": True, "ensemble": 2, "cell": "rnn", "pooling": "mean"}
    classifier, model = fit_classifier(tmp_path / "m", lists, **arguments)
    classifier.thresholds_ = np.array([0.3, 0.6, 0.5])
    classifier.save(tmp_path / "m")
    assert_same(numpy_runtime.load(tmp_path / "m"), classifier)
    assert model.multi_label


def test_a_carried_state_and_a_split_of_the_users_own(tmp_path):
    arguments = {"stateful": True, "chunk_length": 4, "cell": "gru", "batch_size": 8}
    arguments |= {"split": str.split, "pooling": "attention"}
    path = tmp_path / "m"
    classifier, model = fit_classifier(
        path, [1, 0] * 20, {"split": str.split}, **arguments
    )
    assert_same(model, classifier)
    with pytest.raises(ArtifactError, match="saved with a function as `split`"):
        numpy_runtime.load(path)


def test_a_function_is_refused_where_the_file_knows_the_split(text_model):
    with pytest.raises(ValueError, match="`split` is in .* cannot be replaced"):
        numpy_runtime.load(text_model[2], split=str.split)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("one text", TypeError, "pass a list"),
        ([], ValueError, "at least one text"),
        (["a", None], ValueError, "must not have missing values"),
        (["a", 3], TypeError, "must all be strings"),
        ({"a": 1}, TypeError, "must be a list"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(text_model, texts, error, message):
    with pytest.raises(error, match=message):
        text_model[1].predict_proba(texts)


characters = st.characters(codec=None, exclude_categories=())
texts = st.lists(st.text(characters, max_size=40), min_size=1, max_size=4)


@hypothesis.given(texts=texts)
@hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
def test_any_text_becomes_the_same_ids(text_model, texts):
    classifier, model, _ = text_model
    expected = classifier.preprocessor_.transform(texts)
    actual = model.preprocessor_.transform(texts)
    np.testing.assert_array_equal(actual.ids, expected.ids)
    np.testing.assert_array_equal(actual.lengths, expected.lengths)
