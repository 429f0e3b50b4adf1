"""Forecasts of what is never negative do not fall below zero.

A network that extends a falling line crosses zero without noticing. Where its forecast
falls below the usual lows of its window, the knee, the line is bent towards zero, which
it does not reach: an exponential that leaves the line at the knee in its direction.
Quantiles in order stay in order, and a forecast within what is usual stays as it is.
"""

import numpy as np

# One in so many values of a window lies below its usual lows; and the share of their
# mean above which nothing is low.
LOW_PART, LOW_LEVEL = 10, 0.5
# Zero would be infinitely far below the knee.
_LEAST = 1e-3
_ROUNDING = 1e-5


def bends(nonnegative: bool, scaling: str) -> bool:
    """Whether forecasts are bent: those in logarithms are positive by themselves."""
    return nonnegative and scaling != "log"


def find_knees(past: np.ndarray) -> np.ndarray:
    """Where the forecasts of each window begin to bend.

    Args:
        past: `(batch, lookback)`, in the unit of the target; NaN is missing.

    Returns:
        float64, `(batch,)`: the value that nine in ten of the window's lie above, and
        at most half their mean. Where it is 0, negative forecasts become 0; -inf, where
        a value is negative or there is none: forecasts stay as they are.
    """
    ordered = np.sort(past.astype(np.float64), axis=1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=1)
    place = np.maximum(count - 1, 0) // LOW_PART
    low = ordered[np.arange(len(ordered)), place]
    mean = np.nansum(ordered, axis=1) / np.maximum(count, 1)
    # Windows that were moved in float32 come back with its rounding.
    known = (count > 0) & (np.fmin(ordered[:, 0], 0.0) >= -_ROUNDING * mean)
    knees = np.clip(low, 0.0, np.maximum(LOW_LEVEL * mean, 0.0))
    return np.where(known, knees, -np.inf)


def no_knees(count: int) -> np.ndarray:
    """Of so many windows whose forecasts stay as they are."""
    return np.full(count, -np.inf)


def bend(values: np.ndarray, knees: np.ndarray) -> np.ndarray:
    """What becomes of forecasts.

    Args:
        values: `(batch, ...)`, in the unit of the target.
        knees: `(batch,)`, of `find_knees`.
    """
    knees = knees.reshape(-1, *[1] * (values.ndim - 1))
    if not (values < knees).any():
        return values
    share = values / np.where(knees > 0, knees, 1.0)
    # Far below, an exponential would be 0.
    below = knees * np.exp(np.clip(share - 1, -80.0, 0.0))
    return np.where(values < knees, np.maximum(below, 0.0), values)


def unbend(values: np.ndarray, knees: np.ndarray) -> np.ndarray:
    """The forecasts of which `bend` makes these values: `(batch, ...)`; NaN stays."""
    knees = knees.reshape(-1, *[1] * (values.ndim - 1))
    bent = (values < knees) & (knees > 0)
    share = np.where(bent, values / np.where(bent, knees, 1.0), 1.0)
    straight = knees * (1 + np.log(np.maximum(share, _LEAST)))
    return np.where(bent, straight, values)
