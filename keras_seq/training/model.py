"""What the networks of both tasks share as Keras models."""

from contextlib import nullcontext
from typing import Any

import keras


class SequenceModel(keras.Model):
    """Functional model whose first training step is traced once."""

    def make_train_function(self, force: bool = False) -> Any:
        # Keras leaves the optimiser's variables to the first step, but TensorFlow
        # throws a trace away that made variables, and traces the step again: seconds.
        optimizer = self.optimizer
        if optimizer is not None and not optimizer.built:
            strategy = getattr(self, "distribute_strategy", None)  # TensorFlow's
            with strategy.scope() if strategy else nullcontext():
                optimizer.build(self.trainable_variables)
        return super().make_train_function(force=force)
