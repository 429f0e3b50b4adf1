"""Recurrent networks for text classification and time-series forecasting on Keras 3.

Names load on first use, so that `import keras_seq` imports neither Keras nor a
backend: the backend can still be chosen, and the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_seq import datasets, diagnostics, export, layers, numpy_runtime
    from keras_seq.artifact import load
    from keras_seq.errors import ArtifactError
    from keras_seq.forecasting.builder import build_forecaster
    from keras_seq.forecasting.forecaster import Forecaster
    from keras_seq.text.builder import build_text_classifier
    from keras_seq.text.classifier import TextClassifier
    from keras_seq.training import runtime
    from keras_seq.tuning.tune import tune

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Forecaster",
    "TextClassifier",
    "build_forecaster",
    "build_text_classifier",
    "datasets",
    "diagnostics",
    "export",
    "layers",
    "load",
    "numpy_runtime",
    "runtime",
    "tune",
]

_HOMES = {
    "ArtifactError": "keras_seq.errors",
    "Forecaster": "keras_seq.forecasting.forecaster",
    "TextClassifier": "keras_seq.text.classifier",
    "build_forecaster": "keras_seq.forecasting.builder",
    "build_text_classifier": "keras_seq.text.builder",
    "load": "keras_seq.artifact",
    "tune": "keras_seq.tuning.tune",
}
_MODULES = {
    "datasets": "keras_seq.datasets",
    "diagnostics": "keras_seq.diagnostics",
    "export": "keras_seq.export",
    "layers": "keras_seq.layers",
    "numpy_runtime": "keras_seq.numpy_runtime",
    "plotting": "keras_seq.plotting",
    "runtime": "keras_seq.training.runtime",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'keras_seq' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
