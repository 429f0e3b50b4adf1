"""What is exported of a Forecaster: raw windows to raw quantiles."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_seq.export.loops import MOST_STEPS
from keras_seq.export.plan import Comparison, Plan, Port, Run, rebuilt
from keras_seq.forecasting import fitting
from keras_seq.forecasting.features import MAX_SCALED_COVARIATE, Encoding
from keras_seq.forecasting.forecaster import Forecaster
from keras_seq.forecasting.nonnegative import LOW_LEVEL, LOW_PART, bend
from keras_seq.forecasting.windows import (
    _LEVEL_OVER_SPREAD,
    LEVEL_OF_LOGS,
    WindowSource,
)
from keras_seq.layers.scaling import sort_observed
from keras_seq.layers.segments import count_segments
from keras_seq.numpy_runtime.clock import by_days

Tensor = Any

# Series that are forecast to check an export.
_SAMPLES = 16


def plan_network(estimator: Forecaster) -> Plan:
    """The network alone: windows in, an array of all outputs out."""
    model = rebuilt(estimator)

    def compare(run: Run) -> Iterator[Comparison]:
        for windows, expected, knees in _samples(estimator):
            found = run(fitting.model_inputs(windows))["forecasts"]
            shift = windows.shift[:, None, None]
            yield Comparison(expected, bend(found.astype(np.float64) + shift, knees))

    shape = (None, estimator.horizon, model.output_shape[-1])
    about = "The outputs, in the order of `outputs_of_network`."
    facts = series_facts(estimator)
    facts["outputs_of_network"] = list(network_outputs(estimator, named_point=False))
    facts["moved_windows"] = (
        "The estimator subtracts each window's last observed value before, in "
        "float64, and adds it to the forecasts."
        if estimator._spec.centered
        else "The estimator subtracts the last observed value before, and adds it to "
        f"the forecasts, of windows whose level is above {_LEVEL_OVER_SPREAD:g} times "
        "their spread."
    )
    if estimator._spec.nonnegative:
        facts["bent_forecasts"] = (
            "The estimator bends forecasts that fall below the knee, which nine in ten "
            "values of the window lie above, and which is at most half their mean, to "
            "knee * exp(forecast / knee - 1)."
        )
    return Plan(
        model,
        lambda given: {"forecasts": model(given, training=False)},
        _ports(estimator, None),
        {"forecasts": Port("float32", shape, about)},
        facts,
        compare,
    )


def plan_windows(
    estimator: Forecaster, batch_size: int | None = None, unroll: bool = False
) -> Plan:
    """Raw windows in, each quantile out by its name.

    Args:
        estimator: Fitted.
        batch_size: Windows at a time; None: any.
        unroll: Whether the steps are written out one after another.
    """
    refuse_calibration(estimator)
    if unroll:
        _refuse_long(estimator)
    model = estimator.model_
    places = network_outputs(estimator)

    def function(given: dict[str, Tensor]) -> dict[str, Tensor]:
        window = given["target"]
        shift = _shift(window, estimator._spec.centered)  # (batch, 1)
        values = model({**given, "target": window - shift}, training=False)
        values = ops.cast(values, "float32") + shift[:, None]
        if estimator._spec.nonnegative:
            values = _bend(values, window)
        return {name: values[..., place] for name, place in places.items()}

    def compare(run: Run) -> Iterator[Comparison]:
        for windows, expected, _ in _samples(estimator):
            inputs = fitting.model_inputs(windows)
            raw = windows.past.astype(np.float64) + windows.shift[:, None]
            found = run({**inputs, "target": raw.astype(np.float32)})
            for name, place in places.items():
                yield Comparison(expected[..., place], found[name])

    shape = (batch_size, estimator.horizon)
    outputs = {
        name: Port("float32", shape, f"{about}, in the unit of the target.")
        for name, about in describe_outputs(estimator).items()
    }
    return Plan(
        model,
        function,
        _ports(estimator, batch_size),
        outputs,
        series_facts(estimator),
        compare,
        unroll=unroll,
    )


def refuse_calibration(estimator: Forecaster) -> None:
    """Raises if `predict` would widen quantiles by errors that no export knows."""
    if estimator.conformal and estimator._calibration.usable:
        raise ValueError(
            "`conformal` must be False to export, since held-back errors are no part "
            "of the network, whose own quantiles are what is exported: call "
            "set_params(conformal=False) first. Received: conformal=True"
        )


def _refuse_long(estimator: Forecaster) -> None:
    for own in estimator._member_args():
        steps, segment = own["lookback"], own.get("segment_length", "auto")
        if segment != "auto":
            steps = count_segments(steps, segment)
        if own["cell"] != "transformer" and steps > MOST_STEPS:
            raise ValueError(
                f"`lookback` must have at most {MOST_STEPS} steps to be written out "
                "one after another; decoder='segment' reads many steps as one. "
                f"Received: lookback={own['lookback']}"
            )


def _shift(window: Tensor, centered: bool | None) -> Tensor:
    """What is subtracted from each window, `(batch, 1)`, as by `window_shift`."""
    missing = ops.isnan(window)
    values = ops.where(missing, ops.zeros_like(window), window)
    places = ops.arange(1, window.shape[1] + 1, dtype="float32")
    places = ops.where(missing, ops.zeros_like(window), places)
    newest = ops.max(places, axis=1, keepdims=True)
    is_last = ops.logical_and(places == newest, places > 0)
    zeros = ops.zeros_like(window)
    last = ops.sum(ops.where(is_last, values, zeros), axis=1, keepdims=True)
    if not centered:
        gaps = ops.where(missing, zeros, ops.abs(values - last))
        spread = ops.max(gaps, axis=1, keepdims=True)
        large = ops.abs(last) > _LEVEL_OVER_SPREAD * spread
        moved = last
        if centered is None:
            large = ops.logical_and(large, spread > 0)
            moved = last - LEVEL_OF_LOGS * spread
        last = ops.where(large, moved, ops.zeros_like(last))
    return ops.where(newest > 0, last, float("nan"))


def _bend(values: Tensor, window: Tensor) -> Tensor:
    """As `nonnegative.bend` with `find_knees`.

    Args:
        values: `(batch, horizon, outputs)`.
        window: `(batch, lookback)`, raw; NaN is missing.
    """
    missing = ops.isnan(window)
    zeros = ops.zeros_like(window)
    observed = ops.cast(ops.logical_not(missing), "float32")
    seen = ops.where(missing, zeros, window)
    ordered = sort_observed(seen, observed)
    count = ops.sum(ops.cast(observed, "int32"), axis=1, keepdims=True)
    places = ops.arange(window.shape[1], dtype="int32")[None]
    low = ops.where(places == (count - 1) // LOW_PART, ordered, zeros)
    total = ops.sum(seen, axis=1, keepdims=True)
    mean = total / ops.cast(ops.maximum(count, 1), "float32")
    low = ops.sum(low, axis=1, keepdims=True)
    knee = ops.maximum(ops.minimum(low, LOW_LEVEL * mean), 0.0)[..., None]
    known = ops.logical_and(count > 0, ordered[:, :1] >= 0)[..., None]
    share = values / ops.maximum(knee, 1e-30)
    below = knee * ops.exp(ops.clip(share - 1, -80.0, 0.0))
    return ops.where(ops.logical_and(known, values < knee), below, values)


def network_outputs(estimator: Forecaster, named_point: bool = True) -> dict[str, int]:
    """Place of each output on the network's last axis, by its column's name."""
    quantiles = estimator.quantiles_
    found = {f"y_hat_q{q:g}": place for place, q in enumerate(quantiles)}
    point = int(estimator.model_.point_index)
    if named_point or point == len(quantiles):
        found["y_hat"] = point
    return found


def describe_outputs(estimator: Forecaster) -> dict[str, str]:
    """What each output of an exported forecaster is, by its name."""
    abouts = {f"y_hat_q{q:g}": f"Quantile {q:g}" for q in estimator.quantiles_}
    return {**abouts, "y_hat": f"Point forecast ({estimator.point})"}


def _ports(estimator: Forecaster, batch_size: int | None) -> dict[str, Port]:
    about = "The last `lookback` values, oldest first, raw; NaN is missing."
    shape = (batch_size, *estimator.model_.input["target"].shape[1:])
    return {
        "target": Port("float32", shape, about),
        **feature_ports(estimator, batch_size),
    }


def feature_ports(
    estimator: Forecaster, batch_size: int | None, steps: int | None = None
) -> dict[str, Port]:
    """Inputs of the calendar and of covariates.

    Args:
        estimator: Fitted.
        batch_size: Rows; None: any.
        steps: That a stateful network reads at once; None: as the network has them.
    """
    abouts = {
        "past": "Covariates known up to now, in the order of `features`; NaN is "
        "missing.",
        "future": "The calendar and covariates known ahead, of the steps that are read "
        "and of those to forecast, in the order of `features`.",
        "static": "What belongs to the series, in the order of `features`.",
        "static_ids": "Categories of the series, in the order of `features`.",
    }
    features = _features(estimator)
    ports = {}
    for name, tensor in estimator.model_.input.items():
        if name not in abouts:
            continue
        shape = list(tensor.shape[1:])
        if steps is not None and name in ("past", "future"):
            shape[0] = steps + (estimator.horizon if name == "future" else 0)
        ports[name] = Port(
            "int32" if name == "static_ids" else "float32",
            (batch_size, *shape),
            abouts[name],
            {"features": features[name]} if name in features else {},
        )
    return ports


def _features(estimator: Forecaster) -> dict[str, list[dict[str, Any]]]:
    """What each number of the covariate inputs is."""
    found: dict[str, list[dict[str, Any]]] = {}
    waves = [
        {"feature": f"{wave}({2 * harmonic} pi {part})", "of": "calendar"}
        for part in _calendar_parts(estimator)
        for harmonic in (1, 2)
        for wave in ("sin", "cos")
    ]
    if waves:
        found["future"] = waves
    columns = estimator._encoder.columns if estimator._encoder else ()
    for column in columns:
        if column.width and column.kind == "static" and column.categories is not None:
            known = dict(enumerate(column.categories, start=1))
            entry = {"column": column.name, "ids": known, "missing_or_unknown": 0}
            found.setdefault("static_ids", []).append(entry)
        elif column.width:
            found.setdefault(column.kind, []).extend(_numbers(column))
    return found


def _numbers(column: Encoding) -> Iterator[dict[str, Any]]:
    if column.categories is not None:
        for value in column.categories:
            yield {"column": column.name, "feature": "1 if it is, else 0", "is": value}
        return
    if column.scale > 0:
        yield {
            "column": column.name,
            "feature": "(value - mean) / scale, within +-limit; 0 if missing",
            "mean": column.mean,
            "scale": column.scale,
            "limit": MAX_SCALED_COVARIATE,
        }
    if column.flagged:
        yield {"column": column.name, "feature": "1 if observed, else 0"}


def _calendar_parts(estimator: Forecaster) -> list[str]:
    """Positions in 0 to 1 that `calendar` shows, in its order."""
    parts = {
        "day": "hour / 24",
        "week": "weekday / 7",  # Monday is 0
        "year": "day of the year / 365.25",  # the first is 0
    }
    if not by_days(estimator.freq_):
        parts["year"] = "month / 12"  # January is 0
    return [parts[kind] for kind in estimator.calendar_]


def series_facts(estimator: Forecaster) -> dict[str, Any]:
    """What the manifest says of a forecaster: quantiles, horizon, time step."""
    return {
        "quantiles": list(estimator.quantiles_),
        "point": estimator.point,
        "lookback": estimator.lookback_,
        "horizon": estimator.horizon,
        "freq": estimator.freq_,
        "season_length": estimator.season_length_,
        "scaling": estimator.scaling_,
        "nonnegative": estimator.nonnegative_,
        "target": estimator.target_col,
    }


def _samples(estimator: Forecaster) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Windows of the training data's end, full and short, forecasts and knees."""
    panel = estimator._tail
    source = WindowSource(panel, estimator._spec)
    chosen = np.linspace(0, len(panel.ids) - 1, min(len(panel.ids), _SAMPLES))
    series = np.unique(chosen.astype(np.int64))
    lengths = panel.lengths[series]
    for origins in (lengths, np.maximum(lengths // 2, 1)):
        windows = source.gather(series, origins)
        expected = fitting.forecast(estimator.model_, source, series, origins)
        yield windows, expected, source.knees(windows)
