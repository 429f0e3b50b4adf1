"""The target `keras`: the network as a `.keras` file."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_seq.export.plan import Arrays, Plan, Run
from keras_seq.training.ensemble import members_of


def write_keras(plan: Plan, path: Path) -> None:
    """Writes the network, its layers and weights; nothing of the estimator."""
    for model in (plan.model, *members_of(plan.model)):
        model.compiled = False  # ensembles have no optimiser that could be loaded
    # Keras insists on the ending, which a temporary name need not have.
    named = path.with_name(f"{path.name}.keras")
    plan.model.save(named)
    named.replace(path)


def run_keras_file(plan: Plan, path: Path) -> Run:
    """The network loaded from the file."""
    named = path.with_name(f"{path.name}.keras")
    path.rename(named)
    try:
        model = keras.models.load_model(named)
    finally:
        named.rename(path)
    name = next(iter(plan.outputs))

    def run(inputs: Arrays) -> Arrays:
        found: Any = model.predict_on_batch(inputs)
        named = found if isinstance(found, dict) else {name: found}
        return {key: np.asarray(value) for key, value in named.items()}

    return run


def keras_runtime() -> str:
    """What the file was checked with."""
    return f"keras {keras.__version__} on {keras.backend.backend()}"
