"""Parameters are exact, sums are sums, and a budget is used up."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_seq import build_forecaster, build_text_classifier
from keras_seq.diagnostics import Machine, calibrate, choose_units, estimate_cost
from keras_seq.diagnostics.machine import _fit_positive

REPOSITORY = Path(__file__).parents[2]
TEXT = {"num_classes": 3, "max_tokens": 50, "units": 8, "embedding_dim": 4}
SERIES = {"lookback": 10, "horizon": 3, "units": 8}
CELLS = ("rnn", "lstm", "gru", "transformer")
DEEP = {"num_layers": 2, "units": (8, 6)}


def _machine(**changes):
    values = {"flops": 1e9, "bandwidth": 1e8}
    keys = [(cell, training) for cell in CELLS[:3] for training in (False, True)]
    seconds = {key: np.array([1e-4, 1e-5, 1e-10, 1e-9]) for key in keys}
    builders = ("build_text_classifier", "build_forecaster")
    calls = {(name, t): 1e-3 + t * 1e-3 for name in builders for t in (False, True)}
    return Machine(**values, recurrences=seconds, calls=calls)


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("builder", "arguments"),
    [
        *[(build_text_classifier, {**TEXT, "cell": cell}) for cell in CELLS],
        *[(build_forecaster, {**SERIES, "cell": cell}) for cell in CELLS],
        (build_text_classifier, {**TEXT, **DEEP, "normalization": "batch"}),
        (build_text_classifier, {**TEXT, **DEEP, "normalization": "layer"}),
        (build_text_classifier, {**TEXT, "pooling": "concat", "conv_filters": 5}),
        (build_text_classifier, {**TEXT, "pooling": "attention"}),
        (build_text_classifier, {**TEXT, **DEEP, "auxiliary": "next_step"}),
        (
            build_text_classifier,
            {**TEXT, "bidirectional": False, "auxiliary": "next_step"},
        ),
        (
            build_text_classifier,
            {**TEXT, "ngrams": 3, "ngram_dim": 5, "ngram_buckets": 16},
        ),
        (build_forecaster, {**SERIES, "num_future": 2, "quantiles": (0.1, 0.9)}),
        (
            build_forecaster,
            {**SERIES, "num_past": 2, "num_static": 1, "static_cardinalities": (3, 9)},
        ),
        (build_forecaster, {**SERIES, "auxiliary": "next_step", "conv_filters": 4}),
        (build_forecaster, {**SERIES, **DEEP, "scaling": "log", "point": "mean"}),
        (build_forecaster, {**SERIES, **DEEP, "segment_length": 4, "num_future": 2}),
        (
            build_forecaster,
            {**SERIES, "segment_length": 2, "conv_filters": 4, "num_static": 1},
        ),
        (
            build_forecaster,
            {**SERIES, "segment_length": 3, "auxiliary": "next_step", "num_past": 1},
        ),
        (build_forecaster, {**SERIES, "segment_length": 3, "cell": "transformer"}),
    ],
)
def test_parameters_are_those_of_the_built_network(builder, arguments):
    length = 20 if builder is build_text_classifier else None
    cost = estimate_cost(
        builder, batch_size=2, length=length, machine=_machine(), **arguments
    )
    assert cost.parameters == builder(**arguments).count_params()


def test_operations_and_activations_are_counted():
    """By hand, for an LSTM that reads forward and a softmax of its last state."""
    arguments = {**TEXT, "bidirectional": False, "pooling": "last"}
    batch, steps, features, units = 2, 20, 4, 8
    multiplications = 0
    for _ in range(batch):
        for _ in range(steps):
            multiplications += 4 * units * (features + units)  # four gates
        multiplications += units * 3
    cost = estimate_cost(
        build_text_classifier,
        batch_size=batch,
        length=steps,
        machine=_machine(),
        **arguments,
    )
    products = 2 * multiplications
    assert products < cost.flops < 1.3 * products  # the rest is elementwise
    assert cost.training_flops == 3 * cost.flops
    # h, c, four gates and the h before, and the inputs: 4 bytes each
    kept = 4 * batch * steps * (features + 7 * units)
    assert kept < cost.training_bytes < 1.5 * kept
    assert cost.activation_bytes == kept + 4 * batch * steps * units


def test_seconds_are_the_sum_of_call_recurrence_and_rest():
    arguments = {**SERIES, "cell": "rnn"}
    machine = Machine(
        flops=np.inf,
        bandwidth=np.inf,
        recurrences=_machine().recurrences,
        calls=_machine().calls,
    )
    options = {"batch_size": 5, "machine": machine, **arguments}
    cost = estimate_cost(build_forecaster, **options)
    steps, features, units = 10, 3, 8
    flops = 5 * steps * (2 * units * (features + units) + 3 * units)
    kept = 5 * steps * (features + 2 * units)
    expected = 1e-3 + 1e-4 + 1e-5 * steps + 1e-10 * flops + 1e-9 * kept
    assert cost.seconds == pytest.approx(expected, rel=1e-9)
    assert cost.training_seconds == pytest.approx(expected + 1e-3, rel=1e-9)
    assert cost.epoch_seconds(11) == pytest.approx(3 * cost.training_seconds)
    half = estimate_cost(build_forecaster, **options, mean_length=5)
    saved = (1e-10 * flops + 1e-9 * kept) / 2
    assert cost.seconds - half.seconds == pytest.approx(saved, rel=1e-6)
    two = estimate_cost(build_forecaster, **options, precision="mixed_bfloat16")
    assert two.training_bytes == cost.training_bytes / 2


def test_a_recurrence_over_segments_has_fewer_steps():
    machine = _machine()
    machine.recurrences = {k: np.array([0, 1.0, 0, 0]) for k in machine.recurrences}
    options = {"batch_size": 1, "machine": machine, **SERIES}
    direct = estimate_cost(build_forecaster, **options)
    segments = estimate_cost(build_forecaster, **options, segment_length=3)
    assert round(direct.seconds) == 10
    assert round(segments.seconds) == 4  # one of them not full


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("budget", [{"budget_ms": 9.0}, {"budget_mb": 1.5}])
def test_the_largest_size_within_the_budget_is_chosen(budget, training):
    options = {"batch_size": 4, "machine": _machine(), "lookback": 30, "horizon": 3}
    chosen = choose_units(build_forecaster, training=training, **budget, **options)

    def spent(units):
        cost = estimate_cost(build_forecaster, units=units, **options)
        if "budget_ms" in budget:
            return 1e3 * (cost.training_seconds if training else cost.seconds)
        if training:
            return 1e-6 * (16 * cost.parameters + cost.training_bytes)
        return 1e-6 * (4 * cost.parameters + cost.activation_bytes)

    (limit,) = budget.values()
    fitting = [units for units in range(8, 2049, 8) if spent(units) <= limit]
    assert chosen == max(fitting)


def test_costs_less_than_nothing_are_left_out():
    random = np.random.default_rng(0)
    features = random.uniform(1, 2, (6, 3)) * [1, 10, 1e9]
    true = np.array([1e-4, 2e-5, 3e-13])
    found = _fit_positive(features, features @ true)
    np.testing.assert_allclose(found, true, rtol=1e-6)
    seconds = features @ [1e-4, -1e-6, 3e-13]
    found = _fit_positive(features, seconds)
    assert found[1] == 0
    assert (found >= 0).all()


def test_bad_arguments_are_named():
    options = {"batch_size": 1, "machine": _machine()}
    with pytest.raises(ValueError, match="`builder` must be build_text_classifier"):
        estimate_cost(dict, **options)
    with pytest.raises(ValueError, match="`length`.*length=None"):
        estimate_cost(build_text_classifier, **options, **TEXT)
    with pytest.raises(ValueError, match="`length` belongs to texts.*length=5"):
        estimate_cost(build_forecaster, length=5, **options, **SERIES)
    with pytest.raises(ValueError, match="`stateful` must be False"):
        estimate_cost(build_forecaster, stateful=True, **options, **SERIES)
    with pytest.raises(ValueError, match="must not exceed.*10.*mean_length=11"):
        estimate_cost(build_forecaster, mean_length=11, **options, **SERIES)
    with pytest.raises(ValueError, match="Received: neither"):
        choose_units(build_forecaster, **options, **SERIES)
    with pytest.raises(ValueError, match="`units` is what is chosen.*units=8"):
        choose_units(build_forecaster, budget_ms=1, **options, **SERIES)
    with pytest.raises(ValueError, match="Not even 8 units.*budget_ms=0.1"):
        arguments = {"lookback": 10, "horizon": 3}
        choose_units(build_forecaster, budget_ms=0.1, **options, **arguments)


@pytest.mark.slow
def test_a_real_machine_is_measured():
    machine = calibrate()
    arguments = {"lookback": 64, "horizon": 6, "units": 96, "cell": "lstm"}
    cost = estimate_cost(build_forecaster, batch_size=64, machine=machine, **arguments)
    model = build_forecaster(**arguments)
    inputs, target = {"target": np.ones((64, 64), "f4")}, np.ones((64, 6), "f4")
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        model.train_on_batch(inputs, target)
        seconds.append(time.perf_counter() - started)
    # Wide, for other work may run beside; the benchmark has the exact figures.
    assert 0.25 < cost.training_seconds / np.median(seconds[2:]) < 4
    assert calibrate() is machine


@pytest.mark.slow
def test_the_benchmark_runs():
    script = str(REPOSITORY / "benchmarks" / "cost_model.py")
    command = [sys.executable, script, "--quick", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "train: median error" in done.stdout
    assert done.stdout.count("| text ") + done.stdout.count("| forecast ") == 2
