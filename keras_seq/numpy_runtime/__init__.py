"""What was trained, in NumPy alone: no Keras, no TensorFlow, no JAX, no pandas.

`load(path)` reads what `TextClassifier.save` or `Forecaster.save` wrote, and predicts
what they would.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from keras_seq.numpy_runtime.cells import sigmoid
from keras_seq.numpy_runtime.recurrence import run, run_encoder, step

if TYPE_CHECKING:
    from keras_seq.numpy_runtime.bundle import write_bundle
    from keras_seq.numpy_runtime.forecast_network import ForecastNetwork
    from keras_seq.numpy_runtime.forecaster import NumpyForecaster
    from keras_seq.numpy_runtime.loading import load
    from keras_seq.numpy_runtime.stream_network import StreamNetwork
    from keras_seq.numpy_runtime.text_classifier import NumpyTextClassifier
    from keras_seq.numpy_runtime.text_network import TextNetwork

__all__ = [
    "ForecastNetwork",
    "NumpyForecaster",
    "NumpyTextClassifier",
    "StreamNetwork",
    "TextNetwork",
    "load",
    "run",
    "run_encoder",
    "sigmoid",
    "step",
    "write_bundle",
]

# Late, since layers and forecasting take parts of this package.
_HOMES = {
    "ForecastNetwork": "forecast_network",
    "NumpyForecaster": "forecaster",
    "NumpyTextClassifier": "text_classifier",
    "StreamNetwork": "stream_network",
    "TextNetwork": "text_network",
    "load": "loading",
    "write_bundle": "bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
