"""Adversarial training: the loss where a text's embeddings moved to where it rises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_rate
from keras_seq.layers.padding import zero_padding
from keras_seq.layers.truncation import Truncate
from keras_seq.training.autodiff import value_and_gradients

Tensor = Any

# A direction has no length, so the loss may be multiplied with anything; without it
# half precision rounds the gradient of a mean over a batch to zero.
_MAGNIFIED = 1024.0


@keras.saving.register_keras_serializable("keras_seq")
class Perturbation(keras.layers.Layer):
    """Passes embedded texts on; within `moved`, with something added.

    Args:
        size: Norm of what `adversarial_loss` adds to a text, over the norm of the
            text's embeddings; in [0, 1).

    Call arguments:
        embedded: `(batch, time, embedding_dim)`.
    """

    def __init__(self, size: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = check_rate("adversarial", size)
        self.movement: Tensor | None = None

    def call(self, embedded: Tensor) -> Tensor:
        if self.movement is None:
            return embedded
        return embedded + ops.cast(self.movement, embedded.dtype)

    @contextmanager
    def moved(self, movement: Tensor) -> Iterator[None]:
        """Within, `movement` is added, float32, `(batch, time, embedding_dim)`."""
        self.movement = movement
        try:
            yield
        finally:
            self.movement = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


def adversarial_loss(
    model: keras.Model,
    perturbation: Perturbation,
    inputs: dict[str, Tensor],
    targets: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """The loss of a batch whose embeddings moved by `perturb`.

    The gradient that they move along is one of the network with the very dropout
    masks it is then to be right with. What training updates beside weights, such as
    running averages and seeds, stays as the texts themselves leave it.

    Args:
        model: Compiled, with layers `embedding` and `perturbation`.
        perturbation: The layer.
        inputs: `tokens` and `length`.
        targets: As the loss of the model takes them.
        sample_weight: `(batch,)`; None: 1.

    Returns:
        A scalar; its gradient takes the movement as given.

    Reference:
        Miyato, Dai & Goodfellow, 2017, Adversarial Training Methods for
        Semi-Supervised Text Classification, equations 3 to 6. There embeddings are
        normalised, or they would outgrow a movement of fixed size; here its size is
        relative to theirs.
    """
    variables = model.variables
    values = [ops.convert_to_tensor(variable.value) for variable in variables]

    def loss_of(values: list[Tensor], movement: Tensor) -> Tensor:
        pairs = zip(variables, values, strict=True)
        with keras.StatelessScope(pairs), perturbation.moved(movement):
            outputs = model(inputs, training=True)
        return model.loss(targets, outputs, sample_weight)

    # Nothing is differentiated twice, which hand-written backward passes do not know.
    fixed = [ops.stop_gradient(value) for value in values]
    tokens, length = inputs["tokens"], inputs["length"]
    for layer in model.layers:
        if isinstance(layer, Truncate):  # what the recurrence reads
            tokens, length = layer(tokens, length)
    embedded = ops.stop_gradient(model.get_layer("embedding")(tokens))
    embedded = ops.cast(zero_padding(embedded, length), "float32")
    _, _, gradient = value_and_gradients(
        lambda movement: (_MAGNIFIED * loss_of(fixed, movement), None),
        ops.zeros_like(embedded),
    )
    movement = perturb(embedded, gradient, perturbation.size)
    return loss_of(values, ops.stop_gradient(movement))


def perturb(embedded: Tensor, gradient: Tensor, size: float) -> Tensor:
    """How far embeddings move: r = size * ||e|| * g / ||g||, by text.

    Args:
        embedded: e, float32, `(batch, time, embedding_dim)`, 0 at padding.
        gradient: g, likewise.
        size: Norm of the movement over that of the embeddings.

    Returns:
        float32, `(batch, time, embedding_dim)`; 0 for a text without gradient.
    """
    peak = ops.max(ops.abs(gradient), axis=(1, 2), keepdims=True)
    scaled = ops.divide_no_nan(gradient, peak)  # tiny numbers have squares of 0
    return size * _norm(embedded) * ops.divide_no_nan(scaled, _norm(scaled))


def _norm(sequence: Tensor) -> Tensor:
    """Of each row: `(batch, 1, 1)`."""
    return ops.sqrt(ops.sum(ops.square(sequence), axis=(1, 2), keepdims=True))
