"""What tells that a snapshot is of the model that would go on with it."""

import hashlib
import json
from typing import Any

import numpy as np

from keras_seq.streaming.rows import Array


def model_fingerprint(*parts: Any) -> str:
    """A digest of JSON-able values, arrays, and dicts and lists of them."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            digest.update(repr((part.dtype.str, part.shape)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, dict):
            for name in sorted(part):
                digest.update(repr(name).encode())
                add(part[name])
        else:
            digest.update(json.dumps(part, sort_keys=True, default=repr).encode())
        digest.update(b"\0")

    for part in parts:
        add(part)
    return digest.hexdigest()


def model_weights(model: Any) -> dict[str, Array]:
    """Copies of weights by path, as the artefact names them; no carried states."""
    return {
        weight.path: np.array(weight)
        for weight in model.weights
        if not weight.path.rsplit("/", 1)[-1].startswith("state_")
    }
