"""Trials on a Ray cluster, whose nodes may come and go."""

import asyncio
import math
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import cloudpickle

from keras_seq.errors import did_you_mean, warn
from keras_seq.tuning.trial import Job, Outcome, Task

_ATTEMPTS = 4  # of a trial whose process or node was lost; Ray's own tasks have as many
# Ray replaces a process after so many calls, not for the memory that it has gained. A
# small text model leaves 100 MB behind, and a process may keep some 500 MB elsewhere.
_TRIALS_OF_A_PROCESS = 5
_LOOK = 5.0  # seconds between two looks at which nodes are alive
_PATIENCE = 120.0  # seconds for Ray to miss a silent node; by default it takes 50
_AMOUNTS = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


class RayTrials:
    """Runs trials as tasks of a Ray cluster, and again those lost with their node.

    The cluster is the one that `ray.init` has connected to; else that of `RAY_ADDRESS`
    or one that runs on this machine; else one that starts here and stops at the end.
    The job goes there once.

    Args:
        job: What all trials share.
        resources: What a trial takes, by the names of `ray.remote`: `num_cpus`,
            `num_gpus`, `memory` in bytes, `resources` for a dictionary of others. A
            trial has as many threads as `num_cpus`. None: one core.
        trial_seconds: Limit of a trial, without its time in Ray's queue and the start
            of its process; None: none.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: If `resources` has an unknown name, or asks for more than this
            machine has where there is no other.
        RuntimeError: If this process is a client from outside the cluster (`ray://`).
    """

    def __init__(
        self,
        job: Job,
        resources: Mapping[str, Any] | None = None,
        trial_seconds: float | None = None,
    ):
        self._ray = _import_ray()
        self._job = job
        self._resources = {"num_cpus": 1, **(resources or {})}
        self._needs = _name_needs(self._resources)
        self._trial_seconds = trial_seconds
        self._gone: dict[str, asyncio.Event] = {}  # by the id of a node

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            is_own = stack.enter_context(_connect(self._ray))
            self._check_fits(is_own)
            # Bytes: arrays that Ray itself pickles come back as memory to read only.
            self._stored = self._ray.put(cloudpickle.dumps(self._job))
            self._remote = self._ray.remote(
                num_returns="streaming",
                # Ray would repeat for ever what runs out of memory.
                max_retries=0,
                # On a GPU, a process keeps memory and the device it first had.
                max_calls=1 if self._needs.get("GPU") else _TRIALS_OF_A_PROCESS,
                runtime_env={"env_vars": _environment(self._needs)},
                **self._resources,
            )(_run_trial)
            self._loop = stack.enter_context(_run_event_loop())
            asyncio.run_coroutine_threadsafe(self._watch_nodes(), self._loop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()
        del self._stored, self._remote

    @property
    def slots(self) -> int:
        """How many trials the cluster as it is now can hold, at least one."""
        return max(1, self._count_places())

    def submit(self, task: Task) -> "Future[Outcome]":
        if task.folder is not None:
            # Made here: a node that sees it shares it, and has none of another search.
            folder = Path(task.folder).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            task = replace(task, folder=str(folder))
        return asyncio.run_coroutine_threadsafe(self._run(task), self._loop)

    def _count_places(self) -> int:
        return sum(
            min(
                # Ray counts in steps of 0.0001, and 1 // 0.1 is 9.
                math.floor(node["Resources"].get(name, 0) / amount + 1e-6)
                for name, amount in self._needs.items()
            )
            for node in self._alive_nodes()
        )

    def _check_fits(self, is_own: bool) -> None:
        if self._count_places():
            return
        message = (
            "`resources` must be what a node of the Ray cluster has. There are: "
            f"{[node['Resources'] for node in self._alive_nodes()]}. "
            f"Received: resources={self._resources!r}"
        )
        if is_own:
            raise ValueError(message)
        warn(f"{message}. Trials wait for such a node.")

    async def _run(self, task: Task) -> Outcome:
        errors = self._ray.exceptions
        lost = errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError
        started = time.perf_counter()
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt(task)
            except errors.RayTaskError as error:
                raise error.cause from None
            except errors.OutOfMemoryError as error:
                message = "MemoryLimit: Ray ended it, for its node ran out of memory"
                return _fail(message, started, str(error))
            except lost as error:
                message, trace = f"WorkerDied: {_ATTEMPTS} times in a row", str(error)
        return _fail(message, started, trace)

    async def _attempt(self, task: Task) -> Outcome:
        stream = self._remote.remote([self._stored], task)
        try:
            node = await (await anext(stream))  # where it begins
            began = time.perf_counter()
            result = asyncio.ensure_future(_receive(stream))
            try:
                if await self._wait(result, node, self._trial_seconds):
                    return result.result()
                self._ray.cancel(stream, force=True)
                # Ray tells at once that it did, unless the node was lost before.
                with suppress(self._ray.exceptions.TaskCancelledError):
                    if await self._wait(result, node, _PATIENCE):
                        return result.result()
                return _fail(f"TimeLimit: more than {self._trial_seconds:g} s", began)
            finally:
                result.cancel()
        except asyncio.CancelledError:
            self._ray.cancel(stream, force=True)
            raise

    async def _wait(
        self, result: "asyncio.Future[Outcome]", node: str, seconds: float | None
    ) -> bool:
        """Waits for a result, and returns whether it came in time."""
        gone = self._gone.setdefault(node, asyncio.Event())
        alarm = asyncio.ensure_future(gone.wait())
        either: list[asyncio.Future[Any]] = [result, alarm]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        alarm.cancel()
        if gone.is_set() and not result.done():
            raise self._ray.exceptions.NodeDiedError(f"Node {node} is gone.")
        return result.done()

    async def _watch_nodes(self) -> None:
        """Tells what waits for a node that the cluster has given up.

        Ray 2.60 tells it where a process dies. Where a machine falls silent, a task
        waits for as long as its connection stays open, which is minutes.
        """
        while True:
            await asyncio.sleep(_LOOK)
            alive = {node["NodeID"] for node in self._alive_nodes()}
            for node, gone in self._gone.items():
                if node not in alive:
                    gone.set()

    def _alive_nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


async def _receive(stream: Any) -> Outcome:
    return await (await anext(stream))


def _run_trial(job: list[Any], task: Task) -> Iterator[str | Outcome]:
    """Runs in a process of the cluster; yields where it begins, and what came of it.

    Args:
        job: The reference of the pickled job, in a list: Ray would fetch it for each
            trial anew if it stood alone.
        task: What to run.
    """
    try:
        loaded = _load(job[0])
        yield _import_ray().get_runtime_context().get_node_id()
        with _keep_checkpoints(task) as kept:
            outcome = loaded.run(kept)
        yield outcome
    except Exception as error:
        error.add_note(f"On a node of the Ray cluster:\n{traceback.format_exc()}")
        raise


_loaded: dict[str, Any] = {}  # the job whose trials this process runs


def _load(reference: Any) -> Any:
    key = reference.hex()  # the reference itself would keep the data in the cluster
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = pickle.loads(_import_ray().get(reference))
    return _loaded[key]


@contextmanager
def _keep_checkpoints(task: Task) -> Iterator[Task]:
    """The task with a folder that this node has: its own, or else one for a while."""
    if task.folder is None or os.access(task.folder, os.W_OK | os.X_OK):
        yield task
        return
    with TemporaryDirectory(prefix="keras-seq-trial-") as folder:
        yield replace(task, folder=folder)


def _fail(message: str, started: float, trace: str = "") -> Outcome:
    seconds = round(time.perf_counter() - started, 3)
    return Outcome(None, message, seconds, traceback=trace)


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError(
            "`executor='ray'` needs Ray: pip install 'keras-seq[ray]'"
        ) from error
    return ray


def _name_needs(resources: Mapping[str, Any]) -> dict[str, float]:
    """What a trial takes, by the names that nodes have for it."""
    for name in resources:
        if name not in (*_AMOUNTS, "resources"):
            raise ValueError(
                f"`resources` may hold {', '.join(_AMOUNTS)} and resources."
                f"{did_you_mean(name, _AMOUNTS)} Received: resources={resources!r}"
            )
    needs = {_AMOUNTS[n]: a for n, a in resources.items() if n != "resources"}
    needs.update(resources.get("resources", {}))
    needs = {name: amount for name, amount in needs.items() if amount}
    if not needs:
        raise ValueError(
            "`resources` must take something of a node, or no number of trials at "
            f"once were too many. Received: resources={resources!r}"
        )
    return needs


def _environment(needs: Mapping[str, float]) -> dict[str, str]:
    """What the processes that run trials shall have in common with this one."""
    here = [path or os.getcwd() for path in sys.path]
    environment = {
        "PYTHONPATH": os.pathsep.join([*here, "${PYTHONPATH}"]),  # and the node's own
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    if "keras" in sys.modules:
        environment["KERAS_BACKEND"] = sys.modules["keras"].config.backend()
    elif "KERAS_BACKEND" in os.environ:
        environment["KERAS_BACKEND"] = os.environ["KERAS_BACKEND"]
    threads = str(max(1, int(needs.get("CPU", 1))))
    for name in ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM"):
        environment[f"{name}_THREADS"] = threads
    environment["NPROC"] = threads  # the size of XLA's pool of threads, thus JAX's
    if not needs.get("GPU"):
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif needs["GPU"] < 1:  # several on one: none may take all of its memory at once
        environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return environment


@contextmanager
def _connect(ray: Any) -> Iterator[bool]:
    """Connects to a cluster where the caller has not; yields whether it starts here."""
    if "://" in os.environ.get("RAY_ADDRESS", "") or ray.util.client.ray.is_connected():
        raise RuntimeError(
            "A search on a Ray cluster must run on one of its nodes, not by way of "
            "ray://. `ray job submit` takes it there."
        )
    if ray.is_initialized():
        yield False
        return
    # What trials print must not get among the lines of the search.
    settings = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        # Ray refuses `resources`, even of nothing, where it finds a cluster.
        ray.init(resources={}, include_dashboard=False, **settings)
        is_own = True
    except ValueError:
        ray.init(**settings)
        is_own = False
    try:
        yield is_own
    finally:
        ray.shutdown()


@contextmanager
def _run_event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own; what still runs in the end is cancelled."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    loop, end = ready.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
