"""SequenceNormalization: layer or batch normalisation that knows where rows end."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_number
from keras_seq.layers.padding import valid_steps, zero_padding

Tensor = Any

NORMALIZATIONS = ("layer", "batch")

# Keras's 1e-3 would halve the scale of activations whose variance is as small.
EPSILON = 1e-5


@keras.saving.register_keras_serializable("keras_seq")
class SequenceNormalization(keras.layers.Layer):
    """Normalises the features of right-padded rows, by their valid steps only.

    `"layer"` takes mean and variance over the features of each step (Ba et al. 2016).
    `"batch"` takes them over all valid steps of the batch, feature by feature (Ioffe &
    Szegedy 2015; between recurrent layers, Laurent et al. 2016), and keeps moving
    averages for inference. Both end in a learned scale and offset. Statistics are in
    float32 at least, in every precision.

    `keras.layers.BatchNormalization` is not used: at 3.15 its masked mean divides by
    `count + 1e-7`, and a batch of padding alone pulls its moving averages to zero.

    Args:
        normalization: `"layer"` or `"batch"`.
        momentum: Share of the old moving averages kept at each training step, for
            `"batch"`. Keras's 0.99 would need hundreds of steps to forget its start.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.
        training: Whether `"batch"` normalises by the batch and updates its averages;
            a frozen layer (`trainable=False`) never does.

    Returns:
        `(batch, time, features)`, zeros at padding.

    Attributes:
        moving_mean: Weight, `(features,)`, of `"batch"` only.
        moving_variance: Weight, `(features,)`, of `"batch"` only. A batch without any
            valid step leaves both as they are.

    Reference:
        Ba et al., 2016, Layer Normalization; Ioffe & Szegedy, 2015, Batch
        Normalization; Laurent et al., 2016, Batch Normalized Recurrent Neural Networks.
    """

    def __init__(
        self, normalization: str = "layer", *, momentum: float = 0.9, **kwargs: Any
    ):
        super().__init__(**kwargs)
        check_choice("normalization", normalization, NORMALIZATIONS)
        self.normalization = normalization
        self.momentum = check_number("momentum", momentum, above=0, below=1)

    def build(self, inputs_shape: Any, lengths_shape: Any = None) -> None:
        def add(name: str, initializer: str, trainable: bool = True) -> Any:
            # autocast=False: half precision would lose digits of the averages.
            return self.add_weight(
                shape=(inputs_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                autocast=False,
                name=name,
            )

        self.gamma, self.beta = add("gamma", "ones"), add("beta", "zeros")
        if self.normalization == "batch":
            self.moving_mean = add("moving_mean", "zeros", trainable=False)
            self.moving_variance = add("moving_variance", "ones", trainable=False)
        self.built = True

    def call(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        exact = keras.backend.result_type(inputs.dtype, "float32")
        x = ops.cast(inputs, exact)
        if lengths is not None:
            x = zero_padding(x, lengths)
        if self.normalization == "layer":
            mean, variance = ops.moments(x, axes=-1, keepdims=True)
        elif training and self.trainable:
            mean, variance = self._batch_statistics(x, lengths)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        spread = ops.sqrt(ops.cast(variance, exact) + EPSILON)
        normed = (x - ops.cast(mean, exact)) / spread
        normed = normed * ops.cast(self.gamma, exact) + ops.cast(self.beta, exact)
        normed = ops.cast(normed, self.compute_dtype)
        return normed if lengths is None else zero_padding(normed, lengths)

    def _batch_statistics(
        self, x: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance over valid steps, `(features,)`; moves the averages."""
        if lengths is None:
            valid = ops.ones_like(x[..., :1])  # (batch, time, 1)
        else:
            valid = ops.cast(valid_steps(x, lengths), x.dtype)
        steps = ops.sum(valid)
        count = ops.maximum(steps, 1.0)
        mean = ops.sum(x * valid, axis=(0, 1)) / count
        variance = ops.sum(ops.square(x - mean) * valid, axis=(0, 1)) / count
        for average, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            old = ops.cast(average, x.dtype)
            moved = old + (1.0 - self.momentum) * (value - old)
            average.assign(ops.where(steps > 0, moved, old))
        return mean, variance

    def get_config(self) -> dict[str, Any]:
        config = {"normalization": self.normalization, "momentum": self.momentum}
        return {**super().get_config(), **config}
