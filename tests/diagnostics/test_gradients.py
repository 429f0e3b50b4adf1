"""Every figure equals a plain NumPy loop: gradients by finite differences."""

import keras
import numpy as np
import pytest

from keras_seq import build_forecaster, build_text_classifier, numpy_runtime
from keras_seq.diagnostics import (
    RecordGradientFlow,
    gradient_flow,
    inspect_gradients,
)
from tests.diagnostics.copy_task import build, make_rows

DEEP = {"num_layers": 2, "bidirectional": True}
FLAT = {"bidirectional": False}
CELLS = ("rnn", "lstm", "gru")
TIME, UNITS = 6, 3
# JAX compiles each network anew, for half a minute: there the deep ones are one cell's.
STRUCTURES = [
    pytest.param(
        cell,
        structure,
        id=f"{cell}-{name}",
        marks=[pytest.mark.numeric] * (structure is FLAT or cell == "lstm")
        + [pytest.mark.exhaustive] * (structure is DEEP and cell != "lstm"),
    )
    for cell in CELLS
    for name, structure in (("flat", FLAT), ("deep", DEEP))
]


class Loop:
    """The network of `_text_model` in float64, one step of one layer after another.

    Args:
        model: Where the weights are from.
        inputs: Tokens and lengths.
    """

    def __init__(self, model, inputs):
        encoder = model.get_layer("encoder")
        self.cell, self.inputs = encoder.cell, inputs
        self.layers = {
            f"encoder/{layer.name}": [np.float64(w) for w in layer.get_weights()]
            for layer in (*encoder.forward, *encoder.backward)
        }
        self.embedding = np.float64(model.get_layer("embedding").get_weights()[0])
        self.dense = [np.float64(w) for w in model.layers[-1].get_weights()]
        self.parts = 2 if self.cell == "lstm" else 1

    def run(self, nudge=None, emptied=None):
        """Probabilities, and each layer's `h` by row and lag.

        Args:
            nudge: `(layer, row, lag, part, vector)` added to a state after its step.
            emptied: `(layers, lag)`, where all rows' states become zero.
        """
        probabilities, last = [], []
        for row, length in enumerate(self.inputs["length"]):
            sequence = self.embedding[self.inputs["tokens"][row, :length]]
            states = {}
            for index in range(len(self.layers)):
                outputs = []
                for direction in ("forward", "backward"):
                    name = f"encoder/{direction}_{index}"
                    if name not in self.layers:
                        continue
                    states[name] = self._layer(
                        name, row, sequence, direction == "backward", nudge, emptied
                    )
                    outputs.append(states[name])
                if outputs:
                    sequence = np.concatenate(outputs, axis=-1)
            ends = [sequence[-1, :UNITS]]
            if sequence.shape[-1] > UNITS:
                ends.append(sequence[0, UNITS:])
            logits = np.concatenate(ends) @ self.dense[0] + self.dense[1]
            probabilities.append(np.exp(logits) / np.exp(logits).sum())
            last.append({n: s[0 if "backward" in n else -1] for n, s in states.items()})
        return np.array(probabilities), last

    def _layer(self, name, row, sequence, reverse, nudge, emptied):
        state = [np.zeros((1, UNITS))] * self.parts
        ordered = sequence[::-1] if reverse else sequence
        outputs = []
        for step, x in enumerate(ordered):
            lag = len(ordered) - 1 - step
            state = list(
                numpy_runtime.step(self.cell, self.layers[name], x[None], state)
            )
            if nudge and nudge[:3] == (name, row, lag):
                state[nudge[3]] = state[nudge[3]] + nudge[4]
            outputs.append(state[0][0])
            if emptied and name in emptied[0] and lag == emptied[1]:
                state = [np.zeros((1, UNITS))] * self.parts
        outputs = np.array(outputs)
        return outputs[::-1] if reverse else outputs

    def loss(self, targets, **options):
        probabilities = self.run(**options)[0]
        return -np.log(probabilities[np.arange(len(targets)), targets])

    def differences(self, name, lag, part, targets, size=1e-5):
        """Norms of d loss / d state and d h / d state, rms over rows that are there."""
        rows = [r for r, n in enumerate(self.inputs["length"]) if n > lag]
        losses, jacobians = [], []
        for row in rows:
            of_loss, of_last = [], []
            for unit in np.eye(UNITS):
                ends = [(name, row, lag, part, s * size * unit) for s in (1, -1)]
                up, down = (self.loss(targets, nudge=n)[row] for n in ends)
                of_loss.append((up - down) / (2 * size))
                up, down = (self.run(nudge=n)[1][row][name] for n in ends)
                of_last.append((up - down) / (2 * size))
            losses.append(np.sum(np.square(of_loss)))
            jacobians.append(np.sum(np.square(of_last)) / UNITS)
        return np.sqrt(np.mean(losses)), np.sqrt(np.mean(jacobians)), len(rows)


def _text_model(cell, structure, precision=None):
    model = build_text_classifier(
        num_classes=2,
        max_tokens=9,
        cell=cell,
        units=UNITS,
        embedding_dim=4,
        pooling="last",
        precision=precision,
        seed=0,
        **structure,
    )
    random = np.random.default_rng(1)  # biases of zero would hide their part
    for weight in model.trainable_variables:
        weight.assign(weight + 0.5 * random.normal(size=weight.shape))
    return model


def _text_rows():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 9, (4, TIME)).astype(np.int32)
    inputs = {"tokens": tokens, "length": np.array([TIME, 4, 1, 2], np.int32)}
    return inputs, np.array([0, 1, 1, 0])


def _precision():
    return "float64" if keras.backend.backend() == "tensorflow" else None


@pytest.mark.parametrize(("cell", "structure"), STRUCTURES)
def test_gradients_and_jacobians_equal_finite_differences(cell, structure):
    model, (inputs, targets) = _text_model(cell, structure, _precision()), _text_rows()
    flow = gradient_flow(model, (inputs, targets))
    loop = Loop(model, inputs)
    tolerance = {"rtol": 1e-5, "atol": 1e-8} if _precision() else {"rtol": 1e-3}
    assert flow["exact"].all()
    assert sorted(set(flow["layer"])) == sorted(loop.layers)
    for row in flow.itertuples():
        found = [(row.norm, row.jacobian), (row.norm_c, row.jacobian_c)]
        for part, values in enumerate(found[: loop.parts]):
            *expected, count = loop.differences(row.layer, row.lag, part, targets)
            np.testing.assert_allclose(values, expected, **tolerance)
            assert row.rows == count
        if loop.parts == 1:
            assert np.isnan(found[1]).all()


@pytest.mark.parametrize(("cell", "structure"), STRUCTURES)
def test_influence_equals_a_loop_that_forgets(cell, structure):
    model, (inputs, targets) = _text_model(cell, structure), _text_rows()
    report = inspect_gradients(model, (inputs, targets))
    loop = Loop(model, inputs)
    usual = loop.run()[0]
    groups = {name: (name,) for name in loop.layers}
    if structure is DEEP:
        for way in ("forward", "backward"):
            groups[f"all/{way}"] = tuple(n for n in groups if f"/{way}_" in n)
    changes = {}
    for group, names in groups.items():
        for lag in range(1, TIME):
            there = inputs["length"] > lag
            change = (loop.run(emptied=(names, lag))[0] - usual)[there]
            changes[group, lag] = np.sqrt(np.mean(change**2))
    largest = max(changes.values())
    for row in report.flow.itertuples():
        if row.lag == 0:
            assert np.isnan(row.influence)
        else:
            expected = changes[row.layer, row.lag] / largest
            np.testing.assert_allclose(row.influence, expected, rtol=1e-3, atol=1e-6)
    for row in report.memory.itertuples():
        lags = [k for k in range(1, TIME) if changes[row.layer, k] >= 0.01 * largest]
        assert row.horizon == max(lags, default=0)
        assert row.reaches_start == (row.horizon == TIME - 1)
        assert row.lookback == TIME
    assert set(report.memory["layer"]) == set(groups)


def test_weights_and_loss_equal_finite_differences():
    model, (inputs, targets) = _text_model("gru", DEEP, "float64"), _text_rows()
    report = inspect_gradients(model, (inputs, targets))
    loop = Loop(model, inputs)
    assert report.loss == pytest.approx(loop.loss(targets).mean(), rel=1e-6)
    weights = report.weights.set_index("weight")
    assert list(weights.index) == [w.path for w in model.trainable_variables]
    for path, weight in (
        ("embedding/embeddings", loop.embedding),
        ("probabilities/bias", loop.dense[1]),
        (
            "encoder/backward_0/gru_cell/recurrent_kernel",
            loop.layers["encoder/backward_0"][1],
        ),
    ):
        slopes = []
        for index in np.ndindex(weight.shape):
            before = weight[index]
            ends = []
            for size in (1e-5, -1e-5):
                weight[index] = before + size
                ends.append(loop.loss(targets).mean())
            weight[index] = before
            slopes.append((ends[0] - ends[1]) / 2e-5)
        row = weights.loc[path]
        assert row["gradient_norm"] == pytest.approx(np.linalg.norm(slopes), rel=1e-4)
        assert row["norm"] == pytest.approx(np.linalg.norm(weight), rel=1e-5)


@pytest.mark.numeric
def test_many_units_are_estimated_and_say_so():
    model = build_forecaster(lookback=12, horizon=2, cell="lstm", units=24, seed=0)
    random = np.random.default_rng(0)
    data = {"target": random.normal(size=(16, 12))}, random.normal(size=(16, 2))
    exact = gradient_flow(model, data, num_probes=None)
    flow = gradient_flow(model, data, num_probes=8)
    assert exact["exact"].all()
    assert not flow["exact"].any()
    for column in ("jacobian", "jacobian_c"):
        # 16 rows of 8 vectors each: the norm's standard error is below 0.1.
        np.testing.assert_allclose(flow[column], exact[column], rtol=0.2)
    np.testing.assert_array_equal(flow["norm"], exact["norm"])


@pytest.mark.numeric
def test_lags_of_a_network_that_reads_segments_are_segments():
    model = build_forecaster(
        lookback=12, horizon=4, units=4, segment_length=3, seed=0, cell="lstm"
    )
    head = model.get_layer("quantiles").dense.kernel
    random = np.random.default_rng(0)
    head.assign(random.normal(size=head.shape))  # zeros would pass nothing on
    data = {"target": random.normal(size=(6, 12))}, random.normal(size=(6, 4))
    report = inspect_gradients(model, data)
    assert report.flow["lag"].tolist() == [0, 1, 2, 3]
    assert (report.flow["norm"] > 0).all()
    assert report.memory["lookback"].tolist() == [4]


def test_gates_are_those_of_the_cell():
    model, (inputs, targets) = _text_model("lstm", FLAT), _text_rows()
    gates = inspect_gradients(model, (inputs, targets)).gates.set_index("gate")
    kernel, recurrent, bias = Loop(model, inputs).layers["encoder/forward_0"]
    embedding = np.float64(model.get_layer("embedding").get_weights()[0])
    found = []
    for row, length in enumerate(inputs["length"]):
        state = [np.zeros((1, UNITS))] * 2
        for token in inputs["tokens"][row, :length]:
            x = embedding[token][None]
            sums = x @ kernel + state[0] @ recurrent + bias
            found.append(1 / (1 + np.exp(-sums[0])))
            state = numpy_runtime.step("lstm", (kernel, recurrent, bias), x, state)
    for gate, place in {"input": 0, "forget": 1, "output": 3}.items():
        values = np.array(found)[:, place * UNITS : (place + 1) * UNITS]
        expected = [np.exp(np.log(values).mean()), (values < 0.05).mean()]
        expected.append((values > 0.95).mean())
        row = gates.loc[gate, ["mean", "low", "high"]].to_numpy(float)
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.numeric
def test_nothing_is_changed_by_looking():
    model = build_forecaster(lookback=8, horizon=2, stateful=True, batch_size=4)
    data = {"target": np.random.default_rng(0).normal(size=(4, 8))}, np.ones((4, 2))
    model.train_on_batch(*data)
    watched = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    before = [np.array(v) for v in watched]
    gradient_flow(model, data)
    for variable, value in zip(watched, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    model.train_on_batch(*data)  # and the layers run as before
    assert any((np.array(v) != b).any() for v, b in zip(watched, before, strict=True))


def test_half_precision_is_near_single():
    inputs, targets = _text_rows()
    flows = []
    for precision in ("float32", "mixed_bfloat16"):
        model = _text_model("lstm", FLAT, precision)
        flows.append(gradient_flow(model, (inputs, targets)))
    for column in ("norm", "norm_c", "jacobian", "jacobian_c"):
        # bfloat16 has 8 bits, and errors add up over the steps.
        np.testing.assert_allclose(flows[1][column], flows[0][column], rtol=0.1)


@pytest.mark.slow
def test_a_callback_measures_while_training():
    model, data = build(10, cell="gru"), make_rows(10, 64, seed=0)
    record = RecordGradientFlow(data, every=2)
    model.fit(*data, epochs=4, verbose=0, callbacks=[record])
    assert list(record.reports_) == [0, 2, 4]
    flow = record.flow_
    assert sorted(flow["epoch"].unique()) == [0, 2, 4]
    last = flow[flow["epoch"] == 4].drop(columns="epoch").reset_index(drop=True)
    # The same as measured by itself after training.
    after = gradient_flow(model, data)
    np.testing.assert_allclose(last["norm"], after["norm"], rtol=1e-4)
    first = flow[flow["epoch"] == 0]["norm"].to_numpy()
    assert not np.allclose(first, after["norm"], rtol=0.01)


def _scaled(lag, factor, **options):
    model = build(lag, **options)
    cell = model.get_layer("encoder").forward[0].cell
    cell.recurrent_kernel.assign(cell.recurrent_kernel * factor)
    return model


def _kinds(model, lag):
    report = inspect_gradients(model, make_rows(lag, 64, seed=0))
    return {finding.kind: finding for finding in report.findings}, str(report)


def test_a_healthy_network_has_no_findings():
    found, text = _kinds(build(10, cell="rnn"), 10)
    assert not found
    assert "memory horizon 13 or more, lookback 14" in text


def test_a_report_shows_itself():
    report = inspect_gradients(build(50, cell="gru"), make_rows(50, 8, seed=0))
    assert repr(report) == str(report)
    shown = report._repr_html_()
    assert all(part in shown for part in ("Gradient flow", "vanishing", "update"))
    assert report.weights["weight"].iloc[-1] in shown


def test_exploding_is_found_and_measured():
    with pytest.warns(UserWarning, match="costs the fast paths"):
        model = _scaled(20, 2.0, cell="rnn", activation="relu")
    found, text = _kinds(model, 20)
    assert "each step multiplies it by" in found["exploding"].reason
    assert "suggest_clipping" in text
    flow = gradient_flow(model, make_rows(20, 64, seed=0))
    assert flow["jacobian"].max() > 10


def test_vanishing_is_found_with_its_reason():
    found, _ = _kinds(build(50, cell="lstm"), 50)
    finding = found["vanishing"]
    assert "the forget gates keep 0.7" in finding.reason  # sigmoid(1) = 0.73
    assert finding.change == {"memory_steps": 63}
    found, _ = _kinds(build(50, cell="gru"), 50)
    assert "the update gates keep 0.5" in found["vanishing"].reason  # sigmoid(0)
    assert found["vanishing"].change == {"memory_steps": 63}


def test_a_memory_out_of_the_gradients_reach_is_found():
    model = build(20, cell="rnn", units=2)
    kernel, recurrent, bias = model.get_layer("encoder").forward[0].cell.weights
    kernel.assign([[0.0, 0.0], [3.0, 3.0]])  # reads the cue alone
    recurrent.assign(2 * np.eye(2))  # at tanh(2 h) = h each step passes on 0.17
    found, text = _kinds(model, 20)
    assert "memory horizon 20," in text
    held = found["held"]
    assert "states up to 20 steps back change the outputs" in held.reason
    assert "from lag 3 on less than 1 %" in held.reason
    assert held.change == {"cell": "lstm", "memory_steps": 26}
    assert "vanishing" not in found


def test_saturation_is_found():
    found, _ = _kinds(_scaled(10, 60.0, cell="rnn"), 10)
    assert "of the values of h are beyond 0.95" in found["saturated"].reason
    assert found["saturated"].change == {"learning_rate": 0.001}
    found, _ = _kinds(build(10, cell="lstm", forget_bias=-6.0), 10)
    assert "of the values of forget are below 0.05" in found["saturated"].reason


def test_bad_input_is_named():
    model, data = build(3), make_rows(3, 8, seed=0)
    with pytest.raises(TypeError, match=r"`data` must be \(inputs, targets\).*dict"):
        gradient_flow(model, data[0])
    with pytest.raises(ValueError, match="equally many rows.*7, 8"):
        gradient_flow(model, (data[0], data[1][:7]))
    with pytest.raises(TypeError, match="after `fit`. Received: list"):
        gradient_flow([], data)
    with pytest.raises(ValueError, match="`num_rows`.*num_rows=0"):
        gradient_flow(model, data, num_rows=0)
    with pytest.raises(ValueError, match="`num_probes`.*num_probes=0"):
        gradient_flow(model, data, num_probes=0)
    other = build_forecaster(lookback=4, horizon=1, cell="transformer")
    with pytest.raises(ValueError, match="no states to look into"):
        gradient_flow(other, ({"target": np.ones((2, 4))}, np.ones((2, 1))))
    bare = keras.Model(model.inputs, model.outputs)
    with pytest.raises(ValueError, match="must be compiled"):
        gradient_flow(bare, data)
