"""Clipping as Keras means it, and a record of the gradients before it."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_number

Tensor = Any


def resolve_clipping(
    global_clipnorm: float | str | None,
    clipnorm: float | None,
    clipvalue: float | None,
) -> dict[str, float]:
    """Returns the one Keras optimiser argument that clips, or none.

    Args:
        global_clipnorm: Limit of the norm of all gradients together; `"auto"` is 1.0
            if neither of the others is given (Pascanu et al. 2013).
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element.

    Raises:
        ValueError: If more than one is given, or one is not a positive number.
    """
    if global_clipnorm == "auto":
        global_clipnorm = 1.0 if clipnorm is None and clipvalue is None else None
    named = {
        "global_clipnorm": global_clipnorm,
        "clipnorm": clipnorm,
        "clipvalue": clipvalue,
    }
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) > 1:
        raise ValueError(
            "`global_clipnorm`, `clipnorm` and `clipvalue` exclude each other: give "
            f"at most one. Received: {given}"
        )
    return {name: check_number(name, value, above=0) for name, value in given.items()}


@keras.saving.register_keras_serializable("keras_seq")
class RecordingAdam(keras.optimizers.Adam):
    """Adam that remembers how long gradients were before they were clipped.

    The updates are those of `keras.optimizers.Adam`, with two differences on
    TensorFlow, both towards what Keras documents and does on JAX. Keras measures an
    embedding's gradient without adding up the occurrences of one token first, so that
    the norm it clips by is not the gradient's; here they are added up. And under
    `tf.distribute.MirroredStrategy` Keras clips in each replica, before the sum;
    here the sum is clipped.

    The record is a weight of the optimiser, which is the only state that also lives
    through a compiled step on JAX. Under a loss scale (`"mixed_float16"`) it holds
    unscaled gradients; a step skipped for overflow is no step.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        # steps, sum of norms, largest norm, steps clipped
        self.record = self.add_variable(
            shape=(4,),
            dtype="float32",
            aggregation="only_first_replica",  # all replicas hold the same
            name="gradient_record",
        )

    def reset_record(self) -> None:
        """Forgets the steps so far; an epoch begins."""
        if self.built:
            self.record.assign([0.0, 0.0, 0.0, 0.0])

    def read_record(self) -> dict[str, float]:
        """What the steps since `reset_record` say.

        Returns:
            `grad_norm_mean` and `grad_norm_max`, of the L2 norm of all gradients
            together, NaN if there was no step; `clipped_fraction`, the share of steps
            in which clipping changed anything.
        """
        if not self.built:
            return {}
        record = ops.convert_to_numpy(self.record)
        steps, total, largest, clipped = (float(value) for value in record)
        if steps == 0:
            return dict.fromkeys(_COLUMNS, float("nan"))
        values = (total / steps, largest, clipped / steps)
        return dict(zip(_COLUMNS, values, strict=True))

    # Keras 3.15 clips in `_clip_gradients`, which it calls before TensorFlow adds up
    # the replicas' gradients in `_all_reduce_sum_gradients`. No other backend has that.

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return [tf.convert_to_tensor(grad) for grad in grads]  # adds up slices
        return self._clip_and_record(grads)

    def _all_reduce_sum_gradients(self, pairs: list[tuple[Tensor, Any]]) -> list[Any]:
        grads, variables = zip(*super()._all_reduce_sum_gradients(pairs), strict=True)
        return list(zip(self._clip_and_record(list(grads)), variables, strict=True))

    def _clip_and_record(self, grads: list[Tensor]) -> list[Tensor]:
        squares = ops.stack(
            [ops.cast(ops.sum(ops.square(grad)), "float32") for grad in grads]
        )
        norm = ops.sqrt(ops.sum(squares))
        clips = ops.cast(self._clips(grads, squares, norm), "float32")
        steps, total, largest, clipped = ops.unstack(self.record.value, 4)
        total = total + norm
        # Whether a maximum keeps a NaN differs from backend to backend; a sum does.
        largest = ops.where(ops.isnan(total), total, ops.maximum(largest, norm))
        self.record.assign(ops.stack([steps + 1.0, total, largest, clipped + clips]))
        # Keras's clipping wants one dtype; under "float64" the output is float32.
        widest = keras.backend.result_type(*{grad.dtype for grad in grads})
        wide = super()._clip_gradients([ops.cast(grad, widest) for grad in grads])
        return [ops.cast(new, old.dtype) for new, old in zip(wide, grads, strict=True)]

    def _clips(self, grads: list[Tensor], squares: Tensor, norm: Tensor) -> Tensor:
        """Whether clipping changes anything; NaN is beyond every limit."""
        if self.global_clipnorm:
            within = norm <= self.global_clipnorm
        elif self.clipnorm:
            within = ops.all(ops.sqrt(squares) <= self.clipnorm)
        elif self.clipvalue:
            largest = [ops.cast(ops.max(ops.abs(grad)), "float32") for grad in grads]
            within = ops.all(ops.stack(largest) <= self.clipvalue)
        else:
            return ops.zeros(())
        return ops.logical_not(within)


_COLUMNS = ("grad_norm_mean", "grad_norm_max", "clipped_fraction")


def own_optimizer(model: keras.Model) -> RecordingAdam | None:
    """The model's optimiser, None if it is another than ours."""
    # Keras wraps it under "mixed_float16".
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return optimizer if isinstance(optimizer, RecordingAdam) else None


class GradientNorms(keras.callbacks.Callback):
    """Writes each epoch's gradient record into the logs of the callbacks after it.

    An optimiser that keeps no record is left alone.
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if optimizer := own_optimizer(self.model):
            optimizer.reset_record()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        optimizer = own_optimizer(self.model)
        if optimizer and logs is not None:
            logs.update(optimizer.read_record())
