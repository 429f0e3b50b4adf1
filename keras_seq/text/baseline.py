"""Baselines: what a text network has to beat."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from keras_seq.text.corpus import Corpus
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.scores import score_probabilities
from keras_seq.text.streaming import StreamedTexts, text_parts
from keras_seq.text.thresholds import choose_thresholds
from keras_seq.training.runtime import derive_seed

MAX_ROWS = 50_000


@dataclass
class Baselines:
    """The commonest class, and a linear model of TF-IDF.

    Attributes:
        majority: Of all texts given to `fit`, see `majority`.
        linear: Fitted pipeline; None: not asked for, not possible, or not saved.
        thresholds: Of the linear model's labels where texts have several, else None.
        validated: Scores of the linear model on the validation part, which stand in
            for it where it was not saved.
    """

    majority: int | list[float]
    linear: Pipeline | None = None
    thresholds: np.ndarray | None = None
    validated: dict[str, Any] | None = None

    def choose_thresholds(self, held: Corpus) -> None:
        """Where texts have several labels: thresholds of the linear model's."""
        if self.linear is not None and held.targets.ndim == 2:
            found = linear_probabilities(self.linear, held.texts, held.targets.shape[1])
            self.thresholds = choose_thresholds(found, held.targets, held.weights)

    def score(
        self, texts: list[str] | StreamedTexts, targets: np.ndarray, classes: np.ndarray
    ) -> dict[str, dict[str, Any]]:
        """Scores of `majority` and `tfidf_logreg`.

        Args:
            texts: Strings.
            targets: Class ids, `(n,)`, or 0 and 1, `(n, num_classes)`.
            classes: Labels by class id.
        """
        size = len(classes)
        prior = majority_probabilities(self.majority, len(texts), size)
        scores = {"majority": score_probabilities(targets, prior, classes)}
        if self.linear is not None:
            linear = linear_probabilities(self.linear, texts, size)
            scores["tfidf_logreg"] = score_probabilities(
                targets, linear, classes, self.thresholds
            )
        elif self.validated is not None:
            scores["tfidf_logreg"] = {**self.validated, "on": "validation"}
        return scores


def majority(targets: np.ndarray, weights: np.ndarray) -> int | list[float]:
    """The commonest class id; of several labels the share of texts that have each."""
    if targets.ndim == 2:
        return np.average(targets, axis=0, weights=weights).tolist()
    return int(np.bincount(targets, weights).argmax())


def majority_probabilities(
    learned: int | list[float], count: int, num_classes: int
) -> np.ndarray:
    """All probability on one class, or each label's share: `(count, num_classes)`."""
    if isinstance(learned, list):
        return np.tile(learned, (count, 1))
    probabilities = np.zeros((count, num_classes))
    probabilities[:, learned] = 1.0
    return probabilities


class OneVsRest(BaseEstimator):
    """A logistic regression for each label.

    scikit-learn's `OneVsRestClassifier` warns of labels that all texts have, or none.
    """

    def fit(self, X: Any, y: np.ndarray, sample_weight: np.ndarray) -> Self:
        self.models_ = [
            _logistic().fit(X, column, sample_weight)
            if len(np.unique(column)) > 1
            else float(column[0])
            for column in y.T
        ]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Of each label, `(n, num_labels)`; constant where there was no choice."""
        columns = [
            np.full(X.shape[0], model)
            if isinstance(model, float)
            else model.predict_proba(X)[:, 1]
            for model in self.models_
        ]
        return np.stack(columns, axis=1)


def _logistic() -> LogisticRegression:
    return LogisticRegression(C=10.0, max_iter=1000)


def fit_linear(
    corpus: Corpus, preprocessor: TextPreprocessor, seed: int
) -> Pipeline | None:
    """Fits TF-IDF over single tokens and pairs with logistic regression.

    It gets the network's own tokens, so that it is as good on Chinese as on English.

    Args:
        corpus: Training texts; at most 50,000, drawn at random, are used. Where they
            have several labels there is a regression for each.
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
    model = OneVsRest() if targets.ndim == 2 else _logistic()
    weighing = {f"{type(model).__name__.lower()}__sample_weight": weights}
    return make_pipeline(vectorizer, model).fit(texts, targets, **weighing)


def linear_probabilities(
    model: Pipeline, texts: list[str] | StreamedTexts, num_classes: int
) -> np.ndarray:
    """Class probabilities, `(num_texts, num_classes)`; 0 for classes never drawn."""
    found = np.concatenate([model.predict_proba(part) for part in text_parts(texts)])
    if isinstance(model[-1], OneVsRest):
        return found
    probabilities = np.zeros((len(found), num_classes))
    probabilities[:, model.classes_] = found
    return probabilities
