"""The layers around a recurrence: dense, normalisation, convolution, attention."""

import math
from typing import Any

import numpy as np

from keras_seq.numpy_runtime.cells import CELLS, Cell, affine, sigmoid
from keras_seq.numpy_runtime.recurrence import run_cell
from keras_seq.numpy_runtime.special import erf
from keras_seq.numpy_runtime.weights import WeightTable, units_of_layers

Array = np.ndarray[Any, np.dtype[Any]]

EPSILON = 1e-5  # of both kinds of normalisation
# Below any score, and finite in float32.
LOWEST = np.float32(-3e38)
_KERAS_NAMES = {"rnn": "simple_rnn", "simple_rnn": "simple_rnn"}


def relu(x: Array) -> Array:
    """`max(x, 0)`."""
    return np.maximum(x, 0)


def softmax(x: Array, axis: int = -1) -> Array:
    """Exponentials that add up to one."""
    raised = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(raised / raised.sum(axis=axis, keepdims=True))


def softplus(x: Array) -> Array:
    """`log(1 + exp(x))`, in calls that NumPy vectorises; `logaddexp` it does not."""
    away = np.exp(-np.abs(x))
    away += 1
    return np.asarray(np.log(away, out=away) + np.maximum(x, 0))


def gelu(x: Array) -> Array:
    """`x` times the share of a normal distribution below it."""
    return np.asarray(x * (0.5 * (1.0 + erf(x / math.sqrt(2.0)))).astype(x.dtype))


def valid_steps(lengths: Array, time: int) -> Array:
    """Marks the steps before each row's end: bool, `(batch, time, 1)`."""
    return (np.arange(time) < np.asarray(lengths)[:, None])[..., None]


class Dense:
    """A linear map of the last axis; the bias may be missing."""

    def __init__(self, weights: WeightTable):
        self.kernel = weights["kernel"]
        self.bias = weights["bias"] if "bias" in weights else None

    def __call__(self, x: Array) -> Array:
        """`(..., features)` -> `(..., units)`."""
        return affine(x, self.kernel, self.bias)


class Normalization:
    """Of features, step by step (`"layer"`) or by moving statistics (`"batch"`)."""

    def __init__(self, weights: WeightTable, normalization: str = "layer"):
        self.gamma, self.beta = weights["gamma"], weights["beta"]
        self.moving = normalization == "batch"
        if self.moving:  # one product and one sum
            spread = np.sqrt(weights["moving_variance"] + EPSILON)
            self.gamma = (self.gamma / spread).astype(weights.dtype)
            self.beta = self.beta - weights["moving_mean"] * self.gamma

    def __call__(self, x: Array) -> Array:
        """Of the shape of `x`."""
        if not self.moving:
            x = x - x.mean(axis=-1, keepdims=True)
            variance = np.square(x).mean(axis=-1, keepdims=True)
            x = x / np.sqrt(variance + x.dtype.type(EPSILON))
        return x * self.gamma + self.beta


class Convolution:
    """Over time, with relu; a row goes on with zeros beyond both of its ends."""

    def __init__(self, weights: WeightTable, width: int, causal: bool):
        kernel = weights["convolution/kernel"]  # (width, features, filters)
        self.kernel = kernel.reshape(-1, kernel.shape[-1])
        self.bias = weights["convolution/bias"]
        self.width = width
        self.before = width - 1 if causal else (width - 1) // 2

    def __call__(self, x: Array, lengths: Array | None = None) -> Array:
        """`(batch, time, features)` -> `(batch, time, filters)`."""
        time = x.shape[1]
        if lengths is not None:
            x = np.where(valid_steps(lengths, time), x, 0)
        x = np.pad(x, ((0, 0), (self.before, self.width - 1 - self.before), (0, 0)))
        seen = [x[:, first : first + time] for first in range(self.width)]
        out = np.concatenate(seen, axis=-1) @ self.kernel
        out = relu(out + self.bias)
        return out if lengths is None else np.where(valid_steps(lengths, time), out, 0)


class RecurrentEncoder:
    """Stacked recurrent layers, as `keras_seq.layers.recurrent` has them.

    Args:
        weights: Of the layer `encoder`.
        arguments: Of the builder.
        bidirectional: Whether each layer also runs backward.
    """

    def __init__(
        self, weights: WeightTable, arguments: dict[str, Any], bidirectional: bool
    ):
        kind = arguments["cell"]
        self.units = units_of_layers(arguments["units"], arguments["num_layers"])
        self.residual = arguments["residual"]
        ways = ("forward", "backward") if bidirectional else ("forward",)

        def make(way: str, index: int) -> Cell:
            name = _KERAS_NAMES.get(kind, kind)
            own = weights.inside(f"{way}_{index}/{name}_cell")
            parts = [own[name] for name in ("kernel", "recurrent_kernel", "bias")]
            return CELLS[kind](parts, arguments["activation"])

        self.layers = [[make(way, i) for way in ways] for i in range(len(self.units))]
        self.normalizations = [
            Normalization(
                weights.inside(f"normalization_{i}"), arguments["normalization"]
            )
            for i in range(len(self.units))
            if arguments["normalization"] is not None
        ]
        self.parts = CELLS[kind].parts

    @property
    def width(self) -> int:
        """Features of an encoded step."""
        return self.units[-1] * len(self.layers[-1])

    def initial(self, count: int, dtype: Any) -> list[Array]:
        """The state before the first step: arrays `(count, units)`."""
        return [
            np.zeros((count, cell.units), dtype)
            for cells in self.layers
            for cell in cells
            for _ in range(self.parts)
        ]

    def __call__(
        self,
        x: Array,
        lengths: Array | None = None,
        state: list[Array] | None = None,
    ) -> tuple[Array, list[Array]]:
        """The encoded steps, zero at padding, and the state after the last one."""
        valid = None if lengths is None else valid_steps(lengths, x.shape[1])
        states: list[Array] = []
        for index, cells in enumerate(self.layers):
            below, outputs = x, []
            for way, cell in enumerate(cells):
                start = state and state[len(states) : len(states) + self.parts]
                output, final = run_cell(cell, x, lengths, start, way == 1)
                outputs.append(output)
                states += final
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
            if self.normalizations:
                x = self.normalizations[index](x)
                if valid is not None:
                    x = np.where(valid, x, 0)
            if self.residual and index:
                x = x + below
        return x, states


class AttentionBlock:
    """Self-attention, then a feed-forward network; each normalises its input first."""

    def __init__(self, weights: WeightTable, causal: bool):
        self.attention_norm = Normalization(weights.inside("attention_norm"))
        self.feed_forward_norm = Normalization(weights.inside("feed_forward_norm"))
        self.expand = Dense(weights.inside("expand"))
        self.contract = Dense(weights.inside("contract"))
        own = weights.inside("attention")
        names = ("query", "key", "value")
        kernels = [own[f"{name}/kernel"] for name in names]  # (units, heads, size)
        self.heads, self.size = kernels[0].shape[1:]
        flat = [kernel.reshape(len(kernel), -1) for kernel in kernels]
        self.kernel = np.concatenate(flat, axis=1)
        self.bias = np.concatenate([own[f"{name}/bias"].ravel() for name in names])
        out = own["attention_output/kernel"]  # (heads, size, units)
        self.out = out.reshape(-1, out.shape[-1])
        self.out_bias = own["attention_output/bias"]
        self.causal = causal

    def __call__(self, x: Array, visible: Array | None) -> Array:
        """`(batch, time, units)`; `visible`: bool, `(batch, 1, 1, time)`."""
        batch, time, _ = x.shape
        projected = self.attention_norm(x) @ self.kernel + self.bias
        projected = projected.reshape(batch, time, 3, self.heads, self.size)
        query, key, value = projected.transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(2, 3) * x.dtype.type(1 / math.sqrt(self.size))
        if visible is not None:
            scores = np.where(visible, scores, LOWEST)
        if self.causal:
            scores = np.where(np.tri(time, dtype=bool), scores, LOWEST)
        attended = softmax(scores) @ value  # (batch, heads, time, size)
        attended = attended.transpose(0, 2, 1, 3)
        attended = attended.reshape(batch, time, len(self.out))
        x = x + attended @ self.out + self.out_bias
        return x + self.contract(gelu(self.expand(self.feed_forward_norm(x))))


class AttentionEncoder:
    """A transformer encoder, as `keras_seq.layers.attention` has it.

    Args:
        weights: Of the layer.
        arguments: Of the builder.
        bidirectional: Whether steps see later ones.
    """

    def __init__(
        self, weights: WeightTable, arguments: dict[str, Any], bidirectional: bool
    ):
        self.units = units_of_layers(arguments["units"], arguments["num_layers"])
        self.width = self.units[-1]
        inner = weights.inside("projection")
        self.projection = Dense(inner) if "kernel" in inner else None
        self.blocks = [
            AttentionBlock(weights.inside(f"block_{i}"), not bidirectional)
            for i in range(len(self.units))
        ]
        self.final_norm = Normalization(weights.inside("final_norm"))

    def initial(self, count: int, dtype: Any) -> list[Array]:
        """There is no state."""
        return []

    def __call__(
        self, x: Array, lengths: Array | None = None, state: Any = None
    ) -> tuple[Array, list[Array]]:
        """The encoded steps, zero at padding; there is no state."""
        time, valid, visible = x.shape[1], None, None
        if lengths is not None:
            valid = valid_steps(lengths, time)
            x = np.where(valid, x, 0)
            # An empty row sees its first step, which is zero.
            seen = valid_steps(np.maximum(lengths, 1), time)
            visible = seen.transpose(0, 2, 1)[:, None]  # (batch, 1, 1, time)
        if self.projection is not None:
            x = self.projection(x)
        x = x * x.dtype.type(math.sqrt(self.width))
        x = x + self._positions(time).astype(x.dtype)
        for block in self.blocks:
            x = block(x, visible)
        x = self.final_norm(x)
        return (x if valid is None else np.where(valid, x, 0)), []

    def _positions(self, time: int) -> Array:
        column = np.arange(self.width)
        frequency = np.exp(column // 2 * 2 * (-math.log(10_000.0) / self.width))
        angle = np.arange(time)[:, None] * frequency
        return np.where(column % 2 == 0, np.sin(angle), np.cos(angle))


Encoder = RecurrentEncoder | AttentionEncoder


def make_encoder(
    weights: WeightTable, arguments: dict[str, Any], bidirectional: bool
) -> Encoder:
    """The encoder that the builder's arguments ask for, from a network's weights."""
    if arguments["cell"] != "transformer":
        return RecurrentEncoder(
            weights.inside("encoder"), arguments, bidirectional=bidirectional
        )
    # The builder's own slip: files have this name of the layer, and others may not.
    folder = "encoder" if "encoder/final_norm/gamma" in weights else "residual"
    return AttentionEncoder(weights.inside(folder), arguments, bidirectional)


__all__ = [
    "AttentionEncoder",
    "Convolution",
    "Dense",
    "Encoder",
    "Normalization",
    "RecurrentEncoder",
    "make_encoder",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "valid_steps",
]
