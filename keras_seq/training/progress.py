"""Progress: one line with the time left, in terminals, notebooks and log files."""

import sys
import time
from typing import Any

import keras


class Progress(keras.callbacks.Callback):
    """Shows epoch, losses and the time left at most.

    A terminal or notebook sees one line that is rewritten; anything else, such as a
    log file, a new line every ten seconds and one at the end.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, title: str, epochs_done: int = 0
    ):
        super().__init__()
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first_step = epochs_done * steps_per_epoch
        self.title = title
        self.rewrites = sys.stdout.isatty() or "ipykernel" in sys.modules
        self.interval = 0.25 if self.rewrites else 10.0

    def on_train_begin(self, logs: Any = None) -> None:
        self.steps = self.first_step
        self.values = ""
        self.width = 0
        self.shown = self.started = self.warm = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if (
            self.steps == self.first_step + 1
        ):  # compiled the network, which says nothing of the rest
            self.warm = time.perf_counter()
        if time.perf_counter() - self.shown >= self.interval:
            self._show()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps = (epoch + 1) * self.steps_per_epoch
        self.values = "".join(
            f", {name} {value:.4g}" for name, value in (logs or {}).items()
        )
        if self.rewrites:
            self._show()

    def on_train_end(self, logs: Any = None) -> None:
        self._show(end="\n")

    def _show(self, end: str = "") -> None:
        self.shown = time.perf_counter()
        done = self.steps - self.first_step - 1
        total = self.epochs * self.steps_per_epoch
        pace = (self.shown - self.warm) / max(done, 1)  # seconds a step
        epoch = min(-(-self.steps // self.steps_per_epoch), self.epochs)
        clock = f"{max(total - self.steps, 0) * pace:.0f} s left"
        if end:
            clock = f"{self.shown - self.started:.0f} s"
        line = f"{self.title}: epoch {epoch}/{self.epochs}{self.values}, {clock}"
        if self.rewrites:
            line = "\r" + line.ljust(self.width)
            self.width = max(self.width, len(line) - 1)
        sys.stdout.write(line + (end if self.rewrites else "\n"))
        sys.stdout.flush()
