"""QuantileHead: several quantiles that cannot cross."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.errors import check_number

Tensor = Any


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Returns the quantiles as floats, or raises unless increasing within (0, 1)."""
    listed = hasattr(quantiles, "__len__") and not isinstance(quantiles, str)
    if not listed or not len(quantiles):
        raise ValueError(
            "`quantiles` must be a sequence with at least one number. "
            f"Received: quantiles={quantiles!r}"
        )
    levels = tuple(check_number("quantiles", q, above=0, below=1) for q in quantiles)
    if any(a >= b for a, b in zip(levels, levels[1:], strict=False)):
        raise ValueError(
            "`quantiles` must increase strictly: in order, and none twice. "
            f"Received: quantiles={quantiles!r}"
        )
    return levels


@keras.saving.register_keras_serializable("keras_seq")
class QuantileHead(keras.layers.Layer):
    """Adds positive steps up and down from the quantile nearest the median.

    Args:
        quantiles: Increasing, within (0, 1).

    Call arguments:
        center: `(batch, horizon)`; what the middle quantile starts from.
        features: `(batch, horizon, d)`.

    Returns:
        `(batch, horizon, num_quantiles)`, not decreasing along the last axis. It
        starts at `center`: the kernel begins at zero.

    Attributes:
        spread: Weight, `(2,)`: widens or narrows the steps below and above the
            middle. `Forecaster.fit` sets it on its validation part.
    """

    def __init__(self, quantiles: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.quantiles = check_quantiles(quantiles)
        self.middle = int(np.argmin(np.abs(np.array(self.quantiles) - 0.5)))

    def build(self, center_shape: Any, features_shape: Any) -> None:
        # softplus(-2) = 0.13: a forecast rarely strays a whole scale at first.
        start = np.full(len(self.quantiles), -2.0)
        start[self.middle] = 0.0
        self.dense = keras.layers.Dense(
            len(self.quantiles),
            kernel_initializer="zeros",
            bias_initializer=lambda shape, dtype=None: ops.convert_to_tensor(
                start, dtype
            ),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.dense.build(features_shape)
        self.spread = self.add_weight(
            shape=(2,), initializer="ones", trainable=False, name="spread"
        )
        self.built = True

    def call(self, center: Tensor, features: Tensor) -> Tensor:
        raw = self.dense(features)  # (batch, horizon, num_quantiles)
        below, at, above = (
            raw[..., : self.middle],
            center[..., None] + raw[..., self.middle : self.middle + 1],
            raw[..., self.middle + 1 :],
        )
        # Nearest step first: each quantile lies one positive step further out.
        spread = ops.cast(self.spread, raw.dtype)
        down = ops.cumsum(ops.flip(ops.softplus(below), -1), axis=-1) * spread[0]
        up = ops.cumsum(ops.softplus(above), axis=-1) * spread[1]
        return ops.concatenate([at - ops.flip(down, -1), at, at + up], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantiles": self.quantiles}
