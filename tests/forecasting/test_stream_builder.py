"""A stream's forecasts depend on what came before, however it is cut into chunks."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.forecasting.stream_builder import build_stream_forecaster
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.state import copy_weights
from keras_seq.numpy_runtime.stream_network import StreamNetwork
from keras_seq.training.autodiff import value_and_gradients
from tests.grids import often

COVARIATES = {
    "num_past": 1,
    "num_future": 3,
    "num_calendar": 2,
    "num_static": 1,
    "static_cardinalities": (3,),
}
CASES = {
    "gru": {"cell": "gru", "scaling": "standard"},
    "lstm with covariates": {"cell": "lstm", "scaling": "mean_abs", **COVARIATES},
    "deep rnn": {
        **{"cell": "rnn", "scaling": "log", "units": (5, 5), "num_layers": 2},
        **{"residual": True, "normalization": "layer", "point": "mean"},
    },
    "long season": {"cell": "gru", "scaling": "none", "normalization": "batch"},
}
SEASONS = {"long season": 12}
ROWS, STEPS, HORIZON = 3, 41, 5


def make_model(case, **more):
    arguments = {
        **{"horizon": HORIZON, "context": 12, "units": 6, "quantiles": (0.1, 0.9)},
        **{"season_length": SEASONS.get(case, 4), "seed": 0, **CASES[case], **more},
    }
    model = build_stream_forecaster(**arguments)
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape) * 0.3)
    for weight in model.weights:
        if "moving_variance" in weight.path:
            weight.assign(random.uniform(0.5, 2, size=weight.shape))
    return model, arguments


def make_inputs(case, rows=ROWS, steps=STEPS):
    """Values with gaps; one row begins late."""
    random = np.random.default_rng(2)
    target = 5 * np.exp(0.3 * random.normal(size=(rows, steps)))
    target[random.random(target.shape) < 0.2] = np.nan
    target[1, :6] = np.nan
    inputs = {"target": target}
    if "num_past" in CASES[case]:
        inputs["past"] = random.normal(size=(rows, steps, 1))
        inputs["future"] = random.normal(size=(rows, steps + HORIZON, 3))
        inputs["static"] = random.normal(size=(rows, 1))
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    if "num_past" in CASES[case]:
        inputs["static_ids"] = np.array([[0], [1], [2]], np.int32)[:rows]
    return inputs


def cold(model, rows=ROWS):
    return {
        name: np.zeros((rows, width), np.float32)
        for name, width in model.state_widths.items()
    }


def cut(inputs, begin, end):
    parts = {}
    for name, array in inputs.items():
        stop = end + HORIZON if name == "future" else end
        parts[name] = array[:, begin:stop] if array.ndim > 1 else array
    for name in ("static", "static_ids"):
        if name in inputs:
            parts[name] = inputs[name]
    return parts


def read(model, inputs, cuts):
    """Forecasts of all steps, and the state after them, chunk by chunk."""
    rows = len(inputs["target"])
    states, found = cold(model, rows), []
    for begin, end in zip(cuts, cuts[1:], strict=False):
        at = np.tile(np.arange(end - begin, dtype=np.int32), (rows, 1))
        length = np.full(rows, end - begin, np.int32)
        chunk = cut(inputs, begin, end)
        outputs = model.run({**chunk, **states, "length": length, "at": at})
        states = {name: outputs[name] for name in states}
        found.append(outputs["forecast"])
    return np.concatenate(found, axis=1), states


def assert_same(actual, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, atol=tolerance)


@pytest.mark.numeric
@pytest.mark.parametrize("case", often(CASES, "gru", "lstm with covariates"))
def test_chunks_of_any_length_equal_one_pass(case):
    model, _ = make_model(case)
    inputs = make_inputs(case)
    whole, after = read(model, inputs, [0, STEPS])
    for cuts in ([0, 7, 20, 21, STEPS], list(range(STEPS + 1))):
        parts, states = read(model, inputs, cuts)
        assert_same(parts, whole)
        for name in after:
            assert_same(states[name], after[name])


@pytest.mark.parametrize("case", CASES)
def test_numpy_steps_equal_one_pass(case):
    model, arguments = make_model(case)
    inputs = make_inputs(case)
    whole, after = read(model, inputs, [0, STEPS])
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    network = StreamNetwork(arguments, weights)
    assert network.state_widths == model.state_widths
    for rows in (slice(0, ROWS), slice(1, 2)):  # one row has a way of its own
        state = network.cold(len(inputs["target"][rows]))
        for step in range(STEPS):
            told = {k: v[rows] for k, v in inputs.items() if "static" in k}
            if "past" in inputs:
                told["past"] = inputs["past"][rows, step]
                told["future"] = inputs["future"][rows, step : step + HORIZON + 1]
            values, _, _ = network.advance(
                state, inputs["target"][rows, step], True, told
            )
            expected = whole[rows, step]
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
        for name in after:
            assert_same(state[name], after[name][rows])


@pytest.mark.parametrize("case", CASES)
def test_forecasts_do_not_see_later_steps(case):
    model, _ = make_model(case)
    inputs = make_inputs(case)
    before, _ = read(model, inputs, [0, STEPS])
    changed = {name: array.copy() for name, array in inputs.items()}
    changed["target"][:, 25:] = 1e3
    if "past" in changed:
        changed["past"][:, 25:] = 1e3
    after, _ = read(model, changed, [0, STEPS])
    np.testing.assert_array_equal(after[:, :25], before[:, :25])
    assert (after[:, 25:] != before[:, 25:]).any()


def test_padding_is_not_read():
    model, _ = make_model("gru")
    inputs = make_inputs("gru")
    length = np.array([41, 0, 17], np.int32)
    at = np.maximum(length - 1, 0)[:, None]
    given = {**cold(model), "length": length, "at": at}
    outputs = model.run({**inputs, **given})
    noise = np.arange(STEPS) >= length[:, None]
    target = np.where(noise, np.float32(1e6), inputs["target"])
    again = model.run({**given, "target": target})
    for name, state in cold(model).items():
        np.testing.assert_array_equal(outputs[name][1], state[1])  # nothing was read
        np.testing.assert_array_equal(again[name], outputs[name])
    kept = [0, 2]
    np.testing.assert_array_equal(again["forecast"][kept], outputs["forecast"][kept])


def test_each_step_is_scaled_by_what_came_up_to_it():
    """Decayed means, in a plain loop."""
    model, _ = make_model("lstm with covariates")
    inputs = make_inputs("lstm with covariates")
    at = np.tile(np.arange(STEPS, dtype=np.int32), (ROWS, 1))
    outputs = model.run(
        {**inputs, **cold(model), "length": np.full(ROWS, STEPS, np.int32), "at": at}
    )
    decay = 1 - 1 / 12
    for row in range(ROWS):
        count = total = 0.0
        for step in range(STEPS):
            value = inputs["target"][row, step]
            count, total = decay * count, decay * total
            if np.isfinite(value):
                count, total = count + 1, total + abs(value)
            expected = total / count if count else 1e-6
            np.testing.assert_allclose(
                outputs["scale"][row, step, 0], expected, rtol=1e-5
            )


def run_plain(layer, sequence, lengths, initial, *, return_state, training, **_):
    """A layer by Keras alone."""
    layer.return_state = True
    outputs, *states = layer(sequence, initial_state=initial, training=training)
    return outputs, states


@pytest.mark.numeric
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_gradient_of_a_chunk_is_that_of_plain_keras_from_the_same_state(cell):
    case = {"rnn": "deep rnn", "lstm": "lstm with covariates", "gru": "gru"}[cell]
    lanes, _ = make_model(case, batch_size=ROWS, chunk_length=20)
    free, _ = make_model(case)
    copy_weights(lanes, free)
    inputs, size = make_inputs(case), np.full(ROWS, 20, np.int32)
    first, second = cut(inputs, 0, 20), cut(inputs, 20, 40)
    anew = {"reset": np.ones(ROWS, bool), "length": size}
    lanes({**first, **anew}, training=True)
    at = np.tile(np.arange(20, dtype=np.int32), (ROWS, 1))
    after = free.run({**first, **cold(free), "length": size, "at": at})
    states = {name: after[name] for name in free.state_widths}
    random = np.random.default_rng(0)
    weights = random.normal(size=after["forecast"].shape).astype(np.float32)

    def gradients(model, given, training):
        trainable = [
            ops.convert_to_tensor(np.asarray(v)) for v in model.trainable_variables
        ]
        others = [
            ops.convert_to_tensor(np.asarray(v)) for v in model.non_trainable_variables
        ]

        def loss(values):
            outputs, _ = model.stateless_call(values, others, given, training=training)
            told = outputs["forecast"]
            return ops.mean(weights * told / (1.0 + ops.abs(told))), ()

        _, _, found = value_and_gradients(loss, trainable)
        return [ops.convert_to_numpy(g) for g in found]

    going_on = {"reset": np.zeros(ROWS, bool), "length": size}
    ours = gradients(lanes, {**second, **going_on}, training=True)
    encoder = next(x for x in free.layers if isinstance(x, RecurrentEncoder))
    encoder._run_layer = run_plain
    plain = gradients(free, {**second, **states, "length": size, "at": at}, False)
    assert max(np.abs(g).max() for g in plain) > 1e-4
    for variable, one, two in zip(free.trainable_variables, ours, plain, strict=True):
        scale = max(np.abs(two).max(), 1e-6)
        np.testing.assert_allclose(
            one / scale, two / scale, atol=2e-4, err_msg=variable.path
        )


def test_training_does_not_disturb_the_states_of_validation():
    lanes, _ = make_model("gru", batch_size=ROWS, chunk_length=20)
    inputs, size = make_inputs("gru"), np.full(ROWS, 20, np.int32)
    going_on = {"reset": np.zeros(ROWS, bool), "length": size}
    one = np.asarray(lanes({**cut(inputs, 0, 20), **going_on})["forecast"])
    lanes.get_layer("lanes").reset_state(mode="inference")
    lanes({**cut(inputs, 0, 20), **going_on}, training=True)
    two = np.asarray(lanes({**cut(inputs, 0, 20), **going_on})["forecast"])
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "transformer"}, "`cell` must be"),
        ({"season_length": 13}, "`season_length` must not exceed `context`"),
        ({"num_calendar": 1}, "`num_calendar` must not exceed `num_future`"),
        ({"batch_size": 4}, "`chunk_length` must be a whole number"),
        ({"contex": 4}, "Did you mean 'context'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build_stream_forecaster(**{"horizon": 2, "context": 12, **arguments})


def test_the_model_says_what_it_takes():
    model, _ = make_model("lstm with covariates")
    assert isinstance(model, keras.Model)
    assert model.state_widths == {
        "state_stream": 21,
        "state_known": 4,
        "state_0": 6,
        "state_1": 6,
    }


@pytest.mark.parametrize("scaling", ["standard", "log"])
def test_forecasts_count_by_their_scale(scaling):
    model, _ = make_model("gru", scaling=scaling)
    random = np.random.default_rng(4)
    said = {
        "forecast": 4 + random.random((ROWS, STEPS, HORIZON, 3), "float32"),
        "location": 1 + random.random((ROWS, STEPS, 1), "float32"),
        "scale": 0.2 + random.random((ROWS, STEPS, 1), "float32"),
    }
    y = 5 * np.exp(0.3 * random.normal(size=(ROWS, STEPS, HORIZON))).astype("float32")
    share = np.array([0.5, np.nan, 1e3], np.float32)
    loss = float(model.compute_loss(None, y, said, share))

    location, scale = said["location"], said["scale"]  # (rows, steps, 1)
    levels = np.array([0.1, 0.5, 0.9])
    values = np.concatenate([said["forecast"], y[..., None]], axis=-1)
    if scaling == "log":
        size, scaled = np.exp(location), np.log(values) - location[..., None]
    else:
        size = scale
        scaled = (values - location[..., None]) / scale[..., None]
    error = np.clip(scaled[..., 3:], -20, 20) - scaled[..., :3]
    pinball = 2 * np.maximum(levels * error, (levels - 1) * error).mean(axis=-1)
    weight = np.clip(share[:, None, None] * size, 0.1, 10)
    weight[1] = 1.0
    expected = (pinball * weight).sum() / (weight.sum() * HORIZON)
    assert loss == pytest.approx(expected, rel=1e-4)
