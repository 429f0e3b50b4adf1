"""Worker processes: reused, shared out, and nothing that kills one ends a search."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from keras_seq import tune
from keras_seq.tuning.executors import _free_memory, _share
from keras_seq.tuning.trial_log import open_folder
from tests.grids import first
from tests.tuning.fake import Fake, Odd

DATA = pd.DataFrame({"y": [1.0, 2.0]})


def _search(estimator: Any = None, **arguments: Any) -> Any:
    settings = {"objective": "loss", "algorithm": "random", "verbose": 0}
    return tune(estimator or Odd(), DATA, **{**settings, **arguments})


@pytest.mark.slow
def test_a_worker_does_what_this_process_does() -> None:
    space = {"units": [16, 32, 64, 128], "dropout": (0.0, 0.6)}
    here, there = (
        _search(Fake(), space=space, max_trials=5, executor=executor)
        for executor in (None, 1)
    )
    columns = ["trial", "units", "dropout", "score", "status", "val_accuracy"]
    pd.testing.assert_frame_equal(there.trials_[columns], here.trials_[columns])
    assert there.best_params_ == here.best_params_


def test_one_process_runs_trial_after_trial() -> None:
    table = _search(space={"units": [16, 32, 64], "kind": ["well", "loud"]}).trials_
    assert len(table) == 6
    assert table["status"].eq("completed").all()  # also where a fit prints
    assert table["val_pid"].nunique() == 1
    assert table["val_pid"].ne(os.getpid()).all()
    assert not psutil.pid_exists(int(table["val_pid"][0]))


def test_what_goes_wrong_costs_one_trial_each() -> None:
    kinds = ["killed", "exits", "greedy", "lost", "well"]
    result = _search(space={"kind": kinds}, max_trial_mb=1000)
    table = result.trials_.set_index("kind")
    assert sorted(table.index) == sorted(kinds)
    assert result.best_params_ == {"kind": "well"}
    failures = table.loc[table["status"] == "failed", "message"]
    assert failures["killed"].startswith("WorkerDied: its process was killed by SIGK")
    assert failures["exits"] == "WorkerDied: its process ended with exit code 3"
    assert failures["greedy"] == "MemoryLimit: more than 1000 MB"
    assert failures["lost"] == "FloatingPointError: the loss became nan"
    assert len(failures) == 4


def test_a_trial_whose_process_was_killed_runs_again(tmp_path: Path) -> None:
    kinds = [f"once:{tmp_path / 'killed'}", "well"]
    table = _search(space={"kind": kinds}).trials_
    assert table["status"].eq("completed").all()
    assert (tmp_path / "killed").exists()


def test_a_trial_without_end_is_stopped() -> None:
    space = {"kind": ["endless", "well"]}
    table = _search(space=space, max_trial_seconds=3).trials_.set_index("kind")
    assert table.loc["endless", "message"] == "TimeLimit: more than 3 s"
    assert 3 <= table.loc["endless", "seconds"] < 10
    assert table.loc["well", "status"] == "completed"


def test_a_failed_trial_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    _search(space={"kind": ["well", "lost"]}, directory=tmp_path)
    log = (tmp_path / "trials.jsonl").read_text()
    assert "in fit" in log and "FloatingPointError: the loss became nan" in log


def test_a_mistake_in_the_program_stops_the_search() -> None:
    with pytest.raises(ZeroDivisionError, match="in user code") as caught:
        _search(space={"kind": ["well", "wrong"]})
    assert "tests/tuning/fake.py" in "".join(caught.value.__notes__)


@pytest.mark.slow
def test_a_process_that_grew_is_replaced() -> None:
    space = {"kind": ["leaks"], "units": [16, 32, 64, 128]}
    table = _search(Odd(kind="leaks"), space=space, max_trials=4).trials_
    # The first trial sets the mark; the second passes it.
    assert table["val_pid"].tolist()[0] == table["val_pid"].tolist()[1]
    assert table["val_pid"].tolist()[1] != table["val_pid"].tolist()[2]


def test_two_workers_share_trials_and_cores() -> None:
    space = {"kind": ["brief"], "units": list(range(8))}
    table = _search(
        Odd(kind="brief", units=0), space=space, max_trials=8, executor=2
    ).trials_
    assert table["trial"].tolist() == list(range(8))
    assert sorted(table["units"]) == list(range(8))
    assert table["val_pid"].nunique() == 2
    began = table.groupby("val_pid")["val_began"].agg(["min", "max"])
    assert began["min"].max() < began["max"].min()  # at the same time
    cores = len(os.sched_getaffinity(0))
    assert table["val_cores"].eq(max(1, cores // 2)).all()


@pytest.mark.slow
def test_a_hundred_trials_do_not_fill_this_process() -> None:
    _search(space={"units": [32, 33]}, max_trials=2)  # what is imported on first use
    before = psutil.Process().memory_info().rss
    table = _search(space={"units": list(range(1, 200))}, max_trials=100).trials_
    assert table["status"].eq("completed").sum() == 100
    assert psutil.Process().memory_info().rss - before < 50e6


@pytest.mark.parametrize(
    "kind", first([ThreadPoolExecutor, ProcessPoolExecutor], ProcessPoolExecutor)
)
def test_an_executor_of_ones_own(kind: type[Executor]) -> None:
    space = {"units": [16, 32, 64]}
    context = {} if kind is ThreadPoolExecutor else {"mp_context": get_context("spawn")}
    with kind(2, **context) as executor:
        result = _search(space=space, executor=executor)
        assert executor.submit(int, "7").result() == 7  # it stays open
    assert sorted(result.trials_["units"]) == [16, 32, 64]
    assert result.best_params_ == {"units": 16}


def test_a_broken_pool_costs_the_trial_that_broke_it() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        kinds = ["well", "exits", "brief"]
        table = _search(space={"kind": kinds}, executor=executor).trials_
    status = table.set_index("kind")["status"]
    assert status.to_dict() == {
        "well": "completed",
        "exits": "failed",
        "brief": "completed",
    }
    assert "the pool broke 3 times" in table.set_index("kind").loc["exits", "message"]


def test_an_executor_that_was_shut_down_is_an_error() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        _search(space={"units": [16, 32]}, executor=executor)


@pytest.mark.parametrize(
    ("count", "slots", "expected"),
    [
        (4, 2, [[0, 1], [2, 3]]),
        (5, 2, [[0, 1], [2, 3, 4]]),
        (2, 3, [[0], [1], [0]]),
    ],
)
def test_cores_are_shared_out(count: int, slots: int, expected: list) -> None:
    things = list(range(count))
    assert [_share(things, number, slots) for number in range(slots)] == expected


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path) -> None:
    everything = _free_memory(tmp_path)
    assert everything > 1e8
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_memory(tmp_path) > 1e8
    (tmp_path / "memory.max").write_text("10000\n")
    assert _free_memory(tmp_path) == 10000


def test_what_is_defined_in_a_notebook_reaches_the_workers() -> None:
    class Local(Odd):
        def fit(self, data: Any, verbose: int | str = 1) -> Any:
            self.validation_ = {"loss": len(data) + float(os.environ["LOCAL_EXTRA"])}
            return self

    os.environ["LOCAL_EXTRA"] = "0.5"
    try:
        result = _search(Local(), space={"units": [32]}, max_trials=1)
    finally:
        del os.environ["LOCAL_EXTRA"]
    assert result.best_score_ == 2.5


def test_what_cannot_be_loaded_is_said() -> None:
    class Unloadable(Odd):
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    with pytest.raises(RuntimeError, match="could not load the estimator"):
        _search(Unloadable(), space={"units": [32]}, max_trials=1)


def test_one_search_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    with open_folder(tmp_path):
        with pytest.raises(RuntimeError, match="Another search is running"):
            _search(space={"units": [32]}, directory=tmp_path)
    _search(space={"units": [32]}, directory=tmp_path)


SCRIPT = """
import sys
import pandas as pd
from keras_seq import tune
from tests.tuning.fake import Odd
directory, kind = sys.argv[1:]
tune(
    Odd(), pd.DataFrame({"y": [1.0, 2.0]}), directory=directory, max_trials=20,
    space={"kind": [kind], "units": list(range(100))}, objective="loss",
    algorithm="random",
)
"""


def _start(script: str, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **more},
        stdout=subprocess.PIPE,
        text=True,
    )


def _read_log(directory: Path) -> list[dict[str, Any]]:
    """The trials that are whole in the log, without what differs from run to run."""
    log = directory / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    kept = ("event", "trial", "params", "score", "message", "part", "seed")
    return [{k: e[k] for k in kept if k in e} for e in events]


KILLED = """
import sys
import pandas as pd
from keras_seq import Forecaster, datasets, tune
from tests.tuning.fake import Steady
kind, directory, algorithm = sys.argv[1:]
if kind == "real":
    frame = datasets.load_aus_retail()
    frame = frame[frame["unique_id"].isin(frame["unique_id"].unique()[:3])]
    estimator = Forecaster(horizon=6, units=4, max_steps=200, dropout=0.1)
    space = {"units": [4, 8, 12], "learning_rate": (1e-3, 1e-2, "log")}
    settings = {"max_trials": 6}
else:
    frame, estimator = pd.DataFrame({"y": [1.0, 2.0]}), Steady()
    space = {"dropout": (0.0, 0.6), "units": list(range(100))}
    settings = {"max_trials": 18, "objective": "loss"}
tune(
    estimator, frame, directory=directory, space=space, algorithm=algorithm, **settings
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "algorithm"), [("steady", "bayesian"), ("real", "hyperband")]
)
def test_a_search_killed_ten_times_finds_what_an_undisturbed_one_does(
    tmp_path: Path, kind: str, algorithm: str
) -> None:
    def start(name: str) -> "subprocess.Popen[str]":
        notes = {"STEADY_NOTES": str(tmp_path / f"{name}.txt")}
        return _start(KILLED, kind, str(tmp_path / name), algorithm, **notes)

    with start("undisturbed") as process:
        process.communicate()
    assert process.returncode == 0
    random, kills = np.random.default_rng(0), 0
    for _ in range(10):
        before = len(_read_log(tmp_path / "killed"))
        with start("killed") as process:
            while process.poll() is None:  # until something has gone on
                if len(_read_log(tmp_path / "killed")) > before:
                    break
                time.sleep(0.02)
            time.sleep(random.uniform(0, 0.6 if kind == "steady" else 2.0))
            kills += process.poll() is None
            process.kill()
    assert kills >= (10 if kind == "steady" else 4)
    with start("killed") as process:
        process.communicate()
    assert process.returncode == 0
    # The same trials in the same order, none of them twice.
    assert _read_log(tmp_path / "killed") == _read_log(tmp_path / "undisturbed")
    if kind == "steady":
        epochs = {
            name: len((tmp_path / f"{name}.txt").read_text().splitlines())
            for name in ("undisturbed", "killed")
        }
        lost = epochs["killed"] - epochs["undisturbed"]
        # At most one of each killed search.
        assert 0 <= lost <= kills


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_search(tmp_path: Path) -> None:
    with _start(SCRIPT, str(tmp_path), "endless") as process:
        assert process.stdout is not None
        assert "trial 0" in process.stdout.readline()
        (worker,) = psutil.Process(process.pid).children()
        process.kill()
    worker.wait(timeout=10)
    # The folder is free again, trial 0 is not repeated, and trial 1 goes on.
    events = [(e["event"], e["trial"]) for e in _read_log(tmp_path)]
    assert events[:2] == [("begin", 0), ("end", 0)]
    assert events[2:] in ([], [("begin", 1)])
    with open_folder(tmp_path):
        pass
