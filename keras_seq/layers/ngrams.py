"""NgramBag and AverageHeads: word pairs beside a recurrence, each with its own vote."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_integer, check_rate
from keras_seq.hashing import MOST_BUCKETS, MULTIPLIERS, hash_runs
from keras_seq.layers.padding import valid_steps

Tensor = Any

MOST_NGRAMS = len(MULTIPLIERS)


@keras.saving.register_keras_serializable("keras_seq")
class NgramBag(keras.layers.Layer):
    """Adds up vectors of a row's tokens and of its runs of two or more tokens.

    Tokens have a vector each; longer runs share those of `buckets` by a hash. What a
    row adds up is divided by the square root of how many there are: a mean would lose
    how much a long text says, and a sum would shout it.

    Args:
        max_tokens: Number of token ids.
        ngrams: Longest run, 1 to 4.
        dim: Size of the vectors.
        buckets: Vectors of the runs of one length, at most 1,048,576.
        dropout: Share of tokens and of runs left out in training.

    Call arguments:
        tokens: int32, `(batch, time)`, right-padded with anything.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time.

    Returns:
        `(batch, dim)`; zeros for a row of length 0.

    Reference:
        Joulin et al., 2017, Bag of Tricks for Efficient Text Classification (runs by
        hash; there the mean). Iyyer et al., 2015 (dropout of words).
    """

    def __init__(
        self,
        max_tokens: int,
        ngrams: int = 2,
        dim: int = 8,
        buckets: int = 2**18,
        dropout: float = 0.3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.max_tokens = check_integer("max_tokens", max_tokens, 1)
        self.ngrams = check_integer("ngrams", ngrams, 1)
        self.dim = check_integer("ngram_dim", dim, 1)
        self.buckets = check_integer("ngram_buckets", buckets, 1)
        if ngrams > MOST_NGRAMS or buckets > MOST_BUCKETS:
            raise ValueError(
                f"`ngrams` must be at most {MOST_NGRAMS} and `ngram_buckets` at most "
                f"{MOST_BUCKETS}. Received: ngrams={ngrams}, ngram_buckets={buckets}"
            )
        self.rate = check_rate("ngram_dropout", dropout)
        self.dropout = keras.layers.Dropout(self.rate, name="dropout")

    def build(self, tokens_shape: Any, lengths_shape: Any = None) -> None:
        self.vectors = [
            self.add_weight(
                shape=(self.max_tokens if run == 1 else self.buckets, self.dim),
                initializer=keras.initializers.RandomUniform(-0.05, 0.05),
                name=f"vectors_{run}",
            )
            for run in range(1, self.ngrams + 1)
        ]
        self.built = True

    def call(self, tokens: Tensor, lengths: Tensor, training: Any = None) -> Tensor:
        total, count = 0.0, 0.0
        for run, vectors in enumerate(self.vectors, start=1):
            ids = tokens  # (batch, steps)
            if run > 1:
                ids = hash_runs(tokens, run, self.buckets, ops.roll)
            counted = valid_steps(ids, lengths - (run - 1))  # (batch, steps, 1)
            # Padding may hold anything, ids beyond the table as well.
            ids = ops.where(counted[..., 0], ids, 0)
            shown = ops.cast(counted, self.compute_dtype)
            count = count + ops.sum(shown, axis=1)  # (batch, 1)
            kept = self.dropout(shown, training=training)
            total = total + ops.sum(kept * ops.take(vectors, ids, axis=0), axis=1)
        return total / ops.sqrt(ops.maximum(count, ops.ones_like(count)))

    def get_config(self) -> dict[str, Any]:
        config = {
            "max_tokens": self.max_tokens,
            "ngrams": self.ngrams,
            "dim": self.dim,
            "buckets": self.buckets,
            "dropout": self.rate,
        }
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_seq")
class AverageHeads(keras.layers.Layer):
    """The weighted mean of several heads, each of which learns by itself.

    Under one softmax the path that learns faster explains the labels and the other
    stops learning. Here the cross-entropy of the training output is the mean of the
    heads' cross-entropies: in training, the output is the geometric mean of the heads,
    which does not add up to one; else it is their arithmetic mean, weighted by
    `shares`. Heads of several labels (sigmoids) are averaged, and learn together.

    Args:
        multi_label: Whether each label is decided by itself.

    Call arguments:
        logits: List of `(batch, num_classes)`.

    Returns:
        `(batch, num_classes)`, float32.

    Attributes:
        shares: Weight, `(num_heads,)`, of the heads in the answer; they add up to one.
            Equal until someone finds better ones on data held back.
    """

    def __init__(self, multi_label: bool = False, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.multi_label = multi_label

    def build(self, logits_shape: Any) -> None:
        count = len(logits_shape)
        self.shares = self.add_weight(
            shape=(count,),
            initializer=keras.initializers.Constant(1 / count),
            trainable=False,
            name="shares",
        )
        self.built = True

    def call(self, logits: list[Tensor], training: Any = None) -> Tensor:
        heads = ops.stack([ops.cast(head, "float32") for head in logits])
        shares = ops.reshape(self.shares, (-1, 1, 1))
        if self.multi_label:
            return ops.sum(shares * ops.sigmoid(heads), axis=0)
        logs = ops.log_softmax(heads)
        if training:
            return ops.exp(ops.mean(logs, axis=0))
        return ops.sum(shares * ops.exp(logs), axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multi_label": self.multi_label}
