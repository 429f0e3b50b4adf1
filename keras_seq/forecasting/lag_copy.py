"""Whether a network only repeats the last value while the data would tell more.

Such forecasts look like the series, one step late, and score well on a plot. On a
random walk repeating the last value is right, so that alone is no fault.
"""

import keras
import numpy as np

from keras_seq.forecasting.fitting import forecast, training_batches
from keras_seq.forecasting.scores import naive_scale, repeat_season
from keras_seq.forecasting.windows import Split, WindowSource

# A copy: its forecasts lie from the last value less than this share of what values do.
_MOVES = 0.2
# More is known: something as simple errs less than this share of the copy's error.
_BETTER = 0.9
# Fewer held-back values than this say nothing.
_FEWEST = 30
_RIDGE = 1e-3


def find_lag_copy(
    model: keras.Model,
    source: WindowSource,
    split: Split,
    season_length: int,
    seed: int,
) -> str | None:
    """Looks for a network that repeats the last value where it should not.

    Two things must hold on the validation windows: forecasts lie next to the last
    observed value, in comparison with where values went; and the value of a season
    before, or a linear map of the window (ridge regression of the changes, fitted on
    training rows), errs at least a tenth less. On a random walk the second never does.

    Args:
        model: Of `build_forecaster`, trained on `split`.
        source: Windows.
        split: Origins.
        season_length: Steps in a season; 1 for none.
        seed: Of the training windows drawn for the linear map.

    Returns:
        What is wrong and what to try, or None.
    """
    windows = source.gather(split.series, split.origins)
    actual = windows.target + windows.shift[:, None]
    past, last, size = _relative(windows.past)
    level = last + windows.shift[:, None]
    ours = forecast(model, source, split.series, split.origins)[..., model.point_index]
    others = {
        "a linear map of the window": level
        + size * (past @ _linear_map(source, split, seed))
    }
    if 1 < season_length <= source.spec.lookback:
        others["the value of a season before"] = repeat_season(windows, season_length)
    scale = naive_scale(source.panel, 1, split.end)[split.series, None]
    known = np.isfinite((actual + level + sum(others.values())) / scale)
    if known.sum() < _FEWEST:
        return None

    def distance(one: np.ndarray, two: np.ndarray) -> float:
        return float((np.abs(one - two) / scale)[known].mean())

    moves, moved = distance(ours, level), distance(actual, level)
    errors = {name: distance(other, actual) for name, other in others.items()}
    best = min(errors, key=lambda name: errors[name])
    if moves >= _MOVES * moved or errors[best] >= _BETTER * distance(ours, actual):
        return None
    return (
        "The network hardly does more than repeat the last value: on the held-back "
        f"part its forecasts lie {moves:.2g} from it, in mean changes of one step, "
        f"where values lie {moved:.2g}. {best[0].upper()}{best[1:]} errs "
        f"{1 - errors[best] / distance(ours, actual):.0%} less. Try a longer training "
        "(`max_steps`), another `learning_rate` or `lookback`, or give "
        "`season_length`."
    )


def _relative(past: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows relative to their last value and in units of their mean change from it.

    Returns:
        `(batch, lookback)`, 0 where missing; the last value and the unit, `(batch, 1)`.
    """
    past = past.astype(np.float64)
    seen = np.isfinite(past)
    newest = past.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)[:, None]
    last = np.take_along_axis(past, newest, axis=1)
    moved = np.where(seen, past - last, 0.0)
    moved = np.nan_to_num(moved)  # no value at all
    size = np.abs(moved).sum(axis=1, keepdims=True)
    size = size / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return moved / np.where(size > 0, size, 1.0), last, size


def _linear_map(source: WindowSource, split: Split, seed: int) -> np.ndarray:
    """From relative windows to relative targets: `(lookback, horizon)`."""
    inputs, target = training_batches(source, split, 2048, 1, seed)[0]
    past, last, size = _relative(inputs["target"])
    with np.errstate(divide="ignore", invalid="ignore"):
        target = (target - last) / size
    whole = np.isfinite(target).all(axis=1)
    past, target = past[whole], target[whole]
    ridge = _RIDGE * max(len(past), 1) * np.eye(past.shape[1])
    return np.linalg.solve(past.T @ past + ridge, past.T @ target)
