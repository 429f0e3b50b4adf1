"""The forecasting network in NumPy equals that of Keras, argument by argument."""

import inspect

import numpy as np
import pytest

from keras_seq import ArtifactError, build_forecaster
from keras_seq.forecasting.ensemble import build_member, combine
from keras_seq.layers import scaling
from keras_seq.numpy_runtime.forecast_network import (
    DEFAULTS,
    IRRELEVANT,
    ForecastNetwork,
)
from keras_seq.numpy_runtime.scaling import Scaler
from tests.numpy_runtime.networks import make_window_inputs, randomize, weights_of

BASE = {"lookback": 13, "horizon": 5, "units": 4}
COVARIATES = {
    "num_past": 2,
    "num_future": 3,
    "num_static": 2,
    "static_cardinalities": (3, 4),
}
SEGMENTS = {"decoder": "segment", "segment_length": 4, "season_length": 4}
CASES = {
    "rnn": {"cell": "rnn", "scaling": "none", "quantiles": (0.1, 0.9), "num_layers": 2}
    | {"residual": True, "normalization": "layer"},
    "lstm": {"cell": "lstm", "scaling": "standard", "quantiles": (0.1, 0.3, 0.9)}
    | {"num_layers": 2, "units": (3, 5), "normalization": "batch"},
    "gru": {"season_length": 4, "scaling": "log", "quantiles": (0.5, 0.9)},
    "mean": {"point": "mean", "season_length": 13, "scaling": "log"},
    "covariates": {**COVARIATES, "season_length": 3, "quantiles": (0.2, 0.5)},
    "conv": {**COVARIATES, "conv_filters": 2, "conv_width": 4, "point": "mean"},
    "segments": {**SEGMENTS, **COVARIATES, "cell": "lstm", "point": "mean"},
    "segments_conv": {**SEGMENTS, "num_static": 1, "conv_filters": 2},
    "long_segments": {"decoder": "segment", "segment_length": 7, "num_future": 1},
    "transformer": {"cell": "transformer", "num_layers": 2, "num_future": 1},
    "one_step": {"lookback": 1, "horizon": 3, "auxiliary": "next_step"},
    "float64": {"precision": "float64", "num_future": 1},
}


def both(arguments, seed=0):
    arguments = {**BASE, **arguments}
    model = build_forecaster(**arguments)
    randomize(model, seed)
    inputs = make_window_inputs(arguments)
    network = ForecastNetwork(arguments, weights_of(model))
    return model, network, inputs


@pytest.mark.parametrize("case", CASES)
def test_equals_keras(case):
    model, network, inputs = both(CASES[case])
    actual, expected = network(inputs), np.asarray(model(inputs))
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)
    assert network.quantiles == model.quantiles
    assert network.point_index == model.point_index
    # What one window says does not depend on those beside it.
    alone = network({name: x[3:4] for name, x in inputs.items()})
    np.testing.assert_allclose(alone, actual[3:4], rtol=1e-5, atol=1e-5)


def test_location_and_scale_are_those_of_the_layer():
    for name in scaling.SCALINGS:
        layer = scaling.WindowScaler(name)
        window = make_window_inputs(BASE)["target"] * 1e18
        layer.build(window.shape)
        layer.floor.assign(0.25)
        ours = Scaler(name, 0.25)
        for a, b in zip(ours(window), layer(window), strict=True):
            np.testing.assert_allclose(a, np.asarray(b), rtol=2e-5, atol=2e-5)
        location, scale = ours.location_and_scale(window)
        np.testing.assert_allclose(
            ours.transform(window, location, scale),
            np.asarray(layer.transform(window, location, scale)),
            rtol=2e-5,
            atol=2e-5,
        )


def test_an_ensemble_is_the_median_of_its_members_each_with_its_lookback():
    members = [
        {**BASE, "lookback": steps, "member": number, "num_future": 2, "num_past": 1}
        for number, steps in enumerate((13, 13, 6, 4), start=1)
    ]
    model = combine([build_member(own) for own in members], "auto")
    randomize(model)
    network = ForecastNetwork({"members": members, "jit": "auto"}, weights_of(model))
    inputs = make_window_inputs(members[0])
    np.testing.assert_allclose(
        network(inputs), np.asarray(model(inputs)), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stateful": True, "batch_size": 2}, "`stateful` one of False.*stateful=True"),
        ({"scaling": "rank"}, "`scaling` one of.*scaling='rank'"),
        ({"mixture": 3}, "does not know the argument `mixture`.*mixture=3"),
        ({"decoder": "copy"}, "`decoder` one of.*decoder='copy'"),
        ({"bidirectional": True}, "`bidirectional` one of 'auto', False"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(arguments, message):
    with pytest.raises(ArtifactError, match=message):
        ForecastNetwork({**BASE, **arguments}, {})


def test_a_missing_weight_is_named():
    _, network, _ = both({})
    assert network.horizon == 5
    weights = weights_of(build_forecaster(**BASE))
    del weights["decoder/kernel"]
    with pytest.raises(ArtifactError, match="lack 'decoder/kernel'"):
        ForecastNetwork(BASE, weights)
    with pytest.raises(ArtifactError, match="lack 'segments/kernel'"):
        ForecastNetwork({**BASE, "decoder": "segment"}, weights)


def test_every_argument_of_the_builder_is_known_and_has_its_default():
    parameters = inspect.signature(build_forecaster).parameters
    assert set(parameters) == {"lookback", "horizon", *DEFAULTS} | IRRELEVANT
    for name, default in DEFAULTS.items():
        assert parameters[name].default == default
