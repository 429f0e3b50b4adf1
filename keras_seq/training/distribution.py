"""Data parallelism: one network on every accelerator, each batch split over them."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

Tensor = Any


def check_distribution(distribution: str | None) -> None:
    """Raises for every kind of distribution that would be ignored in silence.

    Args:
        distribution: None or `"auto"`, as in `distributed`.

    Raises:
        ValueError: If it is anything else; or if Keras, TensorFlow or JAX is set to
            distribute in a way that would not happen. The message says what does.
    """
    if distribution not in (None, "auto"):
        raise ValueError(
            "`distribution` must be None or 'auto'. A keras.distribution.DataParallel "
            "works on JAX: set it with keras.distribution.set_distribution(...) and "
            f"leave `distribution` at None. Received: distribution={distribution!r}"
        )
    check_ignored()
    if keras.backend.backend() != "jax":
        return
    import jax

    ambient, processes = keras.distribution.distribution(), jax.process_count()
    if not isinstance(ambient, keras.distribution.DataParallel | None):
        raise ValueError(
            "Estimators split batches, not networks: set a "
            "keras.distribution.DataParallel, or none and `distribution='auto'`. "
            f"Received: keras.distribution.distribution()={ambient!r}"
        )
    if ambient is None and distribution is None and processes > 1:
        raise ValueError(
            "With `distribution=None` each JAX process would train a network of its "
            f"own: pass 'auto'. Received: distribution=None, {processes} processes"
        )


def check_ignored() -> None:
    """Raises if TensorFlow is the backend and something is set that it ignores."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    ambient = keras.distribution.distribution()
    if ambient is not None:
        raise ValueError(
            "Keras ignores keras.distribution on TensorFlow: use `distribution='auto'` "
            "for several GPUs of one host, or the JAX backend (KERAS_BACKEND=jax). "
            f"Received: keras.distribution.distribution()={ambient!r}"
        )
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "tf.distribute.MultiWorkerMirroredStrategy does not work with Keras 3: for "
            "several hosts use the JAX backend, keras.distribution.initialize(...) and "
            f"`distribution='auto'`. Received: {type(strategy).__name__}"
        )
    workers = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    count = sum(len(workers.get(kind, ())) for kind in ("chief", "worker"))
    if count > 1:
        raise ValueError(
            "TensorFlow would train a network of its own on each worker of TF_CONFIG: "
            "for several hosts use the JAX backend, keras.distribution.initialize(...) "
            f"and `distribution='auto'`. Received: TF_CONFIG with {count} workers"
        )


@contextmanager
def distributed(
    distribution: str | None,
    *,
    precision: str | None = None,
    jit: bool | str = "auto",
) -> Iterator[int]:
    """Networks built and trained within use every accelerator.

    On TensorFlow, `"auto"` is `tf.distribute.MirroredStrategy` over the GPUs of this
    host (or over logical CPUs, if they were made); `CUDA_VISIBLE_DEVICES` chooses among
    them. On JAX it is `keras.distribution.DataParallel` over all devices, those of
    other hosts included, if `keras.distribution.initialize` was called in each process
    before anything was computed (its arguments may come from the environment:
    `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES`,
    `KERAS_DISTRIBUTION_PROCESS_ID`). Every process then runs the same program on the
    same data. With one device nothing is done.

    The gradient is that of the whole batch, and is clipped as such: Keras under
    MirroredStrategy would clip each replica's part; `RecordingAdam` clips the sum.
    Dropout masks on TensorFlow differ from those on one device.

    Args:
        distribution: `"auto"`, or None for one device, or on JAX for what was set with
            `keras.distribution.set_distribution`.
        precision: Of the network; several GPUs on TensorFlow refuse `"mixed_float16"`.
        jit: Of the network; several GPUs on TensorFlow refuse True.

    Yields:
        The number of replicas, which must divide every batch.

    Raises:
        ValueError: As `check_distribution`.
    """
    check_distribution(distribution)
    if keras.backend.backend() == "tensorflow":
        with _mirrored(distribution, precision, jit) as count:
            yield count
        return
    ambient = keras.distribution.distribution()
    if ambient is None and distribution is not None:
        if len(keras.distribution.list_devices()) > 1:
            ambient = keras.distribution.DataParallel(auto_shard_dataset=False)
    if ambient is None:
        yield 1
        return
    with ambient.scope():
        yield int(ambient.num_model_replicas)


@contextmanager
def _mirrored(
    distribution: str | None, precision: str | None, jit: bool | str
) -> Iterator[int]:
    import tensorflow as tf

    if tf.distribute.has_strategy():
        raise ValueError(
            "An estimator distributes by itself: call it outside of any strategy's "
            "scope, with `distribution='auto'`. "
            f"Received: {type(tf.distribute.get_strategy()).__name__}"
        )
    if distribution is None:
        yield 1
        return
    kinds = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    devices = [device.name for device in next(filter(None, kinds))]
    if len(devices) < 2:
        yield 1
        return
    if precision == "mixed_float16":
        # keras 3.15 asks the first replica alone whether to skip a step.
        raise ValueError(
            "On several devices of TensorFlow a step that overflows in one of them "
            "would not be skipped: use 'mixed_bfloat16' or one device. "
            f"Received: {precision=}, {distribution=}"
        )
    if jit is True:
        raise ValueError(
            "On several devices of TensorFlow XLA cannot compile a step, which adds up "
            f"their gradients: leave `jit` at 'auto'. Received: {jit=}, {distribution=}"
        )
    # TensorFlow 2.21's default, collective ops, mixes up the sum of a batch's weights
    # and that of its gradients every now and then ("Shape mismatch in the collective").
    reduction = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(devices, reduction).scope():
        yield len(devices)


def check_divisible(batch_size: int, replicas: int) -> None:
    """Raises unless the replicas can share a batch evenly."""
    if batch_size % replicas:
        raise ValueError(
            f"`batch_size` must be a multiple of the {replicas} devices that share a "
            f"batch, such as {round_up(batch_size, replicas)}. Received: {batch_size=}"
        )


def round_up(batch_size: int, replicas: int) -> int:
    """The least multiple of `replicas` that is not less."""
    return -(-batch_size // replicas) * replicas


def process_share() -> tuple[int, int]:
    """Which part of each batch this process feeds: its number, and of how many.

    Keras joins what the processes feed, each the rows of its own devices.
    """
    ambient = keras.distribution.distribution()
    if ambient is None or ambient.num_processes == 1:
        return 0, 1
    return ambient.data_shard_id, ambient.num_processes


def sum_over_replicas(value: Tensor) -> Tensor:
    """Adds up what TensorFlow's replicas have of one batch; no gradient flows.

    On JAX a batch stays one array, and a sum over it is the whole sum already.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, ops.stop_gradient(value))


def replica_share(weight: Tensor | None) -> Tensor | float:
    """By how much a replica's own mean counts in that of the whole batch.

    Keras divides by the weights of the rows that one replica has, and then averages
    over replicas as if those were equal: not so where rows fill up a batch.

    Args:
        weight: Of the replica's rows; None: all equal.
    """
    if weight is None or keras.backend.backend() != "tensorflow":
        return 1.0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 1.0
    own = ops.sum(ops.cast(weight, "float32"))
    return ops.divide_no_nan(own * context.num_replicas_in_sync, sum_over_replicas(own))


def on_one_device(
    model: keras.Model, build: Callable[[], keras.Model], replicas: int
) -> keras.Model:
    """Moves a trained network's weights to one that is not distributed.

    A batch to predict may be of any size, and each process predicts by itself.

    Args:
        model: Trained within `distributed`.
        build: Builds the same network again.
        replicas: What `distributed` gave; 1 returns the model itself.
    """
    if replicas == 1:
        return model
    twin = build()
    twin.set_weights(model.get_weights())
    return twin
