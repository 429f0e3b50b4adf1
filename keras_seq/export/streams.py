"""What is exported of a stateful Forecaster: one value and the states before it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from keras_seq.export.plan import (
    Arrays,
    Comparison,
    Plan,
    Port,
    Run,
    plan_of_model,
    rebuilt,
)
from keras_seq.export.series import (
    describe_outputs,
    feature_ports,
    network_outputs,
    refuse_calibration,
    series_facts,
)
from keras_seq.forecasting.forecaster import Forecaster
from keras_seq.forecasting.streams import StreamStates, gather_chunk, run_streams
from keras_seq.forecasting.windows import WindowSource
from keras_seq.training.lanes import Chunk

Tensor = Any

# Of the training data's end: series and steps that are read to check an export.
_SERIES, _STEPS = 4, 12
_SHIFT = "state_shift"


def plan_stream(estimator: Forecaster, batch_size: int | None = None) -> Plan:
    """One value of each series and the states before it in, forecasts and states out.

    Args:
        estimator: Fitted, stateful.
        batch_size: Series at a time; None: any.
    """
    refuse_calibration(estimator)
    model = rebuilt(estimator)
    centered = estimator._spec.centered
    places = network_outputs(estimator)
    widths = {**model.state_widths, _SHIFT: 1}
    inputs = {
        "value": Port("float32", (batch_size,), "The next value, raw; NaN is missing."),
        **feature_ports(estimator, batch_size, steps=1),
    }
    shape = (batch_size, estimator.horizon)
    outputs = {
        name: Port("float32", shape, f"{about}, in the unit of the target.")
        for name, about in describe_outputs(estimator).items()
    }
    for name, width in widths.items():
        new = "NaN" if name == _SHIFT else "zeros"
        about = f"State before; {new} for a series that begins."
        inputs[name] = Port("float32", (batch_size, width), about)
        outputs[f"{name}_next"] = Port("float32", (batch_size, width), "State after.")

    def function(given: dict[str, Tensor]) -> dict[str, Tensor]:
        value = given["value"][:, None]  # (batch, 1)
        first = value  # is subtracted from all
        if not centered:
            first = ops.where(ops.isnan(value), value, ops.zeros_like(value))
        kept = given[_SHIFT]
        shift = ops.where(ops.isnan(kept), first, kept)  # NaN before the first value
        after = {f"{_SHIFT}_next": shift}
        told = {k: x for k, x in given.items() if k not in ("value", _SHIFT)}
        one = ops.ones_like(given["value"], dtype="int32")
        zero = ops.zeros_like(value, dtype="int32")
        answer = model(
            {**told, "target": value - shift, "length": one, "at": zero},
            training=False,
        )
        values = ops.cast(answer["forecast"], "float32")[:, 0]
        named = {name: values[..., place] + shift for name, place in places.items()}
        for name in model.state_widths:
            after[f"{name}_next"] = answer[name]
        return {**named, **after}

    def compare(run: Run) -> Iterator[Comparison]:
        for wanted, steps in _samples(estimator):
            rows = len(wanted[0])
            carried: Arrays = {
                name: np.full(
                    (rows, width), np.nan if name == _SHIFT else 0.0, np.float32
                )
                for name, width in widths.items()
            }
            for expected, step in zip(wanted, steps, strict=True):
                found = run({**step, **carried})
                carried = {name: found[f"{name}_next"] for name in widths}
                for name, place in places.items():
                    yield Comparison(expected[..., place], found[name])

    facts = {**series_facts(estimator), "stateful": True}
    return Plan(model, function, inputs, outputs, facts, compare, unroll=True)


def plan_stream_network(estimator: Forecaster) -> Plan:
    """The network alone, which takes chunks of any length and states as inputs."""
    model = rebuilt(estimator)
    about = {
        "target": "Values, raw but for what the estimator subtracts before; NaN is "
        "missing.",
        "length": "Steps of each row that are valid.",
        "at": "Steps of the chunk to forecast from.",
        "forecast": "The outputs, in the order of `outputs_of_network`, at each step "
        "asked for.",
        "location": "Of the scaling.",
        "scale": "Of the scaling.",
    }

    def compare(run: Run) -> Iterator[Comparison]:
        source = WindowSource(estimator._tail, estimator._spec)
        states = StreamStates.cold(model, source)
        count = min(len(source.panel.ids), _SERIES)
        series = np.arange(count)
        length = np.minimum(source.panel.lengths[series], _STEPS).astype(np.int32)
        chunk = Chunk(series, np.zeros(count, np.int64), length, np.ones(count, bool))
        given, _ = gather_chunk(
            source, chunk, _STEPS, source.panel.lengths, states.shift, ahead=False
        )
        kept = {name: array[series] for name, array in states.arrays.items()}
        found = run({**given, **kept, "at": length[:, None] - 1})
        values = run_streams(estimator.model_, source, series, length.astype(np.int64))
        # Before the first value there is no forecast, which who calls it is to know.
        begun = np.isfinite(values.shift[:, 0])
        shift = values.shift[begun, None]
        yield Comparison(values.values[begun] - shift, found["forecast"][begun, 0])

    facts = {**series_facts(estimator), "stateful": True}
    facts["outputs_of_network"] = list(network_outputs(estimator, named_point=False))
    state = "State; zeros for a series that begins."
    names = {*model.input, *model.output}
    plan = plan_of_model(
        model,
        about={name: about.get(name, state) for name in names},
        facts=facts,
        compare=compare,
    )
    return replace(plan, inputs={**plan.inputs, **feature_ports(estimator, None)})


def _samples(
    estimator: Forecaster,
) -> Iterator[tuple[list[np.ndarray], list[Arrays]]]:
    """Forecasts after each of the first steps that are kept, and those steps."""
    source = WindowSource(estimator._tail, estimator._spec)
    lengths = np.minimum(source.panel.lengths, _STEPS)
    for steps in np.unique(lengths)[-2:]:
        series = np.flatnonzero(lengths == steps)[:_SERIES]
        origins = np.arange(1, steps + 1)
        found = run_streams(
            estimator.model_,
            source,
            np.repeat(series, steps),
            np.tile(origins, len(series)),
        ).values.reshape(len(series), steps, estimator.horizon, -1)
        zeros = np.zeros(len(series), np.int64)
        one = np.ones(len(series), np.int32)
        inputs = []
        for step in range(steps):
            chunk = Chunk(series, zeros + step, one, zeros == 0)
            raw = np.zeros(len(source.panel.ids))
            given, _ = gather_chunk(
                source, chunk, 1, source.panel.lengths, raw, ahead=False
            )
            value = given.pop("target")[:, 0]
            given.pop("length")
            inputs.append({**given, "value": value})
        yield [found[:, step] for step in range(steps)], inputs
