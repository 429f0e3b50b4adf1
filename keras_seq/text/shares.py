"""How sure each head of a text network is, and how much it has to say."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from keras_seq.text.batches import Buckets, predict_rows
from keras_seq.text.calibration import fit_temperature
from keras_seq.text.corpus import Corpus
from keras_seq.training.ensemble import members_of

HEADS = ("recurrent_head", "ngram_head")
# Of the recurrence. Neither falls silent: a few texts held back say little, and what is
# asked for is a recurrent network.
_TRIED = np.linspace(0.25, 0.75, 11)
# What the recurrence has where few texts are held back, and what that is worth: the log
# likelihood must rise by 0.2 to take it 0.1 from there. With 50 of 500 texts held back,
# the share that was best on them was chance, and the bag most often the better head.
_PRIOR_SHARE, _PRIOR_WEIGHT = 0.35, 20.0


class Say(NamedTuple):
    """What heads are given.

    Attributes:
        temperatures: Their logits are divided by them, `(num_heads,)`.
        shares: float32, of their probabilities in the answer, `(num_heads,)`; they add
            up to one.
    """

    temperatures: np.ndarray
    shares: np.ndarray


def has_heads(model: keras.Model) -> bool:
    """Whether the model averages several heads."""
    return any(layer.name == HEADS[1] for layer in model.layers)


def weigh_heads(model: keras.Model, buckets: Buckets, held: Corpus) -> list[Say]:
    """Lets the head have more to say that does better on validation.

    Args:
        model: One network, or an ensemble.
        buckets: Texts held back, as ids.
        held: The same texts.

    Returns:
        What was chosen and set, for each network that has several heads.
    """
    members = [member for member in members_of(model) if has_heads(member)]
    chosen = [
        choose_say(member, buckets, held.targets, held.weights) for member in members
    ]
    set_say(model, chosen)
    return chosen


def set_say(model: keras.Model, chosen: Sequence[Say]) -> None:
    """Gives heads the say that `weigh_heads` chose, to another network as well."""
    members = [member for member in members_of(model) if has_heads(member)]
    for member, say in zip(members, chosen, strict=True):
        member.get_layer("probabilities").shares.assign(say.shares)
        for name, temperature in zip(HEADS, say.temperatures, strict=True):
            for weight in member.get_layer(name).weights:
                weight.assign(weight / float(temperature))


def choose_say(
    model: keras.Model,
    buckets: Buckets,
    targets: np.ndarray,
    weights: np.ndarray,
) -> Say:
    """What gives two heads and then their mean the least log loss, on texts held back.

    A head that is right but unsure would else lose its share to one that is wrong and
    sure: a bag is still unsure when a recurrence has begun to be too sure.

    Args:
        model: Of `build_text_classifier(ngrams=...)`.
        buckets: Texts as ids.
        targets: Class ids, `(num_texts,)`, or 0 and 1, `(num_texts, num_classes)`.
        weights: `(num_texts,)`.

    Returns:
        Temperatures, and shares from 0.25 to 0.75, nearer to 0.35 and 0.65 the fewer
        texts there are.
    """
    multi_label = model.get_layer("probabilities").multi_label
    outputs = [model.get_layer(name).output for name in HEADS]
    heads = keras.Model(model.inputs, outputs)
    logits = np.array(predict_rows(heads, buckets), np.float64)  # (head, text, class)
    temperatures = np.array(
        [
            fit_temperature(
                _probabilities(head, multi_label), targets, weights, multi_label
            )
            for head in logits
        ]
    )
    found = _probabilities(logits / temperatures[:, None, None], multi_label)
    count = np.count_nonzero(weights)
    objectives = [
        count * _loss(share * found[0] + (1 - share) * found[1], targets, weights)
        + _PRIOR_WEIGHT * (share - _PRIOR_SHARE) ** 2
        for share in _TRIED
    ]
    share = _TRIED[int(np.argmin(objectives))]
    return Say(temperatures, np.array([share, 1 - share], np.float32))


def _probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """Of `(..., num_texts, num_classes)`, in float64."""
    if multi_label:
        return expit(logits)
    return softmax(logits, axis=-1)


def _loss(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    if targets.ndim == 1:
        ids = np.arange(probabilities.shape[1])
        return float(
            log_loss(targets, probabilities, sample_weight=weights, labels=ids)
        )
    shown = np.clip(probabilities, 1e-7, 1 - 1e-7)
    each = targets * np.log(shown) + (1 - targets) * np.log(1 - shown)
    return float(-np.average(each.mean(axis=1), weights=weights))
