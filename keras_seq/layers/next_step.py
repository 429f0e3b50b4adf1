"""The auxiliary task: predict the next token or value beside the main one.

Reference:
    Dai & Le, 2015, Semi-supervised Sequence Learning; Rei, 2017, Semi-supervised
    Multitask Learning for Sequence Labeling (both losses at once, with a weight).
"""

import math
from typing import Any

import keras
from keras import ops

from keras_seq.layers.padding import valid_steps

Tensor = Any


@keras.saving.register_keras_serializable("keras_seq")
class TokenSampler(keras.layers.Layer):
    """Draws the token ids that the true next token is compared with.

    A small vocabulary is compared with as a whole. Of a larger one, ids are drawn by
    Zipf's law, as they are ordered by frequency; 0, the padding, is never drawn.

    Args:
        max_tokens: Size of the vocabulary.
        num_samples: Ids to draw.

    Call arguments:
        tokens: Any tensor; not read.

    Returns:
        `ids`, int32, `(num_samples,)`, and `log_expected`, float32, the logarithm of
        how often each is drawn on average (0 where all are taken).
    """

    def __init__(self, max_tokens: int, num_samples: int = 1024, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.max_tokens, self.num_samples = max_tokens, num_samples
        self.everything = max_tokens <= num_samples
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if self.everything:
            ids = ops.arange(1, self.max_tokens, dtype="int32")
            return ids, ops.zeros(self.max_tokens - 1)
        share = keras.random.uniform((self.num_samples,), seed=self.seed_generator)
        ids = ops.cast(ops.exp(share * math.log(self.max_tokens)), "int32")
        ids = ops.clip(ids, 1, self.max_tokens - 1)
        return ids, self.log_expected(ids)

    def log_expected(self, ids: Tensor) -> Tensor:
        """Logarithm of how often each id is drawn on average."""
        if self.everything:
            return ops.zeros_like(ids, dtype="float32")
        ids = ops.cast(ops.maximum(ids, 1), "float32")
        probability = ops.log((ids + 1.0) / ids) / math.log(self.max_tokens)
        return ops.log(probability * self.num_samples)

    def compute_output_spec(self, tokens: Any) -> Any:
        count = self.max_tokens - 1 if self.everything else self.num_samples
        return (
            keras.KerasTensor((count,), dtype="int32"),
            keras.KerasTensor((count,), dtype="float32"),
        )

    def get_config(self) -> dict[str, Any]:
        config = {"max_tokens": self.max_tokens, "num_samples": self.num_samples}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_seq")
class NextTokenLoss(keras.layers.Layer):
    """Adds the loss of predicting each next token by a sampled softmax.

    Args:
        weight: Of this loss beside the main one.
        training_only: Whether it is left out where nothing is trained.

    Call arguments:
        sequence: Passed through.
        predicted: `(batch, time, embedding_dim)`, the vector of the token expected
            after each step.
        embedded: `(batch, time, embedding_dim)`, the vectors of `tokens`.
        tokens: int32, `(batch, time)`.
        lengths: int32, `(batch,)`.
        ids: int32, `(samples,)`, and `log_expected`, of `TokenSampler`.
        sampled: `(samples, embedding_dim)`, the vectors of `ids`.
        log_expected_true: `(batch, time)`, of `tokens`.
        training: Whether something is trained.

    Reference:
        Jean et al., 2015, On Using Very Large Target Vocabulary for NMT, section 3
        (one sample for the batch, logits corrected by the expected counts).
    """

    def __init__(self, weight: float, training_only: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.weight = weight
        self.training_only = training_only

    def call(
        self,
        sequence: Tensor,
        predicted: Tensor,
        embedded: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        ids: Tensor,
        log_expected: Tensor,
        sampled: Tensor,
        log_expected_true: Tensor,
        training: Any = None,
    ) -> Tensor:
        if training or not self.training_only:
            expected, following = predicted[:, :-1], tokens[:, 1:]
            true = ops.sum(expected * embedded[:, 1:], axis=-1)  # (batch, time - 1)
            true = ops.cast(true, "float32") - log_expected_true[:, 1:]
            others = ops.matmul(expected, ops.transpose(sampled))
            others = ops.cast(others, "float32") - log_expected
            same = following[..., None] == ids  # the true token is counted once
            others = ops.where(same, -1e30, others)  # (batch, time - 1, samples)
            everything = ops.logaddexp(ops.logsumexp(others, axis=-1), true)
            valid = valid_steps(following, ops.cast(lengths, "int32") - 1)[..., 0]
            loss = ops.where(valid, everything - true, 0.0)
            count = ops.sum(ops.cast(valid, "float32"))
            self.add_loss(self.weight * ops.sum(loss) / ops.maximum(count, 1.0))
        return sequence

    def compute_output_spec(self, sequence: Any, *_: Any, **__: Any) -> Any:
        return keras.KerasTensor(sequence.shape, dtype=sequence.dtype)

    def get_config(self) -> dict[str, Any]:
        config = {"weight": self.weight, "training_only": self.training_only}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_seq")
class NextValueLoss(keras.layers.Layer):
    """Adds the absolute error of predicting each next value, in scaled space.

    Args:
        weight: Of this loss beside the main one.

    Call arguments:
        sequence: Passed through.
        predicted: `(batch, time, width)`, the change expected after each step, which
            may hold several values, as a segment does.
        scaled: `(batch, time, width)`.
        observed: `(batch, time, width)`, 1.0 or 0.0.
        training: Whether the loss is added.
    """

    def __init__(self, weight: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.weight = weight

    def call(
        self,
        sequence: Tensor,
        predicted: Tensor,
        scaled: Tensor,
        observed: Tensor,
        training: Any = None,
    ) -> Tensor:
        if training and scaled.shape[1] > 1:
            scaled = ops.cast(scaled, "float32")
            expected = scaled[:, :-1] + ops.cast(predicted[:, :-1], "float32")
            seen = ops.cast(observed[:, 1:], "float32")
            loss = ops.abs(scaled[:, 1:] - expected) * seen
            count = ops.maximum(ops.sum(seen), 1.0)
            self.add_loss(self.weight * ops.sum(loss) / count)
        return sequence

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}
