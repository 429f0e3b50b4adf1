"""The backend's import, without its messages."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from keras_seq import artifact


def import_backend() -> None:
    """Imports Keras and its backend, quietly unless it fails.

    TensorFlow 2.21 writes six lines to stderr as it is imported, before it reads any
    log level; they would bury the one line that tells what is wrong.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        loaded = False
        try:
            import keras

            loaded = keras.backend.backend() != ""
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if not loaded:
                hidden.seek(0)
                os.write(2, hidden.read())


def load_model(path: Path, estimator: str) -> Any:
    """Loads a saved model of one kind; a wrong file is reported at once.

    Raises:
        ValueError: If there is no such file, or it holds something else.
    """
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    found = artifact.read_manifest(path)["estimator"]
    if found != estimator:
        raise ValueError(f"{path} holds a {found}, not a {estimator}.")
    import_backend()
    return artifact.load(path)
