"""An estimator whose score is a formula, so that a search takes no time."""

import os
import signal
import time
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator


class Fake(BaseEstimator):
    """Best at units=64, dropout=0.3; records every fit of every copy in `fits`."""

    fits: list[dict[str, Any]] = []
    error: dict[int, BaseException] = {}  # raised in the fit of this number

    def __init__(
        self,
        *,
        units: Any = 32,
        dropout: float = 0.0,
        global_clipnorm: Any = "auto",
        clipvalue: float | None = None,
        kind: Any = "a",
        refit_full: bool = True,
        seed: int = 0,
    ):
        self.units = units
        self.dropout = dropout
        self.global_clipnorm = global_clipnorm
        self.clipvalue = clipvalue
        self.kind = kind
        self.refit_full = refit_full
        self.seed = seed

    def fit(self, data: Any, verbose: int | str = 1) -> Self:
        number = len(Fake.fits)
        Fake.fits.append({**self.get_params(), "verbose": verbose})
        if number in Fake.error:
            raise Fake.error[number]
        loss = abs(self.units - 64) / 64 + abs(self.dropout - 0.3)
        self.validation_ = {"loss": loss, "accuracy": 1 - loss}
        return self


class Epochs(Fake):
    """Trains for nine epochs, each of which it notes; the loss falls in each.

    Tells its trial by `dropout`; the seed moves the loss a little.
    """

    trained: ClassVar[list[tuple[float, int, int]]] = []  # dropout, seed, epoch
    crash: ClassVar[set[tuple[float, int]]] = set()  # dropout, epoch: once each

    def fit(self, data: Any, verbose: int | str = 1, checkpoint: Any = None) -> Self:
        file = checkpoint.folder / "epochs" if checkpoint else None
        done = len(file.read_text()) if file and file.exists() else 0
        limit = checkpoint.pause(9) if checkpoint else 9
        for epoch in range(done, limit):
            if (self.dropout, epoch) in self.crash:
                self.crash.discard((self.dropout, epoch))
                raise KeyboardInterrupt
            self.trained.append((self.dropout, self.seed, epoch))
            if file:
                file.write_text("x" * (epoch + 1))
        # Seed 1 is kinder to small rates than to large ones.
        luck = self.seed * (self.dropout - 0.3)
        loss = abs(self.dropout - 0.3) + luck + 1 / limit
        self.validation_ = {"loss": loss, "rows": float(len(data))}
        return self

    def split_folds(self, count: int, data: Any) -> Any:
        for fold in range(count):
            yield (data[: len(data) - fold],), {}


class Steady(BaseEstimator):
    """Takes a while for each epoch, which it notes in a file."""

    def __init__(
        self, *, units: int = 1, dropout: float = 0.0, refit_full: bool = True
    ):
        self.units = units
        self.dropout = dropout
        self.refit_full = refit_full

    def fit(self, data: Any, verbose: int | str = 1, checkpoint: Any = None) -> Self:
        done = checkpoint.folder / "done"
        epoch = int(done.read_text()) if done.exists() else 0
        while epoch < checkpoint.pause(9):
            time.sleep(0.05)
            with open(os.environ["STEADY_NOTES"], "a") as notes:
                notes.write("one more epoch\n")
            epoch += 1
            (checkpoint.folder / "next").write_text(str(epoch))
            os.replace(checkpoint.folder / "next", done)
        self.validation_ = {"loss": abs(self.dropout - 0.3) + 1 / epoch}
        return self


class Odd(BaseEstimator):
    """Does in `fit` what `kind` says; tells the process and cores it ran on."""

    kept: ClassVar[list[Any]] = []

    def __init__(
        self,
        *,
        kind: str = "well",
        units: int = 32,
        refit_full: bool = True,
        clipvalue: float | None = None,
    ):
        self.kind = kind
        self.units = units
        self.refit_full = refit_full
        self.clipvalue = clipvalue

    def fit(self, data: Any, verbose: int | str = 1) -> Self:
        kind = self.kind
        if kind.startswith("once:"):  # is killed, the first time
            if not os.path.exists(kind[5:]):
                open(kind[5:], "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "exits":
            os._exit(3)
        elif kind == "endless":
            time.sleep(600)
        elif kind == "greedy":
            while True:
                self.kept.append(np.ones(10**7))  # 80 MB
        elif kind == "leaks":
            self.kept.append(np.ones(7 * 10**7))
        elif kind == "lost":
            raise FloatingPointError("the loss became nan")
        elif kind == "wrong":
            raise ZeroDivisionError("in user code")
        elif kind == "loud":
            print("not an answer", flush=True)
        elif kind == "brief":
            time.sleep(0.3)
        self.validation_ = {
            "loss": self.units / 64,
            "pid": os.getpid(),
            "cores": len(os.sched_getaffinity(0)),
            "began": time.time(),
        }
        return self
