"""How much each head of a text network has to say."""

from collections.abc import Sequence

import keras
import numpy as np
from sklearn.metrics import log_loss

from keras_seq.text.batches import Buckets, predict_rows
from keras_seq.text.corpus import Corpus
from keras_seq.training.ensemble import members_of

HEADS = ("recurrent_head", "ngram_head")
# Neither falls silent: a few texts held back say little, and what is asked for is a
# recurrent network.
_TRIED = np.linspace(0.25, 0.75, 11)


def has_heads(model: keras.Model) -> bool:
    """Whether the model averages several heads."""
    return any(layer.name == HEADS[1] for layer in model.layers)


def weigh_heads(model: keras.Model, buckets: Buckets, held: Corpus) -> list[np.ndarray]:
    """Lets the head have more to say that does better on validation.

    Args:
        model: One network, or an ensemble.
        buckets: Texts held back, as ids.
        held: The same texts.

    Returns:
        What was chosen and set, for each network that has several heads.
    """
    members = [member for member in members_of(model) if has_heads(member)]
    shares = [
        choose_shares(member, buckets, held.targets, held.weights) for member in members
    ]
    set_shares(model, shares)
    return shares


def set_shares(model: keras.Model, shares: Sequence[np.ndarray]) -> None:
    """Gives heads the say that `weigh_heads` chose, to another network as well."""
    members = [member for member in members_of(model) if has_heads(member)]
    for member, chosen in zip(members, shares, strict=True):
        member.get_layer("probabilities").shares.assign(chosen)


def choose_shares(
    model: keras.Model,
    buckets: Buckets,
    targets: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """The shares of two heads whose mean has the least log loss, on texts held back.

    Args:
        model: Of `build_text_classifier(ngrams=...)`.
        buckets: Texts as ids.
        targets: Class ids, `(num_texts,)`, or 0 and 1, `(num_texts, num_classes)`.
        weights: `(num_texts,)`.

    Returns:
        float32, `(2,)`, from 0.25 to 0.75; they add up to one. Of equals those nearest
        to one half.
    """
    layer = model.get_layer("probabilities")
    outputs = [model.get_layer(name).output for name in HEADS]
    heads = keras.Model(model.inputs, outputs)
    found = np.array(predict_rows(heads, buckets), np.float64)  # (head, text, class)
    if layer.multi_label:
        found = 1 / (1 + np.exp(-found))
    else:
        found = np.exp(found - found.max(axis=-1, keepdims=True))
        found /= found.sum(axis=-1, keepdims=True)
    losses = [
        _loss(share * found[0] + (1 - share) * found[1], targets, weights)
        for share in _TRIED
    ]
    order = np.lexsort((np.abs(_TRIED - 0.5), np.round(losses, 9)))
    share = _TRIED[order[0]]
    return np.array([share, 1 - share], np.float32)


def _loss(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    if targets.ndim == 1:
        ids = np.arange(probabilities.shape[1])
        return float(
            log_loss(targets, probabilities, sample_weight=weights, labels=ids)
        )
    shown = np.clip(probabilities, 1e-7, 1 - 1e-7)
    each = targets * np.log(shown) + (1 - targets) * np.log(1 - shown)
    return float(-np.average(each.mean(axis=1), weights=weights))
