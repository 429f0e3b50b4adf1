"""What a saved classifier knows beside its weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.text.arguments import make_preprocessor
from keras_seq.text.baseline import Baselines
from keras_seq.text.report import TextReport
from keras_seq.training.history import pack_history, unpack_history

if TYPE_CHECKING:
    from keras_seq.text.classifier import TextClassifier


def plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments with `class_weight` as pairs: JSON's keys are all text."""
    class_weight = params["class_weight"]
    if not isinstance(class_weight, Mapping):
        return params
    pairs = [
        [label.item() if isinstance(label, np.generic) else label, weight]
        for label, weight in class_weight.items()
    ]
    return {**params, "class_weight": pairs}


def preprocessing(classifier: "TextClassifier") -> dict[str, Any]:
    """Constructor arguments by which a fitted classifier reads texts."""
    preprocessor = classifier.preprocessor_
    found: dict[str, Any] = {
        "split": preprocessor.split,
        "truncation": preprocessor.truncation,
    }
    if classifier._builder_args["ngrams"]:
        found["ngram_length"] = preprocessor.row_length
    return found


def get_state(
    classifier: "TextClassifier",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON-able values, and arrays, from which `set_state` makes it fitted again."""
    preprocessor, arrays = classifier.preprocessor_.get_state()
    thresholds = classifier.thresholds_
    state = {
        "preprocessor": preprocessor,
        "classes": classifier.classes_.tolist(),
        "majority": classifier._baselines.majority,
        "best_epoch": classifier.best_epoch_,
        "temperature": classifier.temperature_,
        "thresholds": None if thresholds is None else thresholds.tolist(),
        "validation": classifier.validation_,
        "report": classifier.report_.to_dict(),
        "history": pack_history(classifier.history_),
    }
    return state, arrays


def set_state(
    classifier: "TextClassifier", state: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Gives a classifier of `plain_params` what `get_state` told of a fitted one."""
    if isinstance(classifier.class_weight, list):
        classifier.class_weight = dict(classifier.class_weight)
    preprocessor = make_preprocessor(classifier)
    classifier.preprocessor_ = preprocessor.set_state(state["preprocessor"], arrays)
    classifier.classes_ = np.array(state["classes"])
    classifier.best_epoch_ = state["best_epoch"]
    classifier.temperature_ = state["temperature"]
    thresholds = state["thresholds"]
    classifier.thresholds_ = None if thresholds is None else np.array(thresholds)
    classifier.validation_ = state["validation"]
    validated = classifier.validation_["baselines"].get("tfidf_logreg")
    classifier._baselines = Baselines(state["majority"], validated=validated)
    classifier.report_ = TextReport(**state["report"])
    classifier.history_ = unpack_history(state["history"])
