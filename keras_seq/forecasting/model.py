"""ForecastModel and StreamModel: the Keras models of forecasters, with their loss."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.training.autodiff import compiled_call
from keras_seq.training.distribution import sum_over_replicas
from keras_seq.training.model import SequenceModel

Tensor = Any

# A target this many scales away from its window is an outlier of the window's scale
# (a first sale after silence), and must not outweigh a thousand others.
MAX_SCALED_TARGET = 20.0
# No window counts more than ten times as much as the usual one, or less than a tenth.
WEIGHT_LIMITS = 0.1, 10.0


@keras.saving.register_keras_serializable("keras_seq")
class ForecastModel(SequenceModel):
    """Functional model whose loss works in scaled space.

    Pinball loss (Koenker & Bassett 1978), doubled so that the median's equals the
    absolute error, averaged over quantiles and observed targets. Errors are measured
    in each window's own scale, times its sample weight (in `Forecaster.fit` that of
    `WindowWeights`), so that every series weighs the same; NaN targets weigh nothing.
    With `point="mean"` half the squared error of the mean is added; on a logarithmic
    scaling it is that of the ratio to the window's level, since the exponential of a
    mean logarithm is no mean.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Keras averages its own loss over batches; this one weighs each target alike.
        self.pinball = keras.metrics.Mean(name="pinball")

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        location, scale = self.scaler.location_and_scale(x["target"], training)
        return self.scaled_loss(y, y_pred, location, scale, sample_weight)

    def scaled_loss(
        self,
        y: Tensor,
        y_pred: Tensor,
        location: Tensor,
        scale: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """The loss of forecasts `(..., horizon, outputs)`, each in its own scale.

        Args:
            y: `(..., horizon)`; NaN weighs nothing.
            y_pred: `(..., horizon, outputs)`.
            location: `(..., 1)`, of the scaling.
            scale: `(..., 1)`, of the scaling.
            sample_weight: `(...)`.
        """
        scaler = self.scaler
        y, y_pred = ops.cast(y, "float32"), ops.cast(y_pred, "float32")
        missing = ops.isnan(y)
        weight = 1.0 - ops.cast(missing, "float32")  # (..., horizon)
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, "float32")[..., None]
        # NaN must be gone before the arithmetic: 0 * NaN has a NaN gradient.
        target = scaler.transform(
            ops.where(missing, ops.zeros_like(y), y), location, scale
        )
        target = ops.clip(target, -MAX_SCALED_TARGET, MAX_SCALED_TARGET)
        count = len(self.quantiles)
        scaled = scaler.transform(
            y_pred[..., :count], location[..., None], scale[..., None]
        )
        error = target[..., None] - scaled  # (..., horizon, quantiles)
        levels = ops.convert_to_tensor(self.quantiles, "float32")
        pinball = 2.0 * ops.mean(
            ops.maximum(levels * error, (levels - 1.0) * error), axis=-1
        )
        summed, total = ops.sum(pinball * weight), ops.sum(weight)
        self.pinball.update_state(summed / ops.maximum(total, 1.0), sample_weight=total)
        if y_pred.shape[-1] > count:
            mean = y_pred[..., count]
            if scaler.scaling == "log":
                level = ops.exp(location)
                target = ops.where(missing, ops.zeros_like(y), y) / level
                target = ops.clip(target, -MAX_SCALED_TARGET, MAX_SCALED_TARGET)
                missed = target - mean / level
            else:
                missed = target - scaler.transform(mean, location, scale)
            summed = summed + ops.sum(0.5 * ops.square(missed) * weight)
        loss = summed / ops.maximum(sum_over_replicas(total), 1.0)
        return loss + sum(self.losses)

    @property
    def scaler(self) -> keras.layers.Layer:
        """What brings windows to scale."""
        return self.get_layer("scaler")

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantile of each output."""
        return self.get_layer("quantiles").quantiles

    @property
    def point_index(self) -> int:
        """Which output is the point forecast: the mean, if there is one, or 0.5."""
        count = len(self.quantiles)
        return count if self.output_shape[-1] > count else self.quantiles.index(0.5)


@keras.saving.register_keras_serializable("keras_seq")
class StreamModel(ForecastModel):
    """Forecasts with the scale they were made in, and the states after them.

    A batch may have, as sample weights, `(batch,)`, what one unit of the target counts
    in each row: forecasts then count by their scale, as in `WindowWeights`. NaN: each
    forecast of the row counts 1.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        location, scale = y_pred["location"], y_pred["scale"]  # (batch, steps, 1)
        weights = None
        if sample_weight is not None:
            size = ops.exp(location) if self.scaler.scaling == "log" else scale
            share = ops.cast(sample_weight, "float32")[:, None]
            weights = ops.clip(share * size[..., 0], *WEIGHT_LIMITS)
            weights = ops.where(ops.isnan(share), ops.ones_like(weights), weights)
        return self.scaled_loss(y, y_pred["forecast"], location, scale, weights)

    @property
    def point_index(self) -> int:
        count = len(self.quantiles)
        return count if self.num_outputs > count else self.quantiles.index(0.5)

    @property
    def num_outputs(self) -> int:
        """Numbers of each forecast step: quantiles, and the mean, if there is one."""
        return int(self.output["forecast"].shape[-1])

    @functools.cached_property
    def run(self) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Inputs to outputs, without Keras's overhead and with any number of steps."""
        return compiled_call(self)

    @property
    def state_widths(self) -> dict[str, int]:
        """Numbers of each state of one stream, by the names of inputs and outputs."""
        return {
            name: tensor.shape[-1]
            for name, tensor in self.input.items()
            if name.startswith("state_")
        }
