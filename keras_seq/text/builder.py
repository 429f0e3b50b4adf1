"""build_text_classifier: the text network."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    check_rate,
    suggests_names,
)
from keras_seq.layers.encoder import check_structure, encode, make_encoder
from keras_seq.layers.next_step import NextTokenLoss, TokenSampler
from keras_seq.layers.ngrams import AverageHeads, NgramBag
from keras_seq.layers.pooling import POOLINGS, SequencePooling
from keras_seq.layers.state import RunningPooling
from keras_seq.layers.truncation import Truncate
from keras_seq.text.adversarial import Perturbation, adversarial_loss
from keras_seq.text.preprocessing import TRUNCATIONS, head_length
from keras_seq.text.smoothed_crossentropy import SmoothedCrossentropy
from keras_seq.training.distribution import check_ignored, replica_share
from keras_seq.training.model import SequenceModel
from keras_seq.training.optimizer import RecordingAdam, resolve_clipping
from keras_seq.training.runtime import dtype_policy, resolve_jit, seeded


@keras.saving.register_keras_serializable("keras_seq")
class TextModel(SequenceModel):
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
        if training and x is not None:
            for layer in self.layers:
                if isinstance(layer, Perturbation):
                    loss += adversarial_loss(self, layer, x, y, sample_weight)
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
    embedding_dropout: float | None = None,
    word_dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    normalization: str | None = None,
    residual: bool = False,
    activation: str = "tanh",
    forget_bias: float = 1.0,
    memory_steps: int | None = None,
    num_heads: int | str = "auto",
    conv_filters: int | None = None,
    conv_width: int = 3,
    ngrams: int = 0,
    ngram_dim: int = 8,
    ngram_buckets: int = 2**18,
    ngram_dropout: float = 0.3,
    max_length: int | None = None,
    truncation: str = "head",
    multi_label: bool = False,
    label_smoothing: float = 0.0,
    adversarial: float = 0.0,
    auxiliary: str | None = None,
    auxiliary_weight: float = 0.1,
    stateful: bool = False,
    batch_size: int | None = None,
    reset_input: bool = False,
    learning_rate: float = 1e-3,
    global_clipnorm: float | str | None = "auto",
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    ema: float | None = None,
    precision: str | None = None,
    jit: bool | str = "auto",
    seed: int | None = None,
) -> keras.Model:
    """Builds and compiles a recurrent network from token ids to class probabilities.

    Args:
        num_classes: Number of classes (of labels, if `multi_label`).
        max_tokens: Number of token ids, padding (0) and unknown (1) included.
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"`, `"gru"`, or `"transformer"`, a
            self-attention encoder in the same place.
        units: Hidden size of each direction, or one per layer.
        num_layers: Layers of the encoder.
        bidirectional: Whether steps see later ones; `"auto"` is True, and False if
            `stateful`.
        embedding_dim: Size of a token's vector.
        pooling: `"max"`, `"mean"`, `"last"`, `"concat"` of the three, or `"attention"`.
        dropout: Rate on embeddings, between layers and before the output.
        embedding_dropout: Rate on embeddings alone; None: as `dropout`.
        word_dropout: Share of the tokens whose embeddings are left out in training
            (Iyyer et al. 2015).
        recurrent_dropout: Rate on the recurrent state.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        memory_steps: In its place, of LSTM and GRU: the longest time, in steps, that
            units keep their state at first (`keras_seq.layers.ChronoBias`); for cues
            far back. None: none is set.
        num_heads: Of a transformer; must divide `units`. `"auto"`: 4, 2 or 1.
        conv_filters: Filters of a convolution before the encoder; None: none.
        conv_width: Steps the convolution sees; only earlier ones where the encoder
            sees only earlier ones, or an auxiliary task forbids later ones.
        ngrams: Longest run of tokens in a bag of their vectors beside the recurrence,
            with a softmax of its own; the answer is the mean of the two, or what the
            weight `probabilities/shares` makes of them. 0: no bag.
        ngram_dim: Size of the vectors in the bag.
        ngram_buckets: Number of vectors that all runs of one length share.
        ngram_dropout: Share of tokens and runs that the bag leaves out in training.
        max_length: Most tokens of a text that the recurrence reads; the bag reads all.
            None: so does the recurrence.
        truncation: What of a longer text it reads: its `"head"`, its `"tail"`, or half
            of each, `"head_tail"`.
        multi_label: Whether each label is decided by itself.
        label_smoothing: Share of a target that is spread over all classes (with
            `multi_label` over yes and no). It is in the loss alone; the metric
            `log_loss` knows nothing of it.
        adversarial: Norm by which a text's embeddings are moved to where its loss rises
            most, over their own norm; the loss there is added in training (Miyato et
            al. 2017). A step takes about three times as long. Near 0.05; 0: none.
        auxiliary: `"next_step"` trains the deepest part of the encoder that has seen
            no later step to predict the next token as well (Dai & Le 2015).
        auxiliary_weight: Of that loss beside the main one.
        stateful: Whether a batch's rows continue those of the batch before: texts can
            be given in chunks. See `keras_seq.layers.state`.
        batch_size: Rows whose states are kept; needed by `stateful`.
        reset_input: Whether the model has a third input, `reset`, bool, `(batch,)`:
            the rows that start anew. Else `keras_seq.layers.state.reset_states` is
            the way to do it.
        learning_rate: Of Adam.
        global_clipnorm: Limit of the norm of all gradients together; `"auto"` is 1.0
            if no other clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        ema: Momentum, below 1, of a moving average of the weights, which is what is
            validated and kept; None: the weights themselves are (Polyak & Juditsky
            1992).
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
    check_choice("bidirectional", bidirectional, (True, False, "auto"))
    check_integer("embedding_dim", embedding_dim, 1)
    check_choice("pooling", pooling, POOLINGS)
    check_rate("dropout", dropout)
    check_number("learning_rate", learning_rate, above=0)
    if embedding_dropout is None:
        embedding_dropout = dropout
    check_rate("embedding_dropout", embedding_dropout)
    check_rate("word_dropout", word_dropout)
    check_number("auxiliary_weight", auxiliary_weight, above=0)
    check_choice("multi_label", multi_label, (True, False))
    check_rate("label_smoothing", label_smoothing)
    check_rate("adversarial", adversarial)
    check_integer("ngrams", ngrams, 0)
    check_choice("truncation", truncation, TRUNCATIONS)
    check_choice("reset_input", reset_input, (True, False))
    _check_stateful(stateful, adversarial, ngrams, reset_input)
    both_ways = not stateful if bidirectional == "auto" else bool(bidirectional)
    check_structure(
        cell=cell,
        bidirectional=both_ways,
        auxiliary=auxiliary,
        stateful=stateful,
        batch_size=batch_size,
        conv_filters=conv_filters,
        conv_width=conv_width,
    )
    check_ignored()
    averaging: dict[str, Any] = {}
    if ema is not None:
        check_number("ema", ema, above=0, below=1)
        averaging = {"use_ema": True, "ema_momentum": ema}
    clipping = resolve_clipping(global_clipnorm, clipnorm, clipvalue)
    with seeded(seed), dtype_policy(precision):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        length = keras.Input((), dtype="int32", name="length")
        inputs = {"tokens": tokens, "length": length}
        resets = []
        if reset_input:
            inputs["reset"] = keras.Input((), dtype="bool", name="reset")
            resets.append(inputs["reset"])
        whole = tokens, length
        if max_length is not None:
            check_integer("max_length", max_length, 1)
            head = head_length(truncation, max_length)
            tokens, length = Truncate(max_length, head, name="truncate")(*whole)
        embedding = keras.layers.Embedding(max_tokens, embedding_dim, name="embedding")
        embedded = steps = embedding(tokens)  # (batch, time, embedding_dim)
        steps = _blur(steps, adversarial, embedding_dropout, word_dropout)
        encoder = make_encoder(
            cell=cell,
            units=units,
            num_layers=num_layers,
            bidirectional=both_ways,
            residual=residual,
            normalization=normalization,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            activation=activation,
            forget_bias=forget_bias,
            memory_steps=memory_steps,
            num_heads=num_heads,
            batch_size=batch_size,
        )
        encoded, causal = encode(
            steps,
            length,
            encoder,
            *resets,
            conv_filters=conv_filters,
            conv_width=conv_width,
            causal_front=bool(auxiliary) or not both_ways,
        )
        if auxiliary:
            encoded = _predict_next_token(
                encoded, causal, tokens, length, embedding, embedded, auxiliary_weight
            )
        # A transformer's steps do not end anywhere: its last one is the last.
        ends = both_ways and cell != "transformer"
        pool = SequencePooling(pooling, bidirectional=ends, name="pooling")
        if batch_size is not None:
            pool = RunningPooling(pooling, batch_size=batch_size, name="pooling")
        pooled = pool(encoded, length, *resets)  # (batch, features)
        pooled = keras.layers.Dropout(dropout, name="dropout")(pooled)
        if ngrams:
            bag = NgramBag(
                max_tokens,
                ngrams,
                ngram_dim,
                ngram_buckets,
                ngram_dropout,
                name="ngrams",
            )(*whole)
            heads = [
                _dense(num_classes, "recurrent_head")(pooled),
                _dense(num_classes, "ngram_head")(bag),
            ]
            probabilities = AverageHeads(multi_label, name="probabilities")(heads)
        else:
            share = "sigmoid" if multi_label else "softmax"
            probabilities = _dense(num_classes, "probabilities", share)(pooled)
        model = TextModel(inputs, probabilities, name="text_classifier")
    optimizer = RecordingAdam(learning_rate, **clipping, **averaging)
    loss = _loss(multi_label, label_smoothing, several_heads=bool(ngrams))
    _compile(model, multi_label, loss, optimizer, resolve_jit(jit))
    return model


def _check_stateful(
    stateful: bool, adversarial: float, ngrams: int, reset_input: bool
) -> None:
    if adversarial and stateful:
        raise ValueError(
            "`adversarial` must be 0 with `stateful`: what a chunk starts from is gone "
            f"once the network has read it. Received: adversarial={adversarial}"
        )
    if ngrams and stateful:
        raise ValueError(
            "`ngrams` must be 0 with `stateful`: the bag has no state. "
            f"Received: ngrams={ngrams}"
        )
    if reset_input and not stateful:
        raise ValueError("`reset_input` belongs to stateful=True. Received: True")


def _blur(
    steps: Any, adversarial: float, embedding_dropout: float, word_dropout: float
) -> Any:
    """What training does to embeddings, `(batch, time, embedding_dim)`."""
    if adversarial:
        steps = Perturbation(adversarial, name="perturbation")(steps)
    steps = keras.layers.SpatialDropout1D(embedding_dropout, name="embedding_dropout")(
        steps
    )
    if word_dropout:
        steps = keras.layers.Dropout(
            word_dropout, noise_shape=(None, None, 1), name="word_dropout"
        )(steps)
    return steps


def _dense(units: int, name: str, activation: str | None = None) -> keras.layers.Dense:
    # Probabilities need more digits than half precision has.
    return keras.layers.Dense(units, activation=activation, dtype="float32", name=name)


def _predict_next_token(
    encoded: Any,
    causal: Any,
    tokens: Any,
    length: Any,
    embedding: keras.layers.Embedding,
    embedded: Any,
    weight: float,
) -> Any:
    """Adds the auxiliary loss; the output layer is the embedding (Press & Wolf 2017).

    Returns:
        `encoded`, so that the loss is part of the network.
    """
    sampler = TokenSampler(embedding.input_dim, name="token_sampler")
    ids, log_expected = sampler(tokens)
    predicted = keras.layers.Dense(embedding.output_dim, name="next_step")(causal)
    return NextTokenLoss(weight, name="next_step_loss")(
        encoded,
        predicted,
        embedded,
        tokens,
        length,
        ids,
        log_expected,
        embedding(ids),
        sampler.log_expected(tokens),
    )


def _compile(
    model: keras.Model,
    multi_label: bool,
    loss: keras.losses.Loss,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool,
) -> None:
    kind = "Binary" if multi_label else "SparseCategorical"
    metrics = keras.metrics
    model.compile(
        optimizer=optimizer,
        loss=loss,
        weighted_metrics=[
            getattr(metrics, f"{kind}Crossentropy")(name="log_loss"),
            getattr(metrics, f"{kind}Accuracy")(name="accuracy"),
        ],
        jit_compile=jit_compile,
    )


def _loss(
    multi_label: bool, label_smoothing: float, several_heads: bool
) -> keras.losses.Loss:
    # The default divides by the rows that only fill a batch up, too.
    reduction = "mean_with_sample_weight"
    if multi_label:
        return keras.losses.BinaryCrossentropy(
            label_smoothing=float(label_smoothing), reduction=reduction
        )
    if label_smoothing or several_heads:
        return SmoothedCrossentropy(float(label_smoothing), reduction=reduction)
    return keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
