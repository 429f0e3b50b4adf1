"""The three recurrences, forward and backward, on rows of one time step.

Whatever does not depend on the step before is done for all steps in one product:
the projection of the inputs, the gates' derivatives, the gradients of the weights.
Only `step` and `backward_step` run inside a loop. Weights have Keras's layout.
"""

from typing import Any, NamedTuple

from keras import ops

Tensor = Any


class Weights(NamedTuple):
    """Kernel `(features, gates)`, recurrent kernel `(units, gates)` and bias."""

    kernel: Tensor
    recurrent: Tensor
    bias: Tensor


class SimpleRNN:
    """`h[t] = tanh(x[t] K + h[t-1] R + b)` (Elman 1990)."""

    num_states = 1

    def __init__(self, weights: Weights):
        self.kernel, self.recurrent, self.bias = weights

    def project(self, inputs: Tensor) -> list[Tensor]:
        """What the inputs add to the gates: `(rows, features)` to `(rows, gates)`."""
        return [ops.matmul(inputs, self.kernel) + self.bias]

    def step(self, projected: list[Tensor], states: list[Tensor]) -> list[Tensor]:
        """One step: `(rows, gates)` and the states, `(rows, units)`, to the next."""
        return [ops.tanh(projected[0] + ops.matmul(states[0], self.recurrent))]

    def factors(
        self, projected: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        """Derivatives at all steps, `(all rows, ...)`, that the loop back multiplies.

        Gates are computed again instead of kept: one product, and less memory.

        Args:
            projected: What `project` gave.
            previous: `h` before each step.
            states: The states after each step.
        """
        return [1.0 - ops.square(states[0])]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor], transposed: Tensor
    ) -> list[Tensor]:
        """Gradients of the states before a step from those of the states after it.

        Args:
            factors: Of this step.
            upstream: Gradients of the states after it.
            transposed: The recurrent kernel, transposed.
        """
        return [ops.matmul(self.gates_gradient(factors, upstream)[1], transposed)]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the gates' sums: of the inputs' part and of the states'."""
        gradient = upstream[0] * factors[0]
        return gradient, gradient

    def bias_gradient(self, of_inputs: Tensor, of_states: Tensor) -> Tensor:
        return ops.sum(of_inputs, axis=0)


class LSTM(SimpleRNN):
    """Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000).

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, each of `x[t] K + h[t-1] R + b`;
    `c[t] = f c[t-1] + i g`; `h[t] = o tanh(c[t])`. Order of the gates: i, f, g, o.
    """

    num_states = 2

    def step(self, projected: list[Tensor], states: list[Tensor]) -> list[Tensor]:
        hidden, cell = states
        i, f, g, o = ops.split(projected[0] + ops.matmul(hidden, self.recurrent), 4, -1)
        cell = ops.sigmoid(f) * cell + ops.sigmoid(i) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(cell), cell]

    def factors(
        self, projected: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        gates = projected[0] + ops.matmul(previous, self.recurrent)
        i, f, g, o = ops.split(gates, 4, -1)
        i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
        squashed = ops.tanh(states[1])
        by_gate = [
            i * (1.0 - i) * g,
            (states[1] - i * g) * (1.0 - f),  # = c[t-1] f (1 - f)
            i * (1.0 - g * g),
            squashed * o * (1.0 - o),
        ]
        return [ops.concatenate(by_gate, -1), o * (1.0 - squashed * squashed), f]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor], transposed: Tensor
    ) -> list[Tensor]:
        gates = self.gates_gradient(factors, upstream)[1]
        return [
            ops.matmul(gates, transposed),
            self._cell(factors, upstream) * factors[2],
        ]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        hidden, cell = upstream[0], self._cell(factors, upstream)
        gradient = ops.concatenate([cell, cell, cell, hidden], -1) * factors[0]
        return gradient, gradient

    def _cell(self, factors: list[Tensor], upstream: list[Tensor]) -> Tensor:
        """Gradient of `c`: its own, and what comes through `h`."""
        return upstream[1] + upstream[0] * factors[1]


class GRU(SimpleRNN):
    """Cho et al. 2014; the reset gate acts on the projected state (`reset_after`).

    `z, r = sigmoid(...)`; `n = tanh(x[t] K + b + r (h[t-1] R + b'))`;
    `h[t] = z h[t-1] + (1 - z) n`. Order of the gates: z, r, n; two rows of biases.
    """

    def __init__(self, weights: Weights):
        super().__init__(weights)
        split = 2 * weights.recurrent.shape[0]
        # z and r in one, n apart: what is contiguous need not be copied every step.
        self.kernels = self.kernel[:, :split], self.kernel[:, split:]
        self.recurrents = self.recurrent[:, :split], self.recurrent[:, split:]
        # The state's bias of z and r joins the inputs'; that of n is inside r's reach.
        self.biases = self.bias[0, :split] + self.bias[1, :split], self.bias[0, split:]
        self.state_bias = self.bias[1, split:]

    def project(self, inputs: Tensor) -> list[Tensor]:
        return [
            ops.matmul(inputs, kernel) + bias
            for kernel, bias in zip(self.kernels, self.biases, strict=True)
        ]

    def _gates(self, projected: list[Tensor], hidden: Tensor) -> tuple[Tensor, ...]:
        z_and_r = ops.sigmoid(projected[0] + ops.matmul(hidden, self.recurrents[0]))
        z, r = ops.split(z_and_r, 2, -1)
        state = ops.matmul(hidden, self.recurrents[1]) + self.state_bias
        return z, r, ops.tanh(projected[1] + r * state), state

    def step(self, projected: list[Tensor], states: list[Tensor]) -> list[Tensor]:
        z, _, n, _ = self._gates(projected, states[0])
        return [n + z * (states[0] - n)]

    def factors(
        self, projected: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        z, r, n, state = self._gates(projected, previous)
        candidate = (1.0 - z) * (1.0 - n * n)
        by_gate = [
            (previous - n) * z * (1.0 - z),
            candidate * state * r * (1.0 - r),
            candidate * r,
        ]
        return [ops.concatenate(by_gate, -1), z, candidate]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor], transposed: Tensor
    ) -> list[Tensor]:
        hidden = upstream[0]
        gates = ops.concatenate([hidden, hidden, hidden], -1) * factors[0]
        return [ops.matmul(gates, transposed) + hidden * factors[1]]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        hidden, split = upstream[0], self.kernels[0].shape[-1]
        of_states = ops.concatenate([hidden, hidden, hidden], -1) * factors[0]
        of_inputs = ops.concatenate([of_states[:, :split], hidden * factors[2]], -1)
        return of_inputs, of_states

    def bias_gradient(self, of_inputs: Tensor, of_states: Tensor) -> Tensor:
        return ops.stack([ops.sum(of_inputs, axis=0), ops.sum(of_states, axis=0)])


CELL_MATHS = {
    "rnn": SimpleRNN,
    "simple_rnn": SimpleRNN,
    "simplernn": SimpleRNN,  # the name of Keras's class, lower case
    "lstm": LSTM,
    "gru": GRU,
}
