"""The copy task: do the instruments tell how far back a network remembers?

A row is noise; somewhere in it stands a sign, +1 or -1, and only the state after the
last step is asked for it. How far back the sign stands is known, so what the
instruments of `keras_seq.diagnostics` say can be compared with what is true.

1. Each cell is trained on the sign at each lag. A lag is solved if at least 99 % of
   1,000 new rows are right (a coin: 50 %). The memory horizon of a network that solves
   a lag should be that lag, of another shorter than 80 % of it. Then what `findings`
   advise is followed, all changes at once, in a new network that gets as many steps;
   up to twice, since what is advised may have a next thing wrong with it. What has
   not solved its lag and gets no advice is trained on, for as many steps.
2. A SimpleRNN with ReLU and a recurrent kernel 1.6 times as large as usual explodes.
   It is trained by plain gradient descent without clipping, and clipped at what
   `suggest_clipping` gives.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402

from keras_seq.demo import describe_hardware  # noqa: E402
from keras_seq.diagnostics import (  # noqa: E402
    GradientReport,
    inspect_gradients,
    suggest_clipping,
)
from keras_seq.layers import RecurrentEncoder, SequencePooling  # noqa: E402

CELLS = ("rnn", "lstm", "gru")
BATCH, SCORED = 64, 1000
SOLVED = 0.99
LEARNING_RATE = 3e-3
# Of the noise; larger, it piles up in an LSTM's cell, smaller, a SimpleRNN stays
# near 0, where tanh does not forget.
NOISE = 0.6
GAIN = 1.6  # of the recurrent kernel that explodes

Rows = tuple[dict[str, np.ndarray], np.ndarray]
Draw = Callable[[int, int], Rows]


def width_of(lag: int) -> int:
    """Steps of the rows whose signs stand so many steps before the end."""
    return lag + 1 + max(3, lag // 4)


def make_rows(lag: int, count: int, seed: int, noise: float = NOISE) -> Rows:
    """Ragged rows of noise with a sign `lag` steps before their ends.

    Returns:
        `steps`, float32, `(count, time, 2)`, the noise and the sign; `length`, int32,
        `(count,)`; and which sign, `(count,)`.
    """
    random = np.random.default_rng(seed)
    time = width_of(lag)
    steps = np.zeros((count, time, 2), np.float32)
    steps[..., 0] = noise * random.normal(size=(count, time))
    target = random.integers(0, 2, count)
    length = random.integers(lag + 1, time + 1, count).astype(np.int32)
    steps[np.arange(count), length - 1 - lag, 1] = 2 * target - 1
    return {"steps": steps, "length": length}, target


def rows_of(lag: int, noise: float = NOISE) -> Draw:
    """Draws rows of one lag, by count and seed."""
    return lambda count, seed: make_rows(lag, count, seed, noise)


def build(
    lag: int,
    seed: int,
    *,
    units: int = 24,
    learning_rate: float = LEARNING_RATE,
    optimizer: Any = None,
    **options: Any,
) -> keras.Model:
    """A network that reads the last state alone; `options` are the encoder's."""
    keras.utils.set_random_seed(seed)
    steps = keras.Input((width_of(lag), 2), name="steps")
    length = keras.Input((), dtype="int32", name="length")
    encoded = RecurrentEncoder(units, name="encoder", **options)(steps, length)
    last = SequencePooling("last", bidirectional=False)(encoded, length)
    output = keras.layers.Dense(2, activation="softmax")(last)
    model = keras.Model({"steps": steps, "length": length}, output)
    optimizer = optimizer or keras.optimizers.Adam(learning_rate, global_clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def share_right(model: keras.Model, draw: Draw) -> float:
    inputs, target = draw(SCORED, 2)
    said = np.asarray(model.predict_on_batch(inputs)).argmax(axis=1)
    return float((said == target).mean())


def train(model: keras.Model, draw: Draw, steps: int, seed: int, start: int = 0) -> int:
    """Trains until all is right twice, 100 steps apart, or for `steps`; tells when."""
    right = 0
    for step in range(start + 1, steps + 1):
        model.train_on_batch(*draw(BATCH, 1_000_000 * (seed + 1) + step))
        if step % 100 == 0:
            right = right + 1 if share_right(model, draw) >= SOLVED else 0
            if right == 2:
                break
    return step


def look(model: keras.Model, draw: Draw) -> tuple[int, GradientReport]:
    """The memory horizon, on 64 rows, and the report."""
    report = inspect_gradients(model, draw(64, 3), num_rows=64)
    return int(report.memory["horizon"].iloc[0]), report


class Trained(NamedTuple):
    """What became of one network.

    Attributes:
        model: The network.
        right: Share of new rows.
        steps: It was trained for.
        horizon: Its memory horizon.
        advice: Changes that its report advises.
        kinds: Of what its report finds.
    """

    model: keras.Model
    right: float
    steps: int
    horizon: int
    advice: dict[str, Any]
    kinds: str

    def describe(self, lag: int) -> str:
        off = self.horizon / lag - 1
        return f"{self.right:.1%}, {self.steps} steps | {self.horizon} ({off:+.0%})"


def run(model: keras.Model, lag: int, steps: int, seed: int, start: int = 0) -> Trained:
    draw = rows_of(lag)
    taken = train(model, draw, steps, seed, start)
    horizon, report = look(model, draw)
    advice: dict[str, Any] = {}
    for finding in report.findings:
        advice |= finding.change
    kinds = ", ".join(dict.fromkeys(finding.kind for finding in report.findings))
    right = share_right(model, draw)
    return Trained(model, right, taken, horizon, advice, kinds)


def follow(first: Trained, cell: str, lag: int, steps: int, seed: int) -> list[str]:
    """Does what is advised, up to twice; tells what, and what became of it."""
    now, options = first, {"cell": cell}
    for _ in range(2):
        if now.right >= SOLVED or not now.advice:
            break
        options |= now.advice
        now = run(build(lag, seed, **options), lag, steps, seed)
    said = ", ".join(
        f"{k}={v!r}" for k, v in options.items() if (k, v) != ("cell", cell)
    )
    if now.right < SOLVED and not now.advice:  # what is found is that it is not done
        now = run(now.model, lag, now.steps + steps, seed, start=now.steps)
        said += " trained on"
    return [said, " | " if now is first else now.describe(lag)]


def compare_cells(lags: list[int], cells: list[str], steps: int, seeds: int) -> None:
    """Each cell at each lag; then with what was advised."""
    print(
        "\n| lag | cell | seed | right | memory horizon (off) | found "
        "| advice followed | right | memory horizon (off) |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for lag in lags:
        for cell in cells:
            for seed in range(seeds):
                first = run(build(lag, seed, cell=cell), lag, steps, seed)
                row = [str(lag), cell, str(seed), first.describe(lag), first.kinds]
                row += follow(first, cell, lag, steps, seed)
                print("| " + " | ".join(row) + " |", flush=True)


def build_explosive(seed: int, global_clipnorm: float | None) -> keras.Model:
    optimizer = keras.optimizers.SGD(0.03, global_clipnorm=global_clipnorm)
    with warnings.catch_warnings():  # ReLU costs the fast paths
        warnings.simplefilter("ignore")
        model = build(20, seed, cell="rnn", activation="relu", optimizer=optimizer)
    kernel = model.get_layer("encoder").forward[0].cell.recurrent_kernel
    kernel.assign(GAIN * np.asarray(kernel))
    return model


def compare_clipping(steps: int, seeds: int) -> None:
    """The network that explodes, without clipping and with what is suggested."""
    draw = rows_of(20, noise=1.0)
    print("\n| seed | found | suggested | not clipped | clipped |")
    print("| --- | --- | --- | --- | --- |")
    for seed in range(seeds):
        model = build_explosive(seed, None)
        _, report = look(model, draw)
        kinds = ", ".join(dict.fromkeys(f.kind for f in report.findings))
        suggestion = suggest_clipping(model, draw(2048, 1), seed=seed)
        limit = suggestion.global_clipnorm
        cells = [str(seed), kinds, f"{limit:g}"]
        for network in (model, build_explosive(seed, limit)):
            taken = train(network, draw, steps, seed)
            cells.append(f"{share_right(network, draw):.1%}, {taken} steps")
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lags", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument(
        "--steps", type=int, default=1000, help="of a training, at most"
    )
    parser.add_argument("--seeds", type=int, default=1, help="of part 1")
    parser.add_argument("--clip-seeds", type=int, default=5, help="of part 2")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2], choices=[1, 2])
    options = parser.parse_args()
    started = time.perf_counter()
    print(describe_hardware())
    if 1 in options.parts:
        compare_cells(options.lags, options.cells, options.steps, options.seeds)
    if 2 in options.parts:
        compare_clipping(options.steps, options.clip_seeds)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
