"""Backend, devices and seeds (public as `keras_seq.runtime`)."""

import logging
import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

import keras_seq


def _is_no_retracing_warning(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


# TensorFlow counts traces by line of Keras's source, over all models of a process, and
# so warns of every fifth model, each of which is traced once as it must be.
logging.getLogger("tensorflow").addFilter(_is_no_retracing_warning)


def describe() -> dict[str, Any]:
    """Tells what this process computes with.

    Returns:
        `backend`, its version, the versions of keras, keras_seq and python,
        `devices` (as Keras names them), `precision` (the global dtype policy) and
        `cpu_count` (cores this process may use).

    Example:
        >>> describe()["backend"] in ("tensorflow", "jax", "torch")
        True
    """
    backend = keras.backend.backend()
    return {
        "backend": backend,
        f"{backend}_version": __import__(backend).__version__,
        "keras_version": keras.__version__,
        "keras_seq_version": keras_seq.__version__,
        "python_version": platform.python_version(),
        "devices": _devices(backend),
        "precision": keras.config.dtype_policy().name,
        "cpu_count": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }


def _devices(backend: str) -> list[str]:
    if backend != "tensorflow":  # Keras lists devices on JAX alone
        return list(keras.distribution.list_devices())
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]


def derive_seed(*address: int | str) -> int:
    """Turns an address such as `(seed, epoch, "dropout")` into one 31-bit seed.

    Every random draw has an address instead of a place in a stream, so that a job
    that was interrupted and resumed draws what an undisturbed one draws.
    """
    words: list[int] = []
    for part in address:
        words += part.encode() if isinstance(part, str) else [int(part)]
    return int(np.random.SeedSequence(words).generate_state(1)[0] >> 1)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Makes Keras initialisers draw from `seed`; the caller's random states survive.

    None leaves everything as it is.
    """
    if seed is None:
        yield
        return
    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
