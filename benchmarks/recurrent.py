"""Times RecurrentEncoder beside masked Keras layers and, if installed, PyTorch.

All get the same weights and the same right-padded rows. Outputs at valid steps and all
gradients are compared first; then the peers take turns, and medians over the rounds
are printed. A training step is forward plus the gradients, of the inputs and of all
weights, of the sum of squares over the valid steps; in TensorFlow's graphs, no XLA.

PyTorch is no dependency. Wheels for CPUs alone are small:
pip install torch --index-url https://download.pytorch.org/whl/cpu
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

# Keras reads its backend when it is imported.
os.environ["KERAS_BACKEND"] = "jax" if "--gpu" in sys.argv else "tensorflow"
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX would leave PyTorch little
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

from keras_seq import runtime  # noqa: E402
from keras_seq.demo import describe_hardware  # noqa: E402
from keras_seq.layers import RecurrentEncoder  # noqa: E402

TOLERANCE = 1e-4
CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


class Case(NamedTuple):
    """A shape; `shortest` is the least length, None for rows without padding."""

    batch: int
    time: int
    features: int
    units: int
    shortest: int | None = None
    bidirectional: bool = False

    def describe(self) -> tuple[str, str]:
        shape = f"{self.batch} x {self.time} x {self.features}, {self.units} units"
        lengths = f"{self.shortest} to {self.time}" if self.shortest else "full"
        return shape + ", both ways" * self.bidirectional, lengths

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, zero at padding; lengths; 1 at valid steps, `(batch, time, 1)`."""
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(self.batch, self.time, self.features))
        shortest = self.shortest or self.time
        lengths = rng.integers(shortest, self.time + 1, self.batch, dtype="int32")
        valid = (np.arange(self.time) < lengths[:, None])[..., None]
        return (inputs * valid).astype("float32"), lengths, valid.astype("float32")


CASES = [
    Case(64, 200, 128, 64, 20),
    Case(128, 48, 8, 64),
    Case(128, 48, 8, 64, 5),
    Case(64, 100, 256, 256),
    Case(64, 100, 256, 256, 10),
    Case(64, 200, 128, 64, 20, bidirectional=True),
]
QUICK_CASES = [Case(4, 9, 3, 5), Case(4, 9, 3, 5, 1), Case(4, 9, 3, 5, 1, True)]
LENGTHS_CASE = Case(16, 8, 32, 64)
GPU_CASE, QUICK_GPU_CASE = Case(256, 256, 128, 512), Case(2, 8, 4, 4, 2)


class Peer(NamedTuple):
    """One contender, bound to its data."""

    infer: Callable[[], Any]  # outputs, (batch, time, units)
    train: Callable[[], Any]  # gradients of the inputs and of each weight


Run = Callable[[Any, Any], Any]  # inputs and lengths to outputs


def make_peers(
    case: Case, cell: str, with_torch: bool = False, dtype: str = "float32"
) -> dict[str, Peer]:
    """Ours first, then whom it is compared with, all with the same weights."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    ours = RecurrentEncoder(case.units, cell=cell, bidirectional=case.bidirectional)
    plain = getattr(keras.layers, CELLS[cell])(case.units, return_sequences=True)
    if case.bidirectional:
        plain = keras.layers.Bidirectional(plain)
    for layer in (ours, plain):
        layer.build((None, None, case.features))
    plain.set_weights(ours.get_weights())

    def masked(inputs: Any, lengths: Any) -> Any:
        return plain(inputs, mask=ops.arange(case.time) < lengths[:, None])

    bind = bind_jax if keras.backend.backend() == "jax" else bind_tensorflow
    peers = {
        "ours": bind(case, ours, lambda inputs, lengths: ours(inputs, lengths)),
        "Keras masked": bind(case, plain, masked),
        "Keras unmasked": bind(case, plain, lambda inputs, lengths: plain(inputs)),
    }
    if with_torch:
        peers |= bind_torch(case, cell, ours.get_weights(), plain.compute_dtype)
    return peers


def bind_tensorflow(case: Case, layer: keras.layers.Layer, run: Run) -> Peer:
    # Lengths are arguments: what depends on constants, TensorFlow computes beforehand.
    import tensorflow as tf

    @tf.function
    def train(inputs: Any, lengths: Any, valid: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.square(run(inputs, lengths)) * valid)
        weights = [weight.value for weight in layer.trainable_weights]
        return tape.gradient(loss, [inputs, *weights])

    infer = tf.function(run)
    inputs, lengths, valid = (tf.constant(array) for array in case.draw())
    return Peer(lambda: infer(inputs, lengths), lambda: train(inputs, lengths, valid))


def bind_jax(case: Case, layer: keras.layers.Layer, run: Run) -> Peer:
    import jax

    def infer(arrays: list[Any], lengths: Any) -> Any:
        mapping = list(zip(layer.trainable_variables, arrays[1:], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return run(arrays[0], lengths)

    def loss(arrays: list[Any], lengths: Any, valid: Any) -> Any:
        outputs = infer(arrays, lengths).astype("float32")
        return ops.sum(ops.square(outputs) * valid)

    inputs, lengths, valid = (jax.numpy.asarray(array) for array in case.draw())
    arrays = [weight.value for weight in layer.trainable_variables]
    arrays.insert(0, inputs.astype(layer.compute_dtype))
    infer_fast, train = jax.jit(infer), jax.jit(jax.grad(loss))
    return Peer(
        lambda: jax.block_until_ready(infer_fast(arrays, lengths)),
        lambda: jax.block_until_ready(train(arrays, lengths, valid)),
    )


def bind_torch(
    case: Case, cell: str, weights: list[np.ndarray], dtype: str
) -> dict[str, Peer]:
    """PyTorch's layer over all steps, and over a PackedSequence."""
    import torch
    import torch.nn.utils.rnn as pack

    gpu = keras.backend.backend() == "jax" and torch.cuda.is_available()
    place = {"device": "cuda" if gpu else "cpu", "dtype": getattr(torch, dtype)}
    shape = (case.features, case.units)
    options = {"batch_first": True, "bidirectional": case.bidirectional, **place}
    layer = getattr(torch.nn, CELLS[cell].removeprefix("Simple"))(*shape, **options)
    with torch.no_grad():
        arrays = to_torch(cell, weights)
        for parameter, array in zip(layer.parameters(), arrays, strict=True):
            parameter.copy_(torch.tensor(array))
    inputs, lengths, valid = (torch.tensor(array) for array in case.draw())
    inputs, lengths = inputs.to(**place).requires_grad_(), lengths.long()
    valid = valid.to(place["device"])

    def packed() -> Any:
        rows = pack.pack_padded_sequence(inputs, lengths, True, enforce_sorted=False)
        return pack.pad_packed_sequence(layer(rows)[0], True, 0.0, case.time)[0]

    def train(run: Callable[[], Any]) -> Any:
        loss = (run().float().square() * valid).sum()
        gradients = torch.autograd.grad(loss, [inputs, *layer.parameters()])
        if gpu:
            torch.cuda.synchronize()
        return gradients

    runs = {"torch": lambda: layer(inputs)[0], "torch packed": packed}
    infer = torch.inference_mode()
    return {name: Peer(infer(run), partial(train, run)) for name, run in runs.items()}


def to_torch(cell: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Keras's weights, three for each direction, in PyTorch's order and layout."""
    arrays = []
    weights = [np.asarray(array, "float32") for array in weights]
    for index in range(0, len(weights), 3):
        kernel, recurrent, bias = weights[index : index + 3]
        biases = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        for array in (kernel, recurrent, *biases):
            gates = np.split(array.T, array.shape[-1] // recurrent.shape[0])
            if cell == "gru":
                gates[:2] = gates[1::-1]  # update, reset to reset, update
            arrays.append(np.concatenate(gates))
    return arrays


def largest_difference(case: Case, cell: str, peers: dict[str, Peer]) -> float:
    """As a part of an array's largest value; of outputs at valid steps, and gradients.

    Between ours and each peer that computes the same: a plain layer over all steps
    does not when it runs backward, where padding comes first.
    """

    def to_numpy(tensor: Any) -> np.ndarray:
        if hasattr(tensor, "detach"):
            tensor = tensor.detach().float().cpu()
        return np.asarray(tensor, "float32")

    def results(peer: Peer) -> list[np.ndarray]:
        return [to_numpy(peer.infer()) * valid, *map(to_numpy, peer.train())]

    valid = case.draw()[-1]
    outputs, of_inputs, *of_weights = results(peers["ours"])
    worst = 0.0
    for name in list(peers)[1:]:
        if case.bidirectional and name in ("Keras unmasked", "torch"):
            continue
        expected = to_torch(cell, of_weights) if "torch" in name else of_weights
        pairs = zip([outputs, of_inputs, *expected], results(peers[name]), strict=True)
        for ours, theirs in pairs:
            # PyTorch's second bias, where Keras has one, is zeros in `expected`.
            if ours.any() or "torch" not in name:
                part = abs(ours - theirs).max() / abs(theirs).max()
                worst = float(np.maximum(worst, part))  # unlike max(), keeps NaN
    return worst


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each call; they take turns."""

    def milliseconds(call: Callable[[], Any], repeats: int) -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        return 1000 * (time.perf_counter() - started) / repeats

    repeats: dict[str, int] = {}
    for name, call in calls.items():
        call()  # traces and compiles
        repeats[name] = max(1, round(50 / milliseconds(call, 1)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.02)  # idle threads of the one before may still be spinning
            taken[name].append(milliseconds(call, repeats[name]))
    return {name: statistics.median(values) for name, values in taken.items()}


def print_table(names: list[str], rows: list[list[str]]) -> None:
    print()
    for row in (names, ["---"] * len(names), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def compare_cells(options: argparse.Namespace) -> None:
    """Prints the largest difference and a table of times for each mode."""
    tables: dict[str, list[list[str]]] = {"inference": [], "training step": []}
    worst = 0.0
    for case in QUICK_CASES if options.quick else CASES:
        for cell in ("lstm", "gru") if case.bidirectional else CELLS:
            peers = make_peers(case, cell, options.torch)
            difference = largest_difference(case, cell, peers)
            if not difference <= TOLERANCE:
                sys.exit(f"{case}, {cell}: the peers differ by {difference:.1e}")
            worst = max(worst, difference)
            for position, rows in enumerate(tables.values()):
                calls = {name: peer[position] for name, peer in peers.items()}
                ours, *others = measure(calls, options.rounds).values()
                ratios = [f"{value:.1f} ({value / ours:.2f}x)" for value in others]
                rows.append([*case.describe(), cell, f"{ours:.1f}", *ratios])
    print(f"Largest relative difference, outputs and gradients: {worst:.1e}")
    for title, rows in tables.items():
        print_table([f"{title}, ms (times ours)", "lengths", "cell", *peers], rows)


def compare_lengths(options: argparse.Namespace) -> None:
    """Prints time and memory by length, and the exponents of their growth."""
    names = ("ours", "Keras masked")
    times = [8, 16] if options.quick else [64 * 2**i for i in range(7)]
    measured = []  # ms and MiB, of each name
    for steps in times:
        row: list[float] = []
        for name in names:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                row += pool.submit(measure_length, steps, name, options.rounds).result()
        measured.append(row)
    columns = np.log(np.maximum(measured, 0.1)).T
    exponents = [np.polyfit(np.log(times), column, 1)[0] for column in columns]
    table = [*zip(times, measured, strict=True), ("exponent", exponents)]
    heads = [f"{name}, {unit}" for name in names for unit in ("ms", "MiB")]
    rows = [[str(head), *(f"{cell:.2f}" for cell in cells)] for head, cells in table]
    print_table(["LSTM training, time steps", *heads], rows)


def measure_length(steps: int, name: str, rounds: int) -> tuple[float, float]:
    """Milliseconds and MiB that a training step takes; in a process of its own."""

    def peak() -> float:
        # Linux; `ru_maxrss` would start at the peak of the process before this one.
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    set_threads(with_torch=False)
    make_peers(LENGTHS_CASE, "lstm")[name].train()
    train = make_peers(LENGTHS_CASE._replace(time=steps), "lstm")[name].train
    # Makes the peak what is held now, and not what importing took.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    held = peak()
    milliseconds = measure({name: train}, rounds)[name]
    return milliseconds, peak() - held


def compare_on_gpu(options: argparse.Namespace) -> None:
    """Prints tokens per second of training on JAX's device."""
    import jax

    if jax.default_backend() != "gpu":
        print("JAX finds no GPU here.")
        if not options.quick:
            return
    case, rows = QUICK_GPU_CASE if options.quick else GPU_CASE, []
    for dtype in ("float32", "mixed_bfloat16"):
        peers = make_peers(case, "lstm", options.torch, dtype)
        difference = largest_difference(case, "lstm", peers)
        calls = {name: peer.train for name, peer in peers.items()}
        taken = measure(calls, options.rounds).values()
        rates = [f"{1000 * case.batch * case.time / value:,.0f}" for value in taken]
        rows.append([*case.describe(), dtype, *rates, f"{difference:.1e}"])
    heads = ["LSTM training, tokens per second", "lengths", "dtype"]
    print_table([*heads, *peers, "largest relative difference"], rows)


def set_threads(with_torch: bool) -> None:
    """On the CPU, as many for TensorFlow as for PyTorch."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(os.cpu_count())
    tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count())
    if with_torch:
        import torch

        torch.set_num_threads(os.cpu_count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--lengths", action="store_true", help="time and memory by length instead")
    add("--gpu", action="store_true", help="training on JAX and a GPU instead")
    add("--quick", action="store_true", help="tiny shapes, to see that it runs")
    add("--rounds", type=int, default=9, help="turns of each peer")
    add("--torch", choices=["auto", "off"], default="auto", help="auto: if installed")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.torch = options.torch == "auto" and find_spec("torch") is not None
    compare = compare_on_gpu if options.gpu else compare_cells
    if options.lengths:
        compare, options.torch = compare_lengths, False
    if not options.gpu:
        set_threads(options.torch)
    versions = f"keras {runtime.describe()['keras_version']}"
    if options.torch:
        versions += f", torch {version('torch')}"
    print(f"{describe_hardware()}, {versions}")
    compare(options)


if __name__ == "__main__":
    main()
