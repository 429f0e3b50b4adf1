"""What all exports share: whole files, manifests, refusals; the command."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_seq
from keras_seq.cli import main
from keras_seq.export import plan as plans
from keras_seq.export.replacing import replaced_paths
from keras_seq.forecasting import fitting
from tests.export.conftest import fit_text
from tests.export.test_series import windows

export_model = keras_seq.export.export_model

LOAD = """
import sys, keras, keras_seq.export
print(type(keras.models.load_model(sys.argv[1])).__name__)
"""


def test_a_keras_file_has_the_network(forecaster, tmp_path):
    path = tmp_path / "model.keras"
    forecaster.save(tmp_path / "model.kseq")
    manifest = export_model(tmp_path / "model.kseq", "keras", path)
    inputs, expected = windows(forecaster)
    shift = fitting_shift(forecaster)
    inputs["target"] = (inputs["target"] - shift).astype(np.float32)
    found = np.asarray(keras.models.load_model(path).predict_on_batch(inputs))
    np.testing.assert_allclose(found + shift[..., None], expected, rtol=1e-5)
    assert json.loads((tmp_path / "model.keras.json").read_text()) == manifest


def fitting_shift(estimator):
    panel = estimator._tail
    source = fitting.WindowSource(panel, estimator._spec)
    return source.gather(np.arange(len(panel.ids)), panel.lengths).shift[:, None]


@pytest.mark.exhaustive
def test_a_keras_file_loads_in_a_fresh_process(forward, tmp_path):
    path = tmp_path / "model.keras"
    for estimator, name in (
        (forward, "TextModel"),
        (fit_text(ensemble=2), "Functional"),
    ):
        export_model(estimator, "keras", path)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOAD, str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(keras_seq.__file__).parents[1])},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == name, done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [{}, {"stateful": True, "batch_size": 4}])
def test_a_keras_file_of_a_classifier(options, tmp_path):
    estimator = fit_text(cell="gru", **options)
    manifest = export_model(estimator, "keras", tmp_path / "model.keras")
    assert manifest["check"]["max_abs_difference"] < 1e-6
    assert manifest["calibrated"] is False


def test_a_difference_is_an_error_and_leaves_what_was_there(
    forecaster, tmp_path, monkeypatch
):
    path = tmp_path / "model.keras"
    path.write_text("an older export")
    told = plans.Comparison(np.ones(3), np.ones(3) + 2e-5)
    monkeypatch.setattr(plans, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from the estimator by up to"):
        export_model(forecaster, "keras", path)
    assert path.read_text() == "an older export"
    assert [child.name for child in tmp_path.iterdir()] == ["model.keras"]
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="up to 2e-05"):
        check(told)


def check(*comparisons):
    plan = types.SimpleNamespace(compare=lambda run: iter(comparisons))
    return plans.check_plan(plan, None)


def test_differences_are_measured_over_the_scale():
    large = plans.Comparison(np.array([1e3, np.nan]), np.array([1e3 + 5e-3, np.nan]))
    found = check(large, plans.Comparison(np.zeros(2), np.array([0.0, 1e-4])))
    assert found["scale"] == 1e3 and found["values"] == 4
    assert found["max_abs_difference"] == pytest.approx(5e-3)
    for wrong, message in (
        ([plans.Comparison(np.ones(2), np.array([1.0, np.nan]))], "inf"),
        ([plans.Comparison(np.ones(2), np.ones(3))], "another shape"),
        ([], "no sample at all"),
    ):
        with pytest.raises(RuntimeError, match=message):
            check(*wrong)


def test_files_and_folders_are_replaced_whole(tmp_path):
    target = tmp_path / "model"
    for text in ("one", "two"):
        with replaced_paths(target) as folder:
            (folder / "model").mkdir()
            (folder / "model" / text).write_text(text)
            (folder / "model.json").write_text(text)
        assert [child.name for child in target.iterdir()] == [text]
        assert (tmp_path / "model.json").read_text() == text
    with pytest.raises(KeyError), replaced_paths(target) as folder:
        (folder / "model").write_text("half")
        raise KeyError
    assert (target / "two").read_text() == "two"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["model", "model.json"]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("onx", "m"), {}, ValueError, "Did you mean 'onnx'"),
        (("onnx", "m"), {"opest": 1}, TypeError, "Did you mean 'opset'"),
        (("onnx", "m"), {"opset": 0}, ValueError, "`opset` must be a whole number"),
        (("numpy", "m"), {"opset": 17}, TypeError, "no options"),
        (("onnx", "none/m"), {}, ValueError, "There is no folder"),
        (("onnx", "."), {}, ValueError, "must be a file, and is a folder"),
        (("savedmodel", "full"), {}, ValueError, "or an earlier export"),
    ],
)
def test_bad_arguments(arguments, options, error, message, forecaster, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    target, out = arguments
    with pytest.raises(error, match=message):
        export_model(forecaster, target, tmp_path / out, **options)
    assert (tmp_path / "full" / "thesis.tex").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_estimator_and_what_cannot_be_exact_is_refused(
    forecaster, tmp_path, monkeypatch
):
    with pytest.raises(TypeError, match="`model` must be a TextClassifier"):
        export_model("model".split(), "onnx", tmp_path / "m")
    with pytest.raises(keras_seq.errors.NotFittedError):
        export_model(keras_seq.Forecaster(horizon=3), "onnx", tmp_path / "m")
    half = {**forecaster._builder_args, "precision": "mixed_bfloat16"}
    monkeypatch.setattr(forecaster, "_builder_args", half)
    with pytest.raises(ValueError, match="`precision` must be 'float32'"):
        export_model(forecaster, "onnx", tmp_path / "m")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND is 'tensorflow'"):
        export_model(forecaster, "savedmodel", tmp_path / "m")


def test_numpy_hands_a_saved_file_to_the_runtime(forecaster, tmp_path, monkeypatch):
    seen = []

    def write_bundle(saved, out):
        seen.append(keras_seq.artifact.read_manifest(saved)["estimator"])
        Path(out).write_text("bundle")

    module = types.SimpleNamespace(write_bundle=write_bundle)
    monkeypatch.setitem(sys.modules, "keras_seq.numpy_runtime.bundle", module)
    manifest = export_model(forecaster, "numpy", tmp_path / "model.npz")
    assert seen == ["Forecaster"] and manifest["target"] == "numpy"
    assert (tmp_path / "model.npz").read_text() == "bundle"


def test_a_model_with_dicts_in_and_out_is_planned():
    state = keras.Input((2,), name="state")
    value = keras.Input((1,), name="value")
    after = keras.layers.Dense(2)(keras.ops.concatenate([state, value], -1))
    model = keras.Model(
        {"state": state, "value": value},
        {"state_next": after, "sum": keras.ops.sum(after, -1)},
    )
    about = dict.fromkeys(("state", "value", "state_next", "sum"), "?")
    given = {"about": about, "facts": {}, "compare": lambda run: iter(())}
    plan = plans.plan_of_model(model, **given, batch_size=1)
    assert plan.inputs["state"].shape == (1, 2) and plan.outputs["sum"].shape == (1,)
    inputs = {"state": np.ones((1, 2), "f"), "value": np.ones((1, 1), "f")}
    assert set(plan.function(inputs)) == set(plan.outputs)
    with pytest.raises(TypeError, match="must have dicts"):
        plans.plan_of_model(keras.Model(state, -state), **given)


def test_the_command(forecaster, tmp_path, capsys):
    saved = tmp_path / "model.kseq"
    forecaster.save(saved)
    out = tmp_path / "model.keras"
    with pytest.raises(SystemExit) as ended:
        main(["export", "keras", str(saved), str(out)])
    assert ended.value.code == 0 and out.exists()
    assert "checked in keras" in capsys.readouterr().out
    for arguments, message in (
        (["keras", "none.kseq", "m"], "There is no file none.kseq"),
        (["litert", str(saved), str(out), "--steps", "4"], "`steps` belongs to texts"),
        (["tflite", str(saved), str(out)], "`target` must be one of"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["export", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
