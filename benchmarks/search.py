"""Times a search in one worker process and in two, and what it costs beside training.

Every setting searches the same space with the same seed, in a process of its own: one
worker on one core, one worker on two, two workers of one core each. Random suggestions,
so that all run the same trials. The data ship with the package.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import psutil

from keras_seq.demo import describe_hardware

SETTINGS = {  # cores, workers
    "1 worker, 1 core": (1, 1),
    "1 worker, 2 cores": (2, 1),
    "2 workers, 1 core each": (2, 2),
}


class Clock(io.StringIO):
    """Takes the place of the standard output, and notes when each line came."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: list[float] = []
        self.memory: list[float] = []  # MB of this process

    def write(self, text: str) -> int:
        if text.startswith("search "):
            self.stamps.append(time.perf_counter())
            self.memory.append(psutil.Process().memory_info().rss / 1e6)
        return len(text)


def search(cores: int, workers: int, trials: int, steps: int) -> dict[str, Any]:
    """Runs one search in this process; seconds and MB."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from keras_seq import Forecaster, datasets, tune

    frame = datasets.load_aus_retail()
    forecaster = Forecaster(horizon=12, max_steps=steps, refit_full=False, seed=0)
    space = {"units": [24, 32, 40, 48], "dropout": (0.0, 0.4)}
    clock, started = Clock(), time.perf_counter()
    with redirect_stdout(clock):
        table = tune(
            forecaster,
            frame,
            space=space,
            algorithm="random",
            max_trials=trials,
            executor=workers,
            verbose=1,
        ).trials_
    seconds = table["seconds"].tolist()
    return {
        "start": clock.stamps[0] - started - seconds[0],
        "trials": clock.stamps[trials - 1] - started,
        "training": sum(seconds),
        "grown": clock.memory[trials - 1] - clock.memory[0],
        "failed": int((table["status"] == "failed").sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8, help="in each search")
    parser.add_argument("--steps", type=int, default=300, help="of training in each")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each setting")
    parser.add_argument("--inner", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(search(*options.inner, options.trials, options.steps)))
        return
    print(f"{describe_hardware()}; {options.trials} trials of {options.steps} steps")
    names = ("trials/hour", "s/trial", "start s", "overhead", "driver MB", "failed")
    print("| setting | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for _ in range(options.rounds):
        for setting, (cores, workers) in SETTINGS.items():
            command = [sys.executable, __file__, "--inner", str(cores), str(workers)]
            command += ["--trials", str(options.trials), "--steps", str(options.steps)]
            output = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(output.stdout.splitlines()[-1])
            alone = found["trials"] - found["start"]  # without the workers' start
            overhead = alone * workers / found["training"] - 1
            cells = [
                f"{3600 * options.trials / alone:.0f}",
                f"{found['training'] / options.trials:.1f}",
                f"{found['start']:.1f}",
                # With several workers some wait at the end: no overhead of a trial.
                f"{overhead:.1%}" if workers == 1 else "",
                f"{found['grown']:+.1f}",
                str(found["failed"]),
            ]
            print(f"| {setting} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
