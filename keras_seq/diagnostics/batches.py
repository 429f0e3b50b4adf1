"""One batch of a model or an estimator, as the model takes it."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_seq.errors import check_integer
from keras_seq.training.ensemble import members_of


class Batch(NamedTuple):
    """What `Probe` takes: inputs, targets and weights, `(rows, ...)` each."""

    inputs: Any
    targets: Any
    sample_weight: Any = None


def draw_batch(estimator_or_model: Any, data: Any, num_rows: int, seed: int) -> Batch:
    """Draws rows at random.

    Args:
        estimator_or_model: A `TextClassifier` or `Forecaster` whose preprocessing is
            fitted, or a `keras.Model`.
        data: For a classifier `(texts, labels)`; for a forecaster a long frame, of
            which training windows are drawn; for a model `(inputs, targets)` or
            `(inputs, targets, sample_weight)`, as its `fit` takes them.
        num_rows: Rows wanted; fewer if `data` has fewer.
        seed: Of the draw.

    Raises:
        TypeError: If `data` is not what the first argument needs.
    """
    check_integer("num_rows", num_rows, 1)
    if isinstance(estimator_or_model, keras.Model):
        return _of_model(data, num_rows, seed)
    if hasattr(estimator_or_model, "preprocessor_"):
        return _of_texts(estimator_or_model, data, num_rows, seed)
    if hasattr(estimator_or_model, "lookback_"):
        return _of_series(estimator_or_model, data, num_rows, seed)
    estimator = type(estimator_or_model).__name__
    raise TypeError(
        "`estimator_or_model` must be a keras.Model, or a TextClassifier or Forecaster "
        f"after `fit`. Received: {estimator}"
    )


def take_rows(batch: Batch, random: np.random.Generator, num_rows: int) -> Batch:
    """Rows of a batch, with replacement."""
    rows = random.integers(len(keras.tree.flatten(batch.inputs)[0]), size=num_rows)
    parts = (part for part in batch if part is not None)
    return Batch(*(keras.tree.map_structure(lambda x: x[rows], p) for p in parts))


def network_of(estimator_or_model: Any) -> keras.Model:
    """The network of an estimator, of an ensemble the first; a network itself."""
    if isinstance(estimator_or_model, keras.Model):
        return estimator_or_model
    model = getattr(estimator_or_model, "model_", None)
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`estimator_or_model` must be a keras.Model, or a TextClassifier or "
            f"Forecaster after `fit`. Received: {type(estimator_or_model).__name__}"
        )
    return members_of(model)[0]


def _of_model(data: Any, num_rows: int, seed: int) -> Batch:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(
            "`data` must be (inputs, targets) or (inputs, targets, sample_weight) for "
            f"a model. Received: {_describe(data)}"
        )
    given = tuple(part for part in data if part is not None)
    batch = keras.tree.map_structure(np.asarray, given)
    counts = {len(array) for array in keras.tree.flatten(batch)}
    if len(counts) != 1 or not min(counts):
        raise ValueError(
            "All of `data` must have equally many rows, at least one. "
            f"Received: {sorted(counts)}"
        )
    rows = _choose(counts.pop(), num_rows, seed)
    return Batch(*keras.tree.map_structure(lambda array: array[rows], batch))


def _of_texts(estimator: Any, data: Any, num_rows: int, seed: int) -> Batch:
    from keras_seq.text.batches import pad_rows
    from keras_seq.text.inputs import check_pairs

    _refuse_stateful(estimator)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(
            "`data` must be (texts, labels) for a TextClassifier. "
            f"Received: {_describe(data)}"
        )
    texts, labels = check_pairs(data[0], data[1], multi_label=estimator.multi_label)
    rows = _choose(len(texts), num_rows, seed)
    tokens = estimator.preprocessor_.transform([texts[row] for row in rows])
    width = max(int(tokens.lengths.max()), 1)
    inputs = pad_rows(tokens, np.arange(len(rows)), width, len(rows))
    return Batch(inputs, estimator._encode([labels[row] for row in rows]))


def _of_series(estimator: Any, data: Any, num_rows: int, seed: int) -> Batch:
    from keras_seq.forecasting.fitting import training_batches
    from keras_seq.forecasting.windows import WindowSource, split_origins

    _refuse_stateful(estimator)
    panel = estimator._panel(data, fitted=True)
    source = WindowSource(panel, estimator._spec)
    split = split_origins(panel.observed_lengths, estimator._spec, validation=False)
    return Batch(*training_batches(source, split, num_rows, 1, seed)[0])


def _refuse_stateful(estimator: Any) -> None:
    if estimator.stateful:
        raise ValueError(
            "`estimator_or_model` must have stateful=False: gradients end where a "
            "chunk begins. Received: stateful=True"
        )


def _choose(count: int, num_rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.sort(random.permutation(count)[:num_rows])


def _describe(data: Any) -> str:
    if isinstance(data, tuple | list):
        return f"{type(data).__name__} of length {len(data)}"
    return type(data).__name__
