"""Pretraining: texts without labels teach embedding and recurrence to predict tokens.

Reference:
    Dai & Le, 2015, Semi-supervised Sequence Learning (the weights of a language model
    as the start of a classifier); Miyato et al., 2017, section 3 (one of each
    direction); Jean et al., 2015 (the sampled softmax).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import pandas as pd

from keras_seq.layers.encoder import encode, make_encoder
from keras_seq.layers.next_step import NextTokenLoss, TokenSampler
from keras_seq.layers.padding import reverse_valid_steps
from keras_seq.text.batches import Buckets, shuffled_steps
from keras_seq.text.preprocessing import TokenRows, choose_buckets
from keras_seq.training.fit import Batches, fit_model
from keras_seq.training.model import SequenceModel
from keras_seq.training.optimizer import RecordingAdam
from keras_seq.training.runtime import derive_seed, dtype_policy, resolve_jit, seeded

Tensor = Any

# Steps that one prediction is learned over: longer texts come in pieces.
PIECE = 128
# Of embeddings and outputs. The classifier's own, chosen for few labelled texts, would
# slow down a task that has a label at every token.
_DROPOUT = 0.1
LANGUAGE_RATE = 3e-3
_SAMPLES = 512
_HELD = 0.05


def check_pretrainable(arguments: Mapping[str, Any]) -> None:
    """Raises for networks whose parts would see the token they are to predict."""
    cell, conv_filters = arguments["cell"], arguments["conv_filters"]
    if cell == "transformer":
        raise ValueError(
            "`pretrain` needs a recurrent `cell`: 'rnn', 'lstm' or 'gru'. "
            f"Received: {cell=}"
        )
    if conv_filters is not None and arguments["bidirectional"]:
        raise ValueError(
            "`pretrain` needs conv_filters=None or bidirectional=False: a convolution "
            "shows either direction what the other one is to predict. "
            f"Received: {conv_filters=}, bidirectional=True"
        )


def build_language_model(
    *,
    max_tokens: int,
    cell: str,
    units: int | Sequence[int],
    num_layers: int,
    bidirectional: bool,
    embedding_dim: int,
    residual: bool,
    normalization: str | None,
    activation: str,
    forget_bias: float,
    memory_steps: int | None,
    num_heads: int | str,
    conv_filters: int | None,
    conv_width: int,
    learning_rate: float = LANGUAGE_RATE,
    clipping: Mapping[str, float] | None = None,
    precision: str | None = None,
    jit: bool | str = "auto",
    seed: int = 0,
) -> keras.Model:
    """Builds a network that predicts each next token, or each next and previous one.

    Its embedding and encoders are those of a classifier of the same arguments. With two
    directions it is two networks that share the embedding: one reads forward and
    predicts the next token, one reads backward and predicts the previous. They are one
    layer deep, as in the classifier a second layer already knows both directions.

    Returns:
        A compiled model with inputs as those of `build_text_classifier`. Its output is
        of no meaning; its loss is the mean negative log likelihood of a token under the
        sampled softmax, summed over the directions.
    """
    depth = 1 if bidirectional else num_layers
    widths = units if isinstance(units, int) else list(units)[:depth]
    with seeded(seed), dtype_policy(precision):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        length = keras.Input((), dtype="int32", name="length")
        embedding = keras.layers.Embedding(max_tokens, embedding_dim, name="embedding")
        sampler = TokenSampler(max_tokens, _SAMPLES, name="token_sampler")
        ids, log_expected = sampler(tokens)
        sampled = embedding(ids)
        outputs = []
        for direction in ("forward", "backward")[: 1 + bidirectional]:
            read = tokens
            if direction == "backward":
                read = ReverseTokens(name="reverse")(tokens, length)
            embedded = embedding(read)
            dropped = keras.layers.SpatialDropout1D(_DROPOUT)(embedded)
            encoder = make_encoder(
                cell=cell,
                units=widths,
                num_layers=depth,
                bidirectional=False,
                residual=residual,
                # Of two directions it is normalised what both say together.
                normalization=None if bidirectional else normalization,
                dropout=_DROPOUT,
                recurrent_dropout=0.0,
                activation=activation,
                forget_bias=forget_bias,
                memory_steps=memory_steps,
                num_heads=num_heads,
                batch_size=None,
                name=f"{direction}_encoder",
            )
            encoded, _ = encode(
                dropped,
                length,
                encoder,
                conv_filters=conv_filters,
                conv_width=conv_width,
                causal_front=True,
            )
            encoded = keras.layers.Dropout(_DROPOUT)(encoded)
            predicted = keras.layers.Dense(embedding_dim, name=f"{direction}_next")(
                encoded
            )
            outputs.append(
                NextTokenLoss(1.0, training_only=False, name=f"{direction}_loss")(
                    encoded,
                    predicted,
                    embedded,
                    read,
                    length,
                    ids,
                    log_expected,
                    sampled,
                    sampler.log_expected(read),
                )
            )
        model = SequenceModel(
            {"tokens": tokens, "length": length}, outputs, name="language_model"
        )
    optimizer = RecordingAdam(learning_rate, **(clipping or {}))
    model.compile(optimizer, jit_compile=resolve_jit(jit))
    return model


@keras.saving.register_keras_serializable("keras_seq")
class ReverseTokens(keras.layers.Layer):
    """Reverses token ids within each row's length: int32, `(batch, time)`."""

    def call(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return reverse_valid_steps(tokens[..., None], lengths)[..., 0]


@dataclass(frozen=True)
class Pretrained:
    """What a language model leaves to classifiers.

    Attributes:
        vocabulary: Tokens by id.
        arguments: Those of the network that its classifiers share.
        embedding: `(len(vocabulary), embedding_dim)`.
        encoders: Weights of each direction's layers, layer by layer.
        front: Weights of the convolution, if there is one.
        history: One row per epoch.
    """

    vocabulary: list[str]
    arguments: dict[str, Any]
    embedding: np.ndarray
    encoders: list[list[list[np.ndarray]]]
    front: list[np.ndarray]
    history: pd.DataFrame

    @classmethod
    def of(
        cls,
        model: keras.Model,
        vocabulary: list[str],
        arguments: Mapping[str, Any],
        history: pd.DataFrame,
    ) -> Self:
        """Takes the weights out of a trained language model."""
        names = [layer.name for layer in model.layers]
        encoders = [
            [layer.get_weights() for layer in _stack(model.get_layer(name))]
            for name in ("forward_encoder", "backward_encoder")
            if name in names
        ]
        front = model.get_layer("front").get_weights() if "front" in names else []
        (embedding,) = model.get_layer("embedding").get_weights()
        return cls(vocabulary, dict(arguments), embedding, encoders, front, history)

    @property
    def arrays(self) -> list[np.ndarray]:
        """All weights."""
        layers = [
            array for stack in self.encoders for layer in stack for array in layer
        ]
        return [self.embedding, *self.front, *layers]

    def fingerprint(self) -> list[Any]:
        """What `hash_data` takes of it."""
        return [self.vocabulary, *self.arrays]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises unless a classifier of these arguments can start from here."""
        for name, value in arguments.items():
            if self.arguments.get(name, value) != value:
                raise ValueError(
                    f"`pretrain` was called with {name}={self.arguments[name]!r}, and "
                    "`fit` starts from what it learned: call it again. "
                    f"Received: {name}={value!r}"
                )

    def start(self, model: keras.Model) -> None:
        """Makes these the weights a classifier starts from."""
        model.get_layer("embedding").set_weights([self.embedding])
        if self.front:
            model.get_layer("front").set_weights(self.front)
        encoder = model.get_layer("encoder")
        if len(self.encoders) == 1:
            stacks = [_stack(encoder)]
        else:
            stacks = [encoder.forward[:1], encoder.backward[:1]]
        for stack, weights in zip(stacks, self.encoders, strict=True):
            for layer, values in zip(stack, weights, strict=True):
                layer.set_weights(values)


def _stack(encoder: keras.layers.Layer) -> list[keras.layers.Layer]:
    """What an encoder of one direction has learned, and no states."""
    return [*encoder.forward, *encoder.normalizations]


def train_language_model(
    rows: TokenRows,
    vocabulary: list[str],
    arguments: Mapping[str, Any],
    *,
    vectors: np.ndarray | None,
    compiling: Mapping[str, Any],
    batch_size: int,
    seed: int,
    **options: Any,
) -> Pretrained:
    """Builds a language model and trains it.

    Args:
        rows: Texts as ids, not truncated.
        vocabulary: Tokens by id.
        arguments: Of the network, as `check_pretrainable` has seen them.
        vectors: To start from, `(len(vocabulary), embedding_dim)`.
        compiling: Learning rate, clipping, precision and jit.
        batch_size: Pieces of texts per step.
        seed: Of weights, batches and dropout.
        options: Of `fit_model`.
    """
    training, validation = language_batches(rows, batch_size, seed)
    model = build_language_model(
        max_tokens=len(vocabulary), **arguments, **compiling, seed=seed
    )
    if vectors is not None:
        model.get_layer("embedding").set_weights([vectors])
    result = fit_model(
        model, training, validation=validation, seed=seed, title="pretrain", **options
    )
    return Pretrained.of(model, vocabulary, arguments, result.history)


def language_batches(
    rows: TokenRows, batch_size: int, seed: int
) -> tuple[Batches, Batches | None]:
    """Endless batches to train on, and finite ones held back to stop by.

    Args:
        rows: Texts as ids, not truncated.
        batch_size: Pieces of texts per step.
        seed: Of what is held back, and of the order.

    Returns:
        The latter are None where texts are too few to hold any back.

    Raises:
        ValueError: If no text has two tokens.
    """
    count = len(rows.lengths)
    held = np.zeros(count, bool)
    if count >= 2 / _HELD:
        random = np.random.default_rng(derive_seed(seed, "pretraining"))
        held[random.choice(count, round(_HELD * count), replace=False)] = True
    pieces = _cut(_take(rows, ~held))
    if not len(pieces.lengths):
        raise ValueError("`texts` must have a text of two tokens or more to learn from")
    lengths = choose_buckets(pieces.lengths, int(pieces.lengths.max()))
    buckets = Buckets(pieces, lengths, batch_size)
    get_step = shuffled_steps(buckets, seed, "pretraining")
    training = Batches(
        buckets.num_batches,
        lambda epoch, step: (buckets.inputs(*get_step(epoch, step)),),
        endless=True,
    )
    others = _cut(_take(rows, held))
    if not len(others.lengths):
        return training, None
    shown = Buckets(others, [*lengths[:-1], PIECE], batch_size)
    plan = shown.plan()
    return training, Batches(
        shown.num_batches, lambda _, step: (shown.inputs(*plan[step]),)
    )


def _cut(rows: TokenRows) -> TokenRows:
    """Pieces of at most `PIECE` tokens, those of one token left out."""
    full, rest = np.divmod(rows.lengths, PIECE)
    counts = full + (rest > 0)
    lengths = np.full(int(counts.sum()), PIECE, np.int32)
    partial = rest > 0
    lengths[np.cumsum(counts)[partial] - 1] = rest[partial]
    return _take(TokenRows(rows.ids, lengths), lengths > 1)


def _take(rows: TokenRows, chosen: np.ndarray) -> TokenRows:
    return TokenRows(rows.ids[np.repeat(chosen, rows.lengths)], rows.lengths[chosen])
