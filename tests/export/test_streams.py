"""Exported stateful forecasters go on from the states they gave."""

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq import Forecaster
from tests.grids import first, often

pytest.importorskip("tf2onnx")
tf = pytest.importorskip("tensorflow")
export_model = keras_seq.export.export_model

OPTIONS = {
    **{"horizon": 3, "lookback": 7, "units": 5, "stateful": True, "freq": "D"},
    **{"max_steps": 2, "refit_full": False, "chunk_length": 16, "batch_size": 8},
}


def make_frame(steps=40):
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-01-01", periods=steps, freq="D"),
                "y": 20 + 3 * random.normal(size=steps),
                "price": random.normal(size=steps),
            }
        )
        for name in "abc"
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def plain():
    return Forecaster(**OPTIONS, cell="lstm").fit(make_frame(), verbose=0)


def run_savedmodel(path):
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]

    def run(inputs):
        given = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: x.numpy() for name, x in serve(**given).items()}

    return run


def run_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def run_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    return lambda inputs: {k: v.copy() for k, v in runner(**inputs).items()}


@pytest.mark.parametrize("scaling", first(["standard", "mean_abs"], "mean_abs"))
def test_a_series_without_a_value_is_no_hindrance(scaling, tmp_path):
    frame = make_frame()
    frame.loc[frame["unique_id"] == "a", "y"] = np.nan
    fitted = Forecaster(**OPTIONS, scaling=scaling).fit(frame, verbose=0)
    export_model(fitted, "keras", tmp_path / "network.keras")
    export_model(fitted, "savedmodel", tmp_path / "model")


@pytest.mark.parametrize("target", often(["savedmodel", "onnx", "litert"], "onnx"))
def test_step_by_step_it_equals_a_session(plain, target, tmp_path):
    manifest = export_model(plain, target, tmp_path / "out")
    states = [name for name in manifest["inputs"] if name.startswith("state_")]
    assert {f"{name}_next" for name in states} < set(manifest["outputs"])
    run = globals()[f"run_{target}"](tmp_path / "out")
    carried = {
        name: np.full(
            (1, manifest["inputs"][name]["shape"][1]),
            np.nan if name == "state_shift" else 0,
            np.float32,
        )
        for name in states
    }
    session = plain.stream()
    stamps = pd.date_range("2025-03-01", periods=20, freq="D").to_numpy()
    clock = session.clock
    for step, value in enumerate([5.0, np.nan, 7.0, *np.arange(15.0)]):
        place = clock.positions(stamps[step : step + 1])
        future = clock.features(place[:, None] + np.arange(4))
        inputs = {"value": np.array([value], np.float32), "future": future}
        found = run({**inputs, **carried})
        carried = {name: found[f"{name}_next"] for name in states}
        told = session.step({"new": float(value)}, ds=stamps[step])
        for index, name in enumerate(told.outputs):
            np.testing.assert_allclose(
                found[name], told.values[..., index], rtol=1e-5, atol=1e-4
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["keras", pytest.param("onnx", marks=pytest.mark.exhaustive)]
)
def test_covariates_go_in_as_the_network_takes_them(target, tmp_path):
    forecaster = Forecaster(
        **OPTIONS, scaling="mean_abs", future_covariates=["price"]
    ).fit(make_frame(), verbose=0)
    manifest = export_model(forecaster, target, tmp_path / "out")
    assert manifest["check"]["values"] > 0
    features = manifest["inputs"]["future"]["features"]
    assert features[-1]["column"] == "price"
