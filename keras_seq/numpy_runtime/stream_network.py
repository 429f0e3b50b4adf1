"""StreamNetwork: the network of `build_stream_forecaster` in NumPy, step by step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_seq.numpy_runtime.forecast_network import (
    DEFAULTS,
    IRRELEVANT,
    QuantileHead,
)
from keras_seq.numpy_runtime.layers import Dense, RecurrentEncoder, relu
from keras_seq.numpy_runtime.recurrence import ACTIVATIONS, CELLS
from keras_seq.numpy_runtime.scaling import STREAM_SCALINGS, Scaler
from keras_seq.numpy_runtime.weights import (
    WeightTable,
    check_arguments,
    compute_dtype,
)

Array = np.ndarray[Any, np.dtype[Any]]
State = dict[str, Array]

# As in `keras_seq.layers.stream`: what a state begins with, before the last values.
NUM_STATISTICS = 9
_DEVIATIONS = 1.2533

_SUPPORTED = {
    **dict.fromkeys(
        (
            *("horizon", "context", "units", "num_layers", "num_past", "num_future"),
            *("num_calendar", "num_static", "static_cardinalities", "quantiles"),
            *("season_length", "residual", "precision", "stateful"),
        )
    ),
    "cell": tuple(CELLS),
    "point": ("median", "mean"),
    "scaling": STREAM_SCALINGS,
    "normalization": (None, "layer", "batch"),
    "activation": tuple(ACTIVATIONS),
}


class StreamNetwork:
    """Takes one value of each of many streams, and forecasts what follows.

    Args:
        arguments: Resolved ones of `build_stream_forecaster`, without lanes.
        weights: Arrays by their path, as in an artefact without `model/`.

    Attributes:
        horizon: Steps that are forecast.
        context: Last values that it sees at once.
        quantiles: Of the outputs, in order.
        point_index: Which output is the point forecast.
        num_outputs: Of each forecast step.
        scaler: What brings numbers to a given scale.
        state_widths: Numbers of each state of a stream, by name; float32.

    Raises:
        ArtifactError: If an argument is one that NumPy does not run, or a weight is
            missing.
    """

    def __init__(self, arguments: Mapping[str, Any], weights: Mapping[str, Array]):
        check_arguments(arguments, _SUPPORTED, IRRELEVANT)
        own = {**DEFAULTS, "num_calendar": 0, **arguments}
        table = WeightTable(weights, compute_dtype(own["precision"]))
        self.dtype = table.dtype
        self.horizon: int = own["horizon"]
        self.context: int = own["context"]
        self.season: int = own["season_length"]
        self.scaling: str = own["scaling"]
        self.quantiles = tuple(sorted({*(float(q) for q in own["quantiles"]), 0.5}))
        mean = own["point"] == "mean"
        self.point_index = len(self.quantiles) if mean else self.quantiles.index(0.5)
        self.num_outputs = len(self.quantiles) + mean
        self.scaler = Scaler(self.scaling, table["scaler/floor"])
        self.floor = float(table["scaler/floor"])
        self.decay = 1.0 - 1.0 / max(self.context, 2 * self.season, 8)
        self.num_known: int = own["num_future"] - own["num_calendar"]
        self.has_future = own["num_future"] > 0
        self.has_static = own["num_static"] > 0
        self.embeddings = [
            table[f"static_{i}/embeddings"]
            for i in range(len(own["static_cardinalities"]))
        ]
        self.encoder = RecurrentEncoder(table.inside("encoder"), own, False)
        self.decoder = Dense(table.inside("decoder"))
        self.linear = Dense(table.inside("linear"))
        if self.has_future:
            self.future = Dense(table.inside("future_decoder"))
        if self.num_known:
            self.effect = Dense(table.inside("future_linear"))
        self.head = QuantileHead(table.inside("quantiles"), self.quantiles)
        self.mean = Dense(table.inside("mean_head")) if mean else None
        # The season repeated is one more linear map of the last values.
        ahead = np.arange(self.horizon)
        repeated = self.context - self.season + ahead % self.season
        self.linear.kernel = self.linear.kernel.copy()
        self.linear.kernel[repeated, ahead] += 1
        self._ages = np.arange(self.context, 0, -1)
        self.state_widths = {"state_stream": NUM_STATISTICS + self.context}
        if self.num_known:
            self.state_widths["state_known"] = self.season * self.num_known
        parts = [part.shape[1] for part in self.encoder.initial(1, self.dtype)]
        self.state_widths |= {f"state_{i}": width for i, width in enumerate(parts)}
        self._parts = [f"state_{i}" for i in range(len(parts))]

    def cold(self, count: int) -> State:
        """States of streams that begin: float32, `(count, width)`."""
        return {
            name: np.zeros((count, width), np.float32)
            for name, width in self.state_widths.items()
        }

    def advance(
        self,
        state: State,
        values: Array,
        forecast: bool = True,
        inputs: Mapping[str, Array] | None = None,
    ) -> tuple[Array, Array, Array] | None:
        """Reads one value of each stream.

        Args:
            state: Changed in place.
            values: float32, `(count,)`; NaN is missing.
            forecast: Whether to forecast.
            inputs: `past`, `(count, num_past)`; `future`, of this step and those to
                forecast, `(count, 1 + horizon, num_future)`, or with one row for all;
                `static` and `static_ids` as of the builder. NaN is missing.

        Returns:
            Forecasts, `(count, horizon, outputs)`, float32, in the unit of `values`;
            location and scale, `(count, 1)`. None where `forecast` is False.
        """
        inputs = inputs or {}
        stream = state["state_stream"]
        context = stream[:, NUM_STATISTICS:]
        if len(values) == 1:  # a dozen numbers are quicker without arrays
            told = self._observe_one(stream[0], float(values[0]))
            seen = np.array([told], np.float32)
            step, noise = seen[:, :3], np.log(seen[:, 3:5])
            location, scale = seen[:, 5:6], seen[:, 6:7]
            known: Any = told[7] if told[7] < self.context else None
        else:
            step, noise, location, scale, known = self._observe(stream, values)
        parts, future = [step], None
        if self.has_future:
            future = inputs["future"]
            if self.num_known:  # a calendar has no gaps
                future = _zero_missing(future)
            now = future[:, 0]
            if len(now) != len(values):
                now = np.broadcast_to(now, (len(values), now.shape[1]))
            parts.append(now)
        if "past" in inputs:
            parts.append(_zero_missing(inputs["past"]))
        static = self._describe(inputs)
        x = (
            np.concatenate([*parts, *static], axis=1)
            if len(parts) > 1 or static
            else step
        )
        encoded = self._encode(x.astype(self.dtype, copy=False), state)
        before = None
        if self.num_known and future is not None:
            before = self._keep_known(state["state_known"], future[:, 0])
        if not forecast:
            return None
        windows = (context - location) / scale
        if known is not None:
            windows *= self._ages <= known
        joined = np.concatenate([encoded, noise, *static], axis=1)
        decoded = self.decoder(joined).reshape(len(values), self.horizon, -1)
        center = self.linear(windows)
        if future is not None:
            decoded += self.future(future[:, 1:])
            if before is not None:
                known_ahead = future[:, 1:, -self.num_known :]
                center += self.effect(known_ahead - before)[..., 0]
        features = relu(decoded)
        answer = self.head(center, features)
        if self.mean is not None:
            average = center[..., None] + self.mean(features)
            answer = np.concatenate([answer, average], axis=-1)
        if self.scaling == "log":
            answer = np.exp(np.minimum(answer + location[..., None], np.float32(80.0)))
        else:
            answer = answer * scale[..., None] + location[..., None]
        return answer, location, scale

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Reads chunks of many streams.

        Args:
            inputs: As of the model of `build_stream_forecaster` without lanes.

        Returns:
            Its outputs: `forecast`, `location`, `scale`, and the new states.
        """
        target, length, at = inputs["target"], inputs["length"], inputs["at"]
        rows, positions = at.shape
        state = {name: inputs[name].copy() for name in self.state_widths}
        shape = rows, positions, self.horizon, self.num_outputs
        found = {"forecast": np.zeros(shape, np.float32)}
        for name in ("location", "scale"):
            found[name] = np.zeros((rows, positions, 1), np.float32)
        for step in range(int(length.max(initial=0))):
            reading = length > step
            wanted = at == step
            for forecast in (False, True):
                some = np.flatnonzero(reading & (wanted.any(axis=1) == forecast))
                if not len(some):
                    continue
                told = self._inputs_of_step(inputs, some, step)
                own = {name: array[some] for name, array in state.items()}
                answer = self.advance(own, target[some, step], forecast, told)
                for name, array in own.items():
                    state[name][some] = array
                if answer is not None:
                    row, place = np.nonzero(wanted[some])
                    for name, values in zip(found, answer, strict=True):
                        found[name][some[row], place] = values[row]
        return {**found, **state}

    def _inputs_of_step(
        self, inputs: Mapping[str, Array], rows: Array, step: int
    ) -> dict[str, Array]:
        told = {k: inputs[k][rows] for k in ("static", "static_ids") if k in inputs}
        if "past" in inputs:
            told["past"] = inputs["past"][rows, step]
        if "future" in inputs:
            told["future"] = inputs["future"][rows, step : step + self.horizon + 1]
        return told

    def _observe_one(self, row: Array, value: float) -> tuple[float, ...]:
        """`_observe` of one stream."""
        old = row[:NUM_STATISTICS].tolist()
        before = float(row[-self.season])
        missing = value != value
        if missing:
            value = 0.0
        if self.scaling == "log":
            value = float(np.log(max(value, self.floor)))
        new, told, filled = self._statistics(
            old, value, 0.0 if missing else 1.0, before, max, min
        )
        row[NUM_STATISTICS:-1] = row[NUM_STATISTICS + 1 :]
        row[-1] = filled
        row[:NUM_STATISTICS] = new
        return told

    def _observe(
        self, stream: Array, values: Array
    ) -> tuple[Array, Array, Array, Array, Array | None]:
        """Reads values into the running statistics and the last values.

        Returns:
            What the recurrence reads, `(count, 3)`; the noise, `(count, 2)`; location
            and scale, `(count, 1)`; and how many of the last values are known,
            `(count, 1)`, or None where all are.
        """
        old = list(stream[:, :NUM_STATISTICS].T.copy())
        before = stream[:, -self.season].copy()
        missing = np.isnan(values)
        values = np.where(missing, np.float32(0), values).astype(np.float32)
        if self.scaling == "log":
            values = np.log(np.maximum(values, np.float32(self.floor)))
        observed = (~missing).astype(np.float32)
        new, told, filled = self._statistics(
            old, values, observed, before, np.maximum, np.minimum
        )
        stream[:, NUM_STATISTICS:-1] = stream[:, NUM_STATISTICS + 1 :]
        stream[:, -1] = filled
        for index, column in enumerate(new):
            stream[:, index] = column
        shape = values.shape
        columns = [np.broadcast_to(x, shape).astype(np.float32) for x in told]
        noise = np.log(np.stack(columns[3:5], axis=1))
        return (
            np.stack(columns[:3], axis=1).astype(self.dtype),
            noise.astype(self.dtype),
            columns[5][:, None],
            columns[6][:, None],
            columns[7][:, None] if columns[7].min() < self.context else None,
        )

    def _statistics(
        self,
        old: list[Any],
        value: Any,
        observed: Any,
        before: Any,
        maximum: Callable[[Any, Any], Any],
        minimum: Callable[[Any, Any], Any],
    ) -> tuple[list[Any], tuple[Any, ...], Any]:
        """One step of `StreamScaler`, of floats or of arrays alike.

        Returns:
            The new statistics; scaled value, observed, scaled change, both noises
            before their logarithm, location, scale and number of known values; and
            what stands for the value if it is missing.
        """
        count, size, mean, deviation, changes, swing, jump, last, seen = old
        count = self.decay * count + observed
        # Of a stream without a value yet the means are 0 and stay so.
        share = observed / maximum(count, 1e-20)
        size = size + (abs(value) - size) * share
        mean = mean + (value - mean) * share
        deviation = deviation + (abs(value - mean) - deviation) * share
        reaches = (seen >= self.season) * 1.0
        filled = observed * value + (1.0 - observed) * (
            reaches * before + (1.0 - reaches) * mean
        )
        comparable = observed * reaches
        change = (value - before) * comparable
        changes = self.decay * changes + comparable
        share = comparable / maximum(changes, 1e-20)
        swing = swing + (abs(change) - swing) * share
        jump = jump + (abs(change - last) - jump) * share
        begun = ((seen + observed) > 0) * 1.0
        known = minimum(seen + begun, float(self.context))
        location, scale = 0.0 * mean, 1.0 + 0.0 * mean
        if self.scaling == "mean_abs":
            scale = maximum(size, self.floor)
        elif self.scaling == "log":
            location = mean
        elif self.scaling == "standard":
            location, scale = mean, maximum(_DEVIATIONS * deviation, self.floor)
        told = (
            *((value - location) / scale * observed, observed, change / scale),
            *(1e-3 + swing / scale, 1e-3 + jump / scale, location, scale, known),
        )
        new = [count, size, mean, deviation, changes, swing, jump, change, known]
        return new, told, filled

    def _encode(self, x: Array, state: State) -> Array:
        """One step of the recurrence; its states change in place."""
        index = 0
        for number, (cell,) in enumerate(self.encoder.layers):
            below = x
            names = self._parts[index : index + self.encoder.parts]
            index += len(names)
            after = cell.advance(cell.project(x), [state[name] for name in names])
            for name, part in zip(names, after, strict=True):
                state[name][...] = part
            x = after[0]
            if self.encoder.normalizations:
                x = self.encoder.normalizations[number](x)
            if self.encoder.residual and number:
                x = x + below
        return x

    def _keep_known(self, kept: Array, now: Array) -> Array:
        """Shifts the last season of covariates; returns those the skip repeats."""
        shape = len(now), self.season, self.num_known
        rows = kept.reshape(shape)
        rows[:, :-1] = rows[:, 1:].copy()
        rows[:, -1] = now[:, -self.num_known :]
        kept[...] = rows.reshape(kept.shape)
        return rows[:, np.arange(self.horizon) % self.season]

    def _describe(self, inputs: Mapping[str, Array]) -> list[Array]:
        """What belongs to a series, each `(count, width)`."""
        parts = [_zero_missing(inputs["static"])] if self.has_static else []
        for index, table in enumerate(self.embeddings):
            parts.append(table[inputs["static_ids"][:, index]])
        return parts


def _zero_missing(values: Array) -> Array:
    values = np.asarray(values, np.float32)
    return np.where(np.isnan(values), np.float32(0), values)
