"""Sessions of fitted classifiers, of Keras or of NumPy."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import ArtifactError, check_choice
from keras_seq.numpy_runtime.text_network import TextNetwork
from keras_seq.streaming.documents import TextSession
from keras_seq.streaming.fingerprint import model_fingerprint, model_weights
from keras_seq.streaming.opening import ENGINES
from keras_seq.streaming.pieces import PieceReader
from keras_seq.streaming.readers import (
    CarryingReader,
    Reader,
    WholeReader,
    keras_advance,
)
from keras_seq.streaming.rows import Array
from keras_seq.text.calibration import apply_temperature
from keras_seq.text.preprocessing import TextPreprocessor, TokenRows, head_length


def open_text_session(
    classifier: Any,
    *,
    engine: str = "auto",
    max_keys: int | None = None,
    on_full: str = "drop",
    spill: str | PathLike[str] | None = None,
) -> TextSession:
    """A session of a fitted `TextClassifier`.

    Args:
        classifier: Fitted. One that is `stateful` carries its state on from piece to
            piece; another keeps the ids that it reads, and runs anew.
        engine: `"numpy"`, `"keras"`, or `"auto"`: NumPy where it can run the network.
        max_keys: As in `KeyedStates`, and so the others.
        on_full: As in `KeyedStates`.
        spill: As in `KeyedStates`.

    Raises:
        NotFittedError: Before `fit` or `load`.
        ValueError: If an argument breaks a rule, if a function splits the texts, or if
            a stateful classifier reads the end of long texts.
    """
    classifier._check_fitted()
    check_choice("engine", engine, ENGINES)
    weights = model_weights(classifier.model_)
    reader = _text_reader(classifier, weights, engine)
    return serve_text(
        classifier,
        reader,
        classifier._builder_args,
        weights,
        choose=classifier._choose_labels,
        max_keys=max_keys,
        on_full=on_full,
        spill=spill,
    )


def serve_text(
    classifier: Any,
    reader: Reader,
    builder: dict[str, Any],
    weights: dict[str, Array],
    **options: Any,
) -> TextSession:
    """A session of any runtime.

    Args:
        classifier: Fitted, or its twin in NumPy.
        reader: What runs its network.
        builder: Arguments of the network.
        weights: Of the network, by path.
        options: Of `TextSession`.
    """
    prepared, arrays = classifier.preprocessor_.get_state()
    preprocessor = classifier.preprocessor_
    settings = {
        "builder": builder,
        "preprocessor": prepared,
        "truncation": preprocessor.truncation,
        "split": repr(preprocessor.split),
        "temperature": classifier.temperature_,
    }
    temperature, several = classifier.temperature_, classifier.multi_label
    return TextSession(
        reader,
        PieceReader(preprocessor._splitter, preprocessor._ids),
        fingerprint=model_fingerprint(settings, arrays, weights),
        classes=classifier.classes_,
        calibrate=lambda raw: apply_temperature(raw, temperature, several),
        **options,
    )


def numpy_reader(
    network: TextNetwork, preprocessor: TextPreprocessor, stateful: bool
) -> Reader:
    """What reads texts by a network in NumPy.

    Args:
        network: Of the classifier.
        preprocessor: Of the classifier.
        stateful: Whether the classifier carries its state.

    Raises:
        ValueError: If a stateful classifier reads the end of long texts.
    """
    longest = preprocessor.row_length_
    if not stateful:
        return WholeReader(network, longest, _head(preprocessor))
    _check_truncation(preprocessor)
    return CarryingReader(network.advance, network.initial, longest)


def _text_reader(classifier: Any, weights: dict[str, Array], engine: str) -> Reader:
    preprocessor, stateful = classifier.preprocessor_, classifier.stateful
    if engine != "keras":
        try:
            network = TextNetwork(classifier._builder_args, weights)
        except ArtifactError:
            if engine == "numpy":
                raise
        else:
            return numpy_reader(network, preprocessor, stateful)
    longest = preprocessor.row_length_
    if not stateful:
        return WholeReader(_keras_classifier(classifier), longest, _head(preprocessor))
    _check_truncation(preprocessor)
    model, rows = classifier.model_, classifier._builder_args["batch_size"]
    return CarryingReader(*keras_advance(model, rows, classifier.chunk_length), longest)


def _head(preprocessor: TextPreprocessor) -> int:
    """How many of the first tokens of a long text are read."""
    longest = preprocessor.row_length_
    return 0 if longest is None else head_length(preprocessor.truncation, longest)


def _check_truncation(preprocessor: TextPreprocessor) -> None:
    if preprocessor.row_length_ is not None and preprocessor.truncation != "head":
        raise ValueError(
            "`truncation` must be 'head' to read on in a stateful classifier: what it "
            "has read it cannot leave out. Received: "
            f"truncation={preprocessor.truncation!r}, "
            f"max_length={preprocessor.max_length!r}"
        )


def _keras_classifier(classifier: Any) -> Callable[[dict[str, Array]], Array]:
    """Whole texts through the Keras network, in the lengths it was trained in."""

    def answer(inputs: dict[str, Array]) -> Array:
        tokens, length = inputs["tokens"], inputs["length"]
        valid = np.arange(tokens.shape[1]) < length[:, None]
        return classifier._raw_probabilities(TokenRows(tokens[valid], length))

    return answer
