"""What a text network has to beat: the commonest class, and TF-IDF with a line."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from keras_seq.text.corpus import Corpus
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.training.runtime import derive_seed

MAX_ROWS = 50_000


def majority_probabilities(class_id: int, count: int, num_classes: int) -> np.ndarray:
    """All probability on one class: `(count, num_classes)`."""
    probabilities = np.zeros((count, num_classes))
    probabilities[:, class_id] = 1.0
    return probabilities


def fit_linear(
    corpus: Corpus, preprocessor: TextPreprocessor, seed: int
) -> Pipeline | None:
    """Fits TF-IDF over single tokens and pairs with logistic regression.

    It gets the network's own tokens, so that it is as good on Chinese as on English.

    Args:
        corpus: Training texts; at most 50,000, drawn at random, are used.
        preprocessor: Fitted.
        seed: Of the drawing.

    Returns:
        A fitted pipeline, or None where there is no token to learn from.
    """
    rows = np.flatnonzero(corpus.weights)
    if len(rows) > MAX_ROWS:
        random = np.random.default_rng(derive_seed(seed, "baseline"))
        rows = np.sort(random.choice(rows, MAX_ROWS, replace=False))
    texts, targets, weights = corpus.take(rows)
    if len(np.unique(targets)) < 2 or not any(map(preprocessor.tokens, texts)):
        return None
    vectorizer = TfidfVectorizer(
        tokenizer=preprocessor.tokens,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        sublinear_tf=True,
    )
    model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=1000))
    return model.fit(texts, targets, logisticregression__sample_weight=weights)


def linear_probabilities(
    model: Pipeline, texts: list[str], num_classes: int
) -> np.ndarray:
    """Class probabilities, `(num_texts, num_classes)`; 0 for classes never drawn."""
    probabilities = np.zeros((len(texts), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(texts)
    return probabilities
