"""Scaling that is part of the forecasting model: raw windows in, raw forecasts out."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.errors import check_choice
from keras_seq.numpy_runtime.scaling import (
    DEVIATIONS,
    LOCATION_INVARIANT,
    SCALINGS,
    STREAM_SCALINGS,
)

Tensor = Any

__all__ = [
    "LOCATION_INVARIANT",
    "SCALINGS",
    "STREAM_SCALINGS",
    "WindowScaler",
    "WindowUnscaler",
    "check_scaling",
]


def check_scaling(scaling: str, *, stateful: bool) -> str:
    """Returns the scaling, or raises ValueError unless there is such a one.

    Args:
        scaling: One of `SCALINGS`; of a stream, one of `STREAM_SCALINGS`.
        stateful: Whether it is that of a stream.
    """
    check_choice("scaling", scaling, SCALINGS)
    if stateful and scaling not in STREAM_SCALINGS:
        raise ValueError(
            f"`scaling` must be one of {', '.join(map(repr, STREAM_SCALINGS))} with "
            "stateful=True: a stream keeps sums, from which no median follows. "
            f"Received: scaling={scaling!r}"
        )
    return scaling


@keras.saving.register_keras_serializable("keras_seq")
class WindowScaler(keras.layers.Layer):
    """Scales each window by statistics of its own observed steps.

    Statistics come from the window alone, so the scaling cannot leak, needs no
    fitting for a series never seen, and is saved with the model. Always computed in
    float32, whatever the precision of the rest.

    Args:
        scaling: `"mean_abs"` divides by the mean of |y| (Salinas et al. 2020, DeepAR,
            section 3.3), `"standard"` subtracts the mean and divides by the standard
            deviation, `"robust"` subtracts the median and divides by 1.48 times the
            median distance from it, which a few outliers do not move (where most
            values are equal, by the root of the mean squared distance), `"log"` takes
            the logarithm of y over the mean of |y|, `"none"` does nothing.

    Call arguments:
        window: `(batch, lookback)`; NaN marks a missing step.

    Returns:
        `scaled`, `(batch, lookback)`, 0 at missing steps; `observed`, 1.0 or 0.0,
        `(batch, lookback)`; `location` and `scale`, `(batch, 1)`, for `transform`
        and for `WindowUnscaler`.

    Attributes:
        floor: Weight, a scalar. The least scale, for windows that are constant or
            empty; for `"log"`, the least value. `Forecaster.fit` learns it from its
            training rows.
    """

    def __init__(self, scaling: str = "mean_abs", **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        check_choice("scaling", scaling, SCALINGS)
        self.scaling = scaling

    def build(self, window_shape: Any) -> None:
        self.floor = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(1e-6),
            trainable=False,
            name="floor",
        )
        self.built = True

    def call(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values, observed = self.split_missing(window)
        location, scale = self.location_and_scale(window)
        scaled = self.transform(values, location, scale) * observed
        return scaled, observed, location, scale

    def split_missing(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """The values, 0 where missing, and 1.0 or 0.0 for observed or not."""
        window = ops.cast(window, "float32")
        missing = ops.isnan(window)
        values = ops.where(missing, ops.zeros_like(window), window)
        return values, ops.cast(ops.logical_not(missing), "float32")

    def location_and_scale(
        self, window: Tensor, training: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Of each window, `(batch, 1)`."""
        values, observed = self.split_missing(window)
        count = ops.maximum(ops.sum(observed, axis=1, keepdims=True), 1.0)

        def mean(x: Tensor) -> Tensor:
            return ops.sum(x * observed, axis=1, keepdims=True) / count

        zero = ops.zeros_like(count)
        if self.scaling == "none":
            return zero, zero + 1.0
        if self.scaling == "mean_abs":
            return zero, ops.maximum(mean(ops.abs(values)), self.floor)
        if self.scaling == "log":
            level = ops.maximum(mean(ops.abs(values)), self.floor)
            return ops.log(level), zero + 1.0
        robust = self.scaling == "robust"
        location = _median(values, observed) if robust else mean(values)
        deviation = ops.abs(values - location) * observed
        # Squares of values beyond 1e19 overflow float32, squares of ratios do not.
        largest = ops.maximum(ops.max(deviation, axis=1, keepdims=True), 1e-30)
        spread = largest * ops.sqrt(mean(ops.square(deviation / largest)))
        if robust:
            distance = DEVIATIONS * _median(deviation, observed)
            spread = ops.where(distance > 0, distance, spread)
        return location, ops.maximum(spread, self.floor)

    def transform(self, values: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Raw unit to scaled unit."""
        if self.scaling == "log":
            return ops.log(ops.maximum(values, self.floor)) - location
        return (values - location) / scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaling": self.scaling}


@keras.saving.register_keras_serializable("keras_seq")
class WindowUnscaler(keras.layers.Layer):
    """Brings forecasts back to the raw unit of their window.

    Increasing in `scaled`, so that quantiles in order stay in order.

    Args:
        scaling: As of the `WindowScaler` that gave `location` and `scale`.

    Call arguments:
        scaled: `(batch, horizon, outputs)`.
        location: `(batch, 1)`.
        scale: `(batch, 1)`.

    Returns:
        `(batch, horizon, outputs)`, in the unit of the window.
    """

    def __init__(self, scaling: str = "mean_abs", **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        check_choice("scaling", scaling, SCALINGS)
        self.scaling = scaling

    def call(self, scaled: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        scaled = ops.cast(scaled, "float32")
        location, scale = location[..., None], scale[..., None]
        if self.scaling == "log":
            # 80 is just below where float32's exponential overflows.
            return ops.exp(ops.minimum(scaled + location, 80.0))
        return scaled * scale + location

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaling": self.scaling}


def sort_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Each row's values in increasing order; missing ones stand behind all others.

    Args:
        values: `(batch, steps)`, not NaN.
        observed: 1.0 or 0.0, of the same shape.
    """
    last = float(np.finfo("float32").max)
    return ops.sort(ops.where(observed > 0, values, last), axis=1)


def _median(values: Tensor, observed: Tensor) -> Tensor:
    """Of each row's observed values, `(batch, 1)`; 0 where there are none."""
    count = ops.sum(observed, axis=1, keepdims=True)
    ordered = sort_observed(values, observed)
    places = ops.arange(values.shape[1], dtype="float32")[None]
    lower, upper = ops.floor((count - 1) / 2), ops.floor(count / 2)
    weights = sum(0.5 * ops.cast(places == at, "float32") for at in (lower, upper))
    some = ops.cast(count > 0, "float32")
    return ops.sum(ordered * weights * some, axis=1, keepdims=True)
