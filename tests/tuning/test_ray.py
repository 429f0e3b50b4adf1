"""Trials on a Ray cluster: what is lost is run again, what is wrong is said."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from uuid import uuid4

import numpy as np
import pandas as pd
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from sklearn.base import BaseEstimator

import keras_seq
from keras_seq.tuning import ray_cluster
from keras_seq.tuning.ray_cluster import RayTrials
from keras_seq.tuning.trial import Outcome, Task

pytestmark = pytest.mark.slow

DATA = pd.DataFrame({"y": [1.0, 2.0]})


class Traveller(BaseEstimator):
    """Does in `fit` what `kind` says, and notes in a folder on which node it began."""

    def __init__(
        self,
        *,
        kind: str = "well",
        units: int = 32,
        notes: str = "",
        refit_full: bool = True,
    ):
        self.kind = kind
        self.units = units
        self.notes = notes
        self.refit_full = refit_full

    def fit(self, data: Any, verbose: int | str = 1) -> Self:
        self.validation_ = {"loss": self.units / 64}
        if not ray.is_initialized():  # the winner, which is fitted after the search
            return self
        node = ray.get_runtime_context().get_node_id()
        if self.notes:
            (Path(self.notes) / f"{node}-{uuid4()}").touch()
        if self.kind == "wrong":
            raise ZeroDivisionError("in user code")
        elif self.kind == "exits":
            os._exit(3)
        elif self.kind == "lengthy":
            time.sleep(1)
        self.validation_["node"] = float(int(node[:12], 16))
        return self


class Errand:
    """A job that does what the arguments of a trial say."""

    def __init__(self) -> None:
        self.data = np.zeros(3)
        self.pickled = 0

    def __getstate__(self) -> dict[str, Any]:
        self.pickled += 1
        return self.__dict__

    def run(self, task: Task) -> Outcome:
        kind = task.params["kind"]
        if kind == "endless":
            Path(task.params.get("note", os.devnull)).write_text(str(os.getpid()))
            time.sleep(600)
        elif kind == "brief":
            time.sleep(1)
        elif kind == "late":
            raise TimeoutError("of the trial's own")
        self.data += 1  # of this process alone, and not to read only
        names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "KERAS_BACKEND")
        facts = " ".join([str(task.folder), *(os.environ.get(n, "") for n in names)])
        return Outcome(self.data[0], facts, 0.0, {"pid": os.getpid()})


def _ask(where: RayTrials, kind: str, folder: str | None = None) -> Outcome:
    return where.submit(Task(0, {"kind": kind}, folder=folder)).result(timeout=60)


def _search(estimator: Traveller, **arguments: Any) -> Any:
    settings = {"objective": "loss", "algorithm": "grid", "verbose": 0}
    # Each process that runs trials imports this module; `tune` would take it seconds.
    return keras_seq.tune(estimator, DATA, executor="ray", **{**settings, **arguments})


@pytest.fixture(scope="module", autouse=True)
def own_files() -> Iterator[None]:
    """Apart from those of other clusters, which tests would find and join."""
    # Not in the folder of pytest: the path of a socket has room for 107 letters.
    with (
        TemporaryDirectory(prefix="ray-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def cluster(own_files: None) -> Iterator[Cluster]:
    """A cluster of one node with one core, which connects to nobody by itself."""
    # It misses a node after 5 s instead of 15 s, or 50 s where that falls silent.
    settings = {"health_check_period_ms": 1000, "health_check_timeout_ms": 1000}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "_system_config": settings,
        },
    )
    yield cluster
    cluster.shutdown()


@pytest.fixture
def address(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return cluster.address


@pytest.mark.parametrize("how", ["dies", "falls silent"])
def test_a_lost_node_costs_no_trial(
    how: str,
    cluster: Cluster,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "_LOOK", 1.0)
    lost = cluster.add_node(num_cpus=1)

    def count_begun() -> int:
        return len(list(tmp_path.glob(f"{lost.node_id}-*")))

    def lose() -> None:
        while count_begun() < 2:  # the first has ended, the second runs
            time.sleep(0.05)
        if how == "dies":
            cluster.remove_node(lost, allow_graceful=False)
        else:
            _silence(lost)

    thief = threading.Thread(target=lose, daemon=True)
    thief.start()
    estimator = Traveller(kind="lengthy", notes=str(tmp_path))
    try:
        space = {"units": list(range(32, 38))}
        # The limit passes before the cluster misses the node.
        table = _search(estimator, space=space, max_trial_seconds=4).trials_
    finally:
        thief.join()
        if how != "dies":
            cluster.remove_node(lost, allow_graceful=False)
    assert sorted(table["units"]) == space["units"]
    assert table["status"].eq("completed").all()
    assert table["val_node"].nunique() == 2
    # Of what began on the node that was lost, only the last ran again.
    there = table["val_node"].eq(float(int(lost.node_id[:12], 16))).sum()
    assert there == count_begun() - 1
    assert len(list(tmp_path.iterdir())) == len(table) + 1


def _silence(node: Any) -> None:
    """Stops its processes, which leaves all connections to them open."""
    for processes in node.all_processes.values():
        for process in processes:
            raylet = psutil.Process(process.process.pid)
            for each in [raylet, *raylet.children(recursive=True)]:
                each.suspend()


def test_a_mistake_in_the_program_stops_the_search(address: str) -> None:
    with pytest.raises(ZeroDivisionError, match="in user code") as caught:
        _search(Traveller(), space={"kind": ["well", "wrong"]})
    assert type(caught.value) is ZeroDivisionError
    assert "tests/tuning/test_ray.py" in "".join(caught.value.__notes__)
    assert not ray.is_initialized()


def test_a_process_that_dies_each_time_costs_its_trial(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_ATTEMPTS", 2)
    estimator = Traveller(notes=str(tmp_path))
    table = _search(estimator, space={"kind": ["exits", "well"]}).trials_
    table = table.set_index("kind")
    assert table.loc["exits", "message"] == "WorkerDied: 2 times in a row"
    assert table.loc["well", "status"] == "completed"
    assert len(list(tmp_path.iterdir())) == 2 + 1


def test_the_limit_is_of_the_trial_and_not_of_its_wait(address: str) -> None:
    with RayTrials(Errand(), trial_seconds=2) as where:
        assert where.slots == 1
        kinds = ["well", "endless", "endless", "well"]
        tasks = [Task(i, {"kind": kind}) for i, kind in enumerate(kinds)]
        futures = [where.submit(task) for task in tasks]
        outcomes = [future.result(timeout=60) for future in futures]
        for outcome in outcomes[1:3]:
            assert outcome.message == "TimeLimit: more than 2 s"
            assert 2 <= outcome.seconds < 4
        assert outcomes[0].score == outcomes[3].score == 1
        with pytest.raises(TimeoutError, match="of the trial's own"):
            _ask(where, "late")


def test_a_process_runs_some_trials_with_its_own_copy_of_the_job(address: str) -> None:
    job = Errand()
    with RayTrials(job, {"num_cpus": 1}) as where:
        outcomes = [_ask(where, "well") for _ in range(7)]
        assert [outcome.score for outcome in outcomes] == [1, 2, 3, 4, 5, 1, 2]
        assert len({outcome.validation["pid"] for outcome in outcomes}) == 2
        assert job.pickled == 1
        assert not job.data.any()
        # With as many threads as it has cores.
        assert outcomes[0].message.split()[:3] == ["None", "1", "1"]


def test_a_node_that_does_not_see_the_folder_takes_one_of_its_own(
    address: str, tmp_path: Path
) -> None:
    shared, elsewhere = str(tmp_path / "own" / "trial"), str(tmp_path / "other")
    with RayTrials(Errand()) as where:
        assert _ask(where, "well", shared).message.split()[0] == shared
        where.submit(Task(0, {"kind": "brief"}))
        future = where.submit(Task(1, {"kind": "well"}, folder=elsewhere))
        os.rmdir(elsewhere)  # while the other trial has the only core
        used = Path(future.result(timeout=60).message.split()[0])
    assert used != Path(elsewhere) and used.is_absolute()
    assert not used.exists() and not Path(elsewhere).exists()


def test_what_still_runs_at_the_end_is_cancelled(address: str, tmp_path: Path) -> None:
    before, note = threading.active_count(), tmp_path / "note"
    ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        with RayTrials(Errand()) as where:
            params = {"kind": "endless", "note": str(note)}
            futures = [where.submit(Task(i, params)) for i in range(2)]
            while not note.exists() or not note.read_text():
                time.sleep(0.05)
        assert all(future.cancelled() for future in futures)
        deadline = time.monotonic() + 10
        while psutil.pid_exists(int(note.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        ray.shutdown()
    assert threading.active_count() == before


def test_a_connection_of_the_callers_stays(address: str) -> None:
    ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        with pytest.warns(UserWarning, match="Trials wait for such a node"):
            with RayTrials(Errand(), {"num_cpus": 2}) as where:
                assert where.slots == 1
        with pytest.raises(ValueError, match="must be what a node of the Ray cluster"):
            where._check_fits(is_own=True)  # where no other node can join
        with RayTrials(Errand(), {"num_cpus": 0.1}) as where:
            assert where.slots == 10
            assert _ask(where, "well").score == 1
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_where_there_is_no_cluster_one_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with RayTrials(Errand()) as where:
        assert where.slots == ray.cluster_resources()["CPU"]
        assert _ask(where, "well").score == 1
    assert not ray.is_initialized()


def test_a_client_from_outside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://localhost:1")
    with pytest.raises(RuntimeError, match="must run on one of its nodes"):
        with RayTrials(Errand()):
            pass


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"num_cpu": 1}, "Did you mean 'num_cpus'?"),
        ({"num_cpus": 0}, "must take something of a node"),
    ],
)
def test_resources_are_checked(resources: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayTrials(Errand(), resources)
