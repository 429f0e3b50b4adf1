"""How fast this machine is: a few seconds of measuring, on the backend in use."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.diagnostics.structure import Part, recurrence_part
from keras_seq.forecasting.builder import build_forecaster
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.text.builder import build_text_classifier
from keras_seq.training.autodiff import (
    as_numpy,
    check_backend,
    compiled,
    value_and_gradients,
)

# Batch, units and steps at which a recurrence is timed: few and many steps of next to
# nothing, then many units, many rows, and a long text (where steps cost less than the
# short ones tell).
SIZES = (
    (4, 4, 16),
    (4, 4, 64),
    (32, 64, 32),
    (32, 256, 24),
    (256, 32, 32),
    (64, 64, 200),
)
TRAINING_FLOPS = 3.0  # backward there are two products for each one forward
# Adam and clipping read and write a weight, its gradient and two moments.
BYTES_PER_UPDATE = 14 * 4
ROUNDS = 7


@dataclass
class Machine:
    """What `calibrate` measured; it measures a cell when it is first asked for.

    Attributes:
        flops: Operations per second of a large product of matrices.
        bandwidth: Bytes per second that an elementwise operation reads and writes.
        recurrences: By cell and whether it trains, seconds of a call, a step, an
            operation and a number kept, `(4,)`.
        calls: Seconds of a call of a tiny network that are no steps, by builder's name
            and whether it trains.
    """

    flops: float
    bandwidth: float
    recurrences: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)
    calls: dict[tuple[str, bool], float] = field(default_factory=dict)

    def recurrence_seconds(
        self, part: Part, batch_size: float, training: bool
    ) -> float:
        """Of one direction of a recurrent layer.

        Args:
            part: Of `recurrence_part`.
            batch_size: Rows; of rows that leave padding out, as many full ones.
            training: Whether it goes backward as well.
        """
        cell = "rnn" if part.cell in (None, "simple_rnn") else str(part.cell)
        key = cell, training
        if key not in self.recurrences:
            self.recurrences[key] = _time_recurrence(cell, training)
        work = batch_size * np.array([part.flops, part.kept])
        return float(self.recurrences[key] @ [1.0, part.steps, *work])

    def call_seconds(self, builder: Callable[..., Any], training: bool) -> float:
        """Of one call of a tiny network of a builder, without its recurrence."""
        key = builder.__name__, training
        if key not in self.calls:
            self.calls[key] = max(_time_call(self, builder, training), 0.0)
        return self.calls[key]


_machines: dict[str, Machine] = {}


def calibrate(*, again: bool = False) -> Machine:
    """Measures peaks, once in a process; cells and calls when they are needed.

    Args:
        again: Whether to measure anew, such as after other work has ended.

    Returns:
        The machine, to be given to `estimate_cost`.
    """
    check_backend()
    backend = keras.backend.backend()
    if again or backend not in _machines:
        _machines[backend] = Machine(_peak_flops(), _peak_bandwidth())
    return _machines[backend]


def time_in_turns(
    functions: Sequence[Callable[[], Any]], rounds: int = ROUNDS
) -> list[float]:
    """Median seconds of each over some rounds, in which they take turns.

    One of less than a millisecond is repeated within a round, for the clock's sake.
    """
    repeats = []
    for function in functions:
        wait(function())  # compiles
        started = time.perf_counter()
        wait(function())
        repeats.append(max(1, int(1e-3 / max(time.perf_counter() - started, 1e-9))))
    seconds = np.zeros((rounds, len(functions)))
    for row in seconds:
        for index, function in enumerate(functions):
            started = time.perf_counter()
            for _ in range(repeats[index]):
                result = function()
            wait(result)
            row[index] = (time.perf_counter() - started) / repeats[index]
    return [float(median) for median in np.median(seconds, axis=0)]


def wait(result: Any) -> None:
    """Until an asynchronous backend has computed it."""
    as_numpy([tensor for tensor in keras.tree.flatten(result) if tensor is not None])


def _peak_flops(size: int = 768) -> float:
    matrix = ops.convert_to_tensor(np.ones((size, size), np.float32))
    multiply = compiled(lambda a: ops.max(ops.matmul(a, a)))
    return 2.0 * size**3 / time_in_turns([lambda: multiply(matrix)])[0]


def _peak_bandwidth(size: int = 2**23) -> float:
    numbers = ops.convert_to_tensor(np.ones(size, np.float32))
    # One function would not write what nobody reads.
    add, last = compiled(lambda x: x + 1.0), compiled(lambda x: x[-1:])
    return 2.0 * 4 * size / time_in_turns([lambda: last(add(numbers))])[0]


def _time_recurrence(cell: str, training: bool) -> np.ndarray:
    """Seconds of a call, a step, an operation and a number kept."""
    features, calls = [], []
    for batch, units, steps in SIZES:
        encoder = RecurrentEncoder(units, cell=cell)
        encoder.build((None, None, units))
        inputs = ops.convert_to_tensor(np.full((batch, steps, units), 0.1, "float32"))
        lengths = ops.convert_to_tensor(np.full(batch, steps, "int32"))
        calls.append(partial(_bind(encoder, training), inputs, lengths))
        part = recurrence_part("", cell, units, units, steps)
        work = batch * np.array([part.flops, part.kept])
        features.append([1.0, steps, *work])  # of the call, of its steps, of its work
    # What a call costs that does nothing, a network pays once and not for each layer.
    idle = compiled(lambda inputs, lengths: inputs[:1, :1] + 1.0)
    calls.append(partial(idle, inputs, lengths))
    *seconds, nothing = time_in_turns(calls)
    own = np.maximum(np.array(seconds) - nothing, 0.1 * np.array(seconds))
    return _fit_positive(np.array(features), own)


def _fit_positive(features: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Least squares of relative errors, without what would cost less than nothing."""
    scale = features.max(axis=0)  # operations are many, seconds few
    scaled = features / scale / seconds[:, None]
    kept = list(range(features.shape[1]))
    while True:
        found = np.linalg.lstsq(scaled[:, kept], np.ones(len(seconds)))[0]
        if (found >= 0).all():
            break
        kept.pop(int(np.argmin(found)))
    result = np.zeros(features.shape[1])
    result[kept] = found
    return result / scale


def _bind(encoder: RecurrentEncoder, training: bool) -> Callable[..., Any]:
    variables = encoder.trainable_variables

    def infer(values: list[Any], inputs: Any, lengths: Any) -> Any:
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return ops.sum(encoder(inputs, lengths))

    def train(values: list[Any], inputs: Any, lengths: Any) -> Any:
        def loss(arguments: Any) -> Any:
            return infer(arguments[0], arguments[1], lengths), None

        return value_and_gradients(loss, (values, inputs))[2]

    run = compiled(train if training else infer)
    values = [ops.convert_to_tensor(v.value) for v in variables]
    return lambda inputs, lengths: run(values, inputs, lengths)


def _time_call(machine: Machine, builder: Callable[..., Any], training: bool) -> float:
    steps, batch, units = 8, 4, 4
    if builder is build_text_classifier:
        model = builder(num_classes=2, max_tokens=10, cell="rnn", units=units)
        inputs = {
            "tokens": np.ones((batch, steps), "int32"),
            "length": np.full(batch, steps, "int32"),
        }
        target, directions = np.zeros(batch, "int32"), 2
    else:
        model = build_forecaster(lookback=steps, horizon=2, cell="rnn", units=units)
        inputs = {"target": np.ones((batch, steps), "float32")}
        target, directions = np.ones((batch, 2), "float32"), 1
    if training:
        whole = time_in_turns([lambda: model.train_on_batch(inputs, target)])[0]
    else:
        whole = time_in_turns([lambda: model.predict_on_batch(inputs)])[0]
    part = recurrence_part("", "rnn", units, units, steps)
    return whole - directions * machine.recurrence_seconds(part, batch, training)
