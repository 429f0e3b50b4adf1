"""The forecasting network: a loss in scaled space, quantiles in order, no traps."""

import keras
import numpy as np
import pytest

from keras_seq import build_forecaster
from keras_seq.layers.scaling import WindowScaler
from keras_seq.layers.state import ResetStates, reset_states
from tests.grids import often

pytestmark = pytest.mark.numeric

OPTIONS = {"lookback": 8, "horizon": 3, "units": 4, "quantiles": (0.1, 0.5, 0.9)}


def make_model(**arguments):
    return build_forecaster(**{**OPTIONS, "seed": 0, **arguments})


def make_windows(count=6, seed=0):
    random = np.random.default_rng(seed)
    target = (20 + random.normal(size=(count, 8))).astype("float32")
    target[0, :5] = np.nan
    return {"target": target}, (20 + random.normal(size=(count, 3))).astype("float32")


def stir(model, seed=1):
    """Random weights in place of the head's zeros, which would hide mistakes."""
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape) / 3)
    return model


def slow_pinball(model, inputs, actual):
    """The documented loss, one number at a time."""
    forecasts = np.asarray(model(inputs), np.float64)
    total, count = 0.0, 0
    for window, row, outputs in zip(inputs["target"], actual, forecasts, strict=True):
        scale = np.nanmean(np.abs(window))
        for step, value in enumerate(row):
            if np.isnan(value):
                continue
            for level, output in zip(model.quantiles, outputs[step], strict=True):
                error = (value - output) / scale
                total += 2 * max(level * error, (level - 1) * error)
            count += 1
    return total / (count * len(model.quantiles))


def test_loss_is_the_pinball_of_scaled_errors():
    model = stir(make_model(scaling="mean_abs"))
    inputs, actual = make_windows()
    actual[1, 2] = actual[3] = np.nan
    expected = slow_pinball(model, inputs, actual)
    scores = model.evaluate(inputs, actual, verbose=0, batch_size=6, return_dict=True)
    assert scores["loss"] == pytest.approx(expected, rel=1e-4)
    assert scores["pinball"] == pytest.approx(expected, rel=1e-4)
    # in batches of different numbers of targets the metric stays exact
    scores = model.evaluate(inputs, actual, verbose=0, batch_size=4, return_dict=True)
    assert scores["pinball"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scaling", ["standard", "log"])
def test_squared_error_of_the_mean_is_added(scaling):
    model = stir(make_model(scaling=scaling, point="mean"))
    assert model.output_shape == (None, 3, 4) and model.point_index == 3
    inputs, actual = make_windows()
    actual[1, 2] = np.nan
    mean = np.asarray(model(inputs), np.float64)[..., 3]
    size = np.std if scaling == "standard" else lambda x: np.mean(np.abs(x))
    scales = np.array([size(w[~np.isnan(w)]) for w in inputs["target"]])
    expected = np.nanmean(((actual - mean) / scales[:, None]) ** 2 / 2)
    scores = model.evaluate(inputs, actual, verbose=0, batch_size=6, return_dict=True)
    assert scores["loss"] - scores["pinball"] == pytest.approx(expected, rel=1e-3)


def test_mean_of_intermittent_demand_is_not_its_median():
    model = make_model(scaling="none", point="mean", learning_rate=0.02)
    demand = np.random.default_rng(0).binomial(1, 0.3, size=(512, 11))
    demand = demand.astype("float32")
    inputs, actual = {"target": demand[:, :8]}, demand[:, 8:]
    model.fit(inputs, actual, epochs=15, batch_size=128, verbose=0)
    output = np.asarray(model(inputs))
    assert output[..., model.point_index].mean() == pytest.approx(0.3, abs=0.05)
    assert np.abs(output[..., 1]).mean() < 0.1


@pytest.mark.parametrize("scaling", ["mean_abs", "standard", "log"])
def test_every_series_weighs_the_same(scaling):
    model = stir(make_model(scaling=scaling))
    inputs, actual = make_windows()
    one = model.evaluate(inputs, actual, verbose=0)
    large = {"target": 1000 * inputs["target"]}
    np.testing.assert_allclose(
        one, model.evaluate(large, 1000 * actual, verbose=0), rtol=1e-3
    )
    np.testing.assert_allclose(
        model(large), 1000 * np.asarray(model(inputs)), rtol=1e-3
    )


def test_outliers_and_missing_targets_keep_the_weights_finite():
    model = make_model(scaling="standard")
    inputs, actual = make_windows()
    actual[0], actual[1] = np.nan, 1e30
    inputs["target"][2] = np.nan  # a window without any value
    inputs["target"][3] = 0.0
    history = model.fit(inputs, actual, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][0] < 50  # errors are bounded
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite(model(inputs)).all()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("scaling", ["mean_abs", "standard", "log", "none"])
def test_quantiles_are_in_order(cell, scaling):
    model = stir(make_model(cell=cell, scaling=scaling, num_future=2, season_length=4))
    inputs, _ = make_windows(32)
    inputs["future"] = np.random.default_rng(3).normal(size=(32, 11, 2))
    output = np.asarray(model(inputs))
    assert output.shape == (32, 3, 3)
    assert (np.diff(output, axis=-1) >= 0).all()


def test_starts_at_the_seasonal_naive_forecast():
    inputs, _ = make_windows()
    output = np.asarray(make_model(season_length=2)(inputs))[..., 1]
    expected = inputs["target"][:, [-2, -1, -2]]
    np.testing.assert_allclose(output, expected, rtol=1e-4)


STRUCTURES = {
    "transformer": {"cell": "transformer"},
    "convolution": {"conv_filters": 3},
    "deep": {"num_layers": 2, "residual": True, "normalization": "layer"},
    "batch": {"normalization": "batch", "cell": "lstm"},
    "next_step": {"auxiliary": "next_step", "cell": "rnn"},
    "stateful": {"stateful": True, "batch_size": 32},
    "segments": {"segment_length": 3},
    "segments_deep": {
        "segment_length": 2,
        "cell": "lstm",
        "num_layers": 2,
        "residual": True,
        "normalization": "layer",
        "conv_filters": 3,
        "auxiliary": "next_step",
        "dropout": 0.1,
        "recurrent_dropout": 0.1,
    },
    "segments_transformer": {"segment_length": 4, "cell": "transformer"},
}


@pytest.mark.parametrize("name", often(STRUCTURES, "deep", "next_step", "segments"))
def test_every_structure_learns(name):
    """The target repeats the window's mean sign; the naive forecast does not know."""
    model = make_model(**STRUCTURES[name], scaling="none", learning_rate=3e-2)
    random = np.random.default_rng(0)
    window = random.normal(size=(32, 8)).astype("float32")
    actual = np.repeat(np.sign(window[:, :1]), 3, axis=1).astype("float32")
    inputs = {"target": window}
    options = {"batch_size": 32, "verbose": 0, "callbacks": [ResetStates()]}
    losses = model.fit(inputs, actual, epochs=25, **options).history["pinball"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("scaling", ["standard", "mean_abs", "log"])
def test_a_stateful_forecaster_scales_by_all_chunks(scaling):
    model = make_model(scaling=scaling, stateful=True, batch_size=6)
    inputs, actual = make_windows()
    second, _ = make_windows(seed=5)
    both = np.concatenate([inputs["target"], 3 * second["target"]], axis=1)
    model.predict(inputs, verbose=0)
    model.evaluate({"target": 3 * second["target"]}, actual, verbose=0)
    location, scale = model.get_layer("scaler").location_and_scale(inputs["target"])
    whole = WindowScaler(scaling)
    whole.build((6, 16))
    whole.floor.assign(model.get_layer("scaler").floor)
    expected = whole.location_and_scale(both)
    np.testing.assert_allclose(location, expected[0], rtol=1e-4)
    np.testing.assert_allclose(scale, expected[1], rtol=1e-4)
    # with nothing learned yet, the naive forecast survives any scale
    reset_states(model)
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0)[..., 1],
        np.repeat(inputs["target"][:, -1:], 3, axis=1),
        rtol=1e-4,
    )


def test_the_auxiliary_loss_is_the_error_of_the_next_value():
    plain = stir(make_model(scaling="none"))
    model = make_model(scaling="none", auxiliary="next_step", auxiliary_weight=0.5)
    names = {w.path: np.asarray(w) for w in plain.trainable_weights}
    for weight in model.trainable_weights:
        weight.assign(names.get(weight.path, np.full(weight.shape, 0.3)))
    inputs, actual = make_windows()
    steps = [inputs["target"], ~np.isnan(inputs["target"])]
    change = np.diff(inputs["target"], axis=1, prepend=np.nan)
    steps = np.stack([*steps, change], axis=-1)
    hidden = np.asarray(model.get_layer("encoder")(np.nan_to_num(steps))[0])
    predicted = np.nan_to_num(inputs["target"]) + 0.3 * hidden.sum(-1) + 0.3
    error = np.abs(inputs["target"][:, 1:] - predicted[:, :-1])
    expected = 0.5 * np.nanmean(error)
    without = plain.evaluate(inputs, actual, verbose=0, return_dict=True)["pinball"]
    got = model.train_on_batch(inputs, actual, return_dict=True)
    assert got["pinball"] == pytest.approx(without, rel=1e-4)
    assert got["loss"] - got["pinball"] == pytest.approx(expected, rel=1e-3)


def test_the_auxiliary_loss_of_segments_is_the_error_of_the_next_one():
    segments = {"segment_length": 3, "scaling": "none"}
    plain = stir(make_model(**segments))
    model = make_model(**segments, auxiliary="next_step", auxiliary_weight=0.5)
    names = {w.path: np.asarray(w) for w in plain.trainable_weights}
    for weight in model.trainable_weights:
        weight.assign(names.get(weight.path, np.full(weight.shape, 0.3)))
    inputs, actual = make_windows()
    inputs["target"] -= 20  # else relu would be dead or huge
    found = []
    for window in inputs["target"]:
        known = np.concatenate([[np.nan], window])  # 8 steps are 3 segments
        change = np.diff(known, prepend=np.nan)
        steps = np.stack([known, ~np.isnan(known), change], axis=-1)
        steps = np.nan_to_num(steps).reshape(1, 3, 9)
        hidden = np.maximum(steps @ names["segments/kernel"], -names["segments/bias"])
        hidden = model.get_layer("encoder")(hidden + names["segments/bias"])[0]
        for index in (1, 2):
            predicted = 0.3 * np.asarray(hidden)[0, index - 1].sum() + 0.3
            before, now = known[3 * index - 3 : 3 * index], known[3 * index :][:3]
            found += list(np.abs(now - np.nan_to_num(before) - predicted))
    without = plain.evaluate(inputs, actual, verbose=0, return_dict=True)["pinball"]
    got = model.train_on_batch(inputs, actual, return_dict=True)
    assert got["pinball"] == pytest.approx(without, rel=1e-4)
    expected = 0.5 * np.nanmean(found)
    assert got["loss"] - got["pinball"] == pytest.approx(expected, rel=1e-3)


def test_short_lookbacks_are_decoded_directly_unless_asked():
    auto, direct = make_model(), make_model(decoder="direct")
    inputs, _ = make_windows()
    assert [w.path for w in auto.weights] == [w.path for w in direct.weights]
    for ours, theirs in zip(auto.weights, direct.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(auto(inputs), direct(inputs))
    assert "segments" not in [layer.name for layer in auto.layers]
    long = make_model(lookback=96)
    assert long.get_layer("encoder").input.shape == (None, 12, 4)


def test_segments_before_the_window_are_missing_steps():
    """8 steps in segments of 3 are 9 steps of which the first is missing."""
    arguments = {"segment_length": 3, "scaling": "standard", "season_length": 2}
    short = stir(make_model(**arguments))
    padded = make_model(**arguments, lookback=9)
    for ours, theirs in zip(padded.weights, short.weights, strict=True):
        value = np.asarray(theirs)
        if theirs.path == "linear/kernel":
            value = np.pad(value, ((1, 0), (0, 0)))
        ours.assign(value)
    inputs, _ = make_windows()
    target = np.pad(inputs["target"], ((0, 0), (1, 0)), constant_values=np.nan)
    # `log_noise` averages over the steps, one of which is new: it is not read here
    for model in (short, padded):
        kernel = np.asarray(model.get_layer("decoder").state.kernel).copy()
        kernel[-2:] = 0.0
        model.get_layer("decoder").state.kernel.assign(kernel)
    np.testing.assert_allclose(padded({"target": target}), short(inputs), rtol=1e-5)


def test_the_median_is_always_there():
    model = make_model(quantiles=(0.2, 0.8))
    assert model.quantiles == (0.2, 0.5, 0.8)
    assert model.output_shape == (None, 3, 3)


def test_scaling_stays_in_float32_under_mixed_precision():
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make_model(scaling="standard", season_length=2)
    finally:
        keras.config.set_dtype_policy(with_policy)
    inputs, _ = make_windows()
    far = {"target": inputs["target"] + 1000}
    output = np.asarray(model(far))
    assert output.dtype == np.float32
    # bfloat16 has steps of 4 at 1000; scaled first, it keeps the spread
    expected = far["target"][:, [-2, -1, -2]]
    assert np.abs(output[..., 1] - expected).max() < 0.05


COVARIATES = {"num_past": 2, "num_future": 1, "num_static": 2}


def make_covariates(count=6, seed=3):
    random = np.random.default_rng(seed)
    sizes = {"past": (8, 2), "future": (11, 1), "static": (2,)}
    inputs = {name: random.normal(size=(count, *s)) for name, s in sizes.items()}
    ids = random.integers(5, size=(count, 2)).astype("int32")
    return {**inputs, "static_ids": ids}


@pytest.mark.parametrize(
    "arguments",
    [
        {"cell": "gru"},
        {"cell": "transformer"},
        {"segment_length": 3},
        {"segment_length": 2, "cell": "lstm", "conv_filters": 3},
    ],
)
def test_every_covariate_reaches_every_step_of_its_row_only(arguments):
    model = make_model(**arguments, **COVARIATES, static_cardinalities=(5, 5))
    model = stir(model)
    inputs = {**make_windows()[0], **make_covariates()}
    before = np.asarray(model(inputs))
    for name, other in make_covariates(seed=4).items():
        changed = {**inputs, name: inputs[name].copy()}
        changed[name][0] = other[0] + (name == "static_ids" and other[0] == 0)
        changed[name][0, -1] = (inputs[name][0, -1] + 1) % 5
        after = np.asarray(model(changed))
        assert (np.abs(after - before)[0] > 1e-6).all(), name
        np.testing.assert_allclose(after[1:], before[1:], rtol=1e-5)


def test_missing_covariates_are_zero():
    model = stir(make_model(**COVARIATES))
    inputs = {**make_windows()[0], **make_covariates()}
    del inputs["static_ids"]
    zeros, missing = dict(inputs), dict(inputs)
    for name in ("past", "future", "static"):
        zeros[name], missing[name] = inputs[name].copy(), inputs[name].copy()
        zeros[name][1:3], missing[name][1:3] = 0.0, np.nan
    np.testing.assert_array_equal(model(zeros), model(missing))


def test_the_repeated_season_is_freed_of_its_covariates():
    """y = season + 3 x: with the effect known, the forecast is exact."""
    model = make_model(num_future=1, season_length=4, scaling="none")
    model.get_layer("future_linear").set_weights([np.array([[3.0]])])
    season = np.tile([1.0, 5.0, 2.0, 4.0], 3)[:11]
    x = np.random.default_rng(0).normal(size=(6, 11, 1))
    y = season + 3 * x[..., 0]
    output = np.asarray(model({"target": y[:, :8], "future": x}))
    np.testing.assert_allclose(output[..., 1], y[:, 8:], rtol=1e-5)


@pytest.mark.parametrize("decoder", ["direct", "segment"])
def test_survives_keras_s_own_format(decoder, tmp_path):
    arguments = {**COVARIATES, "static_cardinalities": (5, 5)}
    model = stir(make_model(decoder=decoder, **arguments))
    inputs, actual = make_windows()
    inputs.update(make_covariates())
    model.fit(inputs, actual, verbose=0)
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(inputs), twin(inputs))
    assert twin.evaluate(inputs, actual, verbose=0) == pytest.approx(
        model.evaluate(inputs, actual, verbose=0)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lookback": 0}, "`lookback` must be a whole number of at least 1"),
        ({"horizon": -1}, "`horizon` must be"),
        ({"season_length": 9}, "`season_length` must not exceed `lookback`"),
        ({"bidirectional": True}, "the backward direction needs the future"),
        ({"scaling": "lgo"}, "`scaling` must be one of.*Did you mean 'log'"),
        ({"num_past": -1}, "`num_past` must be a whole number of at least 0"),
        ({"static_cardinalities": (3, 0)}, "`static_cardinalities` must be .*=0"),
        ({"stateful": True}, "`batch_size` must be a whole number"),
        ({"auxiliary": "next"}, "`auxiliary` must be one of"),
        (
            {"cell": "transformer", "stateful": True, "batch_size": 4},
            "self-attention carries no state",
        ),
        ({"cell": "transformer", "units": 5, "num_heads": 2}, "must be divisible"),
        ({"point": "mode"}, "`point` must be one of 'median', 'mean'"),
        ({"decay_steps": 0}, "`decay_steps` must be"),
        ({"decoder_units": 0}, "`decoder_units` must be a whole number"),
        ({"decoder": "segmnt"}, "`decoder` must be one of.*Did you mean 'segment'"),
        ({"segment_length": "long"}, "`segment_length` must be 'auto' or a whole"),
        ({"segment_length": 9}, "`segment_length` must not exceed `lookback`"),
        ({"segment_length": 2, "decoder": "direct"}, "belongs to decoder='segment'"),
        (
            {"decoder": "segment", "stateful": True, "batch_size": 4},
            "cannot be combined with `stateful`",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


def test_misspelt_argument_is_suggested():
    with pytest.raises(TypeError, match="'look_back'. Did you mean 'lookback'"):
        make_model(look_back=3)
