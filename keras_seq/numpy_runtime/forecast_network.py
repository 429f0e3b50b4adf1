"""ForecastNetwork: the network of `build_forecaster` in NumPy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_seq.errors import ArtifactError
from keras_seq.numpy_runtime.cells import ACTIVATIONS, CELLS
from keras_seq.numpy_runtime.layers import (
    Convolution,
    Dense,
    make_encoder,
    relu,
    softplus,
)
from keras_seq.numpy_runtime.scaling import SCALINGS, Scaler, joint_scaler
from keras_seq.numpy_runtime.weights import (
    WeightTable,
    check_arguments,
    compute_dtype,
)

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Mapping[str, Array]

# What the builder takes where an argument is left out, and what is known of each.
DEFAULTS: dict[str, Any] = {
    "cell": "gru",
    "units": 64,
    "num_layers": 1,
    "num_past": 0,
    "num_future": 0,
    "num_static": 0,
    "static_cardinalities": (),
    "quantiles": (0.5,),
    "point": "median",
    "scaling": "mean_abs",
    "season_length": 1,
    "bidirectional": "auto",
    "normalization": None,
    "residual": False,
    "activation": "tanh",
    "conv_filters": None,
    "conv_width": 3,
    "decoder": "auto",
    "segment_length": "auto",
    "decoder_units": 64,
    "stateful": False,
    "precision": None,
}
_SUPPORTED = {
    **dict.fromkeys(("lookback", "horizon", "member", *DEFAULTS)),
    "cell": (*CELLS, "transformer"),
    "point": ("median", "mean"),
    "scaling": SCALINGS,
    "bidirectional": ("auto", False),
    "normalization": (None, "layer", "batch"),
    "activation": tuple(ACTIVATIONS),
    "decoder": ("auto", "direct", "segment"),
    "stateful": (False,),
}
# What training alone knows of.
IRRELEVANT = frozenset(
    {
        *("dropout", "recurrent_dropout", "forget_bias", "memory_steps", "num_heads"),
        *("auxiliary", "auxiliary_weight", "batch_size"),
        *("learning_rate", "decay_steps"),
        *("global_clipnorm", "clipnorm", "clipvalue", "jit", "seed"),
    }
)


class ForecastNetwork:
    """From raw windows to raw forecasts, as the Keras network has it.

    Args:
        arguments: Resolved ones of `build_forecaster`; or `members`, a list of such, of
            which the median is taken.
        weights: Arrays by their path, as in an artefact without `model/`.

    Attributes:
        lookback: Steps of the windows: of several members, the longest.
        horizon: Steps that are forecast.
        quantiles: Of the outputs, in order.
        point_index: Which output is the point forecast.
        scaler: What brings windows to scale: of several members, their `joint_scaler`.

    Raises:
        ArtifactError: If an argument is one that NumPy does not run, or a weight is
            missing.
    """

    def __init__(self, arguments: Mapping[str, Any], weights: Mapping[str, Array]):
        several = arguments.get("members")
        self.members = [
            make_member(own, weights)
            for own in ([arguments] if several is None else several)
        ]
        first = self.members[0]
        self.lookback: int = first.lookback
        self.horizon: int = first.horizon
        self.quantiles: tuple[float, ...] = first.quantiles
        self.point_index: int = first.point_index
        self.scaler: Scaler = joint_scaler([member.scaler for member in self.members])

    def __call__(self, inputs: Inputs) -> Array:
        """Forecasts.

        Args:
            inputs: `target`, `(batch, lookback)`; `past`, `future`, `static` and
                `static_ids` as of `build_forecaster`. NaN is missing.

        Returns:
            float32, `(batch, horizon, outputs)`, in the unit of `target`.
        """
        answers = []
        for member in self.members:
            unseen = self.lookback - member.lookback
            seen = inputs
            if unseen:
                seen = {
                    name: x[:, unseen:] if name in ("target", "past", "future") else x
                    for name, x in inputs.items()
                }
            answers.append(member(seen))
        if len(answers) == 1:
            return answers[0]
        return np.asarray(np.median(answers, axis=0).astype(np.float32))


def make_member(arguments: Mapping[str, Any], weights: Mapping[str, Array]) -> Any:
    """One network: which class of it runs follows from the arguments."""
    check_arguments(arguments, _SUPPORTED, IRRELEVANT)
    own = {**DEFAULTS, **arguments}
    table = WeightTable(weights, compute_dtype(own["precision"]))
    number = own.get("member")
    return WindowNetwork(
        own, table if number is None else table.inside(f"member_{number}")
    )


class WindowNetwork:
    """Reads one window, and decodes all of the horizon at once.

    Args:
        arguments: Of the builder, complete.
        weights: Of this network.
    """

    def __init__(self, arguments: dict[str, Any], weights: WeightTable):
        self.dtype = weights.dtype
        self.lookback: int = arguments["lookback"]
        self.horizon: int = arguments["horizon"]
        self.season: int = arguments["season_length"]
        levels = {*(float(q) for q in arguments["quantiles"]), 0.5}
        self.quantiles = tuple(sorted(levels))
        mean = arguments["point"] == "mean"
        self.point_index = len(self.quantiles) if mean else self.quantiles.index(0.5)
        self.scaler = Scaler(arguments["scaling"], weights["scaler/floor"])
        self.embeddings = [
            weights[f"static_{i}/embeddings"]
            for i in range(len(arguments["static_cardinalities"]))
        ]
        self.has_static = arguments["num_static"] > 0
        self.front = None
        if arguments["conv_filters"] is not None:
            width = arguments["conv_width"]
            self.front = Convolution(weights.inside("front"), width, causal=True)
        self.segment = _segment_length(arguments, weights)
        self.decoder: Callable[[Array, Array | None], Array]
        if self.segment is None:
            self.decoder = _DirectDecoder(weights.inside("decoder"), self.horizon)
        else:
            self.embed = Dense(weights.inside("segments"))
            self.decoder = _SegmentDecoder(
                weights.inside("decoder"), self.horizon, self.segment
            )
        self.encoder = make_encoder(weights, arguments, bidirectional=False)
        self.linear = Dense(weights.inside("linear"))
        self.has_future = arguments["num_future"] > 0
        if self.has_future:
            self.effect = Dense(weights.inside("future_linear"))
            self.future = Dense(weights.inside("future_decoder"))
        self.head = QuantileHead(weights.inside("quantiles"), self.quantiles)
        self.mean = Dense(weights.inside("mean_head")) if mean else None

    def __call__(self, inputs: Inputs) -> Array:
        """float32, `(batch, horizon, outputs)`."""
        lookback, season, horizon = self.lookback, self.season, self.horizon
        scaled, observed, location, scale = self.scaler(inputs["target"])
        change = _seasonal_change(scaled, observed, season)
        steps = [np.stack([scaled, observed, change], axis=-1)]  # (batch, lookback, 3)
        ahead = None
        if self.has_future:
            known = _zero_missing(inputs["future"])
            ahead = known[:, lookback:]
            steps.append(known[:, :lookback])
        if "past" in inputs:
            steps.append(_zero_missing(inputs["past"]))
        static = self._describe_series(inputs)
        last = self._encode(np.concatenate(steps, axis=-1), static)
        context = np.concatenate([last, _log_noise(change), *static], axis=-1)
        decoded = self.decoder(context, ahead)  # (batch, horizon, features)
        center = _repeat_season(scaled, season, horizon) + self.linear(scaled)
        if ahead is not None:
            decoded = decoded + self.future(ahead)
            # The season repeated owes something to its own covariates.
            before = _repeat_season(known[:, :lookback], season, horizon)
            center = center + self.effect(ahead - before)[..., 0]
        features = relu(decoded)
        forecast = self.head(center, features)  # (batch, horizon, quantiles)
        if self.mean is not None:
            average = center[..., None] + self.mean(features)
            forecast = np.concatenate([forecast, average], axis=-1)
        return self.scaler.unscale(forecast, location, scale)

    def _describe_series(self, inputs: Inputs) -> list[Array]:
        """What belongs to a series, each `(batch, width)`."""
        parts = [_zero_missing(inputs["static"])] if self.has_static else []
        for index, table in enumerate(self.embeddings):
            parts.append(table[inputs["static_ids"][:, index]])
        return parts

    def _encode(self, steps: Array, static: list[Array]) -> Array:
        """What the encoder makes of the last step: `(batch, units)`."""
        if self.segment is not None:
            if self.front is not None:
                steps = self.front(steps)
            steps = _cut_segments(steps, self.segment)
        if static:
            told = np.concatenate(static, axis=-1)[:, None]
            told = np.broadcast_to(told, (*steps.shape[:2], told.shape[-1]))
            steps = np.concatenate([steps, told], axis=-1)
        if self.segment is not None:
            steps = relu(self.embed(steps))  # (batch, segments, units)
        elif self.front is not None:
            steps = self.front(steps)
        encoded, _ = self.encoder(steps.astype(self.dtype))
        return np.asarray(encoded[:, -1])


class _DirectDecoder:
    """One dense layer for all steps of the horizon."""

    def __init__(self, weights: WeightTable, horizon: int):
        self.dense = Dense(weights)
        self.horizon = horizon

    def __call__(self, context: Array, ahead: Array | None) -> Array:
        decoded = self.dense(context)
        width = decoded.shape[-1] // self.horizon
        return decoded.reshape(len(context), self.horizon, width)


class _SegmentDecoder:
    """All segments of the horizon in parallel; see `keras_seq.layers.segments`."""

    def __init__(self, weights: WeightTable, horizon: int, segment: int):
        self.state = Dense(weights.inside("state"))
        self.positions = weights["positions"]  # (count, units)
        inner = weights.inside("known")
        self.known = Dense(inner) if "kernel" in inner else None
        self.output = Dense(weights.inside("steps"))
        self.horizon = horizon
        self.steps = min(segment, horizon)
        self.rest = len(self.positions) * self.steps - horizon

    def __call__(self, context: Array, ahead: Array | None) -> Array:
        hidden = self.state(context)[:, None] + self.positions
        if self.known is not None and ahead is not None:
            filled = np.pad(ahead, ((0, 0), (0, self.rest), (0, 0)))
            hidden = hidden + self.known(_cut_segments(filled, self.steps))
        decoded = self.output(relu(hidden))  # (batch, count, steps * d)
        width = decoded.shape[-1] // self.steps
        shape = (len(context), self.horizon + self.rest, width)
        return decoded.reshape(shape)[:, : self.horizon]


class QuantileHead:
    """Positive steps up and down from the quantile nearest the median."""

    def __init__(self, weights: WeightTable, quantiles: tuple[float, ...]):
        self.dense = Dense(weights.inside("dense"))
        self.spread = weights["spread"]
        self.middle = int(np.argmin(np.abs(np.array(quantiles) - 0.5)))

    def __call__(self, center: Array, features: Array) -> Array:
        raw, middle = self.dense(features), self.middle
        at = center[..., None] + raw[..., middle : middle + 1]
        if raw.shape[-1] == 1:
            return np.asarray(at)
        # Nearest step first: each quantile lies one positive step further out.
        away = softplus(raw)
        below, above = away[..., :middle], away[..., middle + 1 :]
        if middle > 1:
            below = below[..., ::-1].cumsum(axis=-1)[..., ::-1]
        if above.shape[-1] > 1:
            above = above.cumsum(axis=-1)
        spread = self.spread
        return np.concatenate(
            [at - below * spread[0], at, at + above * spread[1]], axis=-1
        )


def _segment_length(arguments: dict[str, Any], weights: WeightTable) -> int | None:
    """Steps in a segment, as the weights tell it; None for the direct decoder."""
    if "segments/kernel" not in weights:
        if arguments["decoder"] == "segment":
            raise ArtifactError(
                "The network's weights lack 'segments/kernel', which decoder='segment' "
                "asks for."
            )
        return None
    static = arguments["num_static"]
    for index in range(len(arguments["static_cardinalities"])):
        static += weights[f"static_{index}/embeddings"].shape[1]
    features = 3 + arguments["num_future"] + arguments["num_past"]
    if arguments["conv_filters"] is not None:
        features = arguments["conv_filters"]
    return int((len(weights["segments/kernel"]) - static) // features)


def _cut_segments(steps: Array, length: int) -> Array:
    """`(batch, time, features)` -> `(batch, segments, length * features)`.

    Zeros, which say missing, fill up the first segment.
    """
    batch, time, features = steps.shape
    count = -(-time // length)
    steps = np.pad(steps, ((0, 0), (count * length - time, 0), (0, 0)))
    return steps.reshape(batch, count, length * features)


def _log_noise(change: Array) -> Array:
    """How far seasons differ, and how jumpily: `(batch, lookback)` -> `(batch, 2)`."""
    jumps = change[:, 1:] - change[:, :-1]
    sizes = [np.abs(x).mean(axis=1) for x in (change, jumps) if x.shape[1]]
    return np.asarray(np.log(np.float32(1e-3) + np.stack(sizes, axis=-1)))


def _zero_missing(values: Array) -> Array:
    values = np.asarray(values, np.float32)
    return np.where(np.isnan(values), np.float32(0), values)


def _seasonal_change(scaled: Array, observed: Array, season: int) -> Array:
    """`y[t] - y[t - season]` where both were observed, else 0: `(batch, lookback)`."""
    change = np.zeros_like(scaled)
    if season < scaled.shape[1]:
        both = observed[:, season:] * observed[:, :-season]
        change[:, season:] = (scaled[:, season:] - scaled[:, :-season]) * both
    return change


def _repeat_season(scaled: Array, season: int, horizon: int) -> Array:
    """Seasonal naive forecast: `(batch, lookback, ...)` -> `(batch, horizon, ...)`."""
    return scaled[:, scaled.shape[1] - season + np.arange(horizon) % season]
