"""Several networks that were trained apart and answer as one."""

from collections.abc import Sequence
from typing import Any

import keras
import pandas as pd

from keras_seq.text.builder import build_text_classifier
from keras_seq.training.fit import FitResult
from keras_seq.training.runtime import derive_seed, resolve_jit


def member_seed(seed: int, number: int) -> int:
    """Seed of a member, counted from 1; the first has that of a network alone."""
    return seed if number == 1 else derive_seed(seed, "member", number)


def build_member(number: int, arguments: dict[str, Any]) -> keras.Model:
    """Builds one member; where there are several, names tell their weights apart.

    Args:
        number: Of the member, from 1.
        arguments: Of `build_text_classifier`; and `ensemble`, how many members there
            are, if there are several.
    """
    own = {**arguments, "seed": member_seed(arguments["seed"], number)}
    if own.pop("ensemble", 1) == 1:
        return build_text_classifier(**own)
    name = f"member_{number}"
    with keras.name_scope(name):
        model = build_text_classifier(**own)
    model.name = name
    return model


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


def members_of(model: keras.Model) -> list[keras.Model]:
    """The networks that `average` was given."""
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return nested or [model]


def join_histories(
    results: Sequence[FitResult], before: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per epoch of each member, which `member` tells if there are several.

    Args:
        results: Of the members, in order.
        before: Rows to go on from.
    """
    frames = [] if before is None else [before]
    for number, result in enumerate(results, start=1):
        history, done = result.history, 0 if before is None else len(before)
        if len(results) > 1:
            history = pd.concat(
                [pd.Series(number, history.index, name="member"), history], axis=1
            )
            done = 0 if before is None else int((before["member"] == number).sum())
        frames.append(history.assign(epoch=history["epoch"] + done))
    return pd.concat(frames, ignore_index=True)
