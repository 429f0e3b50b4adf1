"""build_text_classifier: the text network."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    check_rate,
    refuse_unavailable,
    suggests_names,
)
from keras_seq.layers.pooling import POOLINGS, SequencePooling
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from keras_seq.training.distribution import check_ignored, replica_share
from keras_seq.training.optimizer import RecordingAdam, resolve_clipping
from keras_seq.training.runtime import dtype_policy, resolve_jit, seeded


@keras.saving.register_keras_serializable("keras_seq")
class TextModel(keras.Model):
    """Functional model whose loss weighs rows alike, whichever replica has them."""

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss * replica_share(sample_weight)


@suggests_names
def build_text_classifier(
    *,
    num_classes: int,
    max_tokens: int,
    cell: str = "lstm",
    units: int | Sequence[int] = 64,
    num_layers: int = 1,
    bidirectional: bool | str = "auto",
    embedding_dim: int = 128,
    pooling: str = "max",
    dropout: float = 0.3,
    recurrent_dropout: float = 0.0,
    normalization: str | None = None,
    activation: str = "tanh",
    forget_bias: float = 1.0,
    multi_label: bool = False,
    auxiliary: str | None = None,
    stateful: bool = False,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    global_clipnorm: float | str | None = "auto",
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    precision: str | None = None,
    jit: bool | str = "auto",
    seed: int | None = None,
) -> keras.Model:
    """Builds and compiles a recurrent network from token ids to class probabilities.

    Args:
        num_classes: Number of classes (of labels, if `multi_label`).
        max_tokens: Number of token ids, padding (0) and unknown (1) included.
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"` or `"gru"`.
        units: Hidden size of each direction, or one per layer.
        num_layers: Recurrent layers.
        bidirectional: `"auto"` is True.
        embedding_dim: Size of a token's vector.
        pooling: `"max"`, `"mean"`, `"last"`, or `"concat"` of the three.
        dropout: Rate on embeddings, between layers and before the output.
        recurrent_dropout: Rate on the recurrent state.
        normalization: Not available yet.
        activation: Of the cell.
        forget_bias: Initial bias of the LSTM's forget gate.
        multi_label: Whether each label is decided by itself.
        auxiliary: Not available yet.
        stateful: Not available yet.
        batch_size: Not available yet.
        learning_rate: Of Adam.
        global_clipnorm: Limit of the norm of all gradients together; `"auto"` is 1.0
            if no other clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`, in
            which the layers compute; None: as Keras is set. Probabilities are float32.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        seed: Of the initial weights; None draws one.

    Returns:
        A compiled model. Its inputs are a dict: `tokens`, int32, `(batch, time)`,
        right-padded with anything, and `length`, int32, `(batch,)`, 0 to time. Its
        output is `(batch, num_classes)`, probabilities. Targets are class ids,
        `(batch,)`, or with `multi_label` 0 and 1, `(batch, num_classes)`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> model = build_text_classifier(num_classes=3, max_tokens=1000)
        >>> model.output_shape
        (None, 3)
    """
    check_integer("num_classes", num_classes, 1 if multi_label else 2)
    check_integer("max_tokens", max_tokens, 3)
    check_choice("cell", cell, CELLS)
    check_choice("bidirectional", bidirectional, (True, False, "auto"))
    check_integer("embedding_dim", embedding_dim, 1)
    check_choice("pooling", pooling, POOLINGS)
    check_rate("dropout", dropout)
    check_number("learning_rate", learning_rate, above=0)
    refuse_unavailable(
        {
            "normalization": (normalization, None),
            "auxiliary": (auxiliary, None),
            "stateful": (stateful, False),
            "batch_size": (batch_size, None),
        }
    )
    check_ignored()
    clipping = resolve_clipping(global_clipnorm, clipnorm, clipvalue)
    both_ways = bidirectional in (True, "auto")
    with seeded(seed), dtype_policy(precision):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        length = keras.Input((), dtype="int32", name="length")
        steps = keras.layers.Embedding(max_tokens, embedding_dim, name="embedding")(
            tokens
        )  # (batch, time, embedding_dim)
        steps = keras.layers.SpatialDropout1D(dropout, name="embedding_dropout")(steps)
        encoder = RecurrentEncoder(
            units,
            cell=cell,
            num_layers=num_layers,
            bidirectional=both_ways,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            activation=activation,
            forget_bias=forget_bias,
            name="encoder",
        )
        pool = SequencePooling(pooling, bidirectional=both_ways, name="pooling")
        pooled = pool(encoder(steps, length), length)  # (batch, features)
        pooled = keras.layers.Dropout(dropout, name="dropout")(pooled)
        probabilities = keras.layers.Dense(
            num_classes,
            activation="sigmoid" if multi_label else "softmax",
            dtype="float32",  # probabilities need more digits than half precision has
            name="probabilities",
        )(pooled)
        model = TextModel(
            {"tokens": tokens, "length": length}, probabilities, name="text_classifier"
        )
    optimizer = RecordingAdam(learning_rate, **clipping)
    _compile(model, multi_label, optimizer, resolve_jit(jit))
    return model


def _compile(
    model: keras.Model,
    multi_label: bool,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool,
) -> None:
    kind = "Binary" if multi_label else "SparseCategorical"
    losses, metrics = keras.losses, keras.metrics
    loss = getattr(losses, f"{kind}Crossentropy")
    model.compile(
        optimizer=optimizer,
        # The default divides by the rows that only fill a batch up, too.
        loss=loss(reduction="mean_with_sample_weight"),
        weighted_metrics=[
            getattr(metrics, f"{kind}Crossentropy")(name="log_loss"),
            getattr(metrics, f"{kind}Accuracy")(name="accuracy"),
        ],
        jit_compile=jit_compile,
    )
