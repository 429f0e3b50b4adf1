"""Exported text classifiers answer as the estimator does."""

import numpy as np
import pytest

import keras_seq
from keras_seq.text.batches import pad_rows
from tests.export.conftest import FORWARD, NEW_TEXTS, fit_text

pytest.importorskip("tf2onnx")
tf = pytest.importorskip("tensorflow")
export_model = keras_seq.export.export_model

LIMIT = 1e-5


def padded(estimator, texts, width=None):
    rows = estimator.preprocessor_.transform(texts)
    width = width or int(rows.lengths.max())
    return pad_rows(rows, np.arange(len(texts)), width, len(texts))


def assert_savedmodel_answers(estimator, path):
    manifest = export_model(estimator, "savedmodel", path)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = serve(texts=tf.constant(NEW_TEXTS))
    assert set(found) == set(manifest["outputs"]) == {"probabilities", "labels"}
    probabilities = estimator.predict_proba(NEW_TEXTS)
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=LIMIT)
    labels, predicted = found["labels"].numpy(), estimator.predict(NEW_TEXTS)
    if estimator.multi_label:
        given = [estimator.classes_[row].tolist() for row in labels]
        assert given == predicted
    else:
        assert [label.decode() for label in labels] == predicted.tolist()
    assert manifest["labels"] == estimator.classes_.tolist()
    assert manifest["check"]["max_abs_difference"] <= LIMIT
    return serve


def assert_onnx_answers(estimator, path, chunk=None):
    import onnxruntime

    manifest = export_model(estimator, "onnx", path)
    session = onnxruntime.InferenceSession(str(path))
    inputs = padded(estimator, NEW_TEXTS)
    states = [name for name in manifest["inputs"] if name not in inputs]
    carried = {
        name: np.zeros((len(NEW_TEXTS), manifest["inputs"][name]["shape"][1]), "f")
        for name in states
    }
    width = inputs["tokens"].shape[1]
    for start in range(0, width, chunk or width):
        stop = min(start + (chunk or width), width)
        given = {
            "tokens": inputs["tokens"][:, start:stop],
            "length": np.clip(inputs["length"] - start, 0, stop - start),
        }
        names = list(manifest["outputs"])
        answers = session.run(names, {**given, **carried})
        found = dict(zip(names, answers, strict=True))
        carried = {name: found[f"{name}_next"] for name in states}
    np.testing.assert_allclose(
        found["probabilities"], estimator.predict_proba(NEW_TEXTS), atol=LIMIT
    )
    return states, manifest


def assert_litert_steps_answer(estimator, path):
    from ai_edge_litert.interpreter import Interpreter

    manifest = export_model(estimator, "litert", path)
    interpreter = Interpreter(model_path=str(path))
    assert not [
        operation
        for operation in interpreter._get_ops_details()
        if "flex" in operation["op_name"].lower()
        or operation["op_name"] in ("CUSTOM", "WHILE", "IF")
    ]
    run = interpreter.get_signature_runner()
    text = NEW_TEXTS[0]
    states = {
        name: np.zeros(port["shape"], np.float32)
        for name, port in manifest["inputs"].items()
        if name != "token"
    }
    assert states
    for token in estimator.preprocessor_.transform([text]).ids:
        found = run(token=np.array([token], np.int32), **states)
        states = {name: found[f"{name}_next"].copy() for name in states}
    np.testing.assert_allclose(
        found["probabilities"], estimator.predict_proba([text]), atol=LIMIT
    )


def test_savedmodel_takes_strings(forward, tmp_path):
    serve = assert_savedmodel_answers(forward, tmp_path / "model")
    assert serve(texts=tf.constant([], tf.string))["labels"].shape[0] == 0


def test_onnx_carries_states(stateful, tmp_path):
    path = tmp_path / "model.onnx"
    states, manifest = assert_onnx_answers(stateful, path, chunk=7)
    assert states == ["encoder_0", "encoder_1", "pooling_count", "pooling_max"]
    vocabulary = (tmp_path / "model.onnx.vocabulary.txt").read_text("utf-8")
    assert vocabulary.splitlines() == stateful.vocabulary_
    assert set(manifest["files"]) < {child.name for child in tmp_path.iterdir()}


def test_litert_takes_one_token(forward, tmp_path):
    assert_litert_steps_answer(forward, tmp_path / "model.tflite")


@pytest.mark.exhaustive
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "transformer"])
def test_whole_texts_in_each_cell(cell, tmp_path):
    estimator = fit_text(cell=cell, units=4, conv_filters=3, num_layers=2)
    assert_savedmodel_answers(estimator, tmp_path / "model")
    assert_onnx_answers(estimator, tmp_path / "model.onnx")
    manifest = export_model(
        estimator, "litert", tmp_path / "model.tflite", steps=12, batch_size=2
    )
    assert manifest["inputs"]["tokens"]["shape"] == [2, 12]


@pytest.mark.exhaustive
@pytest.mark.parametrize("pooling", ["concat", "attention"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_forward_and_stateful_in_each_cell(cell, pooling, tmp_path):
    options = {"cell": cell, "pooling": pooling, "num_layers": 2}
    estimator = fit_text(**options, **FORWARD, normalization="layer")
    assert_litert_steps_answer(estimator, tmp_path / "model.tflite")
    estimator = fit_text(**options, stateful=True, batch_size=4)
    assert_onnx_answers(estimator, tmp_path / "model.onnx", chunk=5)
    assert_savedmodel_answers(estimator, tmp_path / "model")
    assert_litert_steps_answer(estimator, tmp_path / "model.tflite")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "options",
    [
        {"multi_label": True},
        {"ensemble": 2, "cell": "gru"},
        {"auxiliary": "next_step", "adversarial": 0.05},
        {"split": "whitespace", "max_length": 4, "truncation": "head_tail"},
        {"activation": "relu", "cell": "rnn"},
    ],
)
@pytest.mark.filterwarnings("ignore:activation=")
def test_other_structures(options, tmp_path):
    estimator = fit_text(**options)
    assert_savedmodel_answers(estimator, tmp_path / "model")
    assert_onnx_answers(estimator, tmp_path / "model.onnx")


def test_what_one_token_cannot_tell_is_refused(forward, tmp_path, monkeypatch):
    built = {**forward._builder_args, "bidirectional": "auto", "ngrams": 2}
    monkeypatch.setattr(forward, "_builder_args", built)
    with pytest.raises(ValueError, match="bidirectional='auto', ngrams=2"):
        export_model(forward, "litert", tmp_path / "model.tflite")
    with pytest.raises(ValueError, match="`steps` must be at most 512"):
        export_model(forward, "litert", tmp_path / "m", steps=1000)
    assert not list(tmp_path.iterdir())


def test_a_function_as_split_is_refused_where_texts_go_in(forward, tmp_path):
    forward.set_params(split=str.split)
    try:
        with pytest.raises(ValueError, match="`split` must not be a function"):
            export_model(forward, "savedmodel", tmp_path / "model")
    finally:
        forward.set_params(split="auto")
    assert not list(tmp_path.iterdir())
