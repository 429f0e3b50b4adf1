"""What a classifier's arguments come to: for its networks, and its preprocessor.

What is left to `"auto"` is settled here. A classifier is only read, never changed.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.errors import check_choice, check_integer, check_number
from keras_seq.fingerprint import jsonable
from keras_seq.hashing import MOST_BUCKETS
from keras_seq.text.chunks import CHUNK_LOSSES
from keras_seq.text.embeddings import read_embeddings
from keras_seq.text.preprocessing import PADDING, UNKNOWN, TextPreprocessor
from keras_seq.training.optimizer import resolve_clipping
from keras_seq.training.runtime import resolve_precision

if TYPE_CHECKING:
    from keras_seq.text.classifier import TextClassifier

# What a network and the one it was pretrained as have in common.
_SHARED_ARGS = (
    "cell",
    "units",
    "num_layers",
    "residual",
    "normalization",
    "activation",
    "forget_bias",
    "memory_steps",
    "num_heads",
    "conv_filters",
    "conv_width",
)
# Those that the builder and the preprocessor take under their names.
_BUILDER_ARGS = (
    *_SHARED_ARGS,
    "bidirectional",
    "pooling",
    "dropout",
    "embedding_dropout",
    "word_dropout",
    "recurrent_dropout",
    "ngram_dropout",
    "multi_label",
    "label_smoothing",
    "adversarial",
    "auxiliary",
    "auxiliary_weight",
    "stateful",
    "learning_rate",
    "global_clipnorm",
    "clipnorm",
    "clipvalue",
    "ema",
    "jit",
    "seed",
)
_PREPROCESSOR_ARGS = ("max_tokens", "split", "max_length", "truncation", "min_count")
_EMBEDDING_DIM = 128
# Numbers in the vectors of the bag's runs. On the validation parts of six sets more and
# smaller vectors did better than 65,536 of 32: fewer runs share one.
_BAG_NUMBERS = 2**21


def check_arguments(classifier: "TextClassifier") -> None:
    """Raises where an argument breaks a rule that neither builder nor tokens know."""
    for name in ("epochs", "batch_size", "patience"):
        check_integer(name, getattr(classifier, name), 1)
    check_integer("seed", classifier.seed, 0)
    check_integer("ensemble", classifier.ensemble, 1)
    check_number("validation_split", classifier.validation_split, above=0, below=1)
    for name in ("warm_start", "refit_full", "stateful"):
        check_choice(name, getattr(classifier, name), (True, False))
    if classifier.max_length is None and not classifier.stateful:
        raise ValueError(
            "`max_length` must be a whole number or 'auto': batches are as long as "
            "their longest text. Texts of any length go with `stateful`. "
            "Received: max_length=None"
        )
    check_integer("chunk_length", classifier.chunk_length, 1)
    check_choice("chunk_loss", classifier.chunk_loss, CHUNK_LOSSES)
    if classifier.stateful and classifier.distribution is not None:
        raise ValueError(
            "`distribution` must be None with `stateful`: a text's chunks follow "
            f"each other on one device. Received: {classifier.distribution!r}"
        )
    if classifier.ngrams != "auto":
        check_integer("ngrams", classifier.ngrams, 0)
    check_integer("ngram_length", classifier.ngram_length, 1)
    if classifier.embedding_dim != "auto":
        check_integer("embedding_dim", classifier.embedding_dim, 1)
    check_choice("multi_label", classifier.multi_label, (True, False))
    if classifier.multi_label and classifier.class_weight is not None:
        raise ValueError(
            "`class_weight` is for one label per text: with multi_label=True "
            "`thresholds_` make up for rare labels. Received: "
            f"class_weight={classifier.class_weight!r}"
        )
    check_choice("calibration", classifier.calibration, ("temperature", None))
    check_choice("baseline", classifier.baseline, (True, False))


def make_preprocessor(classifier: "TextClassifier") -> TextPreprocessor:
    """One that has learned nothing yet."""
    arguments = {name: getattr(classifier, name) for name in _PREPROCESSOR_ARGS}
    if classifier.stateful and classifier.max_length == "auto":
        arguments["max_length"] = None
    if _longest_run(classifier):
        arguments["row_length"] = classifier.ngram_length
    return TextPreprocessor(**arguments)


def describe_split(classifier: "TextClassifier") -> str:
    """`split` as it can be compared after saving."""
    split = classifier.split
    return str(jsonable(split)) if callable(split) else split


def read_vectors(
    classifier: "TextClassifier", preprocessor: TextPreprocessor
) -> np.ndarray | None:
    """The vocabulary's vectors, if there is a file of them to start from."""
    if classifier.embeddings is None:
        return None
    vectors, _ = read_embeddings(
        classifier.embeddings,
        preprocessor.vocabulary_,
        preprocessor.normalize,
        classifier.seed,
    )
    return vectors


def choose_embedding_dim(
    classifier: "TextClassifier", vectors: np.ndarray | None
) -> int:
    """That of the vectors if there are any; an error if another one is wanted."""
    wanted = classifier.embedding_dim
    if vectors is None:
        return _EMBEDDING_DIM if wanted == "auto" else int(wanted)
    size = vectors.shape[1]
    if wanted not in ("auto", size):
        raise ValueError(
            f"`embedding_dim` must be 'auto' or {size}, that of `embeddings`. "
            f"Received: embedding_dim={wanted!r}"
        )
    return size


def network_arguments(
    classifier: "TextClassifier",
    preprocessor: TextPreprocessor,
    num_classes: int,
    embedding_dim: int,
) -> dict[str, Any]:
    """What `build_member` is called with, nothing left to `"auto"` that may change.

    Args:
        classifier: Its arguments.
        preprocessor: Fitted.
        num_classes: Labels.
        embedding_dim: Of `choose_embedding_dim`, or of what the network goes on from.

    Raises:
        ValueError: If no token of the training texts is left.
    """
    if len(preprocessor.vocabulary_) == len((PADDING, UNKNOWN)):
        raise ValueError(
            "No token of the training texts is left: they have none, or none occurs as "
            f"often as `min_count` asks. Received: min_count={classifier.min_count!r}, "
            f"split={classifier.split!r}"
        )
    dim, buckets = classifier.ngram_dim, classifier.ngram_buckets
    if dim == "auto":
        dim = min(max(1 << (num_classes - 1).bit_length(), 8), 32)
    if buckets == "auto":
        fitting = max(_BAG_NUMBERS // check_integer("ngram_dim", dim, 1), 1)
        buckets = min(1 << (fitting.bit_length() - 1), MOST_BUCKETS)
    carried = {"batch_size": classifier.batch_size, "reset_input": True}
    several = {"ensemble": classifier.ensemble}
    longest = preprocessor.max_length_
    return {
        **{name: getattr(classifier, name) for name in _BUILDER_ARGS},
        "embedding_dim": embedding_dim,
        "ngrams": _longest_run(classifier),
        "ngram_dim": dim,
        "ngram_buckets": buckets,
        "max_length": longest if longest != preprocessor.row_length_ else None,
        "truncation": classifier.truncation,
        "precision": resolve_precision(classifier.precision),
        "num_classes": num_classes,
        "max_tokens": len(preprocessor.vocabulary_),
        **(carried if classifier.stateful else {}),
        **(several if classifier.ensemble > 1 else {}),
    }


def shared_arguments(classifier: "TextClassifier") -> dict[str, Any]:
    """What networks that share weights have in common, beside `embedding_dim`."""
    both_ways = classifier.bidirectional
    if both_ways == "auto":
        both_ways = not classifier.stateful
    return {
        **{name: getattr(classifier, name) for name in _SHARED_ARGS},
        "bidirectional": bool(both_ways),
    }


def language_arguments(
    classifier: "TextClassifier", vectors: np.ndarray | None
) -> dict[str, Any]:
    """The network that a language model shares with the classifier.

    Args:
        classifier: Its arguments.
        vectors: Of `read_vectors`.
    """
    dim = choose_embedding_dim(classifier, vectors)
    return {**shared_arguments(classifier), "embedding_dim": dim}


def language_compiling(
    classifier: "TextClassifier", learning_rate: float
) -> dict[str, Any]:
    """How a language model is compiled."""
    return {
        "learning_rate": learning_rate,
        "clipping": resolve_clipping(
            classifier.global_clipnorm, classifier.clipnorm, classifier.clipvalue
        ),
        "precision": resolve_precision(classifier.precision),
        "jit": classifier.jit,
    }


def _longest_run(classifier: "TextClassifier") -> int:
    """Tokens in the longest run of the bag; 0: there is no bag."""
    if classifier.ngrams == "auto":
        return 0 if classifier.stateful else 2
    return int(classifier.ngrams)
