"""What the networks of a fit start from: other networks, or what can be counted."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from keras_seq.text.arguments import describe_split, shared_arguments
from keras_seq.text.corpus import Corpus
from keras_seq.text.naive_bayes import add_naive_bayes, start_from_naive_bayes
from keras_seq.text.preprocessing import TokenRows
from keras_seq.text.pretraining import Pretrained
from keras_seq.text.shares import HEADS, has_heads
from keras_seq.training.ensemble import members_of

if TYPE_CHECKING:
    from keras_seq.text.classifier import TextClassifier


@dataclass(frozen=True)
class Origin:
    """What a fit goes on from.

    Attributes:
        vocabulary: Tokens by id; None: it is learned.
        weights: Of whole networks.
        pretrained: What a language model learned.
        embedding_dim: Of either.
    """

    vocabulary: list[str] | None = None
    weights: list[list[np.ndarray]] | None = None
    pretrained: Pretrained | None = None
    embedding_dim: int | None = None

    def fingerprint(self) -> list[Any]:
        """What `hash_data` takes of it."""
        return [self.vocabulary, self.weights, self.pretrained]

    def of_member(self, number: int) -> Self:
        """That of one network, counted from 1."""
        if self.weights is None:
            return self
        return replace(self, weights=[self.weights[number - 1]])


def find_origin(classifier: "TextClassifier", warm: bool) -> Origin:
    """What a fit begins with: the fit before it, what was pretrained, or nothing.

    Args:
        classifier: As it is before the fit.
        warm: Whether it goes on from its own network.

    Raises:
        ValueError: If its arguments are not those of what it would go on from.
    """
    if warm:
        members = members_of(classifier.model_)
        if len(members) != classifier.ensemble:
            raise ValueError(
                f"`ensemble` must be {len(members)} with `warm_start`, as in the "
                f"`fit` before. Received: ensemble={classifier.ensemble}"
            )
        weights = [member.get_weights() for member in members]
        dim = classifier._builder_args["embedding_dim"]
        if classifier.embedding_dim not in ("auto", dim):
            raise ValueError(
                f"`embedding_dim` must be 'auto' or {dim} with `warm_start`, as in the "
                f"`fit` before. Received: embedding_dim={classifier.embedding_dim!r}"
            )
        return Origin(classifier.vocabulary_, weights=weights, embedding_dim=dim)
    if not hasattr(classifier, "pretrained_"):
        return Origin()
    learned = classifier.pretrained_
    wanted = {**shared_arguments(classifier), "split": describe_split(classifier)}
    if classifier.embedding_dim != "auto":
        wanted["embedding_dim"] = classifier.embedding_dim
    learned.check(wanted)
    dim = learned.arguments["embedding_dim"]
    return Origin(learned.vocabulary, pretrained=learned, embedding_dim=dim)


def start_network(
    model: keras.Model,
    rows: TokenRows,
    corpus: Corpus,
    vectors: np.ndarray | None,
    origin: Origin,
    seed: int,
) -> None:
    """Gives a new network all that is known before it trains.

    Args:
        model: Of `build_text_classifier`.
        rows: Training texts as ids.
        corpus: The same texts.
        vectors: Of the vocabulary's tokens, `(max_tokens, embedding_dim)`, from a file;
            None where the network goes on from others, which began with them.
        origin: Of this network. Beside whole weights nothing else counts.
        seed: Of this network.

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
    else:
        add_naive_bayes(
            model.get_layer("embedding"),
            model.output_shape[-1],
            rows,
            corpus.targets,
            corpus.weights,
            seed,
        )
