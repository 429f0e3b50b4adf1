"""One fit for both tasks: batches, seeds, callbacks, early stopping."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_seq.training.distribution import process_share
from keras_seq.training.optimizer import GradientNorms
from keras_seq.training.progress import Progress
from keras_seq.training.runtime import derive_seed

Batch = tuple[Any, ...]


class Batches(keras.utils.PyDataset):
    """Batches by address: what batch i holds depends on (epoch, step) alone.

    Args:
        steps_per_epoch: Number of batches in an epoch.
        get_batch: `(epoch, step) -> (inputs, targets, weights...)`.
        endless: True for training, where epoch follows epoch in one stream; False
            for validation, which is always epoch 0.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        get_batch: Callable[[int, int], Batch],
        endless: bool = False,
    ):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.get_batch = get_batch
        self.endless = endless

    @property
    def num_batches(self) -> int | None:
        return None if self.endless else self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        return self.get_batch(*divmod(index, self.steps_per_epoch))


def local_part(batches: Batches) -> Batches:
    """The rows that this process feeds, where several share each batch."""
    rank, count = process_share()
    if count == 1:
        return batches

    def get_batch(epoch: int, step: int) -> Batch:
        whole = batches.get_batch(epoch, step)
        return keras.tree.map_structure(lambda rows: np.split(rows, count)[rank], whole)

    return Batches(batches.steps_per_epoch, get_batch, batches.endless)


class AddressedDropout(keras.callbacks.Callback):
    """Sets every seed generator of the model to (seed, epoch) as an epoch begins."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        states = [
            v for v in self.model.variables if v.path.endswith("seed_generator_state")
        ]
        for index, state in enumerate(states):
            address = (self.seed, epoch, "dropout", index)
            state.assign(np.array([derive_seed(*address), 0], dtype="uint32"))


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends a fit whose loss is lost, with the reasons users meet."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        loss = logs.get("loss", 0.0)
        if not np.isfinite(loss):
            norm = logs.get("grad_norm_max")
            seen = "" if norm is None else f" The largest gradient norm was {norm:.4g}."
            raise FloatingPointError(
                f"The loss became {loss} in epoch {epoch + 1}.{seen} Lower "
                "`learning_rate` or clip harder (`global_clipnorm`)."
            )


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves behind beside the model's weights.

    Attributes:
        history: One row per epoch: `epoch` (from 1), losses and metrics, the record
            of the gradients before clipping (`RecordingAdam.read_record`), `seconds`.
        best_epoch: Number of epochs after which the monitored value was best; the
            model holds the weights of that epoch.
    """

    history: pd.DataFrame
    best_epoch: int


def fit_model(
    model: keras.Model,
    training: Batches,
    *,
    epochs: int,
    seed: int,
    validation: Batches | None = None,
    monitor: str = "val_loss",
    patience: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    verbose: int | str = "auto",
    title: str = "fit",
) -> FitResult:
    """Trains a compiled model; with validation it stops early and keeps the best.

    Args:
        model: Compiled.
        training: Endless batches.
        epochs: Upper limit.
        seed: Root of all dropout masks.
        validation: Finite batches; None trains for exactly `epochs`.
        monitor: The value to minimise on validation.
        patience: Epochs without improvement before it stops; None never stops.
        callbacks: More Keras callbacks, run after ours.
        verbose: 0 is silent; 1 and `"auto"` show progress with the time left.
        title: Stands before the progress.
    """
    started = time.perf_counter()
    clock: list[float] = []
    ours: list[keras.callbacks.Callback] = [
        AddressedDropout(seed),
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: clock.append(time.perf_counter() - started)
        ),
    ]
    stopper = None
    if validation is not None:
        stopper = keras.callbacks.EarlyStopping(
            monitor=monitor,
            mode="min",
            patience=epochs if patience is None else patience,
            restore_best_weights=True,
        )
        ours.append(stopper)
    if verbose:
        ours.append(Progress(epochs, training.steps_per_epoch, title))
    # After Progress, whose line has no room for them; before all that read logs.
    ours += [GradientNorms(), StopOnNonFiniteLoss()]
    record = model.fit(
        local_part(training),
        epochs=epochs,
        steps_per_epoch=training.steps_per_epoch,
        validation_data=None if validation is None else local_part(validation),
        callbacks=[*ours, *(callbacks or [])],
        verbose=0,
        shuffle=False,
    )
    history = pd.DataFrame(record.history)
    history.insert(0, "epoch", [epoch + 1 for epoch in record.epoch])
    history["seconds"] = clock
    best = stopper.best_epoch + 1 if stopper else len(history)
    return FitResult(history, int(best))
