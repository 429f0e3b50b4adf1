"""Texts on which an exported classifier is compared with the estimator."""

import numpy as np

from keras_seq.export.loops import MOST_STEPS
from keras_seq.export.plan import Arrays
from keras_seq.text.batches import pad_rows
from keras_seq.text.classifier import TextClassifier
from keras_seq.text.preprocessing import TokenRows

# Of the sample texts: how many, and the longest in tokens unless the longest is longer.
_SAMPLES, SAMPLE_TOKENS = 16, 60
# Texts on which runtimes have been known to differ; the last one has no token.
_AWKWARD = (
    "Caf\u00e9 CAFE\u0301 \u212bngstro\u0308m \ufb01ne \u00bd",
    "\u4f60\u597d, \uff26\uff35\uff2c\uff2c\uff01 \ud55c\uad6d\uc5b4 "
    "\u1112\u1161\u11ab \uff76\uff9e",
    "don\u2019t \U0001f600\u2764\ufe0f a\u200bb so\u00adft \u0e2a\u0e27\u0e31\u0e2a",
    "\u0301 lone mark\x00\ttab\u0323\u0307",
    "",
)


def sample_texts(estimator: TextClassifier, longest: int | None = None) -> list[str]:
    """Texts of known and unknown words of many lengths, and awkward ones.

    Args:
        estimator: Fitted.
        longest: In tokens; None: longer than what the network reads, where that is
            not very long.
    """
    random = np.random.default_rng(0)
    vocabulary = estimator.preprocessor_.vocabulary_[2:] or ["unknown"]
    most = longest or SAMPLE_TOKENS
    lengths = random.integers(1, most + 1, _SAMPLES).tolist()
    limit = estimator.preprocessor_.row_length_
    if longest is None and limit is not None and limit <= MOST_STEPS:
        lengths.append(limit + 3)
    texts = []
    for length in lengths:
        words = random.choice(np.array(vocabulary, object), length).tolist()
        words[length // 2] = "\u00dfxq"
        texts.append(" ".join(words))
    texts += _AWKWARD
    if longest is None:
        return texts
    counts = estimator.preprocessor_.transform(texts).lengths
    return [t for t, count in zip(texts, counts, strict=True) if count <= longest]


def padded_rows(
    estimator: TextClassifier, texts: list[str], width: int | None = None
) -> Arrays:
    """Texts as the network takes them, padded to the longest or to `width`."""
    rows: TokenRows = estimator.preprocessor_.transform(texts)
    width = width or max(int(rows.lengths.max(initial=1)), 1)
    return pad_rows(rows, np.arange(len(texts)), width, len(texts))
