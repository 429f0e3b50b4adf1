"""Checkpoint: what a fit needs to go on from the end of its last epoch."""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from keras_seq.files import replace_file
from keras_seq.fingerprint import check_fingerprint, fingerprint_fit

_FINGERPRINT = "fit.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with one file per training of a fit.

    Attributes:
        folder: Where the files are; it exists.
        part: Share of the epochs after which training pauses, above 0, at most 1. What
            follows from all of the epochs, such as the learning rate's decay, stays as
            it is, so that a fit which paused and went on is one that never paused.
        keep: Whether files stay when the fit has ended.
    """

    folder: Path
    part: float = 1.0
    keep: bool = True

    @classmethod
    def open(
        cls, checkpoint: "str | PathLike[str] | Checkpoint | None", fit: Any, data: Any
    ) -> "Checkpoint | None":
        """What estimators make of the `checkpoint` that their `fit` was given.

        Args:
            checkpoint: A folder, made if missing.
            fit: The estimator.
            data: All that its `fit` learns from.

        Raises:
            ValueError: If the folder holds a fit of something else.
        """
        if checkpoint is None or isinstance(checkpoint, Checkpoint):
            return checkpoint
        folder = Path(checkpoint)
        folder.mkdir(parents=True, exist_ok=True)
        fingerprint = fingerprint_fit(fit, data)
        check_fingerprint(folder / _FINGERPRINT, fingerprint, "checkpoint", "fit")
        return cls(folder, keep=False)

    def stage(self, title: str) -> Path:
        """The file of one of the fit's trainings, such as `"refit"`."""
        return self.folder / f"{title}.npz"

    def pause(self, epochs: int) -> int:
        """How many of so many epochs to train for now."""
        return max(1, math.ceil(self.part * epochs - 1e-9))

    def end(self) -> None:
        """Removes the files of a fit that has ended, unless they are to be kept."""
        if not self.keep:
            (self.folder / _FINGERPRINT).unlink(missing_ok=True)
            for title in ("fit", "refit"):
                for name in (f"{title}.npz", f"{title} member * of *.npz"):
                    for file in self.folder.glob(name):
                        file.unlink(missing_ok=True)


@dataclass(frozen=True)
class TrainingState:
    """A training at the end of an epoch.

    Attributes:
        rows: Of the history, one per epoch.
        stopper: Of early stopping: `best`, `best_epoch`, `wait`; None without.
        stopped: Whether something ended the training.
        weights: Of the model, in its order.
        optimizer: Variables of the optimiser: moments, number of steps, rate.
        best_weights: Of the best epoch; None without early stopping.
    """

    rows: list[dict[str, float]]
    stopper: dict[str, Any] | None
    stopped: bool
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best_weights: list[np.ndarray] | None

    @classmethod
    def of(
        cls,
        model: keras.Model,
        rows: list[dict[str, float]],
        stopper: keras.callbacks.EarlyStopping | None,
    ) -> Self:
        told = None
        if stopper is not None:
            best = None if stopper.best is None else float(stopper.best)
            told = {
                "best": best,
                "best_epoch": int(stopper.best_epoch),
                "wait": int(stopper.wait),
            }
        return cls(
            rows=rows,
            stopper=told,
            stopped=bool(model.stop_training),
            weights=model.get_weights(),
            optimizer=[np.asarray(v) for v in model.optimizer.variables],
            best_weights=stopper.best_weights if stopper else None,
        )

    def restore(self, model: keras.Model) -> None:
        """Puts weights and optimiser back; the model is compiled, and new."""
        model.set_weights(self.weights)
        model.optimizer.build(model.trainable_variables)
        pairs = zip(model.optimizer.variables, self.optimizer, strict=True)
        for variable, value in pairs:
            variable.assign(value)

    def write(self, path: Path) -> None:
        """Replaces the file, whole or not at all."""
        about = {"rows": self.rows, "stopper": self.stopper, "stopped": self.stopped}
        # The best epoch is often this one: its weights need not be there twice, unless
        # the best are an average.
        now_best = self.best_weights is not None and all(
            map(np.array_equal, self.best_weights, self.weights)
        )
        lists: dict[str, list[np.ndarray]] = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "best_weights": [] if now_best else self.best_weights or [],
        }
        arrays = {
            f"{name}/{index:05d}": array
            for name, arrays in lists.items()
            for index, array in enumerate(arrays)
        }
        with replace_file(path) as file:
            np.savez(file, allow_pickle=False, about=json.dumps(about), **arrays)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What `write` wrote; None if there is no such file.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                about: Mapping[str, Any] = json.loads(str(stored["about"]))
                lists = {
                    name: [
                        stored[key]
                        for key in sorted(stored.files)
                        if key.startswith(f"{name}/")
                    ]
                    for name in ("weights", "optimizer", "best_weights")
                }
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"`checkpoint` is damaged: {path}: {error}. Delete it to begin again."
            ) from error
        best = lists["best_weights"] or (lists["weights"] if about["stopper"] else None)
        return cls(
            rows=about["rows"],
            stopper=about["stopper"],
            stopped=about["stopped"],
            weights=lists["weights"],
            optimizer=lists["optimizer"],
            best_weights=best,
        )
