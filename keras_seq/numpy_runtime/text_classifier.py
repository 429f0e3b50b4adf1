"""NumpyTextClassifier: a saved TextClassifier that predicts with NumPy alone."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import suggests_names
from keras_seq.numpy_runtime.text_network import TextNetwork
from keras_seq.numpy_runtime.weights import network_weights
from keras_seq.text.calibration import apply_temperature
from keras_seq.text.normalization import Split
from keras_seq.text.padding import pad_rows
from keras_seq.text.preprocessing import TextPreprocessor, TokenRows
from keras_seq.text.texts import check_texts
from keras_seq.text.thresholds import decide

Array = np.ndarray[Any, np.dtype[Any]]

# Rows of a batch at most, and steps of all of its rows together: arrays that fit.
_MOST_ROWS, _MOST_STEPS = 64, 16_384


class NumpyTextClassifier:
    """Answers as the `TextClassifier` that was saved.

    Args:
        manifest: Of the artefact.
        arrays: Of the artefact.
        split: The function that the classifier was fitted with, if it was one.

    Attributes:
        classes_: Labels in the order of the probabilities' columns.
        network_: The `TextNetwork`.
        preprocessor_: From texts to rows of ids.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        arrays: dict[str, Array],
        split: Split | None = None,
    ):
        params, state = manifest["params"], manifest["state"]
        self._builder = builder = manifest["builder"]
        self._weights = network_weights(arrays)
        self.network_ = TextNetwork(builder, self._weights)
        # Arguments that a file lacks were not there yet when it was written.
        self.multi_label = bool(params.get("multi_label", False))
        self.chunk_length = params["chunk_length"] if params.get("stateful") else None
        rows = {"row_length": params["ngram_length"]} if builder.get("ngrams") else {}
        preprocessor = TextPreprocessor(
            split=params["split"] if split is None else split,
            truncation=params["truncation"],
            **rows,
        )
        self.preprocessor_ = preprocessor.set_state(state["preprocessor"], arrays)
        self.classes_ = np.array(state["classes"])
        self.temperature_: float = state["temperature"]
        thresholds = state["thresholds"]
        self.thresholds_ = None if thresholds is None else np.array(thresholds)

    def predict_proba(self, texts: Sequence[str]) -> Array:
        """Class probabilities.

        Args:
            texts: Strings.

        Returns:
            float32, `(num_texts, num_classes)`, columns in the order of `classes_`.
        """
        rows = self.preprocessor_.transform(check_texts(texts))
        raw = np.zeros((len(rows.lengths), len(self.classes_)), np.float32)
        for chosen, width in _batches(rows):
            raw[chosen] = self._read(rows, chosen, width)
        return apply_temperature(raw, self.temperature_, self.multi_label)

    def predict(self, texts: Sequence[str]) -> Any:
        """The likeliest label of each text, of the type given to `fit`.

        Returns:
            An array, `(num_texts,)`; with `multi_label` a list of labels for each text.
        """
        return self.choose_labels(self.predict_proba(texts))

    def choose_labels(self, probabilities: Array) -> Any:
        """What `predict` makes of what `predict_proba` gave."""
        if self.thresholds_ is not None:
            given = decide(probabilities, self.thresholds_)
            return [self.classes_[row].tolist() for row in given]
        return self.classes_[probabilities.argmax(axis=1)]

    @suggests_names
    def stream(
        self,
        *,
        max_keys: int | None = None,
        on_full: str = "drop",
        spill: str | PathLike[str] | None = None,
    ) -> Any:
        """A session that reads texts piece by piece, as that of `TextClassifier`.

        Args:
            max_keys: As in `keras_seq.streaming.KeyedStates`, and so the others.
            on_full: As there.
            spill: As there.
        """
        from keras_seq.streaming.opening_text import numpy_reader, serve_text

        stateful = self.chunk_length is not None
        return serve_text(
            self,
            numpy_reader(self.network_, self.preprocessor_, stateful),
            self._builder,
            self._weights,
            choose=self.choose_labels,
            max_keys=max_keys,
            on_full=on_full,
            spill=spill,
        )

    def _read(self, rows: TokenRows, chosen: Array, width: int) -> Array:
        inputs = pad_rows(rows, chosen, width, len(chosen))
        if self.chunk_length is None or width <= self.chunk_length:
            return self.network_(inputs)
        # In chunks, since texts may have any length, and memory not.
        state, step = self.network_.initial(len(chosen)), self.chunk_length
        for first in range(0, width, step):
            part = {
                "tokens": inputs["tokens"][:, first : first + step],
                "length": np.clip(inputs["length"] - first, 0, step),
            }
            answer, state = self.network_.advance(part, state)
        return answer


def _batches(rows: TokenRows) -> Iterator[tuple[Array, int]]:
    """Row numbers and width of each batch, rows of about one length side by side."""
    order = np.argsort(rows.lengths, kind="stable")
    lengths = rows.lengths[order]
    first = 0
    while first < len(order):
        last = min(first + _MOST_ROWS, len(order))
        while last > first + 1 and lengths[last - 1] * (last - first) > _MOST_STEPS:
            last -= 1
        yield order[first:last], max(int(lengths[last - 1]), 1)
        first = last
