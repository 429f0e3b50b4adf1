"""Scaler: raw windows to the scale of their own statistics, and forecasts back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# A stream keeps sums, from which no median follows.
STREAM_SCALINGS = ("mean_abs", "standard", "log", "none")
SCALINGS = (*STREAM_SCALINGS, "robust")
# Adding a constant to such a window moves the forecast by that constant.
LOCATION_INVARIANT = ("standard", "robust")
# Logarithms, of one or several networks: of the values themselves, not of distances.
_LOGARITHMIC = ("log", "mixed")
# Standard deviations of a normal distribution in its median distance from the median.
DEVIATIONS = 1.4826


def is_centered(scaling: str) -> bool | None:
    """Whether windows are centred first, as of `forecasting.windows.window_shift`."""
    return None if scaling in _LOGARITHMIC else scaling in LOCATION_INVARIANT


def joint_scaler(scalers: Sequence[Any]) -> Any:
    """What brings the median of several networks to scale, of theirs.

    Logarithms only where all take them: the median of others may be zero or less.
    """
    return next((s for s in scalers if s.scaling != "log"), scalers[0])


class Scaler:
    """What `keras_seq.layers.scaling` does: statistics of each window's observed steps.

    Args:
        scaling: One of `SCALINGS`.
        floor: The least scale; for `"log"`, the least value.
    """

    def __init__(self, scaling: str, floor: Any):
        self.scaling = scaling
        self.floor = np.float32(floor)

    def __call__(self, window: Array) -> tuple[Array, Array, Array, Array]:
        """Scales windows, `(batch, lookback)`; NaN is missing.

        Returns:
            `scaled`, 0 where missing, and `observed`, 1.0 or 0.0, both `(batch,
            lookback)`; `location` and `scale`, `(batch, 1)`. All float32.
        """
        values, observed = self._split_missing(window)
        location, scale = self._statistics(values, observed)
        scaled = self.transform(values, location, scale) * observed
        return scaled, observed, location, scale

    def location_and_scale(self, window: Array) -> tuple[Array, Array]:
        """Of each window, `(batch, 1)`."""
        return self._statistics(*self._split_missing(window))

    def transform(self, values: Array, location: Array, scale: Array) -> Array:
        """Raw unit to scaled unit."""
        if self.scaling == "log":
            return np.asarray(np.log(np.maximum(values, self.floor)) - location)
        return np.asarray((values - location) / scale)

    def unscale(self, scaled: Array, location: Array, scale: Array) -> Array:
        """Scaled unit to raw unit: `(batch, horizon, outputs)`, float32."""
        scaled = scaled.astype(np.float32)
        location, scale = location[..., None], scale[..., None]
        if self.scaling == "log":
            # 80 is just below where float32's exponential overflows.
            return np.asarray(np.exp(np.minimum(scaled + location, np.float32(80.0))))
        return np.asarray(scaled * scale + location)

    def _split_missing(self, window: Array) -> tuple[Array, Array]:
        window = np.asarray(window, np.float32)
        missing = np.isnan(window)
        return np.where(missing, np.float32(0), window), (~missing).astype(np.float32)

    def _statistics(self, values: Array, observed: Array) -> tuple[Array, Array]:
        count = np.maximum(observed.sum(axis=1, keepdims=True), np.float32(1))
        zero = np.zeros_like(count)
        if self.scaling == "none":
            return zero, zero + np.float32(1)

        def mean(x: Array) -> Array:
            total = (x * observed).sum(axis=1, keepdims=True, dtype=np.float64)
            return np.asarray((total / count).astype(np.float32))

        if self.scaling in ("mean_abs", "log"):
            level = np.maximum(mean(np.abs(values)), self.floor)
            if self.scaling == "log":
                return np.log(level), zero + np.float32(1)
            return zero, level
        robust = self.scaling == "robust"
        location = _median(values, observed) if robust else mean(values)
        deviation = np.abs(values - location) * observed
        # Squares of values beyond 1e19 overflow float32, squares of ratios do not.
        largest = deviation.max(axis=1, keepdims=True, initial=np.float32(1e-30))
        spread = largest * np.sqrt(mean(np.square(deviation / largest)))
        if robust:
            distance = np.float32(DEVIATIONS) * _median(deviation, observed)
            spread = np.where(distance > 0, distance, spread)
        return location, np.maximum(spread, self.floor)


def _median(values: Array, observed: Array) -> Array:
    """Of each row's observed values, `(batch, 1)`; 0 where there are none."""
    count = observed.sum(axis=1, keepdims=True)
    last = np.finfo(np.float32).max  # missing ones stand behind all others
    ordered = np.sort(np.where(observed > 0, values, last), axis=1)
    places = np.arange(values.shape[1], dtype=np.float32)[None]
    lower, upper = np.floor((count - 1) / 2), np.floor(count / 2)
    half = np.float32(0.5)
    weights = half * (places == lower) + half * (places == upper)
    return np.asarray((ordered * weights * (count > 0)).sum(axis=1, keepdims=True))
