"""suggest_clipping: where to clip, from the gradients that training meets."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_seq.diagnostics.batches import draw_batch, network_of, take_rows
from keras_seq.errors import check_integer
from keras_seq.training.autodiff import (
    as_numpy,
    check_backend,
    compiled,
    value_and_gradients,
)

# A rehearsal that diverges is taken up again, clipped ten times harder.
MOST_REHEARSALS = 4


class ClippingSuggestion(NamedTuple):
    """Where to clip.

    Attributes:
        global_clipnorm: The median norm of the finite gradients, two digits.
        norms: float64, `(steps,)`: L2 norm of all gradients together, in each step.
        reason: What was measured.
    """

    global_clipnorm: float
    norms: np.ndarray
    reason: str

    def __str__(self) -> str:
        return f"global_clipnorm={self.global_clipnorm:g}: {self.reason}"


def suggest_clipping(
    estimator_or_model: Any,
    data: Any,
    *,
    num_steps: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> ClippingSuggestion:
    """Rehearses training and suggests a `global_clipnorm` from the gradients' norms.

    The median: half of the steps stay as they are, and a step that explodes weighs no
    more than a usual one. Gradients are often tame as training begins and explode
    later, so that steps are really taken, each clipped at the median so far; then
    weights and optimiser are set back.

    Args:
        estimator_or_model: A fitted `TextClassifier` or `Forecaster`, or a compiled
            model.
        data: As in `gradient_flow`.
        num_steps: Steps to rehearse; fewer if the loss is lost before.
        batch_size: Rows of a step, drawn from `data`.
        seed: Of the batches.

    Raises:
        ValueError: If the very first gradient is not finite, which no clipping mends.

    Reference:
        Pascanu et al., 2013, On the difficulty of training recurrent neural networks,
        section 3.2: from half to ten times the average norm works; the median is an
        average that explosions do not move.
    """
    check_backend()
    check_integer("num_steps", num_steps, 1)
    check_integer("batch_size", batch_size, 1)
    model = network_of(estimator_or_model)
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    kept = [(v, as_numpy(v.value)) for v in (*model.variables, *optimizer.variables)]
    measure = _make_gradients(model)
    pool = draw_batch(estimator_or_model, data, num_steps * batch_size, seed)
    limit, norms = np.inf, np.zeros(0)
    for _ in range(MOST_REHEARSALS):
        rehearsed: list[float] = []
        random = np.random.default_rng(seed)
        try:
            for _ in range(num_steps):
                batch = take_rows(pool, random, batch_size)
                norm, gradients = measure(batch)
                rehearsed.append(norm)
                if not np.isfinite(norm):
                    break
                _apply(model, gradients, norm, min(limit, float(np.median(rehearsed))))
        finally:
            for variable, value in kept:
                variable.assign(value)
        norms = np.array(rehearsed)
        if np.isfinite(norms).all() or len(norms) == 1:
            break
        limit = 0.1 * norms[np.isfinite(norms)].min()
    return _suggest(norms, limit)


def _apply(model: keras.Model, gradients: Any, norm: float, limit: float) -> None:
    factor = min(1.0, limit / norm) if norm > 0 else 1.0
    # Under a loss scale it would take these gradients for scaled ones.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    optimizer.apply([g * factor for g in gradients], model.trainable_variables)


def _make_gradients(model: keras.Model) -> Any:
    """A function from a batch to the gradients and their norm, without dropout."""
    variables = model.trainable_variables

    def differentiate(values: list[Any], others: list[Any], batch: Any) -> Any:
        inputs, targets, sample_weight = batch
        fixed = list(zip(model.non_trainable_variables, others, strict=True))

        def loss_of(values: list[Any]) -> Any:
            pairs = [*zip(variables, values, strict=True), *fixed]
            with keras.StatelessScope(pairs):
                outputs = model(inputs, training=False)
                return model.compute_loss(
                    inputs, targets, outputs, sample_weight, training=False
                ), None

        gradients = value_and_gradients(loss_of, values)[2]
        # Scaled first: squares leave float32's range at 1e19.
        wide = [ops.cast(g, "float32") for g in gradients]
        largest = ops.max(ops.stack([ops.max(ops.abs(g)) for g in wide]))
        unit = ops.where(largest > 0, largest, ops.ones_like(largest))
        norm = unit * ops.sqrt(sum(ops.sum(ops.square(g / unit)) for g in wide))
        return norm, gradients

    jax = keras.backend.backend() == "jax"
    run: Any = compiled(differentiate) if jax else differentiate

    def measure(batch: Any) -> tuple[float, list[Any]]:
        tensors = [
            [ops.convert_to_tensor(v.value) for v in part]
            for part in (variables, model.non_trainable_variables)
        ]
        norm, gradients = run(*tensors, tuple(batch))
        return float(as_numpy(norm)), gradients

    return measure


def _suggest(norms: np.ndarray, limit: float) -> ClippingSuggestion:
    finite = norms[np.isfinite(norms)]
    if not len(finite):
        raise ValueError(
            "No gradient is finite before the first step, and clipping keeps a NaN. "
            "Shorten the rows, or lower the weights or the inputs. "
            f"Received: a gradient of norm {norms[0]}"
        )
    median, tenth, largest = np.quantile(finite, [0.5, 0.9, 1.0])
    reason = (
        f"over {len(norms)} steps the gradient's norm had median {median:.3g}, upper "
        f"tenth {tenth:.3g}, largest {largest:.3g}"
    )
    if np.isfinite(limit):
        reason += f"; clipped at their median the steps diverged, at {limit:.2g} "
        reason += "they did not" if len(finite) == len(norms) else "they still did"
    value = float(f"{min(median, limit):.2g}")
    return ClippingSuggestion(value if value > 0 else 1.0, norms, reason)
