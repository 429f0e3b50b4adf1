"""The three recurrences, forward and backward, on rows of one time step.

Whatever does not depend on the step before is done for many steps in one product: the
projection of the inputs, the gates' derivatives, the gradients of the weights. Only
`step` and `backward_step` run inside a loop. Weights have Keras's layout.
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
    """`h[t] = tanh(x[t] K + h[t-1] R + b)` (Elman 1990).

    Args:
        weights: In Keras's layout.
        apart: Whether each gate has a product of its own. TensorFlow runs them side
            by side on a CPU's cores, and spares cutting a product up; XLA, which
            fuses the cutting, is better served with one product of all gates.
    """

    num_states = 1
    num_gates = 1
    num_kept = 0

    def __init__(self, weights: Weights, apart: bool):
        self.weights = weights
        self.units = weights.recurrent.shape[0]
        self.apart = apart
        self.kernels = self._cut(weights.kernel)
        self.recurrents = self._cut(weights.recurrent)
        self.kernels_back = [ops.transpose(k) for k in self.kernels]
        self.recurrents_back = [ops.transpose(r) for r in self.recurrents]
        self.biases = self._biases(weights.bias)

    def _cut(self, weight: Tensor) -> list[Tensor]:
        return ops.split(weight, self.num_gates, -1) if self.apart else [weight]

    def _biases(self, bias: Tensor) -> list[Tensor]:
        """What `project` adds to each gate, `(units,)`."""
        return ops.split(bias, self.num_gates, -1)

    def _to_gates(self, rows: Tensor, weights: list[Tensor]) -> list[Tensor]:
        """Products with a kernel, each `(rows, units)`, one for each gate."""
        products = [ops.matmul(rows, weight) for weight in weights]
        return products if self.apart else ops.split(products[0], self.num_gates, -1)

    def _from_gates(self, gates: list[Tensor], transposed: list[Tensor]) -> Tensor:
        """Products of the gates' gradients with a transposed kernel, added up."""
        if not self.apart:
            return ops.matmul(ops.concatenate(gates, -1), transposed[0])
        products = [ops.matmul(g, t) for g, t in zip(gates, transposed, strict=True)]
        return sum(products[1:], products[0])

    def project(self, inputs: Tensor) -> list[Tensor]:
        """What the inputs, `(rows, features)`, add to each gate, `(rows, units)`."""
        products = self._to_gates(inputs, self.kernels)
        return [p + b for p, b in zip(products, self.biases, strict=True)]

    @property
    def num_for_gradient(self) -> int:
        """The states, what `step` keeps besides, and `h` before the step."""
        return self.num_states + self.num_kept + 1

    def step(
        self, projected: list[Tensor], states: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """From the states before a step to those after it, all `(rows, units)`.

        Returns:
            The states, and the `num_kept` values that `factors` needs besides.
        """
        sums = self._to_gates(states[0], self.recurrents)
        return [ops.tanh(projected[0] + sums[0])], []

    def factors(
        self, kept: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        """Derivatives at many steps, each `(rows, units)`, that the loop back uses.

        Args:
            kept: What `step` gave besides the states.
            previous: `h` before each step.
            states: The states after each step.
        """
        return [1.0 - ops.square(states[0])]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> list[Tensor]:
        """Gradients of the states before a step from those of the states after it."""
        gates = self.gates_gradient(factors, upstream)[1]
        return [self._from_gates(gates, self.recurrents_back)]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of the gates' sums: of the inputs' part and of the states'."""
        gradients = [upstream[0] * factors[0]]
        return gradients, gradients

    def inputs_gradient(self, of_inputs: list[Tensor]) -> Tensor:
        """Gradient of the inputs from that of their part in each gate."""
        return self._from_gates(of_inputs, self.kernels_back)

    def weights_gradient(
        self,
        inputs: Tensor,
        previous: Tensor,
        of_inputs: list[Tensor],
        of_states: list[Tensor],
    ) -> list[Tensor]:
        """Gradients of kernel, recurrent kernel and bias."""
        of_inputs, of_states = (
            ops.concatenate(gates, -1) for gates in (of_inputs, of_states)
        )
        return [
            ops.matmul(ops.transpose(inputs), of_inputs),
            ops.matmul(ops.transpose(previous), of_states),
            self._bias_gradient(of_inputs, of_states),
        ]

    def _bias_gradient(self, of_inputs: Tensor, of_states: Tensor) -> Tensor:
        return ops.sum(of_inputs, axis=0)


class LSTM(SimpleRNN):
    """Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000).

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, each of `x[t] K + h[t-1] R + b`;
    `c[t] = f c[t-1] + i g`; `h[t] = o tanh(c[t])`. Order of the gates: i, f, g, o.
    """

    num_states = 2
    num_gates = 4
    num_kept = 4

    def step(
        self, projected: list[Tensor], states: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        hidden, cell = states
        sums = self._to_gates(hidden, self.recurrents)
        i, f, g, o = (p + s for p, s in zip(projected, sums, strict=True))
        i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
        cell = f * cell + i * g
        return [o * ops.tanh(cell), cell], [i, f, g, o]

    def factors(
        self, kept: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        i, f, g, o = kept
        cell = states[1]
        squashed = ops.tanh(cell)
        return [
            i * (1.0 - i) * g,
            (cell - i * g) * (1.0 - f),  # = c[t-1] f (1 - f)
            i * (1.0 - g * g),
            squashed * o * (1.0 - o),
            o * (1.0 - squashed * squashed),
            f,
        ]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> list[Tensor]:
        gates = self.gates_gradient(factors, upstream)[1]
        return [
            self._from_gates(gates, self.recurrents_back),
            self._cell(factors, upstream) * factors[5],
        ]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        cell = self._cell(factors, upstream)
        gradients = [cell * factor for factor in factors[:3]]
        gradients.append(upstream[0] * factors[3])
        return gradients, gradients

    def _cell(self, factors: list[Tensor], upstream: list[Tensor]) -> Tensor:
        """Gradient of `c`: its own, and what comes through `h`."""
        return upstream[1] + upstream[0] * factors[4]


class GRU(SimpleRNN):
    """Cho et al. 2014; the reset gate acts on the projected state (`reset_after`).

    `z, r = sigmoid(...)`; `n = tanh(x[t] K + b + r (h[t-1] R + b'))`;
    `h[t] = z h[t-1] + (1 - z) n`. Order of the gates: z, r, n; two rows of biases.
    """

    num_gates = 3
    num_kept = 4

    def _biases(self, bias: Tensor) -> list[Tensor]:
        # The state's bias of z and r joins the inputs'; that of n is inside r's reach.
        of_inputs, of_state = (ops.split(row, 3) for row in ops.unstack(bias))
        self.state_bias = of_state[2]
        z, r, n = of_inputs
        return [z + of_state[0], r + of_state[1], n]

    def step(
        self, projected: list[Tensor], states: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        hidden = states[0]
        z, r, state = self._to_gates(hidden, self.recurrents)
        z, r = ops.sigmoid(projected[0] + z), ops.sigmoid(projected[1] + r)
        state = state + self.state_bias
        n = ops.tanh(projected[2] + r * state)
        return [n + z * (hidden - n)], [z, r, n, state]

    def factors(
        self, kept: list[Tensor], previous: Tensor, states: list[Tensor]
    ) -> list[Tensor]:
        z, r, n, state = kept
        candidate = (1.0 - z) * (1.0 - n * n)
        return [
            (previous - n) * z * (1.0 - z),
            candidate * state * r * (1.0 - r),
            candidate * r,
            z,
            candidate,
        ]

    def backward_step(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> list[Tensor]:
        hidden = super().backward_step(factors, upstream)[0]
        return [hidden + upstream[0] * factors[3]]

    def gates_gradient(
        self, factors: list[Tensor], upstream: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        z, r, of_state = (upstream[0] * factor for factor in factors[:3])
        return [z, r, upstream[0] * factors[4]], [z, r, of_state]

    def _bias_gradient(self, of_inputs: Tensor, of_states: Tensor) -> Tensor:
        return ops.stack([ops.sum(of_inputs, axis=0), ops.sum(of_states, axis=0)])


CELL_MATHS = {
    "rnn": SimpleRNN,
    "simple_rnn": SimpleRNN,
    "simplernn": SimpleRNN,  # the name of Keras's class, lower case
    "lstm": LSTM,
    "gru": GRU,
}
