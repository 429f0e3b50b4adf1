"""Cells, prepared so that a step is few calls of NumPy.

Weights are in Keras's layout, see `keras_seq.numpy_runtime.recurrence`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Weights = Sequence[Array]
Activation = Callable[[Array], Array]


def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`, by the identity that cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


ACTIVATIONS: dict[str, Activation] = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def affine(x: Array, kernel: Array, bias: Array | None) -> Array:
    """`(..., features)` -> `(..., units)`, in one product."""
    two = x.ndim == 2  # as in a step of a stream, where each call counts
    out = (x if two else x.reshape(-1, x.shape[-1])) @ kernel
    if bias is not None:
        out += bias
    return out if two else out.reshape(*x.shape[:-1], out.shape[-1])


class Cell:
    """A cell with its weights, prepared: one call of `advance` is one time step.

    What goes through a sigmoid is halved in the weights (exactly, as a power of two),
    since `sigmoid(x) = (1 + tanh(x / 2)) / 2`: so that one tanh serves all gates, and
    a step is few calls of NumPy.

    Args:
        weights: Kernel, recurrent kernel and bias in Keras's layout, of one dtype.
        activation: `"tanh"`, `"relu"`, `"sigmoid"` or `"linear"`.
    """

    gates: int
    parts = 1  # of the state: `h`, and for an LSTM `c`

    def __init__(self, weights: Weights, activation: str = "tanh"):
        kernel, recurrent, bias = weights
        self.units = recurrent.shape[0]
        self.kernel = self._arrange(kernel)
        self.recurrent = self._arrange(recurrent)
        self.bias = self._arrange(bias)
        self.activation = ACTIVATIONS[activation]
        self.plain = activation == "tanh"

    def _arrange(self, columns: Array) -> Array:
        """Gates in the order that `advance` reads them."""
        return columns

    def project(self, inputs: Array) -> Array:
        """What inputs add to the gates: `(..., features)` -> `(..., gates * units)`."""
        return affine(inputs, self.kernel, self.bias)

    def advance(self, projected: Array, state: Sequence[Array]) -> list[Array]:
        """The state after a step: each `(batch, units)`."""
        raise NotImplementedError


class Rnn(Cell):
    """`h' = tanh(x W + h U + b)` (Elman 1990)."""

    gates = 1

    def advance(self, projected: Array, state: Sequence[Array]) -> list[Array]:
        total = state[0] @ self.recurrent
        total += projected
        return [self.activation(total)]


class Lstm(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    With `[i f g o] = x W + h U + b`:

        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')
    """

    gates = 4
    parts = 2

    def _arrange(self, columns: Array) -> Array:
        i, f, g, o = np.split(columns, 4, axis=-1)
        return np.concatenate([0.5 * i, 0.5 * f, 0.5 * o, g], axis=-1)

    def advance(self, projected: Array, state: Sequence[Array]) -> list[Array]:
        units = self.units
        total = state[0] @ self.recurrent
        total += projected
        sigmoids, candidate = total[:, : 3 * units], total[:, 3 * units :]
        if self.plain:
            np.tanh(total, out=total)
        else:
            np.tanh(sigmoids, out=sigmoids)
            candidate = self.activation(candidate)
        sigmoids *= 0.5
        sigmoids += 0.5
        c = sigmoids[:, units : 2 * units] * state[1]
        c += sigmoids[:, :units] * candidate
        return [sigmoids[:, 2 * units :] * self.activation(c), c]


class Gru(Cell):
    """Gated recurrent unit (Cho et al. 2014), in Keras's form `reset_after=True`.

    With `[xz xr xg] = x W + b[0]` and `[hz hr hg] = h U + b[1]`:

        z = sigmoid(xz + hz)
        r = sigmoid(xr + hr)
        h' = z * h + (1 - z) * tanh(xg + r * hg)

    The paper resets `h` before the product with `U`; after it, all three products
    are one, which is also what cuDNN computes.
    """

    gates = 3

    def __init__(self, weights: Weights, activation: str = "tanh"):
        kernel, recurrent, bias = weights
        split = 2 * recurrent.shape[0]
        # The two biases of `z` and `r` are added anyway.
        joined = np.concatenate([bias[0, :split] + bias[1, :split], bias[0, split:]])
        super().__init__([kernel, recurrent, joined], activation)
        self.candidate_bias = bias[1, split:]

    def _arrange(self, columns: Array) -> Array:
        z, r, g = np.split(columns, 3, axis=-1)
        return np.concatenate([0.5 * z, 0.5 * r, g], axis=-1)

    def advance(self, projected: Array, state: Sequence[Array]) -> list[Array]:
        h, units = state[0], self.units
        total = h @ self.recurrent
        sigmoids, candidate = total[:, : 2 * units], total[:, 2 * units :]
        sigmoids += projected[:, : 2 * units]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5
        candidate += self.candidate_bias
        candidate *= sigmoids[:, units:]
        candidate += projected[:, 2 * units :]
        candidate = self.activation(candidate)
        return [candidate + sigmoids[:, :units] * (h - candidate)]


CELLS: dict[str, type[Cell]] = {
    "rnn": Rnn,
    "simple_rnn": Rnn,
    "lstm": Lstm,
    "gru": Gru,
}
