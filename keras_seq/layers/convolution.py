"""ConvolutionFront: local patterns, found before the recurrence."""

from typing import Any

import keras

from keras_seq.errors import check_integer
from keras_seq.layers.padding import zero_padding

Tensor = Any


@keras.saving.register_keras_serializable("keras_seq")
class ConvolutionFront(keras.layers.Layer):
    """Convolves right-padded rows over time (with relu), as if each stood alone.

    Over embeddings it finds word n-grams (Kim 2014), over a series short shapes, each
    of which the recurrence then sees as one step (Zhou et al. 2015). A row continues
    with zeros before its start and past its end, whatever its padding holds.

    Args:
        filters: Number of patterns: features out.
        kernel_size: Width of a pattern in time steps.
        causal: Whether step `t` sees `t - kernel_size + 1` to `t` only. Otherwise it
            sees `(kernel_size - 1) // 2` steps before it and the rest after it.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.

    Returns:
        `(batch, time, filters)`, zeros at padding.

    Reference:
        Kim, 2014, Convolutional Neural Networks for Sentence Classification; Zhou et
        al., 2015, A C-LSTM Neural Network for Text Classification.
    """

    def __init__(
        self, filters: int, kernel_size: int = 3, *, causal: bool = True, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters, 1)
        self.kernel_size = check_integer("kernel_size", kernel_size, 1)
        self.causal = causal
        self.convolution = keras.layers.Conv1D(
            filters,
            kernel_size,
            padding="causal" if causal else "same",
            activation="relu",
            dtype=self.dtype_policy,
            name="convolution",
        )

    def build(self, inputs_shape: Any, lengths_shape: Any = None) -> None:
        self.convolution.build(inputs_shape)
        self.built = True

    def call(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            return self.convolution(inputs)
        # Before, since a step near the end sees past it; after, for the bias.
        sequence = self.convolution(zero_padding(inputs, lengths))
        return zero_padding(sequence, lengths)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "causal": self.causal,
        }
