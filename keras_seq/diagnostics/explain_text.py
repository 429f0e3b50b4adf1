"""explain_text: which characters of a text speak for a class, and which against."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from keras_seq.diagnostics.explain_offsets import locate_tokens
from keras_seq.diagnostics.explain_path import (
    Effort,
    Integrated,
    integrate,
    standing_in,
)
from keras_seq.diagnostics.explain_view import TextExplanation, TextExplanations
from keras_seq.layers.ngrams import NgramBag, hash_runs
from keras_seq.text.batches import pad_rows
from keras_seq.text.preprocessing import TokenRows, head_length
from keras_seq.training.autodiff import check_backend
from keras_seq.training.ensemble import members_of

Tensor = Any

# Of probabilities; logarithms of less are no number in float32.
_LEAST = 1e-30


def explain_text(
    classifier: Any,
    texts: Sequence[str],
    label: Any = None,
    *,
    steps: int = 24,
    tolerance: float = 0.02,
    max_steps: int = 384,
) -> TextExplanations:
    """Tells what each token adds to the log-odds of a class, by integrated gradients.

    What is explained is log(p / (1 - p)), where p is what `predict_proba` gives the
    label: of all networks of an ensemble, after shares and temperature. It is
    explained with respect to the embeddings that the recurrence reads and to the bag of
    n-grams beside it; what a run of several tokens adds is parted evenly among them.
    The path begins at a text of the same length without any word: embeddings of zero
    and an empty bag. The contributions add up to the log-odds less those there,
    `baseline`.

    Args:
        classifier: A fitted `TextClassifier` that is not `stateful`.
        texts: Strings.
        label: The label to explain, one for all texts; None: of each the likeliest.
        steps: Gradients taken along the path; texts with a larger gap are done again
            with twice as many.
        tolerance: The gap that is left be: what contributions lack in adding up, over
            the sum of their sizes.
        max_steps: Gradients taken at most.

    Returns:
        A sequence of `TextExplanation`, one per text, that shows itself in notebooks
        and terminals; `to_frame()` has all in a table.

    Raises:
        TypeError, ValueError: If an argument breaks a rule; the message names it.

    Example:
        >>> explain_text(clf, ["free prize inside"])[0].tokens        # doctest: +SKIP

    Reference:
        Sundararajan et al., 2017, Axiomatic Attribution for Deep Networks.
    """
    effort = Effort.checked(steps, tolerance, max_steps)
    _check_classifier(classifier)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        received = "a str" if isinstance(texts, str) else "other values among them"
        raise TypeError(f"`texts` must be a list of strings. Received: {received}")
    texts = list(texts)
    if not texts:
        return TextExplanations([])
    probabilities = classifier._probabilities(texts)
    chosen = _choose(classifier.classes_, label, probabilities)
    rows = classifier.preprocessor_.transform(texts)
    widths = np.array(classifier.preprocessor_.bucket_lengths_)
    widest = max(int(rows.lengths.max()), int(widths[-1]))
    bucket = np.append(widths, widest)[np.searchsorted(widths, rows.lengths)]
    found: dict[int, TextExplanation] = {}
    for width in np.unique(bucket).tolist():
        some = np.flatnonzero(bucket == width)
        parts = _explain_rows(classifier, rows, some, width, chosen[some], effort)
        for row, (contributions, whole) in zip(some.tolist(), parts, strict=True):
            found[row] = _describe(
                classifier,
                texts[row],
                contributions,
                whole,
                chosen[row],
                float(probabilities[row, chosen[row]]),
            )
    return TextExplanations([found[row] for row in range(len(texts))])


def _check_classifier(classifier: Any) -> None:
    check_backend()
    if not hasattr(classifier, "preprocessor_"):
        raise TypeError(
            "`classifier` must be a TextClassifier after `fit`. "
            f"Received: {type(classifier).__name__}"
        )
    classifier._check_fitted()
    if classifier.stateful:
        raise ValueError(
            "`classifier` must have stateful=False: gradients end where a chunk "
            "begins. Received: stateful=True"
        )


def _choose(classes: np.ndarray, label: Any, probabilities: np.ndarray) -> np.ndarray:
    """The class id to explain of each text."""
    if label is None:
        return probabilities.argmax(axis=1)
    known = classes.tolist()
    if label not in known:
        raise ValueError(
            f"`label` must be one of `classes_`, {known[:20]}. Received: {label!r}"
        )
    return np.full(len(probabilities), known.index(label))


class _Reading:
    """What one network reads of padded rows: its inputs as numbers.

    Attributes:
        embedded: float32, `(rows, time, embedding_dim)`: what the recurrence reads.
        places: int64, `(rows, time)`: which token of the row each step is.
        bag: float32, `(rows, dim)`; None where there is none.
    """

    def __init__(self, model: keras.Model, tokens: np.ndarray, lengths: np.ndarray):
        self.entry = model.get_layer("embedding_dropout")
        self.final = model.get_layer("probabilities")
        layers = {layer.name: layer for layer in model.layers}
        self.places = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
        if "truncate" in layers:
            longest, head = layers["truncate"].longest, layers["truncate"].head
            self.places = self.places[:, :longest]
            left_out = np.maximum(lengths - longest, 0)[:, None]
            self.places = self.places + np.where(self.places < head, 0, left_out)
        table = ops.convert_to_numpy(layers["embedding"].embeddings)
        read = np.take_along_axis(tokens, self.places, axis=1)
        self.embedded = table[read].astype(np.float32)
        self.layer: NgramBag | None = layers.get("ngrams")
        self.bag = None
        if self.layer is not None:
            self.tokens, self.lengths = tokens, lengths
            self.buckets = self.layer.buckets
            self.vectors = [ops.convert_to_numpy(v.value) for v in self.layer.vectors]
            self.bag = np.zeros((len(tokens), self.layer.dim), np.float32)
            for row in range(len(tokens)):
                self.bag[row] = sum(v.sum(axis=0) for v in self._runs(row))

    def _runs(self, row: int) -> list[np.ndarray]:
        """What each run adds to the bag: of each length `(num_runs, dim)`."""
        length = int(self.lengths[row])
        ids = self.tokens[row, :length]
        found = []
        for run, vectors in enumerate(self.vectors, start=1):
            own = ids if run == 1 else hash_runs(ids, run, self.buckets, np.roll)
            found.append(vectors[own[: max(length - run + 1, 0)]])
        count = sum(map(len, found))
        return [vectors / np.sqrt(max(count, 1)) for vectors in found]

    def bag_contributions(self, row: int, gradient: np.ndarray) -> np.ndarray:
        """Of each token of a row: `(length,)`."""
        contributions = np.zeros(int(self.lengths[row]))
        for run, vectors in enumerate(self._runs(row), start=1):
            each = vectors.astype(np.float64) @ gradient / run
            for offset in range(run):
                contributions[offset : offset + len(each)] += each
        return contributions


def _explain_rows(
    classifier: Any,
    rows: TokenRows,
    some: np.ndarray,
    width: int,
    chosen: np.ndarray,
    effort: Effort,
) -> Iterator[tuple[np.ndarray, Integrated]]:
    """Of some rows, padded to one width, the contributions of their tokens."""
    model = classifier.model_
    padded = pad_rows(rows, some, width, len(some))
    tokens, lengths = padded["tokens"], padded["length"]
    readings = [_Reading(member, tokens, lengths) for member in members_of(model)]
    inputs = {}
    for number, reading in enumerate(readings):
        inputs[f"embedded_{number}"] = reading.embedded
        if reading.bag is not None:
            inputs[f"bag_{number}"] = reading.bag
    onehot = np.eye(len(classifier.classes_), dtype=np.float32)[chosen]
    found = integrate(
        _log_odds(classifier, readings),
        model.variables,
        inputs,
        {name: np.zeros_like(array) for name, array in inputs.items()},
        {**padded, "chosen": onehot},
        effort,
    )
    for row, length in enumerate(lengths.tolist()):
        total = np.zeros(length)
        for number, reading in enumerate(readings):
            mean = found.gradients[f"embedded_{number}"][row]
            steps = min(length, reading.places.shape[1])
            each = (mean * reading.embedded[row]).sum(axis=-1)[:steps]
            np.add.at(total, reading.places[row, :steps], each)
            if reading.bag is not None:
                gradient = found.gradients[f"bag_{number}"][row]
                total += reading.bag_contributions(row, gradient)
        parts = (np.asarray(part[row]) for part in found[1:])
        yield total, Integrated({}, *parts)


def _log_odds(classifier: Any, readings: list[_Reading]) -> Any:
    """A function of embeddings and bags to log-odds as `predict_proba` has them."""
    model, temperature = classifier.model_, float(classifier.temperature_)
    multi_label = classifier.multi_label

    def score(inputs: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        stand_ins: dict[Any, Any] = {}
        seen: dict[Any, Any] = {}
        for number, reading in enumerate(readings):
            _stand_in(stand_ins, reading.entry, inputs[f"embedded_{number}"])
            if reading.layer is not None:
                _stand_in(stand_ins, reading.layer, inputs[f"bag_{number}"])
            stand_ins[reading.final] = _watched(reading.final, seen)
        given = {name: fixed[name] for name in ("tokens", "length")}
        with standing_in(stand_ins):
            model(given, training=False)
        logits, shares = [], []
        for reading in readings:
            heads, weights = seen[reading.final]
            logits += heads
            shares += [weight / len(readings) for weight in weights]
        logs = ops.stack(logits)  # (heads, batch, num_classes)
        share = ops.log(ops.maximum(ops.stack(shares), _LEAST))[:, None, None]
        chosen = fixed["chosen"]
        if multi_label:
            yes = ops.logsumexp(share + ops.log_sigmoid(logs), axis=0)
            no = ops.logsumexp(share + ops.log_sigmoid(-logs), axis=0)
            return ops.sum((yes - no) / temperature * chosen, axis=-1)
        logs = ops.logsumexp(share + ops.log_softmax(logs), axis=0) / temperature
        others = ops.logsumexp(logs - 1e9 * chosen, axis=-1)
        return ops.sum(logs * chosen, axis=-1) - others

    return score


def _stand_in(stand_ins: dict[Any, Any], layer: Any, value: Tensor) -> None:
    stand_ins[layer] = lambda *_, **__: ops.cast(value, layer.compute_dtype)


def _watched(final: keras.layers.Layer, seen: dict[Any, Any]) -> Any:
    """The last layer's `call`, which tells what it gets: logits, and their shares."""
    call = final.call

    def watched(given: Any, *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(given, list | tuple):
            heads = [ops.cast(head, "float32") for head in given]
            shares = ops.convert_to_tensor(final.shares)
            seen[final] = heads, [shares[i] for i in range(len(heads))]
        else:
            kernel, bias = ops.convert_to_tensor(final.kernel), final.bias
            logits = ops.matmul(ops.cast(given, "float32"), kernel) + bias
            seen[final] = [logits], [ops.ones(())]
        return call(given, *args, **kwargs)

    return watched


def _describe(
    classifier: Any,
    text: str,
    contributions: np.ndarray,
    whole: Integrated,
    chosen: int,
    probability: float,
) -> TextExplanation:
    """Lays the contributions of the tokens that were read over all of a text's."""
    preprocessor = classifier.preprocessor_
    tokens, starts, ends = locate_tokens(preprocessor._splitter, text)
    read = np.arange(len(tokens))
    if len(tokens) > len(contributions):  # cut to the longest row
        longest = len(contributions)
        head = head_length(preprocessor.truncation, longest)
        read = np.concatenate([read[:head], read[len(tokens) - (longest - head) :]])
    values = np.zeros(len(tokens))
    values[read] = contributions
    unread = np.ones(len(tokens), bool)
    unread[read] = False
    known = [token in preprocessor._ids for token in tokens]
    status = np.where(unread, "cut", np.where(known, "known", "unknown"))
    if not len(tokens):
        status = np.zeros(0, object)
    frame = pd.DataFrame(
        {
            "token": pd.Series(tokens, dtype=object),
            "start": starts,
            "end": ends,
            "contribution": values,
            "status": pd.Series(status, dtype=object),
        }
    )
    return TextExplanation(
        text=text,
        label=classifier.classes_[chosen].item(),
        probability=probability,
        log_odds=float(whole.value),
        baseline=float(whole.baseline),
        gap=float(whole.gap),
        steps=int(whole.steps),
        tokens=frame,
    )
