"""The steps of a training: weights, ids and a report of the texts; the network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np

from keras_seq.text.corpus import Corpus
from keras_seq.text.labels import weigh_classes
from keras_seq.text.naive_bayes import start_from_naive_bayes
from keras_seq.text.preprocessing import TextPreprocessor, TokenRows
from keras_seq.text.pretraining import Pretrained
from keras_seq.text.report import TextReport, describe_texts
from keras_seq.text.shares import HEADS, has_heads
from keras_seq.training.distribution import (
    check_divisible,
    distributed,
    on_one_device,
)
from keras_seq.training.fit import Batches, FitResult, fit_model


def weigh_by_class(
    class_weight: str | Mapping[Any, float] | None,
    classes: np.ndarray,
    corpus: Corpus,
    held: Corpus | None,
) -> tuple[Corpus, Corpus | None]:
    """Both with the class weights of the first.

    Early stopping asks whether what is minimised still falls on new texts. Without the
    weights it would prefer the epoch that has taken least notice of them.
    """
    if class_weight is None:
        return corpus, held
    by_class = weigh_classes(class_weight, corpus.targets, corpus.weights, classes)
    return corpus.reweigh(by_class), held.reweigh(by_class) if held else None


def prepare(
    preprocessor: TextPreprocessor,
    corpus: Corpus,
    held: Corpus,
    classes: np.ndarray,
    vocabulary: list[str] | None,
) -> tuple[TokenRows, TokenRows, TextReport]:
    """Learns the vocabulary from one corpus, and it alone; each text is split once.

    Args:
        preprocessor: Not fitted yet.
        corpus: To train on.
        held: To validate on.
        classes: Labels by class id.
        vocabulary: That of a network which trains on; None: it is learned.

    Returns:
        The ids of either, and what there is to say of both.
    """
    tokens = preprocessor.tokenize(corpus.texts)
    preprocessor.learn(tokens, vocabulary)
    held_tokens = preprocessor.tokenize(held.texts)
    report = describe_texts(
        preprocessor,
        classes,
        (corpus.texts, tokens, corpus.targets),
        (held.texts, held_tokens, held.targets),
    )
    return preprocessor.encode(tokens), preprocessor.encode(held_tokens), report


@dataclass(frozen=True)
class Origin:
    """What a fit goes on from.

    Attributes:
        vocabulary: Tokens by id; None: it is learned.
        weights: Of whole networks.
        pretrained: What a language model learned.
    """

    vocabulary: list[str] | None = None
    weights: list[list[np.ndarray]] | None = None
    pretrained: Pretrained | None = None

    def fingerprint(self) -> list[Any]:
        """What `hash_data` takes of it."""
        return [self.vocabulary, self.weights, self.pretrained]

    def of_member(self, number: int) -> Self:
        """That of one network, counted from 1."""
        if self.weights is None:
            return self
        return replace(self, weights=[self.weights[number - 1]])


def start_network(
    model: keras.Model,
    rows: TokenRows,
    corpus: Corpus,
    vectors: np.ndarray | None,
    origin: Origin,
) -> None:
    """Gives a new network all that is known before it trains.

    Args:
        model: Of `build_text_classifier`.
        rows: Training texts as ids.
        corpus: The same texts.
        vectors: Of the vocabulary's tokens, `(max_tokens, embedding_dim)`, from a file.
        origin: Of this network. Beside whole weights nothing else counts; what was
            pretrained began with the vectors.

    Raises:
        ValueError: If the weights are those of another network.
    """
    if origin.weights is not None:
        (weights,) = origin.weights
        shapes = [tuple(weight.shape) for weight in model.weights]
        if [weight.shape for weight in weights] != shapes:
            raise ValueError(
                "`warm_start` needs the network that was fitted before: arguments of "
                "the network have changed since"
            )
        model.set_weights(weights)
        return
    if has_heads(model):
        bag, head = model.get_layer("ngrams"), model.get_layer(HEADS[1])
        start_from_naive_bayes(bag, head, rows, corpus.targets, corpus.weights)
    if origin.pretrained is not None:
        origin.pretrained.start(model)
    elif vectors is not None:
        model.get_layer("embedding").set_weights([vectors])


def train_network(
    build: Callable[[], keras.Model],
    start: Callable[[keras.Model], None],
    training: Batches,
    *,
    distribution: str | None,
    batch_size: int,
    precision: str,
    jit: bool | str,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    """Builds a network on the devices that are to train it, and trains it.

    Args:
        build: Of the compiled network.
        start: What gives it its first weights.
        training: Batches.
        distribution: Of `TextClassifier`.
        batch_size: Which the devices share.
        precision: That the network is built in.
        jit: Whether XLA compiles its steps.
        options: Of `fit_model`.

    Returns:
        The network on one device, and how training went.
    """
    with distributed(distribution, precision=precision, jit=jit) as count:
        check_divisible(batch_size, count)
        model = build()
        start(model)
        # Unlike the loss, it is exact over batches that are not equally full.
        result = fit_model(model, training, monitor="val_log_loss", **options)
    return on_one_device(model, build, count), result
