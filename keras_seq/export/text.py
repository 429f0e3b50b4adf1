"""What is exported of a TextClassifier: texts, tokens, or one token at a time."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.errors import check_integer
from keras_seq.export.loops import MOST_STEPS
from keras_seq.export.plan import Arrays, Comparison, Plan, Port, Run, rebuilt
from keras_seq.export.samples import (
    SAMPLE_TOKENS,
    padded_rows,
    sample_texts,
)
from keras_seq.export.states import explicit_states, state_widths
from keras_seq.text.calibration import apply_temperature
from keras_seq.text.classifier import TextClassifier
from keras_seq.text.normalization import pack_strings

Tensor = Any

# What stands beside an exported file, behind its name.
VOCABULARY, CHARACTERS = ".vocabulary.txt", ".characters.npz"


def plan_network(estimator: TextClassifier) -> Plan:
    """The network alone, as it is: tokens in, its own probabilities out."""
    facts = _facts(estimator)
    facts["calibrated"] = False
    model = rebuilt(estimator)
    inputs = _token_ports(None, None)
    if "reset" in model.input:
        inputs["reset"] = Port("bool", (None,), "Rows that start anew.")

    def compare(run: Run) -> Iterator[Comparison]:
        texts = sample_texts(estimator)
        rows = min(len(texts), getattr(estimator, "batch_size", len(texts)))
        for start in range(0, len(texts), rows):
            part = texts[start : start + rows]
            given: Arrays = padded_rows(estimator, part)
            if "reset" in inputs:
                given["reset"] = np.ones(len(part), bool)
            found = run(given)["probabilities"]
            found = apply_temperature(
                found, estimator.temperature_, estimator.multi_label
            )
            yield Comparison(estimator.predict_proba(part), found)

    return Plan(
        model,
        lambda given: {"probabilities": model(given, training=False)},
        inputs,
        _probability_ports(estimator, None),
        facts,
        compare,
        companions=_companions(estimator),
    )


def plan_texts(estimator: TextClassifier) -> Plan:
    """Strings in, labels and probabilities out, the tokeniser within."""
    from keras_seq.export.tokenizer import GraphTokenizer

    _refuse_function(estimator)
    model = _inference_model(estimator)
    tokenizer = GraphTokenizer(estimator.preprocessor_)
    choose, label_port = _labels(estimator)

    def function(given: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens, length = tokenizer(given["texts"])
        raw = _from_empty_states(model, tokens, length)
        calibrated = _calibrate(estimator, raw)
        return {"probabilities": calibrated, "labels": choose(raw, calibrated)}

    def compare(run: Run) -> Iterator[Comparison]:
        texts = sample_texts(estimator)
        found = run({"texts": np.array(texts, object)})
        probabilities = estimator.predict_proba(texts)
        yield Comparison(probabilities, found["probabilities"])
        if estimator.multi_label:
            # Where a probability is its threshold, rounding decides.
            near = np.abs(probabilities - estimator.thresholds_) < 1e-6
            decided = probabilities >= estimator.thresholds_
            given = found["labels"]
            yield Comparison(np.where(near, given, decided), given)
        else:
            known = estimator.classes_.tolist()
            named = found["labels"].tolist()
            if isinstance(known[0], str):
                named = [label.decode() for label in named]
            chosen = np.array([known.index(label) for label in named])
            # Where two classes are as likely, either is right.
            of_chosen = np.take_along_axis(probabilities, chosen[:, None], axis=1)
            yield Comparison(probabilities.max(axis=1), of_chosen[:, 0])

    return Plan(
        model,
        function,
        {"texts": Port("string", (None,), "Texts, UTF-8.")},
        {**_probability_ports(estimator, None), "labels": label_port},
        {
            **_facts(estimator),
            "calibrated": True,
            "invalid_bytes": "A UTF-8 character that is cut short, and a byte that "
            "begins none, is read as U+FFFD, a token of its own.",
        },
        compare,
        tracked=(tokenizer.vocabulary,),
    )


def plan_tokens(
    estimator: TextClassifier, steps: int | None = None, batch_size: int | None = None
) -> Plan:
    """Tokens and lengths in, calibrated probabilities out.

    A stateful classifier takes a chunk of each text and the states before it, and
    gives those after it.

    Args:
        estimator: Fitted.
        steps: Tokens of a text, which are then written out one after another; None:
            any number, in a loop.
        batch_size: Texts at a time; None: any number.
    """
    if steps is not None and steps > MOST_STEPS:
        raise ValueError(
            f"`steps` must be at most {MOST_STEPS}, since each is written out. "
            f"Received: {steps=}"
        )
    model = _inference_model(estimator)
    rows = batch_size
    states = state_widths(model)
    inputs = _token_ports(rows, steps)
    outputs = _probability_ports(estimator, rows)
    for name, width in states.items():
        shape = (rows, width)
        inputs[name] = Port("float32", shape, "State before; zeros for a new text.")
        outputs[f"{name}_next"] = Port("float32", shape, "State after.")

    def function(given: dict[str, Tensor]) -> dict[str, Tensor]:
        before = {name: given[name] for name in states}
        tokens, length = given["tokens"], given["length"]
        raw, after = _with_states(model, tokens, length, before)
        after = {f"{name}_next": value for name, value in after.items()}
        return {"probabilities": _calibrate(estimator, raw), **after}

    def compare(run: Run) -> Iterator[Comparison]:
        texts = sample_texts(estimator, steps)
        whole = padded_rows(estimator, texts, steps)
        chunk = whole["tokens"].shape[1]
        if states and steps is None:
            chunk = -(-chunk // 2)  # in two chunks, to see the states carried
        carried: Arrays = {
            name: np.zeros((len(texts), width), np.float32)
            for name, width in states.items()
        }
        for start in range(0, whole["tokens"].shape[1], chunk):
            found = run(
                {
                    "tokens": whole["tokens"][:, start : start + chunk],
                    "length": np.clip(whole["length"] - start, 0, chunk),
                    **carried,
                }
            )
            carried = {name: found[f"{name}_next"] for name in states}
        yield Comparison(estimator.predict_proba(texts), found["probabilities"])

    return Plan(
        model,
        function,
        inputs,
        outputs,
        {**_facts(estimator), "calibrated": True},
        compare,
        unroll=steps is not None,
        companions=_companions(estimator),
    )


def plan_step(estimator: TextClassifier, batch_size: int = 1) -> Plan:
    """One token of each text and the states before it in, what is known then out.

    Args:
        estimator: Fitted, of an encoder that sees no later token.
        batch_size: Texts at a time.
    """
    _refuse_later_tokens(estimator)
    check_integer("batch_size", batch_size, 1)
    model = _stateful_model(estimator)
    states = state_widths(model)
    inputs = {"token": Port("int32", (batch_size,), "Id of the next token.")}
    outputs = _probability_ports(estimator, batch_size)
    for name, width in states.items():
        shape = (batch_size, width)
        inputs[name] = Port("float32", shape, "State before; zeros for a new text.")
        outputs[f"{name}_next"] = Port("float32", shape, "State after.")

    def function(given: dict[str, Tensor]) -> dict[str, Tensor]:
        before = {name: given[name] for name in states}
        length = ops.ones((batch_size,), "int32")
        raw, after = _with_states(model, given["token"][:, None], length, before)
        after = {f"{name}_next": value for name, value in after.items()}
        return {"probabilities": _calibrate(estimator, raw), **after}

    def compare(run: Run) -> Iterator[Comparison]:
        texts = sample_texts(estimator, SAMPLE_TOKENS)
        rows = estimator.preprocessor_.transform(texts)
        expected = estimator.predict_proba(texts)
        for row in np.flatnonzero(rows.lengths)[:6]:
            start = rows.starts[row]
            carried: Arrays = {
                name: np.zeros((batch_size, width), np.float32)
                for name, width in states.items()
            }
            for token in rows.ids[start : start + rows.lengths[row]]:
                ids = np.full(batch_size, token, np.int32)
                found = run({"token": ids, **carried})
                carried = {name: found[f"{name}_next"] for name in states}
            answers = np.repeat(expected[row : row + 1], batch_size, axis=0)
            yield Comparison(answers, found["probabilities"])

    return Plan(
        model,
        function,
        inputs,
        outputs,
        {**_facts(estimator), "calibrated": True},
        compare,
        unroll=True,
        companions=_companions(estimator),
    )


def _later_tokens(estimator: TextClassifier) -> dict[str, Any]:
    """Arguments by which the network sees more than one token and a state."""
    built = estimator._builder_args
    both = built.get("bidirectional", "auto")
    found = {
        "cell": built["cell"] if built["cell"] == "transformer" else None,
        "bidirectional": both
        if both is True or (both == "auto" and not built.get("stateful"))
        else None,
        "conv_filters": built.get("conv_filters"),
        "ngrams": built.get("ngrams") or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _refuse_later_tokens(estimator: TextClassifier) -> None:
    found = _later_tokens(estimator)
    if found:
        raise ValueError(
            "A network that is given one token at a time must have a recurrent `cell`, "
            "bidirectional=False, conv_filters=None and ngrams=0; one that reads whole "
            "texts of so many tokens is exported with `steps`. Received: "
            + ", ".join(f"{name}={value!r}" for name, value in found.items())
        )


def _refuse_function(estimator: TextClassifier) -> None:
    if callable(estimator.split):
        raise ValueError(
            "`split` must not be a function where texts go in, since no graph holds "
            "Python code: export to 'onnx', where tokens go in. "
            f"Received: split={estimator.split!r}"
        )


def _inference_model(estimator: TextClassifier) -> keras.Model:
    """The network without what only training needs."""
    if estimator._builder_args.get("auxiliary") is None:
        return estimator.model_
    # It draws random ids even where nothing is trained.
    return rebuilt(estimator, auxiliary=None)


def _stateful_model(estimator: TextClassifier) -> keras.Model:
    if estimator._builder_args.get("stateful"):
        return _inference_model(estimator)
    changed = {"stateful": True, "batch_size": 1, "adversarial": 0.0}
    return rebuilt(estimator, auxiliary=None, **changed)


def _with_states(
    model: keras.Model, tokens: Tensor, length: Tensor, states: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Probabilities before calibration, and the states after."""
    inputs = {"tokens": tokens, "length": length}
    if "reset" in model.input:
        inputs["reset"] = ops.zeros_like(length, dtype="bool")
    with explicit_states(model, states) as after:
        probabilities = model(inputs, training=False)
    return probabilities, after


def _from_empty_states(model: keras.Model, tokens: Tensor, length: Tensor) -> Tensor:
    rows = ops.shape(tokens)[0]
    states = {
        name: ops.zeros((rows, width), "float32")
        for name, width in state_widths(model).items()
    }
    return _with_states(model, tokens, length, states)[0]


def _calibrate(estimator: TextClassifier, probabilities: Tensor) -> Tensor:
    """As `apply_temperature`, in float32."""
    if estimator.temperature_ == 1.0:
        return ops.cast(probabilities, "float32")
    exact = ops.cast(probabilities, "float32")
    logs = ops.log(ops.maximum(exact, float(np.finfo(np.float32).tiny)))
    if estimator.multi_label:
        logs = logs - ops.log(ops.maximum(1.0 - exact, 2.0**-25))
        return ops.sigmoid(logs / estimator.temperature_)
    return ops.softmax(logs / estimator.temperature_, axis=-1)


def _labels(estimator: TextClassifier) -> tuple[Callable[..., Tensor], Port]:
    """How labels follow from probabilities, before and after calibration."""
    import tensorflow as tf

    classes = estimator.classes_.tolist()
    if estimator.multi_label:
        limits = np.asarray(estimator.thresholds_, np.float64)
        port = Port(
            "bool", (None, len(classes)), "Whether a text has each of the labels."
        )
        return lambda _, p: tf.cast(p, tf.float64) >= limits, port
    kinds = {str: "string", int: "int64", bool: "bool"}
    port = Port(kinds[type(classes[0])], (None,), "The likeliest label.")
    # The likeliest label is that before calibration, which rounds.
    return lambda raw, _: tf.gather(tf.constant(classes), tf.argmax(raw, -1)), port


def _token_ports(rows: int | None, steps: int | None) -> dict[str, Port]:
    return {
        "tokens": Port(
            "int32", (rows, steps), "Ids of tokens, right-padded with anything."
        ),
        "length": Port("int32", (rows,), "Tokens of each row, 0 to all."),
    }


def _probability_ports(estimator: TextClassifier, rows: int | None) -> dict[str, Port]:
    shape = (rows, len(estimator.classes_))
    about = "Probability of each label, in the order of `labels`."
    return {"probabilities": Port("float32", shape, about)}


def _facts(estimator: TextClassifier) -> dict[str, Any]:
    preprocessor = estimator.preprocessor_
    split = preprocessor.split
    thresholds = estimator.thresholds_
    return {
        "labels": estimator.classes_.tolist(),
        "multi_label": estimator.multi_label,
        "thresholds": None if thresholds is None else thresholds.tolist(),
        "temperature": estimator.temperature_,
        "tokenizer": {
            "split": "a function" if callable(split) else split,
            "vocabulary_size": len(preprocessor.vocabulary_),
            "padding_id": 0,
            "unknown_id": 1,
            "longest_row": preprocessor.row_length_,
            "truncation": preprocessor.truncation,
            "vocabulary": f"<name>{VOCABULARY}: UTF-8, one token a line, id 0 first.",
            "characters": f"<name>{CHARACTERS}: arrays of "
            "keras_seq.text.normalization.CharacterTable.",
        },
    }


def _companions(estimator: TextClassifier) -> dict[str, bytes]:
    preprocessor = estimator.preprocessor_
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        **preprocessor._table.get_state(),
    )
    vocabulary = pack_strings(preprocessor.vocabulary_).tobytes()
    return {VOCABULARY: vocabulary + b"\n", CHARACTERS: buffer.getvalue()}
