"""load: a saved estimator, ready to predict with NumPy alone."""

from os import PathLike
from typing import Any

from keras_seq import artifact
from keras_seq.errors import ArtifactError
from keras_seq.numpy_runtime.forecaster import NumpyForecaster
from keras_seq.numpy_runtime.text_classifier import NumpyTextClassifier


def load(
    path: str | PathLike[str], **overrides: Any
) -> NumpyTextClassifier | NumpyForecaster:
    """Reads what `TextClassifier.save` or `Forecaster.save` wrote.

    Neither Keras nor a backend, scikit-learn, scipy or pandas is imported, unless a
    pandas frame is given, or the time step is one that only pandas knows.

    Args:
        path: The file.
        overrides: Constructor arguments that are not in the file: a function that was
            given as `split`.

    Raises:
        ArtifactError: If the file is damaged, foreign, from a newer version, or holds
            a network that this runtime does not run; if a function is missing.
        FileNotFoundError: If there is no such file.
        ValueError: If a function is given for what is in the file.
    """
    manifest, arrays = artifact.read(path)
    name = manifest["estimator"]
    unsaved = {"TextClassifier": ("split",), "Forecaster": ()}
    if name not in unsaved:
        raise ArtifactError(
            f"{path} holds an unknown estimator {name!r}; this version knows "
            f"{', '.join(unsaved)}."
        )
    saved = manifest.get("functions", {})
    unknown = set(overrides) - set(unsaved[name])
    if unknown:
        raise ValueError(
            f"`load` takes functions that {path} does not hold, and no other argument. "
            f"Received: {sorted(unknown)}"
        )
    artifact.check_functions(path, unsaved[name], saved, overrides)
    try:
        if name == "TextClassifier":
            return NumpyTextClassifier(manifest, arrays, **overrides)
        return NumpyForecaster(manifest, arrays)
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"{path} does not describe a {name} of this version: {error}"
        ) from error
