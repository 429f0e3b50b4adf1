"""From windows to batches, and from a network back to numbers."""

from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import check_integer
from keras_seq.forecasting.ensemble import build_member
from keras_seq.forecasting.intervals import (
    Calibration,
    ScaledForecasts,
    scale_forecasts,
)
from keras_seq.forecasting.linear_start import find_start
from keras_seq.forecasting.model import StreamModel
from keras_seq.forecasting.nonnegative import bend, no_knees
from keras_seq.forecasting.scores import finite_mean, naive_scale, repeat_season
from keras_seq.forecasting.streams import StreamStates, run_streams
from keras_seq.forecasting.weights import WindowWeights
from keras_seq.forecasting.windows import Split, WindowSource, model_inputs
from keras_seq.layers.scaling import WindowScaler
from keras_seq.training.distribution import (
    check_divisible,
    distributed,
    on_one_device,
    round_up,
)
from keras_seq.training.fit import Batches, fit_model
from keras_seq.training.runtime import derive_seed

STEPS_PER_EPOCH = 50
# Without a validation part nothing tells when to stop, and short series overfit soon.
SHORT_SERIES_STEPS = 200
# How far validation wanders between checks without meaning anything, relatively.
NOISE = 0.02
# Factors tried for the spread of the quantiles; fewer targets than `FEW_TARGETS` say
# less of it than the training rows do.
SPREADS = np.geomspace(0.25, 4.0, 81)
FEW_TARGETS = 200
# Share of the categories of series that training hides.
HIDDEN = 0.05
# Share of the windows of which training shows no more than the last steps.
YOUNG = 0.1


def train(
    builder_args: dict[str, Any],
    source: WindowSource,
    split: Split,
    *,
    steps: int,
    batch_size: int | str,
    seed: int,
    distribution: str | None = None,
    **options: Any,
) -> tuple[keras.Model, pd.DataFrame]:
    """Builds a network and trains it on random windows.

    Args:
        builder_args: Of `build_member`.
        source: Windows.
        split: Origins; where it holds validation windows, training may stop early
            and the best weights are kept.
        steps: Upper limit, rounded up to whole epochs of 50.
        batch_size: Windows per step, or `"auto"`.
        seed: Of weights, batches and dropout.
        distribution: As in `distributed`.
        options: Patience, callbacks, verbosity, title and checkpoint of `fit_model`.

    Returns:
        The model, and its history: one row per epoch, `step`, losses, `seconds`.
    """
    epochs, per_epoch = divide_steps(steps)
    built = {k: builder_args[k] for k in ("precision", "jit") if k in builder_args}
    with distributed(distribution, **built) as count:
        if batch_size == "auto":
            batch_size = round_up(choose_batch_size(split), count)
        size = check_integer("batch_size", batch_size, 1)
        check_divisible(size, count)
        model = build_member(builder_args, decay_steps=epochs * per_epoch)
        model.scaler.floor.assign(find_floor(model.scaler, source, split, seed))
        season = builder_args["season_length"]
        weights = WindowWeights.learn(model.scaler, source, split, season, seed)
        start = find_start(model.scaler, source, split, season, weights, seed)
        if start is not None:
            model.get_layer("linear").kernel.assign(start)
        training = training_batches(
            source, split, size, per_epoch, seed, weights, young=YOUNG
        )
        validation = None
        if len(split.series):
            rows = round_up(512, count)
            validation = validation_batches(source, split, rows, weights)
        history = fit_network(
            model, training, validation, epochs=epochs, seed=seed, **options
        )
    model = on_one_device(model, lambda: build_member(builder_args), count)
    return model, history


def divide_steps(steps: int) -> tuple[int, int]:
    """Epochs, after each of which validation is looked at, and the steps of one."""
    per_epoch = min(STEPS_PER_EPOCH, steps)
    return -(-steps // per_epoch), per_epoch


def fit_network(
    model: keras.Model, training: Batches, validation: Batches | None, **options: Any
) -> pd.DataFrame:
    """Trains a forecasting network; one row per epoch, which `step` tells in steps.

    Args:
        model: Compiled, with the least scale set.
        training: Endless batches.
        validation: What is held back; None: nothing is.
        options: Of `fit_model`.
    """
    result = fit_model(
        model, training, validation=validation, monitor="val_pinball", **options
    )
    history = result.history
    history.insert(0, "step", history.pop("epoch") * training.steps_per_epoch)
    return history


def choose_batch_size(split: Split) -> int:
    """A quarter of the training windows, from 32 to 256, a power of two."""
    windows = int(np.maximum(split.high - split.low + 1, 0).sum())
    return min(256, max(32, 1 << ((windows // 4) | 1).bit_length() - 1))


def choose_step(history: pd.DataFrame) -> int:
    """The longest training whose validation is as good as the best, nearly.

    The learning rate falls along a cosine, so the validation of a middle step, where
    the rate is high, is noise around a slowly falling line; where more steps harm,
    they harm by more than that noise.
    """
    loss = history["val_pinball"]
    good = loss <= (1 + NOISE) * loss.min()
    return int(history["step"][good].max())


def validate(
    model: keras.Model, source: WindowSource, split: Split, season_length: int
) -> dict[str, float]:
    """Scores a network on the validation windows, beside seasonal naive.

    Returns:
        `pinball`, the loss in the scale of each window; `mae`, in the unit of the
        target; `mase`, and `mase_naive`, the same of the seasonal naive forecast.
    """
    forecasts, scaled = forecast_scaled(model, source, split.series, split.origins)
    levels, missed = np.array(scaled.levels), scaled.actual[..., None] - scaled.values
    pinball = np.maximum(levels * missed, (levels - 1) * missed)
    windows = source.gather(split.series, split.origins)
    actual = windows.target + windows.shift[:, None]
    reachable = season_length if season_length <= source.spec.lookback else 1
    naive = repeat_season(windows, reachable)
    scale = naive_scale(source.panel, season_length, split.end)[split.series, None]
    error = np.abs(forecasts[:, :, model.point_index] - actual)
    return {
        "pinball": 2 * finite_mean(pinball),
        "mae": finite_mean(error),
        "mase": finite_mean(error / scale),
        "mase_naive": finite_mean(np.abs(naive - actual) / scale),
    }


def calibrate(model: keras.Model, source: WindowSource, split: Split) -> np.ndarray:
    """Sets how wide the quantiles spread by the last two horizons of validation.

    Training rows reach far back, and how far forecasts stray may have changed since.
    One factor below and one above the median, so that quantiles still cannot cross:
    the minimiser of the pinball loss in scaled space, taken half way, since the
    targets of the same months share their shocks, and less where targets are few.

    Returns:
        The factors, `(2,)`; they are also set in the model.
    """
    head = model.get_layer("quantiles")
    ends = source.panel.observed_lengths
    begin = ends[split.series] - 2 * source.spec.horizon
    latest = split.origins >= begin
    latest_ones = split.series[latest], split.origins[latest]
    _, scaled = forecast_scaled(model, source, *latest_ones)
    error = (scaled.actual - scaled.median)[..., None]
    away = scaled.values - scaled.median[..., None]
    count = int(np.isfinite(error).sum())
    levels = np.array(head.quantiles)
    losses = np.zeros((2, len(SPREADS)))
    for side, index in enumerate((levels < 0.5, levels > 0.5)):
        for i, spread in enumerate(SPREADS):
            beyond = error - spread * away[..., index]
            pinball = np.maximum(levels[index] * beyond, (levels[index] - 1) * beyond)
            losses[side, i] = np.nansum(pinball)
    best = SPREADS[np.argmin(losses, axis=1)]
    factors = best ** (0.5 * count / (count + FEW_TARGETS))
    head.spread.assign(factors)
    return factors


def learn_calibration(
    model: keras.Model, source: WindowSource, split: Split
) -> Calibration:
    """Where the values of the validation windows fell within their forecasts."""
    if not len(split.series):
        return Calibration(np.zeros((0, source.spec.horizon), np.float32))
    _, scaled = forecast_scaled(model, source, split.series, split.origins)
    scaler = model.scaler
    spread = scaler.scaling not in ("log", "none")
    floor = float(keras.ops.convert_to_numpy(scaler.floor)) if spread else 0.0
    return Calibration.learn(scaled, floor)


def verdict(validation: dict[str, float]) -> str:
    """Says in a line whether the network beat the seasonal naive forecast."""
    ours, naive = validation["mase"], validation["mase_naive"]
    word = "better than" if ours < naive else "NO BETTER than"
    return f"validation: MASE {ours:.3f}, {word} seasonal naive's {naive:.3f}"


def hide_categories(inputs: dict[str, np.ndarray], random: np.random.Generator) -> None:
    """Makes some categories of series unknown, so that 0 learns to stand for all."""
    if "static_ids" in inputs:
        ids = inputs["static_ids"]
        inputs["static_ids"] = np.where(random.random(ids.shape) < HIDDEN, 0, ids)


def hide_starts(past: np.ndarray, share: float, random: np.random.Generator) -> None:
    """Makes some windows those of young series, of which only the last steps exist.

    Long series have none, and the quantiles of a new one would be as narrow as if as
    much were known of it.

    Args:
        past: `(batch, lookback)`, changed in place.
        share: Of the windows.
        random: What draws them, and how many steps are left.
    """
    batch, lookback = past.shape
    left = np.where(
        random.random(batch) < share, random.integers(1, lookback + 1, batch), lookback
    )
    past[np.arange(lookback) < lookback - left[:, None]] = np.nan


def training_batches(
    source: WindowSource,
    split: Split,
    batch_size: int,
    steps_per_epoch: int,
    seed: int,
    weights: WindowWeights | None = None,
    young: float = 0.0,
) -> Batches:
    """Endless random windows: series are drawn evenly, then an origin within each.

    Args:
        source: Windows.
        split: Origins.
        batch_size: Windows of a batch.
        steps_per_epoch: Batches of an epoch.
        seed: Of what is drawn.
        weights: What windows count; None: all alike.
        young: Share of the windows of `hide_starts`.
    """

    def get_batch(epoch: int, step: int) -> tuple[Any, ...]:
        random = np.random.default_rng(derive_seed(seed, epoch, step, "windows"))
        series, origins = split.draw(batch_size, random)
        windows = source.gather(series, origins, split.end)
        hide_starts(windows.past, young, random)
        inputs = model_inputs(windows)
        hide_categories(inputs, random)
        if weights is None:
            return inputs, windows.target
        return inputs, windows.target, weights(windows, series)

    return Batches(steps_per_epoch, get_batch, endless=True)


def validation_batches(
    source: WindowSource,
    split: Split,
    batch_size: int = 512,
    weights: WindowWeights | None = None,
) -> Batches:
    """The validation windows in order; the last batch is filled with NaN targets."""
    count = len(split.series)

    def get_batch(_: int, step: int) -> tuple[Any, ...]:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)
        kept = np.minimum(rows, count - 1)
        windows = source.gather(split.series[kept], split.origins[kept])
        target = np.where(rows[:, None] < count, windows.target, np.float32(np.nan))
        if weights is None:
            return model_inputs(windows), target
        return model_inputs(windows), target, weights(windows, split.series[kept])

    return Batches(-(-count // batch_size), get_batch)


def find_floor(
    scaler: WindowScaler, source: WindowSource, split: Split, seed: int
) -> float:
    """The least scale: a tenth of the lowest usual one in the training rows.

    A window that is all zero or constant has no scale of its own. The floor lies
    below the scale of 99 % of the windows that have one, so it takes nothing from a
    series of small numbers.
    """
    windows, _ = training_batches(source, split, 2048, 1, seed)[0]
    scaler(windows["target"])  # it has a floor once it is built
    scaler.floor.assign(1e-30)
    if scaler.scaling == "log":
        values = np.abs(windows["target"])
    else:
        values = np.asarray(scaler(windows["target"])[3])
    positive = values[np.isfinite(values) & (values > 1e-20)]
    return 0.1 * float(np.quantile(positive, 0.01)) if len(positive) else 1e-6


def forecast(
    model: keras.Model,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    start: StreamStates | None = None,
    batch_size: int = 1024,
) -> np.ndarray:
    """Forecasts from the given origins, in the unit of the target column.

    Args:
        model: Of `build_forecaster`.
        source: Windows of the panel to forecast.
        series: int64, `(num_windows,)`.
        origins: int64, `(num_windows,)`.
        start: Where streams stand, for a stateful model; None: at their first step.
        batch_size: Windows at a time.

    Returns:
        float64, `(num_windows, horizon, num_outputs)`, as the model's.
    """
    if isinstance(model, StreamModel):
        return run_streams(model, source, series, origins, start).values
    return bend(*_straight(model, source, series, origins, batch_size))


def _straight(
    model: keras.Model,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    batch_size: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts that may fall below zero, and the knees at which they are to bend."""
    parts = []
    for first in range(0, len(series), batch_size):
        chosen = slice(first, first + batch_size)
        windows = source.gather(series[chosen], origins[chosen])
        raw = np.asarray(model.predict_on_batch(model_inputs(windows)))
        values = raw.astype(np.float64) + windows.shift[:, None, None]
        parts.append((values, source.knees(windows)))
    values, knees = zip(*parts, strict=True)
    return np.concatenate(values), np.concatenate(knees)


def forecast_scaled(
    model: keras.Model,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    start: StreamStates | None = None,
) -> tuple[np.ndarray, ScaledForecasts]:
    """Forecasts, and the same in their own scale; arguments as of `forecast`."""
    if isinstance(model, StreamModel):
        values, *scales = run_streams(model, source, series, origins, start)
        about = values, no_knees(len(values)), scales
        return values, scale_forecasts(model, source, series, origins, *about)
    values, knees = _straight(model, source, series, origins)
    scaled = scale_forecasts(model, source, series, origins, values, knees)
    return bend(values, knees), scaled
