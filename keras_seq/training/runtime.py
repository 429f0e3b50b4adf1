"""Backend, devices, precision, XLA, seeds, ways (public as `keras_seq.runtime`)."""

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
from keras_seq.errors import check_choice
from keras_seq.hashing import derive_seed as derive_seed
from keras_seq.training.compute_path import compute_path as compute_path

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "float64")


def _is_no_retracing_warning(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


# TensorFlow counts traces by line of Keras's source, over all models of a process, and
# so warns of every fifth model, each of which is traced once as it must be.
logging.getLogger("tensorflow").addFilter(_is_no_retracing_warning)


def describe() -> dict[str, Any]:
    """Tells what this process computes with.

    Returns:
        `backend`, its version, the versions of keras, keras_seq and python,
        `devices` (as Keras names them), `precision` (the global dtype policy), `xla`
        (whether `jit="auto"` compiles with it), `cpu_count` (cores this process may
        use) and `threads` (of the backend's pools on the CPU).

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
        "xla": resolve_jit("auto"),
        "cpu_count": _cpu_count(),
        "threads": _threads(backend),
    }


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads(backend: str) -> dict[str, int]:
    cores = _cpu_count()
    if backend == "tensorflow":
        import tensorflow as tf

        pools = tf.config.threading
        return {  # 0 is TensorFlow's word for one thread a core
            "intra_op": pools.get_intra_op_parallelism_threads() or cores,
            "inter_op": pools.get_inter_op_parallelism_threads() or cores,
        }
    if backend == "jax":  # XLA asks this variable, then the system
        return {"xla": int(os.environ.get("NPROC", cores))}
    return {}


def _devices(backend: str) -> list[str]:
    if backend != "tensorflow":  # Keras lists devices on JAX alone
        return list(keras.distribution.list_devices())
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]


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


@contextmanager
def dtype_policy(precision: str | None) -> Iterator[None]:
    """Makes layers built within compute in `precision`; the global policy survives.

    Args:
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`;
            None leaves the global policy as it is.

    Raises:
        ValueError: If it is another, or `"float64"` where JAX would make it float32.
    """
    check_choice("precision", precision, (None, *PRECISIONS))
    if precision is None:
        yield
        return
    if precision == "float64" and keras.backend.backend() == "jax":
        import jax

        if not jax.config.jax_enable_x64:
            raise ValueError(
                "`precision` can be 'float64' on JAX only after "
                "jax.config.update('jax_enable_x64', True), or else JAX computes in "
                f"float32 all the same. Received: precision={precision!r}"
            )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def resolve_precision(precision: str | None) -> str | None:
    """Names the policy that None stands for now, so that a saved network keeps it."""
    if precision is not None:
        return precision
    current = keras.config.dtype_policy().name
    return current if current in PRECISIONS else None


def resolve_jit(jit: bool | str) -> bool:
    """Whether to compile with XLA.

    Args:
        jit: True, False, or `"auto"`: True on JAX; False on TensorFlow, where each
            padded length would compile anew, for seconds.
    """
    check_choice("jit", jit, ("auto", True, False))
    return keras.backend.backend() == "jax" if jit == "auto" else bool(jit)
