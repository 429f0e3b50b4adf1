"""Several forecasting networks of which the median is taken."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.forecasting.builder import build_forecaster
from keras_seq.forecasting.model import ForecastModel
from keras_seq.forecasting.stream_builder import build_stream_forecaster
from keras_seq.numpy_runtime.scaling import joint_scaler
from keras_seq.training import ensemble
from keras_seq.training.runtime import resolve_jit


@keras.saving.register_keras_serializable("keras_seq")
class EnsembleModel(ForecastModel):
    """Says of each output the median of what its members say.

    Medians of quantiles that do not cross do not cross.
    """

    @property
    def scaler(self) -> keras.layers.Layer:
        """Of its members the `joint_scaler`."""
        return joint_scaler([each.scaler for each in ensemble.members_of(self)])

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantile of each output."""
        return ensemble.members_of(self)[0].quantiles


def build_member(arguments: dict[str, Any], **more: Any) -> keras.Model:
    """Builds one member, or a network alone.

    Args:
        arguments: Of `build_forecaster`; and `member`, its number from 1, if there are
            several. With `stateful` those of `build_stream_forecaster`.
        more: Of `build_forecaster` as well.
    """
    own = {**arguments, **more}
    number = own.pop("member", None)
    if own.pop("stateful", False):
        return build_stream_forecaster(**own)
    if number is None:
        return build_forecaster(**own)
    return ensemble.build_member(build_forecaster, number, own)


def combine(members: Sequence[keras.Model], jit: bool | str) -> keras.Model:
    """One model that says the median of what the members say; of one, itself.

    Args:
        members: Of `build_member`, in their order; the first has the longest lookback.
            The model shares their weights, and takes the windows of the first.
        jit: Whether XLA compiles it.
    """
    if len(members) == 1:
        return members[0]
    inputs = {
        name: keras.Input(given.shape[1:], dtype=given.dtype, name=name)
        for name, given in members[0].input.items()
    }
    longest = inputs["target"].shape[1]
    answers = []
    for member in members:
        unseen = longest - member.input["target"].shape[1]
        seen = {
            name: x[:, unseen:] if name in ("target", "past", "future") else x
            for name, x in inputs.items()
        }
        answers.append(member(seen))
    median = ops.median(ops.stack(answers), axis=0)
    model = EnsembleModel(inputs, median, name="ensemble")
    # Its members are what is trained.
    model.compile(optimizer=None, jit_compile=resolve_jit(jit))
    return model
