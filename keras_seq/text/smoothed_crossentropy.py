"""SmoothedCrossentropy: cross-entropy of class ids with smoothed labels."""

from typing import Any

import keras
from keras import ops

# Far below what a softmax can tell from 0, so that a wrong head that is sure of itself
# still learns.
_LEAST = 1e-30


@keras.saving.register_keras_serializable("keras_seq")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy that does not ask for certainty; targets are class ids.

    A text's own class is to have `1 - label_smoothing` and all classes, its own among
    them, an equal share of the rest. Keras's smoothing wants one-hot targets, which
    would be `num_classes` times the memory.

    Args:
        label_smoothing: What the classes share, in [0, 1).
        name: Of the loss.
        reduction: As in `keras.losses.Loss`.
        dtype: Of the computation.

    Reference:
        Szegedy et al., 2016, section 7.
    """

    def __init__(
        self,
        label_smoothing: float,
        name: str = "smoothed_crossentropy",
        reduction: str = "mean_with_sample_weight",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        ids = ops.cast(ops.reshape(y_true, (-1,)), "int32")  # (batch,)
        count = y_pred.shape[-1]
        wanted = ops.one_hot(ids, count, dtype=y_pred.dtype)
        share = self.label_smoothing
        wanted = (1 - share) * wanted + share / count
        # Keras's own would make what several heads answer add up to one again.
        return -ops.sum(wanted * ops.log(ops.maximum(y_pred, _LEAST)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
