"""Several text networks whose probabilities are averaged."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_seq.text.builder import build_text_classifier
from keras_seq.training import ensemble
from keras_seq.training.runtime import resolve_jit


def build_member(number: int, arguments: dict[str, Any]) -> keras.Model:
    """Builds one member.

    Args:
        number: Of the member, from 1.
        arguments: Of `build_text_classifier`; and `ensemble`, how many members there
            are, if there are several.
    """
    own = {**arguments, "seed": ensemble.member_seed(arguments["seed"], number)}
    if own.pop("ensemble", 1) == 1:
        return build_text_classifier(**own)
    return ensemble.build_member(build_text_classifier, number, own)


def average(members: Sequence[keras.Model], jit: bool | str) -> keras.Model:
    """One model whose probabilities are the mean of the members'; of one, itself.

    Args:
        members: Of `build_member`; the model shares their weights.
        jit: Whether XLA compiles it.
    """
    if len(members) == 1:
        return members[0]
    inputs = {
        name: keras.Input(batch_shape=given.shape, dtype=given.dtype, name=name)
        for name, given in members[0].input.items()
    }
    answers = [member(inputs) for member in members]
    mean = keras.layers.Average(dtype="float32", name="probabilities")(answers)
    model = keras.Model(inputs, mean, name="ensemble")
    # Its members are what is trained.
    model.compile(optimizer=None, loss=members[0].loss, jit_compile=resolve_jit(jit))
    return model
