"""Ensembles: networks that were trained apart and answer as one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import pandas as pd

from keras_seq.training.runtime import derive_seed


def member_seed(seed: int, number: int) -> int:
    """Seed of a member, counted from 1; the first has that of a network alone."""
    return seed if number == 1 else derive_seed(seed, "member", number)


def build_member(
    build: Callable[..., keras.Model], number: int, arguments: dict[str, Any]
) -> keras.Model:
    """Builds one of several networks; names tell their weights apart.

    Args:
        build: `build_text_classifier` or `build_forecaster`.
        number: Of the member, from 1.
        arguments: Of `build`.
    """
    name = f"member_{number}"
    with keras.name_scope(name):
        model = build(**arguments)
    model.name = name
    return model


def members_of(model: keras.Model) -> list[keras.Model]:
    """The networks of an ensemble, in order; a network alone is its own member."""
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return nested or [model]


def join_histories(
    histories: Sequence[pd.DataFrame], before: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per epoch of each member, which `member` tells if there are several.

    Args:
        histories: Of the members, in order.
        before: Rows to go on from; epochs are counted on.
    """
    frames = [] if before is None else [before]
    for number, history in enumerate(histories, start=1):
        done = 0 if before is None else len(before)
        if len(histories) > 1:
            history = pd.concat(
                [pd.Series(number, history.index, name="member"), history], axis=1
            )
            done = 0 if before is None else int((before["member"] == number).sum())
        if done:
            history = history.assign(epoch=history["epoch"] + done)
        frames.append(history)
    return pd.concat(frames, ignore_index=True)
