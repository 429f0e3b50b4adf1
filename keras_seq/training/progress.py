"""Progress: one line with the time left, in terminals, notebooks and log files."""

import html
import sys
import time
from typing import Any

import keras


class Progress(keras.callbacks.Callback):
    """Shows epoch, losses and the time left at most.

    A terminal sees one line that is rewritten, a notebook one output that is replaced:
    what is written to a notebook's standard output it keeps, each line as often as it
    was rewritten. Anything else, such as a log file, sees a new line every ten seconds
    and one at the end.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, title: str, epochs_done: int = 0
    ):
        super().__init__()
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first_step = epochs_done * steps_per_epoch
        self.title = title
        self.notebook = _in_notebook()
        self.rewrites = sys.stdout.isatty() and not self.notebook
        self.interval = 0.25 if self.rewrites else 10.0
        if self.notebook:  # each change of an output is a message to the page
            self.interval = 1.0

    def on_train_begin(self, logs: Any = None) -> None:
        self.steps = self.first_step
        self.values = ""
        self.width = 0
        self.handle: Any = None
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
        late = time.perf_counter() - self.shown >= self.interval
        if self.rewrites or (self.notebook and late):
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
        if self.notebook:
            self._display(line)
            return
        if self.rewrites:
            line = "\r" + line.ljust(self.width)
            self.width = max(self.width, len(line) - 1)
        sys.stdout.write(line + (end if self.rewrites else "\n"))
        sys.stdout.flush()

    def _display(self, line: str) -> None:
        from IPython.display import display

        page = f'<pre style="margin:0;background:transparent">{html.escape(line)}</pre>'
        bundle = {"text/plain": line, "text/html": page}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


def _in_notebook() -> bool:
    """Whether output goes to a kernel's page."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
