"""Exported forecasters answer as the estimator does."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq import Forecaster
from keras_seq.export.litert import write_litert
from keras_seq.export.plan import plan_of_model
from keras_seq.forecasting import fitting
from keras_seq.forecasting.windows import WindowSource, window_shift
from keras_seq.numpy_runtime.clock import calendar, calendar_rounds
from tests.export.conftest import SMALL_SERIES, fit_series, make_series
from tests.grids import first

pytest.importorskip("tf2onnx")
tf = pytest.importorskip("tensorflow")
export_model = keras_seq.export.export_model

FULL = {"quantiles": (0.1, 0.5, 0.9), "point": "mean"}


def windows(estimator):
    """Raw inputs at the end of each series; forecasts of the network itself there."""
    panel = estimator._tail
    source = WindowSource(panel, estimator._spec)
    series = np.arange(len(panel.ids))
    cut = source.gather(series, panel.lengths)
    inputs = fitting.model_inputs(cut)
    ends = panel.offsets[1:, None] + np.arange(-estimator.lookback_, 0)
    inputs["target"] = panel.values[ends].astype(np.float32)
    expected = fitting.forecast(estimator.model_, source, series, panel.lengths)
    return inputs, expected


def assert_forecasts(found, estimator, expected):
    scale = np.abs(expected).max()
    names = [f"y_hat_q{q:g}" for q in estimator.quantiles_]
    for place, name in enumerate(names):
        np.testing.assert_allclose(
            found[name], expected[..., place], rtol=0, atol=1e-5 * scale
        )
    point = expected[..., estimator.model_.point_index]
    np.testing.assert_allclose(found["y_hat"], point, rtol=0, atol=1e-5 * scale)
    assert set(found) == {"y_hat", *names}


def run_savedmodel(path, inputs):
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    given = {name: tf.constant(array) for name, array in inputs.items()}
    return {name: x.numpy() for name, x in serve(**given).items()}


def run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def run_litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    operations = [each["op_name"] for each in interpreter._get_ops_details()]
    assert not [name for name in operations if "flex" in name.lower()]
    assert "CUSTOM" not in operations
    run = interpreter.get_signature_runner()
    parts = []
    for row in range(len(inputs["target"])):
        given = {name: array[row : row + 1] for name, array in inputs.items()}
        parts.append({name: x.copy() for name, x in run(**given).items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


RUNS = {"savedmodel": run_savedmodel, "onnx": run_onnx, "litert": run_litert}


def assert_answers(estimator, target, path):
    inputs, expected = windows(estimator)
    manifest = export_model(estimator, target, path)
    assert set(manifest["inputs"]) == set(inputs)
    assert_forecasts(RUNS[target](path, inputs), estimator, expected)
    return manifest


@pytest.mark.parametrize("target", first(RUNS, "savedmodel"))
def test_forecasts_are_bent_before_zero(target, tmp_path):
    frame = make_series()
    frame["y"] = np.maximum(frame["y"] + 40 - frame.groupby("unique_id").cumcount(), 1)
    options = {**SMALL_SERIES, "max_steps": 50}
    estimator = Forecaster(**options).fit(frame, verbose=0)
    straight = Forecaster(**options, nonnegative=False).fit(frame, verbose=0)
    assert (straight.predict()["y_hat_q0.1"] < 0).any()  # or nothing would be bent
    manifest = assert_answers(estimator, target, tmp_path / "model")
    assert manifest["nonnegative"]


@pytest.mark.parametrize("target", RUNS)
def test_raw_windows_to_named_quantiles(forecaster, target, tmp_path):
    manifest = assert_answers(forecaster, target, tmp_path / "model")
    assert manifest["lookback"] == 8 and manifest["horizon"] == 3
    assert manifest["freq"] == "D" and manifest["quantiles"] == [0.1, 0.5, 0.9]
    assert manifest["check"]["max_abs_difference"] <= (
        1e-5 * manifest["check"]["scale"]
    )


def test_the_network_s_forecasts_are_those_of_predict(forecaster):
    _, expected = windows(forecaster)
    frame = forecaster.predict()
    for place, quantile in enumerate(forecaster.quantiles_):
        np.testing.assert_array_equal(
            frame[f"y_hat_q{quantile:g}"], expected[..., place].reshape(-1)
        )


def test_sums_of_a_batch_of_one_stay_sums(tmp_path):
    # As the mean's head has them; Keras makes `BiasAdd` of them.
    names = ("target", "beside")
    inputs = {name: keras.Input((4, 1), name=name) for name in names}
    model = keras.Model(inputs, {"sum": inputs["target"] + inputs["beside"]})
    plan = plan_of_model(
        model,
        about=dict.fromkeys((*names, "sum"), ""),
        facts={},
        compare=iter,
        batch_size=1,
        unroll=True,
    )
    write_litert(plan, tmp_path / "model")
    given = {name: np.full((1, 4, 1), 2.0, np.float32) for name in names}
    found = run_litert(tmp_path / "model", given)["sum"]
    np.testing.assert_array_equal(found, np.full((1, 4, 1), 4.0))


@pytest.mark.exhaustive
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "transformer"])
@pytest.mark.parametrize("target", RUNS)
def test_covariates_in_each_cell(cell, target, tmp_path):
    estimator = fit_series(covariates=True, cell=cell, **FULL)
    manifest = assert_answers(estimator, target, tmp_path / "model")
    for name, port in manifest["inputs"].items():
        if name != "target":
            assert len(port["features"]) == port["shape"][-1], name
    ids = manifest["inputs"]["static_ids"]["features"][0]["ids"]
    assert ids == {"1": "a", "2": "b"}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "options",
    [
        {"scaling": "mean_abs", "num_layers": 2, "conv_filters": 3},
        {"scaling": "log", "decoder": "segment", "segment_length": 3},
        {"scaling": "none", "auxiliary": "next_step"},
        {"scaling": "robust"},
        {"ensemble": [8, 6], "lookback": "auto"},
    ],
)
@pytest.mark.parametrize("target", RUNS)
def test_other_structures(options, target, tmp_path):
    assert_answers(fit_series(**options), target, tmp_path / "model")


@pytest.mark.parametrize("level", [0.0, 1e8])
@pytest.mark.parametrize("centered", [True, False, None])
def test_windows_are_moved_as_the_estimator_moves_them(level, centered):
    from keras_seq.export.series import _shift

    window = level + np.arange(12, dtype=np.float32).reshape(3, 4) % 5
    window[0, -1] = window[1, :3] = window[2] = np.nan
    expected = window_shift(window, centered)
    np.testing.assert_array_equal(np.asarray(_shift(window, centered))[:, 0], expected)


@pytest.mark.parametrize("freq", ["h", "15min", "D", "B", "W-SUN", "MS", "QE", "YS", 1])
def test_the_manifest_names_each_number_of_the_calendar(freq):
    from keras_seq.export.series import _calendar_parts

    stamp = np.array(["2021-05-12T15:30"], "datetime64[ns]")
    numbers = {
        "hour / 24": 15.5 / 24,
        "weekday / 7": 2 / 7,
        "day of the year / 365.25": 131 / 365.25,
        "month / 12": 4 / 12,
    }
    fitted = SimpleNamespace(freq_=freq, calendar_=calendar_rounds(freq))
    parts = _calendar_parts(fitted)
    shown = calendar(stamp if freq != 1 else np.array([3]), freq)[0]
    angles = [2 * np.pi * h * numbers[part] for part in parts for h in (1, 2)]
    expected = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_what_the_network_does_not_know_is_refused(forecaster, tmp_path):
    held = forecaster._calibration
    with pytest.raises(ValueError, match="`steps` belongs to texts"):
        export_model(forecaster, "litert", tmp_path / "model", steps=4)
    try:
        forecaster.set_params(conformal=True)
        forecaster._calibration = type(held)(np.ones((20, 3), np.float32))
        with pytest.raises(ValueError, match="`conformal` must be False"):
            export_model(forecaster, "onnx", tmp_path / "model")
    finally:
        forecaster.set_params(conformal=False)
        forecaster._calibration = held
    assert not list(tmp_path.iterdir())
