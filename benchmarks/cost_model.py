"""Compares predicted with measured seconds of 24 networks of the builders.

`estimate_cost` predicts from a calibration of this machine; then each network is built
and timed by `train_on_batch` and `predict_on_batch`. The networks take turns in every
round, and medians over the rounds are compared. Parameters must be equal. Run it on a
machine that has nothing else to do: a calibration and a measurement that other work
disturbs differently disagree.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

from keras_seq import build_forecaster, build_text_classifier  # noqa: E402
from keras_seq.demo import describe_hardware  # noqa: E402
from keras_seq.diagnostics import Cost, calibrate, estimate_cost  # noqa: E402

CELLS = ("rnn", "lstm", "gru")
REPEATS = 3  # calls of one network in its turn


class Case(NamedTuple):
    """A network and its batch."""

    builder: Callable[..., Any]
    batch: int
    length: int | None
    arguments: dict[str, Any]

    def describe(self) -> str:
        given = self.arguments
        shape = f"{self.batch} x {self.length or given['lookback']}"
        layers = f"{given.get('num_layers', 1)} x {given['units']} {given['cell']}"
        kind = "text" if self.length else "forecast"
        ways = ", both ways" if self.length and given["bidirectional"] else ""
        return f"{kind} {shape}, {layers}{ways}"

    def estimate(self) -> Cost:
        options: dict[str, Any] = {"batch_size": self.batch, "length": self.length}
        return estimate_cost(self.builder, **options, **self.arguments)

    def data(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        random = np.random.default_rng(0)
        if self.length is None:
            lookback, horizon = (self.arguments[n] for n in ("lookback", "horizon"))
            window = random.normal(size=(self.batch, lookback)).astype("float32")
            target = random.normal(size=(self.batch, horizon)).astype("float32")
            return {"target": window}, target
        tokens = random.integers(0, 5000, (self.batch, self.length)).astype("int32")
        lengths = np.full(self.batch, self.length, "int32")
        target = random.integers(0, 2, self.batch)
        return {"tokens": tokens, "length": lengths}, target


def make_cases(quick: bool) -> list[Case]:
    """Twelve of each builder; `quick`: two small ones."""
    text = {"num_classes": 2, "max_tokens": 5000, "embedding_dim": 64}
    cases = []
    for cell in CELLS:
        for batch, length, units, layers, both in (
            (32, 50, 32, 1, False),
            (64, 100, 64, 1, True),
            (64, 200, 64, 2, False),
            (32, 100, 160, 1, False),
        ):
            own = {"cell": cell, "units": units, "num_layers": layers}
            arguments = {**text, **own, "bidirectional": both}
            cases.append(Case(build_text_classifier, batch, length, arguments))
        for batch, lookback, units, layers in (
            (32, 24, 32, 1),
            (128, 48, 64, 1),
            (256, 36, 64, 2),
            (64, 96, 128, 1),
        ):
            own = {"cell": cell, "units": units, "num_layers": layers}
            arguments = {"lookback": lookback, "horizon": 12, **own}
            cases.append(Case(build_forecaster, batch, None, arguments))
    return [cases[0], cases[4]] if quick else cases


def measure(cases: list[Case], rounds: int) -> tuple[list[list[float]], list[int]]:
    """Median seconds of predicting and of training for each case, and its weights."""
    calls, weights = [], []
    for case in cases:
        model, (inputs, target) = case.builder(**case.arguments), case.data()
        weights.append(model.count_params())
        calls.append(
            (
                lambda m=model, x=inputs: m.predict_on_batch(x),
                lambda m=model, x=inputs, y=target: m.train_on_batch(x, y),
            )
        )
        for call in calls[-1]:
            call()  # compiles
    seconds: list[list[list[float]]] = [[[], []] for _ in cases]
    for _ in range(rounds):
        for case_calls, found in zip(calls, seconds, strict=True):
            for call, own in zip(case_calls, found, strict=True):
                call()  # others have had the caches since its last turn
                started = time.perf_counter()
                for _ in range(REPEATS):
                    call()
                own.append((time.perf_counter() - started) / REPEATS)
    return [[statistics.median(own) for own in found] for found in seconds], weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two small networks")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    cases = make_cases(options.quick)
    started = time.perf_counter()
    calibrate()
    costs = [case.estimate() for case in cases]
    print(f"{describe_hardware()}; calibrated in {time.perf_counter() - started:.1f} s")
    measured, weights = measure(cases, options.rounds)
    calibrate(again=True)
    drift = [
        case.estimate().training_seconds / cost.training_seconds - 1
        for case, cost in zip(cases, costs, strict=True)
    ]
    print(
        "\n| network | weights | predict, ms: predicted | measured | off "
        "| train, ms: predicted | measured | off |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    errors: list[list[float]] = [[], []]
    for case, cost, found, count in zip(cases, costs, measured, weights, strict=True):
        if cost.parameters != count:
            raise SystemExit(
                f"{case.describe()}: {cost.parameters} weights, not {count}"
            )
        cells = []
        pairs = zip((cost.seconds, cost.training_seconds), found, strict=True)
        for own, (predicted, real) in zip(errors, pairs, strict=True):
            own.append(predicted / real - 1)
            cells.append(f"{1e3 * predicted:.1f} | {1e3 * real:.1f} | {own[-1]:+.0%}")
        print(f"| {case.describe()} | {count:,} | {' | '.join(cells)} |")
    print()
    for name, own in zip(("predict", "train"), errors, strict=True):
        sizes = [abs(error) for error in own]
        middle, worst = statistics.median(sizes), max(sizes)
        print(f"{name}: median error {middle:.0%}, worst {worst:.0%}")
    print(
        "calibrated again afterwards, training is predicted to take "
        f"{statistics.median(drift):+.0%}: far from 0, other work disturbed one of both"
    )


if __name__ == "__main__":
    main()
