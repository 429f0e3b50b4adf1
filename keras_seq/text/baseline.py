"""TF-IDF + logistic regression: what a text network has to beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.training.runtime import derive_seed

MAX_ROWS = 50_000


def fit_linear(
    texts: Sequence[str], targets: np.ndarray, preprocessor: TextPreprocessor, seed: int
) -> Pipeline | None:
    """Fits TF-IDF over single tokens and pairs with logistic regression.

    It gets the network's own tokens, so that it is as good on Chinese as on English.

    Args:
        texts: Training texts; at most 50,000, drawn at random, are used.
        targets: Class ids, `(num_texts,)`.
        preprocessor: Fitted.
        seed: Of the drawing.

    Returns:
        A fitted pipeline, or None where there is no token to learn from.
    """
    rows = np.arange(len(texts))
    if len(rows) > MAX_ROWS:
        random = np.random.default_rng(derive_seed(seed, "baseline"))
        rows = np.sort(random.choice(rows, MAX_ROWS, replace=False))
    shown = [texts[row] for row in rows.tolist()]
    if len(np.unique(targets[rows])) < 2 or not any(
        preprocessor.tokens(text) for text in shown
    ):
        return None
    vectorizer = TfidfVectorizer(
        tokenizer=preprocessor.tokens,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        sublinear_tf=True,
    )
    model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=1000))
    return model.fit(shown, targets[rows])


def linear_probabilities(
    model: Pipeline, texts: Sequence[str], num_classes: int
) -> Any:
    """Class probabilities, `(num_texts, num_classes)`; 0 for classes never drawn."""
    probabilities = np.zeros((len(texts), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(texts)
    return probabilities
