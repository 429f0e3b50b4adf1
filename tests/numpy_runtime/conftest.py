"""A saved model of each kind, fitted once."""

import pytest

from tests.numpy_runtime.fitted import fit_classifier, fit_forecaster, make_frame


@pytest.fixture(scope="session")
def series_model(tmp_path_factory):
    """A forecaster, the same in NumPy, and its file."""
    path = tmp_path_factory.mktemp("series") / "model.kseq"
    return *fit_forecaster(path, make_frame(), conformal=True), path


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """A classifier, the same in NumPy, and its file."""
    path = tmp_path_factory.mktemp("text") / "model.kseq"
    labels = ["pos", "neg", "neutral", "pos"] * 10
    options = {"max_length": 9, "truncation": "head_tail"}
    return *fit_classifier(path, labels, **options), path
