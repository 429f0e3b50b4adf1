"""One fit for both tasks: batches, seeds, callbacks, early stopping."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_seq.training.checkpoint import Checkpoint, TrainingState
from keras_seq.training.distribution import process_share
from keras_seq.training.optimizer import GradientNorms, own_optimizer
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
        first_epoch: Of the stream.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        get_batch: Callable[[int, int], Batch],
        endless: bool = False,
        first_epoch: int = 0,
    ):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.get_batch = get_batch
        self.endless = endless
        self.first_epoch = first_epoch

    @property
    def num_batches(self) -> int | None:
        return None if self.endless else self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        epoch, step = divmod(index, self.steps_per_epoch)
        return self.get_batch(self.first_epoch + epoch, step)


def local_part(batches: Batches, first_epoch: int = 0) -> Batches:
    """The rows that this process feeds, where several share each batch."""
    rank, count = process_share()
    if count == 1 and not first_epoch:
        return batches
    steps, endless = batches.steps_per_epoch, batches.endless

    def get_batch(epoch: int, step: int) -> Batch:
        whole = batches.get_batch(epoch, step)
        if count == 1:
            return whole
        return keras.tree.map_structure(lambda rows: np.split(rows, count)[rank], whole)

    return Batches(steps, get_batch, endless, first_epoch)


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


def _keep_average(model: keras.Model) -> None:
    """Gives the model the moving average of its weights, if its optimiser has one."""
    optimizer = own_optimizer(model)
    if optimizer is not None and optimizer.use_ema and optimizer.built:
        optimizer.finalize_variable_values(model.trainable_variables)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Lets the model have the moving average of its weights, if its optimiser has one.

    Keras itself puts it into the model at the end of a fit, and not before.
    """
    optimizer = own_optimizer(model)
    if optimizer is None or not optimizer.use_ema or not optimizer.built:
        yield
        return
    variables = model.trainable_variables
    trained = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    _keep_average(model)
    for variable in variables:
        # By value: JAX gives an array's memory away when its model trains.
        variable.assign(np.array(keras.ops.convert_to_numpy(variable)))
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)


class ValidateAverage(keras.callbacks.Callback):
    """Validates the moving average of the weights, where there is one."""

    def on_test_begin(self, logs: Any = None) -> None:
        self.stack = ExitStack()
        self.stack.enter_context(averaged(self.model))

    def on_test_end(self, logs: Any = None) -> None:
        self.stack.close()


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's, which can go on from where it stood; Keras's own begins anew."""

    def __init__(self, resumed: TrainingState | None, **options: Any):
        super().__init__(restore_best_weights=True, mode="min", **options)
        self.resumed = resumed

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        if self.resumed and self.resumed.stopper:
            for name, value in self.resumed.stopper.items():
                setattr(self, name, value)
            self.best_weights = self.resumed.best_weights

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with averaged(self.model):  # what was validated is what is kept
            super().on_epoch_end(epoch, logs)


class History(keras.callbacks.Callback):
    """Writes down the logs and the clock of every epoch, after those before it.

    Args:
        rows: One per earlier epoch.
    """

    def __init__(self, rows: Sequence[dict[str, float]] = ()):
        super().__init__()
        self.rows = list(rows)
        self.started = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self.started
        self.rows.append({"epoch": epoch + 1, **values, "seconds": seconds})


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
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Trains a compiled model; with validation it stops early and keeps the best.

    Args:
        model: Compiled, not trained yet.
        training: Endless batches.
        epochs: Upper limit.
        seed: Root of all dropout masks.
        validation: Finite batches; None trains for exactly `epochs`.
        monitor: The value to minimise on validation.
        patience: Epochs without improvement before it stops; None never stops.
        callbacks: More Keras callbacks, run after ours. What they remember is in no
            checkpoint.
        verbose: 0 is silent; 1 and `"auto"` show progress with the time left.
        title: Stands before the progress, and names the file of the checkpoint.
        checkpoint: Where to go on from, and what to write after each epoch.
    """
    state = TrainingState.read(checkpoint.stage(title)) if checkpoint else None
    limit = checkpoint.pause(epochs) if checkpoint else epochs
    if state:
        state.restore(model)
    history = History(state.rows if state else ())
    done = len(history.rows)
    stopper = None
    if validation is not None:
        stopper = EarlyStopping(
            state, monitor=monitor, patience=epochs if patience is None else patience
        )
    if state and (state.stopped or done >= limit):
        if state.best_weights is not None:
            model.set_weights(state.best_weights)
        else:
            _keep_average(model)
        return _result(history, state.stopper["best_epoch"] if state.stopper else None)
    ours: list[keras.callbacks.Callback] = [AddressedDropout(seed)]
    if stopper:
        ours += [ValidateAverage(), stopper]
    if verbose:
        ours.append(Progress(epochs, training.steps_per_epoch, title, done))
    # After Progress, whose line has no room for them; before all that read logs.
    ours += [GradientNorms(), StopOnNonFiniteLoss(), history]
    last = [_Write(checkpoint.stage(title), history, stopper)] if checkpoint else []
    model.fit(
        local_part(training, done),
        initial_epoch=done,
        epochs=limit,
        steps_per_epoch=training.steps_per_epoch,
        validation_data=None if validation is None else local_part(validation),
        callbacks=[*ours, *(callbacks or []), *last],
        verbose=0,
        shuffle=False,
    )
    return _result(history, stopper.best_epoch if stopper else None)


class _Write(keras.callbacks.Callback):
    """Writes a checkpoint after every epoch, when all other callbacks are done."""

    def __init__(self, path: Path, history: History, stopper: EarlyStopping | None):
        super().__init__()
        self.path = path
        self.history = history
        self.stopper = stopper

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rows = self.history.rows
        TrainingState.of(self.model, rows, self.stopper).write(self.path)


def _result(history: History, best_epoch: int | None) -> FitResult:
    rows = history.rows
    best = len(rows) if best_epoch is None else best_epoch + 1
    return FitResult(pd.DataFrame(rows), int(best))
