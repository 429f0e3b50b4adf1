"""Looking inside the recurrent layers of a network: gradients, gates, emptied states.

A lag counts steps back from the last step that a layer runs, in the layer's own
direction: lag 0 is step `length - 1` of a row going forward, step 0 going backward.
Everything is computed as in inference, without dropout.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_seq.diagnostics.steps import pull_states, run_emptied
from keras_seq.layers.paths import run_layer
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.scaling import WindowScaler
from keras_seq.layers.state import CarriedState
from keras_seq.training.autodiff import as_numpy, compiled, value_and_gradients

Tensor = Any

# Numbers that a run of a step loop may keep for its way back, 4 bytes each.
ROOM = 2**26


class LayerRun(NamedTuple):
    """What a recurrent layer got and gave on a batch, all of it NumPy.

    Attributes:
        inputs: `(batch, time, features)`, right-padded.
        lengths: int64, `(batch,)`.
        initial: State before the first step, each `(batch, units)`.
        output: `(batch, time, units)`.
    """

    inputs: np.ndarray
    lengths: np.ndarray
    initial: list[np.ndarray]
    output: np.ndarray


def find_encoders(model: keras.Model) -> list[RecurrentEncoder]:
    """The recurrent encoders of a network.

    Raises:
        ValueError: If it has none.
    """
    found = [layer for layer in model.layers if isinstance(layer, RecurrentEncoder)]
    if not found:
        raise ValueError(
            "The model must have a keras_seq.layers.RecurrentEncoder: other layers, "
            "self-attention among them, have no states to look into. Received: "
            f"{model.name!r} with layers {[layer.name for layer in model.layers]}"
        )
    return found


@contextmanager
def replaced(model: keras.Model, run: Callable) -> Iterator[None]:
    """Lets `run(name, layer, ...)` stand for `run_layer(layer, ...)` in a network."""
    encoders = find_encoders(model)
    for encoder in encoders:
        encoder._run_layer = partial(_named, run, encoder.name)
    try:
        yield
    finally:
        for encoder in encoders:
            encoder._run_layer = run_layer


def _named(run: Callable, prefix: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
    return run(f"{prefix}/{layer.name}", layer, *args, **kwargs)


class Probe:
    """Looks into one network on one batch; its weights may change in between.

    Args:
        model: Compiled, with a `RecurrentEncoder`.
        inputs: As the model takes them.
        targets: As the model's loss takes them.
        sample_weight: `(batch,)`; None: 1.

    Attributes:
        layers: Recurrent layers by name, such as `"encoder/forward_0"`.
        runs: What each got and gave, as the weights were in the last `gradients`.
    """

    def __init__(
        self, model: keras.Model, inputs: Any, targets: Any, sample_weight: Any = None
    ):
        self.model = model
        self.batch = (inputs, targets, sample_weight)
        self.layers = {
            f"{encoder.name}/{layer.name}": layer
            for encoder in find_encoders(model)
            for index in range(encoder.num_layers)
            for layer in (*encoder.forward[index:][:1], *encoder.backward[index:][:1])
        }
        self.reverse: dict[str, bool] = {}
        self.runs: dict[str, LayerRun] = {}
        self._nudges: dict[str, np.ndarray] = {}
        # Within the scope metrics and states that are carried on stay as they are.
        with keras.StatelessScope():
            outputs = self._forward(self._remember_shape, inputs)
            # What Keras makes late it cannot make while it is differentiated.
            model.compute_loss(inputs, targets, outputs, sample_weight, training=False)
        self._gradients = self._differentiate
        if keras.backend.backend() == "jax":
            self._gradients = compiled(self._differentiate)
        self._pulls: dict[Any, Callable] = {}
        self._emptied: dict[Any, Callable] = {}

    def _forward(self, run: Callable, inputs: Any) -> Tensor:
        with replaced(self.model, run):
            return self.model(inputs, training=False)

    def _remember_shape(
        self, name: str, layer: Any, *args: Any, reverse: bool, **kwargs: Any
    ) -> Any:
        outputs = run_layer(layer, *args, reverse=reverse, **kwargs)
        self.reverse[name] = reverse
        self._nudges[name] = ops.zeros(outputs[0].shape, outputs[0].dtype)
        return outputs

    def gradients(self) -> tuple[float, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Of the batch's loss, by the backend's differentiation of the whole network.

        Returns:
            The loss; its gradient with respect to each layer's outputs, `(batch,
            time, units)`, which leaves out what goes through the layer's own later
            states; the gradients of the trainable weights, by path.
        """
        weights = self.model.trainable_variables
        arguments = {
            "weights": [ops.convert_to_tensor(w.value) for w in weights],
            "nudges": self._nudges,
        }
        fixed = self.model.non_trainable_variables
        others = [ops.convert_to_tensor(v.value) for v in fixed]
        loss, seen, found = as_numpy(self._gradients(arguments, others))
        for name, (inputs, lengths, initial, output) in seen.items():
            self.runs[name] = LayerRun(
                inputs, lengths.astype(np.int64), initial, output
            )
        by_path = {
            weight.path: gradient
            for weight, gradient in zip(weights, found["weights"], strict=True)
        }
        return float(loss), found["nudges"], by_path

    def _variables(self) -> list[keras.Variable]:
        model = self.model
        return [*model.trainable_variables, *model.non_trainable_variables]

    def _differentiate(self, arguments: Any, others: list[Tensor]) -> Any:
        inputs, targets, sample_weight = self.batch

        def loss_of(arguments: Any) -> tuple[Tensor, dict[str, Any]]:
            seen = {}

            def nudged(
                name: str, layer: Any, inputs: Any, *args: Any, **kw: Any
            ) -> Any:
                output, states = run_layer(layer, inputs, *args, **kw)
                output = output + arguments["nudges"][name]
                lengths, initial = (*args, None, None)[:2]
                if lengths is None:
                    lengths = ops.full(output.shape[:1], output.shape[1], "int32")
                if initial is None:
                    initial = [ops.zeros_like(output[:, 0])] * _num_states(layer)
                seen[name] = (inputs, lengths, list(initial), output)
                return output, states

            values = [*arguments["weights"], *others]
            with keras.StatelessScope(zip(self._variables(), values, strict=True)):
                outputs = self._forward(nudged, inputs)
                loss = self.model.compute_loss(
                    inputs, targets, outputs, sample_weight, training=False
                )
            return loss, seen

        return value_and_gradients(loss_of, arguments)

    def state_gradients(self, name: str, of_output: np.ndarray) -> list[np.ndarray]:
        """Norms of the loss's gradient with respect to the state after each step.

        Args:
            name: Of the layer.
            of_output: The loss's gradient with respect to its outputs.

        Returns:
            For `h` (and `c`), each held apart, `(batch, time)` by lag.
        """
        upstream = self._by_step(name, of_output)
        return self._pull(name, upstream, last=False, repeats=1)

    def jacobians(
        self, name: str, num_probes: int | None, seed: int
    ) -> tuple[list[np.ndarray], bool]:
        """Frobenius norms of d h[t] / d (state after step t - k), over root units.

        An identity has norm 1. By vector-Jacobian products: with each unit vector, or
        where the layer has more units than `num_probes` with so many random vectors
        of +1 and -1, whose mean square is that of the norm (Hutchinson 1989).

        Args:
            name: Of the layer.
            num_probes: Vectors; None: as many as units.
            seed: Of the random vectors.

        Returns:
            For `h` (and `c`), each held apart, `(batch, time)` by lag; and whether
            they are exact.
        """
        units, rows = self.layers[name].units, len(self.runs[name].inputs)
        exact = num_probes is None or units <= num_probes
        vectors = np.eye(units)
        if not exact:
            random = np.random.default_rng(seed)
            vectors = random.choice([-1.0, 1.0], (int(num_probes or 0), units))
        scale = units if exact else len(vectors)
        _, time, features = self.runs[name].inputs.shape
        room = ROOM // (rows * time * (features + 12 * units))
        chunk = int(np.clip(room, 1, len(vectors)))
        squares: list[Any] = []
        for start in range(0, len(vectors), chunk):
            part = vectors[start : start + chunk]
            # A last part that is shorter would be traced anew.
            part = np.pad(part, ((0, chunk - len(part)), (0, 0)))
            tiled = np.tile(part, (rows, 1))
            norms = self._pull(name, tiled, last=True, repeats=chunk)
            split = [norm.reshape(rows, chunk, time) for norm in norms]
            squares.append([(s.astype(np.float64) ** 2).sum(axis=1) for s in split])
        totals = [sum(parts) for parts in zip(*squares, strict=True)]
        if not exact:
            totals = [total / units for total in totals]
        return [np.sqrt(total / scale) for total in totals], exact

    def _by_step(self, name: str, sequence: np.ndarray) -> np.ndarray:
        """`(batch, time, ...)` to `(time, batch, ...)` as the layer runs its steps.

        All rows end at the last step; what stands before their first is padding.
        """
        if self.reverse[name]:
            turned = sequence[:, ::-1]
        else:
            time = sequence.shape[1]
            shift = time - self.runs[name].lengths[:, None]
            source = np.maximum(np.arange(time) - shift, 0)
            shape = (*source.shape, *[1] * (sequence.ndim - 2))
            turned = np.take_along_axis(sequence, source.reshape(shape), axis=1)
        return np.swapaxes(turned, 0, 1)

    def _valid(self, name: str) -> np.ndarray:
        """`(time, batch, 1)`, in the order of `_by_step`."""
        run = self.runs[name]
        steps = np.arange(run.inputs.shape[1])[::-1, None]  # lags
        return (steps < run.lengths)[..., None]

    def _pull(
        self, name: str, upstream: np.ndarray, *, last: bool, repeats: int
    ) -> list[np.ndarray]:
        layer, run = self.layers[name], self.runs[name]
        # Layers of one shape share a trace, whose weights are arguments.
        shape = run.inputs.shape
        key = (type(layer), layer.units, layer.activation, shape, last, repeats)
        if key not in self._pulls:
            options: dict[str, Any] = {"last": last, "repeats": repeats}
            self._pulls[key] = compiled(partial(pull_states, layer, **options))

        def tensor(array: np.ndarray) -> Tensor:  # half precision came as float32
            return ops.convert_to_tensor(array, layer.compute_dtype)

        norms = self._pulls[key](
            [ops.convert_to_tensor(w.value) for w in layer.cell.trainable_variables],
            tensor(self._by_step(name, run.inputs)),
            tensor(self._valid(name)),
            [tensor(state) for state in run.initial],
            tensor(upstream),
        )
        return [norm[::-1].T for norm in as_numpy(norms)]  # (batch, time), by lag

    def gates(self, name: str) -> dict[str, np.ndarray]:
        """Values of the sigmoid gates and of `h` at valid steps, `(steps, units)`."""
        layer, run = self.layers[name], self.runs[name]
        inputs = self._by_step(name, run.inputs).astype(np.float64)
        valid = self._valid(name)[..., 0]
        hidden = self._by_step(name, run.output).astype(np.float64)
        before = np.concatenate([run.initial[0][None], hidden[:-1]])
        first = valid & ~np.concatenate([np.zeros_like(valid[:1]), valid[:-1]])
        before = np.where(first[..., None], run.initial[0], before)
        kernel, recurrent, bias = (np.asarray(w) for w in layer.get_weights())
        sums = (
            inputs[valid] @ kernel
            + before[valid] @ recurrent
            + bias.reshape(-1, kernel.shape[1]).sum(axis=0)
        )
        parts = np.split(sums, kernel.shape[1] // layer.units, axis=-1)
        names = {
            "LSTM": {"input": 0, "forget": 1, "output": 3},
            "GRU": {"update": 0, "reset": 1},
        }.get(type(layer).__name__, {})
        # tanh does not overflow, as exp would
        values = {gate: 0.5 + 0.5 * np.tanh(parts[i] / 2) for gate, i in names.items()}
        return {**values, "h": hidden[valid]}

    def emptied(self, names: tuple[str, ...], lags: np.ndarray) -> np.ndarray:
        """The network's outputs where layers forget, at a lag, all that came before.

        Outputs of the layers at that step and before it stay what they are.

        Args:
            names: Of the layers.
            lags: int64, `(num_lags,)`: the state after the step at this lag is emptied.

        Returns:
            `(num_lags, batch, ...)`, one batch per lag; forecasts in units of their
            window's scale.
        """
        run = next(iter(self.runs.values()))
        rows, time, features = run.inputs.shape
        widest = max(layer.units for layer in self.layers.values())
        room = ROOM // (rows * time * (features + 12 * widest))
        if any(isinstance(layer, CarriedState) for layer in self.model.layers):
            room = 1  # as many rows as it has states
        chunk = int(np.clip(room, 1, len(lags)))
        if names not in self._emptied:
            function = partial(self._run_emptied, names)
            jax = keras.backend.backend() == "jax"
            self._emptied[names] = compiled(function) if jax else function
        values = [ops.convert_to_tensor(v.value) for v in self._variables()]
        parts = []
        for start in range(0, len(lags), chunk):
            part = lags[start : start + chunk]
            # A last part that is shorter would be traced anew.
            full = np.pad(part, (0, chunk - len(part)), mode="edge")
            by_row = ops.convert_to_tensor(np.repeat(full, rows), "int32")
            outputs = as_numpy(self._emptied[names](values, by_row))
            parts.append(outputs.reshape(chunk, rows, *outputs.shape[1:])[: len(part)])
        return np.concatenate(parts)

    def _run_emptied(
        self, names: tuple[str, ...], values: list[Tensor], lags: Tensor
    ) -> Tensor:
        repeats = lags.shape[0] // len(keras.tree.flatten(self.batch[0])[0])
        inputs = keras.tree.map_structure(
            lambda x: np.tile(x, (repeats, *[1] * (np.ndim(x) - 1))), self.batch[0]
        )

        def run(name: str, layer: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            output, states = run_layer(layer, inputs, *args, **options)
            if name in names:
                lengths = args[0] if args else None
                reverse = options["reverse"]
                output = run_emptied(layer, inputs, lengths, output, lags, reverse)
            return output, states

        # Within the scope a state that is carried on stays as it is.
        with keras.StatelessScope(zip(self._variables(), values, strict=True)):
            outputs = self._forward(run, inputs)
            for layer in self.model.layers:
                if isinstance(layer, WindowScaler):
                    location, scale = layer.location_and_scale(inputs["target"])
                    unit = ops.exp(location) if layer.scaling == "log" else scale
                    outputs = outputs / unit[..., None]
        return outputs


def _num_states(layer: keras.layers.Layer) -> int:
    return 2 if isinstance(layer, keras.layers.LSTM) else 1
